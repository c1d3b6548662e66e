/**
 * Tells an alert by an HTTP POST of its JSON. An answer 200…299 is delivered. With a secret the request is signed:
 *
 *     holdfast-timestamp: <seconds since 1970>
 *     holdfast-signature: sha256=<hex of HMAC-SHA256(secret, timestamp "." body)>
 *
 * The time is part of what is signed, so that a receiver can refuse what somebody recorded and sends again later.
 */
import { readFile } from 'node:fs/promises';
import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AlertMessage } from '../../alerts/alert.ts';
import type { AlertSink } from '../../alerts/sink.ts';
import { HoldfastError } from '../../base/errors.ts';
import { hmacSha256 } from '../../base/hmac.ts';
import { productVersion } from '../product-version.ts';
import { readSecret } from './secret.ts';
import type { WebhookSettings } from './sink-settings.ts';

const timeoutMs = 15_000;

export function createWebhookSink(settings: WebhookSettings): AlertSink {
  const { name, kind, levels } = settings;
  const stopper = new AbortController();
  return {
    name,
    kind,
    levels,
    send: (message) => post(settings, message, stopper.signal),
    async close() {
      stopper.abort();
    },
  };
}

async function post(settings: WebhookSettings, message: AlertMessage, stop: AbortSignal): Promise<void> {
  const { url, secret, caPath } = settings;
  const body = Buffer.from(JSON.stringify(message));
  const headers: OutgoingHttpHeaders = {
    'content-type': 'application/json',
    'content-length': body.length,
    'user-agent': `holdfast/${productVersion}`,
    'holdfast-message-id': message.messageId,
  };
  if (secret !== null) {
    const timestamp = String(Math.floor(Date.now() / 1000));
    const mac = hmacSha256(Buffer.from(await readSecret(secret)), Buffer.from(`${timestamp}.`), body);
    headers['holdfast-timestamp'] = timestamp;
    headers['holdfast-signature'] = `sha256=${Buffer.from(mac).toString('hex')}`;
  }
  const ca = caPath === null ? {} : { ca: await readFile(caPath) };
  const signal = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)]);
  const status = await new Promise<number>((resolve, reject) => {
    const send = url.startsWith('https:') ? httpsRequest : httpRequest;
    const request = send(url, { method: 'POST', headers, agent: false, signal, ...ca }, (response) => {
      response.resume().on('error', reject);
      resolve(response.statusCode ?? 0);
    });
    request.on('error', reject).end(body);
  }).catch((error: unknown) => {
    const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
    const what = late ? `no answer within ${timeoutMs} ms` : wordsOf(error);
    throw new HoldfastError('E_IO', `${new URL(url).host}: ${what}`, { cause: error });
  });
  // The path of a URL may be a secret; it is not shown.
  if (status < 200 || status > 299) throw new HoldfastError('E_IO', `${new URL(url).host} answered ${status}`);
}

/** A refusal by several addresses has no message of its own. */
function wordsOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(wordsOf).join(', ');
  return error instanceof Error ? error.message : String(error);
}
