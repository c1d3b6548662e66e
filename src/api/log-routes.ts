/** The part of the control API about logs; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { NodeControl } from '../node/control.ts';
import { body, done, fails, groupPath, json } from './route-parts.ts';
import * as schemas from './schemas.ts';

const routes = {
  list: createRoute({
    method: 'get',
    path: '/v1/logs',
    summary: 'The log of every group',
    responses: { 200: json(schemas.logRows, 'Every group, with its log where it has one.'), default: fails },
  }),
  create: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/log',
    summary: 'Give a group a log',
    request: { params: groupPath, body: body(schemas.createLogRequest) },
    responses: done,
  }),
  assign: createRoute({
    method: 'put',
    path: '/v1/groups/{group}/log/places/{node}',
    summary: 'Say where the log is on a node; it is moved there',
    request: { params: z.object({ group: z.string(), node: z.string() }), body: body(schemas.assignLogRequest) },
    responses: done,
  }),
  resize: createRoute({
    method: 'put',
    path: '/v1/groups/{group}/log/size',
    summary: 'Grow or shrink a log',
    request: { params: groupPath, body: body(schemas.logSizeRequest) },
    responses: done,
  }),
  retain: createRoute({
    method: 'put',
    path: '/v1/groups/{group}/log/retention',
    summary: 'Say what is kept of the history that no target needs; what is left out stays',
    request: { params: groupPath, body: body(schemas.logRetentionRequest) },
    responses: done,
  }),
  remove: createRoute({
    method: 'delete',
    path: '/v1/groups/{group}/log',
    summary: 'Remove a log and its history',
    request: { params: groupPath, query: z.object({ force: z.enum(['true', 'false']).default('false') }) },
    responses: done,
  }),
  mark: createRoute({
    method: 'post',
    path: '/v1/groups/{group}/log/marks',
    summary: 'Set a bookmark',
    request: { params: groupPath, body: body(schemas.markLogRequest) },
    responses: { 201: json(schemas.logMark, 'Set, and where.'), default: fails },
  }),
  moments: createRoute({
    method: 'get',
    path: '/v1/groups/{group}/log/moments',
    summary: 'What a log holds: ends of epochs, bookmarks, damage',
    request: { params: groupPath, query: schemas.logMomentsQuery },
    responses: { 200: json(schemas.logMoments, 'Oldest first.'), default: fails },
  }),
};

export function addLogRoutes(app: OpenAPIHono, control: NodeControl): void {
  app.openapi(routes.list, async (context) => context.json(await control.listLogs(), 200));
  app.openapi(routes.create, async (context) => {
    await control.createLog({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.assign, async (context) => {
    await control.assignLog({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.resize, async (context) => {
    await control.setLogSize({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.retain, async (context) => {
    await control.setLogRetention({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.remove, async (context) => {
    const { force } = context.req.valid('query');
    await control.removeLog({ ...context.req.valid('param'), force: force === 'true' });
    return context.body(null, 204);
  });
  app.openapi(routes.mark, async (context) =>
    context.json(await control.markLog({ ...context.req.valid('param'), ...context.req.valid('json') }), 201),
  );
  app.openapi(routes.moments, async (context) => {
    const { extents, ...query } = context.req.valid('query');
    const request = { ...context.req.valid('param'), ...query, extents: extents === 'true' };
    return context.json(await control.logMoments(request), 200);
  });
}
