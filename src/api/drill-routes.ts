/** The part of the control API about drills; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import { drillKinds, drillReportSchema } from '../agent/drill-report.ts';
import type { NodeControl } from '../node/control.ts';
import { body, done, fails, groupPath, json } from './route-parts.ts';

export const drillList = z
  .object({ drills: z.array(drillReportSchema).readonly(), notes: z.array(z.string()).readonly() })
  .openapi('Drills');
const startDrillRequest = z
  .strictObject({ kind: z.enum(drillKinds), yes: z.boolean().default(false) })
  .openapi('StartDrillRequest');
const allowDrillsRequest = z.strictObject({ on: z.boolean() });

const routes = {
  start: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/drills',
    summary: 'Begin a drill: a fault of the owner, measured, and the way back',
    request: { params: groupPath, body: body(startDrillRequest) },
    responses: { 200: json(drillReportSchema, 'It has begun.'), default: fails },
  }),
  list: createRoute({
    method: 'get',
    path: '/v1/groups/{group}/drills',
    summary: 'The drills of a group, also the one under way',
    request: { params: groupPath },
    responses: { 200: json(drillList, 'Oldest first.'), default: fails },
  }),
  allow: createRoute({
    method: 'put',
    path: '/v1/groups/{group}/drills',
    summary: 'Mark a group as fit for drills, or not',
    request: { params: groupPath, body: body(allowDrillsRequest) },
    responses: done,
  }),
};

export function addDrillRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.start, async (context) =>
    context.json(await control.startDrill({ ...context.req.valid('param'), ...context.req.valid('json') }), 200),
  );
  app.openapi(routes.list, async (context) =>
    context.json(await control.listDrills(context.req.valid('param')), 200),
  );
  app.openapi(routes.allow, async (context) => {
    await control.allowDrills({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
}
