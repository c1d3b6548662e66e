/** The part of the control API about what moves with groups; as in `routes.ts`, handlers only translate. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import { agentList, checkRequest, checkStatus, resourcesStatus } from './resource-schemas.ts';
import { body, fails, groupPath, json } from './route-parts.ts';

const routes = {
  resources: createRoute({
    method: 'get',
    path: '/v1/groups/{group}/resources',
    summary: 'What runs on a group at its owner, with the end of its output',
    request: { params: groupPath },
    responses: { 200: json(resourcesStatus, 'In the order of their start.'), default: fails },
  }),
  start: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/resources/start',
    summary: 'Start what is not running on a group',
    request: { params: groupPath },
    responses: { 200: json(resourcesStatus, 'As it is afterwards.'), default: fails },
  }),
  lastCheck: createRoute({
    method: 'get',
    path: '/v1/groups/{group}/check',
    summary: 'The last integrity check of a group',
    request: { params: groupPath },
    responses: { 200: json(checkStatus, 'How it ended, and whether hosts are kept out.'), default: fails },
  }),
  check: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/check',
    summary: 'Run the integrity check of a group again, or let hosts in without',
    request: { params: groupPath, body: body(checkRequest) },
    responses: { 200: json(checkStatus, 'How it ended, and whether hosts are kept out.'), default: fails },
  }),
  agents: createRoute({
    method: 'get',
    path: '/v1/agents',
    summary: 'Application agents of all nodes',
    responses: { 200: json(agentList, 'Those that are connected.'), default: fails },
  }),
};

export function addResourceRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.resources, async (context) =>
    context.json(await control.groupResources(context.req.valid('param')), 200),
  );
  app.openapi(routes.start, async (context) =>
    context.json(await control.startResources(context.req.valid('param')), 200),
  );
  app.openapi(routes.lastCheck, async (context) =>
    context.json(await control.groupCheck({ ...context.req.valid('param'), again: false, serve: false }), 200),
  );
  app.openapi(routes.check, async (context) =>
    context.json(await control.groupCheck({ ...context.req.valid('param'), ...context.req.valid('json') }), 200),
  );
  app.openapi(routes.agents, async (context) => context.json(await control.listAgents(), 200));
}
