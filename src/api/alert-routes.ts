/** The part of the control API about alerts; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import { body, fails, json } from './route-parts.ts';
import * as schemas from './schemas.ts';

const routes = {
  list: createRoute({
    method: 'get',
    path: '/v1/alerts',
    summary: 'Alerts this node knows of, and how it tells them',
    request: { query: z.object({ all: z.enum(['true', 'false']).default('false') }) },
    responses: { 200: json(schemas.alertList, 'Oldest first.'), default: fails },
  }),
  test: createRoute({
    method: 'post',
    path: '/v1/alerts/test',
    summary: "Send a test by this node's sinks, or by one of them",
    request: { body: body(schemas.testAlertsRequest) },
    responses: { 200: json(schemas.testResults, 'What became of it, by sink.'), default: fails },
  }),
  acknowledge: createRoute({
    method: 'post',
    path: '/v1/alerts/acknowledge',
    summary: 'Say that somebody sees to them',
    request: { body: body(schemas.acknowledgeAlertsRequest) },
    responses: { 200: json(schemas.acknowledged, 'Those that are acknowledged now.'), default: fails },
  }),
};

export function addAlertRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.list, async (context) => {
    const { all } = context.req.valid('query');
    return context.json(await control.listAlerts({ all: all === 'true' }), 200);
  });
  app.openapi(routes.test, async (context) => context.json(await control.testAlerts(context.req.valid('json')), 200));
  app.openapi(routes.acknowledge, async (context) =>
    context.json(await control.acknowledgeAlerts(context.req.valid('json')), 200),
  );
}
