/** The part of the control API about the agents; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import { body, done, fails, groupPath, json } from './route-parts.ts';
import * as schemas from './schemas.ts';

const routes = {
  decisions: createRoute({
    method: 'get',
    path: '/v1/groups/{group}/decisions',
    summary: 'The last decisions about taking a group over, with their evidence',
    request: { params: groupPath, query: z.object({ count: z.coerce.number().int().min(1).max(200).default(20) }) },
    responses: { 200: json(schemas.decisions, 'Oldest first.'), default: fails },
  }),
  groupAutomatic: createRoute({
    method: 'put',
    path: '/v1/groups/{group}/automatic',
    summary: 'Switch automatic take-over of a group on or off',
    request: { params: groupPath, body: body(schemas.groupAutomaticRequest) },
    responses: done,
  }),
  nodeAutomatic: createRoute({
    method: 'put',
    path: '/v1/nodes/{node}/automatic',
    summary: 'Switch automatic take-over by a node on or off',
    request: { params: z.object({ node: z.string() }), body: body(schemas.nodeAutomaticRequest) },
    responses: done,
  }),
  giveBack: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/give-back',
    summary: 'Planned move of a group to its preferred owner',
    request: { params: groupPath },
    responses: { 200: json(schemas.moveResult, 'Moved.'), default: fails },
  }),
};

export function addAgentRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.decisions, async (context) => {
    const { count } = context.req.valid('query');
    return context.json(await control.decisions({ ...context.req.valid('param'), count }), 200);
  });
  app.openapi(routes.groupAutomatic, async (context) => {
    await control.setGroupAutomatic({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.nodeAutomatic, async (context) => {
    await control.setNodeAutomatic({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.giveBack, async (context) =>
    context.json(await control.giveBack(context.req.valid('param')), 200),
  );
}
