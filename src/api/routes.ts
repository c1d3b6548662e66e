/**
 * The control API: each route is declared once, for checking, for its handler, and for the OpenAPI document. Handlers
 * only translate; what is possible and what is refused is decided behind `NodeControl`.
 */
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { HTTPException } from 'hono/http-exception';
import { streamSSE } from 'hono/streaming';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { errorKinds, HoldfastError, messageOf, type ErrorCode } from '../base/errors.ts';
import type { NodeControl } from '../node/control.ts';
import { EventQueue } from './event-queue.ts';
import { guard, limitBody } from './guard.ts';
import { addAgentRoutes } from './agent-routes.ts';
import { addIscsiRoutes } from './iscsi-routes.ts';
import { addAlertRoutes } from './alert-routes.ts';
import { addDrillRoutes } from './drill-routes.ts';
import { addHeartbeatMirrorRoutes } from './heartbeat-mirror-routes.ts';
import { addLogRoutes } from './log-routes.ts';
import { addPulseRoutes } from './pulse-routes.ts';
import { addResourceRoutes } from './resource-routes.ts';
import { body, done, fails, groupPath, json } from './route-parts.ts';
import * as schemas from './schemas.ts';

/** Event streams open at once; each holds a connection and a queue. */
export const eventClientsMax = 32;

const mirrorPath = z.object({ group: z.string(), node: z.string() });

const routes = {
  version: createRoute({
    method: 'get',
    path: '/v1/version',
    summary: 'Which node this is, and its version',
    responses: { 200: json(schemas.versionInformation, 'Version and node.'), default: fails },
  }),
  status: createRoute({
    method: 'get',
    path: '/v1/status',
    summary: 'State of the whole cluster, as far as this node can tell',
    responses: { 200: json(schemas.clusterStatus, 'The state.'), default: fails },
  }),
  document: createRoute({
    method: 'get',
    path: '/v1/document',
    summary: 'The cluster document in the coordination store',
    responses: { 200: json(schemas.clusterDocument, 'The document.'), default: fails },
  }),
  why: createRoute({
    method: 'get',
    path: '/v1/why/{subject}',
    summary: 'Why a group or volume is in the state it is in, and what to do',
    request: { params: z.object({ subject: z.string() }) },
    responses: { 200: json(schemas.explanation, 'The explanation.'), default: fails },
  }),
  volumes: createRoute({
    method: 'get',
    path: '/v1/volumes',
    summary: 'All volumes',
    responses: { 200: json(schemas.volumeRows, 'The volumes, by name.'), default: fails },
  }),
  createVolume: createRoute({
    method: 'post',
    path: '/v1/volumes',
    summary: 'Create a volume',
    request: { body: body(schemas.createVolumeRequest) },
    responses: { 201: json(schemas.createVolumeResult, 'Created.'), default: fails },
  }),
  deleteVolume: createRoute({
    method: 'delete',
    path: '/v1/volumes/{name}',
    summary: 'Delete a volume and its data at every site',
    request: {
      params: z.object({ name: z.string() }),
      query: z.object({ force: z.enum(['true', 'false']).default('false') }),
    },
    responses: done,
  }),
  switchOver: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/switch-over',
    summary: 'Planned move of a group to another node; nothing is lost',
    request: { params: groupPath, body: body(schemas.switchOverRequest) },
    responses: { 200: json(schemas.moveResult, 'Moved.'), default: fails },
  }),
  takeOver: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/take-over',
    summary: 'Unplanned move of a group away from an owner that is gone',
    request: { params: groupPath, body: body(schemas.takeOverRequest) },
    responses: { 200: json(schemas.moveResult, 'Moved, with what may have been lost.'), default: fails },
  }),
  resolve: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/resolve',
    summary: 'Keep one of two histories that both sides wrote (split brain)',
    request: { params: groupPath, body: body(schemas.resolveRequest) },
    responses: { 200: json(schemas.resolveResult, 'One history is gone on with.'), default: fails },
  }),
  pause: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/mirrors/{node}/pause',
    summary: 'Stop mirroring to a node until resumed',
    request: { params: mirrorPath },
    responses: done,
  }),
  resume: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/mirrors/{node}/resume',
    summary: 'Mirror to a node again; what changed meanwhile is copied',
    request: { params: mirrorPath },
    responses: done,
  }),
  resync: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/mirrors/{node}/resync',
    summary: 'Copy everything to a node anew',
    request: { params: mirrorPath },
    responses: done,
  }),
  setMirror: createRoute({
    method: 'patch',
    path: '/v1/groups/{group}/mirrors/{node}',
    summary: 'Change how a copy is written to, in use',
    request: { params: mirrorPath, body: body(schemas.setMirrorRequest) },
    responses: done,
  }),
  events: createRoute({
    method: 'get',
    path: '/v1/events',
    summary: 'What happens, as it happens (server-sent events)',
    responses: {
      200: {
        description: 'Each event\'s data is one NodeEvent; an event "dropped" says how many a slow reader missed.',
        content: { 'text/event-stream': { schema: schemas.nodeEvent } },
      },
      default: fails,
    },
  }),
};

export function createRoutes(control: NodeControl, version: string): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw new HoldfastError('E_USAGE', describeIssues(result.error));
    },
  });
  app.use('*', guard);
  app.use('*', limitBody);

  app.openapi(routes.version, (context) => context.json({ version, node: control.nodeName }, 200));
  app.openapi(routes.status, async (context) => context.json(await control.status(), 200));
  app.openapi(routes.document, async (context) => context.json(await control.document(), 200));
  app.openapi(routes.why, async (context) =>
    context.json(await control.why(context.req.valid('param').subject), 200),
  );
  app.openapi(routes.volumes, async (context) => {
    const { groups } = await control.status();
    const rows = groups.flatMap(({ name: group, owner, volumes }) =>
      volumes.map((volume) => ({ ...volume, group, owner })),
    );
    return context.json(
      rows.sort((a, b) => (a.name < b.name ? -1 : 1)),
      200,
    );
  });
  app.openapi(routes.createVolume, async (context) =>
    context.json(await control.createVolume(context.req.valid('json')), 201),
  );
  app.openapi(routes.deleteVolume, async (context) => {
    const { force } = context.req.valid('query');
    await control.deleteVolume({ name: context.req.valid('param').name, force: force === 'true' });
    return context.body(null, 204);
  });
  app.openapi(routes.switchOver, async (context) =>
    context.json(await control.switchOver({ ...context.req.valid('param'), ...context.req.valid('json') }), 200),
  );
  app.openapi(routes.takeOver, async (context) =>
    context.json(await control.takeOver({ ...context.req.valid('param'), ...context.req.valid('json') }), 200),
  );
  app.openapi(routes.resolve, async (context) =>
    context.json(
      await control.resolveSplitBrain({ ...context.req.valid('param'), ...context.req.valid('json') }),
      200,
    ),
  );
  app.openapi(routes.pause, async (context) => {
    const { group, node } = context.req.valid('param');
    await control.pauseMirror({ group, to: node });
    return context.body(null, 204);
  });
  app.openapi(routes.resume, async (context) => {
    const { group, node } = context.req.valid('param');
    await control.resumeMirror({ group, to: node });
    return context.body(null, 204);
  });
  app.openapi(routes.resync, async (context) => {
    const { group, node } = context.req.valid('param');
    await control.resyncMirror({ group, to: node });
    return context.body(null, 204);
  });
  app.openapi(routes.setMirror, async (context) => {
    const { group, node } = context.req.valid('param');
    await control.setMirror({ group, to: node, ...context.req.valid('json') });
    return context.body(null, 204);
  });

  addLogRoutes(app, control);
  addDrillRoutes(app, control);
  addAgentRoutes(app, control);
  addAlertRoutes(app, control);
  addIscsiRoutes(app, control);
  addHeartbeatMirrorRoutes(app, control.heartbeatMirrors);
  addResourceRoutes(app, control);
  addPulseRoutes(app, control);

  let eventClients = 0;
  app.openapi(routes.events, (context) => {
    if (eventClients >= eventClientsMax) {
      throw new HoldfastError('E_BUSY', `${eventClientsMax} event streams are open on this node already`);
    }
    eventClients++;
    const queue = new EventQueue();
    const unsubscribe = control.onEvent((event) => queue.push(event));
    return streamSSE(context, async (stream) => {
      stream.onAbort(() => queue.end());
      try {
        // The headers, and with them the proof of being subscribed, go out with the first bytes.
        await stream.write(': subscribed\n\n');
        for (let next = await queue.next(); next && !stream.aborted; next = await queue.next()) {
          if (next.droppedCount > 0) await stream.writeSSE({ event: 'dropped', data: String(next.droppedCount) });
          await stream.writeSSE({ data: JSON.stringify(next.event) });
        }
      } finally {
        unsubscribe();
        eventClients--;
      }
    });
  });

  app.doc31('/openapi.json', { openapi: '3.1.0', info: { title: 'Holdfast control API', version } });
  app.notFound((context) => {
    const message = `the control API has no ${context.req.method} ${context.req.path}`;
    return context.json({ code: 'E_NOT_FOUND', message, cure: 'See /openapi.json for what it has.' }, 404);
  });
  app.onError((error, context) => {
    if (error instanceof HTTPException) {
      return context.json(failureOf('E_USAGE', error.message), error.status === 413 ? 413 : 422);
    }
    const code = error instanceof HoldfastError ? error.code : 'E_INTERNAL';
    return context.json(failureOf(code, error.message), httpStatus[code] ?? 500);
  });
  return app;
}

const failureOf = (code: ErrorCode, message: string) => ({ code, message, cure: errorKinds[code].cure });

/** What is not listed is a failure on this side: 500. */
export const httpStatus: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  E_USAGE: 422,
  E_CONFIG: 422,
  E_NOT_FOUND: 404,
  E_EXISTS: 409,
  E_REFUSED: 409,
  E_BUSY: 409,
  E_VOLUME_IN_USE: 409,
  E_NODE_UNREACHABLE: 503,
  E_STORE_UNREACHABLE: 503,
  E_TIMEOUT: 504,
  E_NO_SPACE: 507,
};

function describeIssues(error: z.core.$ZodError): string {
  const [issue] = error.issues;
  return issue ? `${issue.path.length > 0 ? `${issue.path.join('.')}: ` : ''}${issue.message}` : messageOf(error);
}
