/**
 * Who may speak to the control API while it does not know who is calling: programs of this machine. A web page open in
 * a browser here is not one of them, though its requests come from here too: it gives itself away by the name it called
 * (a foreign name made to point at loopback) or by the origin the browser declares.
 *
 * And how much they may say: a body's length is stated beforehand, and bounded before a byte of it is read.
 */
import type { MiddlewareHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { HoldfastError } from '../base/errors.ts';

export const guard: MiddlewareHandler = async (context, next) => {
  const host = context.req.header('host') ?? '';
  if (!isLoopbackHost(host)) {
    throw new HoldfastError('E_REFUSED', `the control API answers to its loopback address only, not to "${host}"`);
  }
  const origin = context.req.header('origin');
  const site = context.req.header('sec-fetch-site');
  const foreignOrigin = origin !== undefined && origin !== `http://${host}`;
  const foreignSite = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (foreignOrigin || foreignSite) {
    throw new HoldfastError(
      'E_REFUSED',
      `the control API takes no requests from pages of ${origin ?? 'other sites'}`,
    );
  }
  await next();
};

export const bodyBytesMax = 64 * 1024;

export const limitBody: MiddlewareHandler = async (context, next) => {
  const length = Number(context.req.header('content-length') ?? 0);
  if (length > bodyBytesMax || context.req.header('transfer-encoding') !== undefined) {
    throw new HTTPException(413, { message: `a body states its length, and has at most ${bodyBytesMax} bytes` });
  }
  await next();
};

/** `host` or `host:port` of a Host header (RFC 9110 §7.2). */
function isLoopbackHost(header: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i.test(header);
}
