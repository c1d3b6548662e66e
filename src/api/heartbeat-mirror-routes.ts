/** The part of the control API about heartbeat mirrors, both ends of it; as in `routes.ts`, handlers only translate. */
import { createRoute, z, type OpenAPIHono } from '@hono/zod-openapi';
import type { HeartbeatMirrorControl } from '../node/mirror-control.ts';
import { mirrorStates } from '../pulse/mirror-records.ts';
import { body, done, fails, json } from './route-parts.ts';

const namePath = z.object({ name: z.string() });
const place = z.string().min(1).exactOptional();

export const heartbeatMirrorList = z
  .object({
    mirrors: z
      .array(
        z.object({
          name: z.string(),
          from: z.string(),
          to: z.string(),
          primary: z.string().nullable(),
          secondary: z.string().nullable(),
          state: z.enum(mirrorStates),
        }),
      )
      .readonly(),
    notes: z.array(z.string()).readonly(),
  })
  .openapi('HeartbeatMirrors');
const createRequest = z
  .strictObject({ name: z.string().min(1), from: z.string(), to: z.string() })
  .openapi('CreateHeartbeatMirrorRequest');
const installRequest = z.strictObject({ primary: place, secondary: place }).openapi('InstallHeartbeatMirrorRequest');

const base = '/v1/pulse/mirrors';

const routes = {
  list: createRoute({
    method: 'get',
    path: base,
    summary: 'All heartbeat mirrors',
    responses: { 200: json(heartbeatMirrorList, 'By name.'), default: fails },
  }),
  create: createRoute({
    method: 'post',
    path: base,
    summary: 'Create a heartbeat mirror; it is not used before it is installed',
    request: { body: body(createRequest) },
    responses: done,
  }),
  install: createRoute({
    method: 'post',
    path: `${base}/{name}/install`,
    summary: 'Use a heartbeat mirror. It is overwritten with every heartbeat: no place for production data',
    request: { params: namePath, body: body(installRequest) },
    responses: done,
  }),
  remove: createRoute({
    method: 'post',
    path: `${base}/{name}/remove`,
    summary: 'De-install a heartbeat mirror: neither end uses it any more',
    request: { params: namePath },
    responses: done,
  }),
  delete: createRoute({
    method: 'delete',
    path: `${base}/{name}`,
    summary: 'Delete a heartbeat mirror that is not installed',
    request: { params: namePath },
    responses: done,
  }),
};

export function addHeartbeatMirrorRoutes(app: OpenAPIHono, control: HeartbeatMirrorControl): void {
  app.openapi(routes.list, async (context) => context.json(await control.list(), 200));
  app.openapi(routes.create, async (context) => {
    await control.create(context.req.valid('json'));
    return context.body(null, 204);
  });
  app.openapi(routes.install, async (context) => {
    await control.install({ ...context.req.valid('param'), ...context.req.valid('json') });
    return context.body(null, 204);
  });
  app.openapi(routes.remove, async (context) => {
    await control.remove(context.req.valid('param'));
    return context.body(null, 204);
  });
  app.openapi(routes.delete, async (context) => {
    await control.delete(context.req.valid('param'));
    return context.body(null, 204);
  });
}

/** The same, asked of a node over HTTP. */
export function heartbeatMirrorCalls(
  ask: (
    schema: typeof heartbeatMirrorList,
    method: string,
    path: string,
  ) => ReturnType<HeartbeatMirrorControl['list']>,
  tell: (method: string, path: string, content?: unknown) => Promise<void>,
): HeartbeatMirrorControl {
  const at = (name: string): string => `${base}/${encodeURIComponent(name)}`;
  return {
    list: () => ask(heartbeatMirrorList, 'GET', base),
    create: (request) => tell('POST', base, request),
    install: ({ name, ...places }) => tell('POST', `${at(name)}/install`, places),
    remove: ({ name }) => tell('POST', `${at(name)}/remove`),
    delete: ({ name }) => tell('DELETE', at(name)),
  };
}
