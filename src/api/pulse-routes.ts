/** The part of the control API about the pulse; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import * as schemas from './pulse-schemas.ts';
import { body, fails, json } from './route-parts.ts';

const routes = {
  status: createRoute({
    method: 'get',
    path: '/v1/pulse',
    summary: 'How a node hears the others, by each channel',
    request: { query: z.object({ node: z.string().exactOptional() }) },
    responses: { 200: json(schemas.pulseStatus, 'Of the node named, or the one asked.'), default: fails },
  }),
  tables: createRoute({
    method: 'get',
    path: '/v1/pulse/tables',
    summary: 'Heartbeat status tables of all nodes',
    request: { query: z.object({ site: z.string().exactOptional() }) },
    responses: { 200: json(schemas.pulseTables, 'In the order of the cluster document.'), default: fails },
  }),
  use: createRoute({
    method: 'post',
    path: '/v1/pulse/use',
    summary: 'Say by which ways heartbeats travel, at all nodes',
    request: { body: body(schemas.usePulseRequest) },
    responses: { 200: json(schemas.usePulseResult, 'Done here, and who else has confirmed it.'), default: fails },
  }),
};

export function addPulseRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.status, async (context) =>
    context.json(await control.pulseStatus(context.req.valid('query')), 200),
  );
  app.openapi(routes.tables, async (context) =>
    context.json(await control.pulseTables(context.req.valid('query')), 200),
  );
  app.openapi(routes.use, async (context) => context.json(await control.usePulse(context.req.valid('json')), 200));
}
