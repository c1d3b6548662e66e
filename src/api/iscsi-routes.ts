/** The part of the control API about iSCSI; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import { iscsiSessionRow, iscsiTargetRow } from '../node/iscsi-control.ts';
import { done, fails, json } from './route-parts.ts';
import { listOf } from './schemas.ts';

const notes = listOf(z.string());
export const iscsiTargetList = z
  .object({ targets: listOf(iscsiTargetRow.readonly()), notes })
  .readonly()
  .openapi('IscsiTargetList');
export const iscsiSessionList = z
  .object({ sessions: listOf(iscsiSessionRow.readonly()), notes })
  .readonly()
  .openapi('IscsiSessionList');

const routes = {
  targets: createRoute({
    method: 'get',
    path: '/v1/iscsi/targets',
    summary: 'Targets, with their access state at every node',
    responses: { 200: json(iscsiTargetList, 'By target, then node.'), default: fails },
  }),
  sessions: createRoute({
    method: 'get',
    path: '/v1/iscsi/sessions',
    summary: 'Hosts that are logged in, at every node',
    responses: { 200: json(iscsiSessionList, 'Sessions.'), default: fails },
  }),
  disconnect: createRoute({
    method: 'delete',
    path: '/v1/iscsi/sessions/{node}/{session}',
    summary: 'End a session',
    request: { params: z.object({ node: z.string(), session: z.coerce.number().int().min(0) }) },
    responses: done,
  }),
};

export function addIscsiRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.targets, async (context) => context.json(await control.iscsiTargets(), 200));
  app.openapi(routes.sessions, async (context) => context.json(await control.iscsiSessions(), 200));
  app.openapi(routes.disconnect, async (context) => {
    await control.disconnectIscsi(context.req.valid('param'));
    return context.body(null, 204);
  });
}
