/**
 * `HttpClient` over the sockets of the machine. A request counts as sent from the moment its connection stands (for
 * HTTPS: the handshake is done, for before that Node keeps the bytes back), or when it was given a connection that stood
 * already. That is early rather than late: `notSent` must never be said of what may have arrived.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import type { HttpClient, HttpRequest, HttpResult } from '../http.ts';

export interface HttpTls {
  /** PEM of the authorities trusted, instead of the system's. */
  readonly ca?: string;
  /** PEM of the own certificate and its key: both, or none. */
  readonly cert?: string;
  readonly key?: string;
}

export interface HttpLimits {
  /** A longer answer counts as lost. */
  readonly responseBytesMax: number;
  /** For each endpoint; more wait for one. */
  readonly connectionsMax: number;
  /** More at once are not sent. */
  readonly requestsMax: number;
}

const defaultLimits: HttpLimits = { responseBytesMax: 64 * 1024 * 1024, connectionsMax: 8, requestsMax: 1024 };
/** Idle ones, for each endpoint. */
const connectionsKept = 4;

export class NodeHttpClient implements HttpClient {
  readonly #limits: HttpLimits;
  readonly #plainAgent: http.Agent;
  readonly #tlsAgent: https.Agent;
  /** With what ends each of them, for a reason. */
  readonly #underWay = new Map<http.ClientRequest, (reason: string) => void>();
  #closed = false;

  constructor(tls: HttpTls = {}, limits: Partial<HttpLimits> = {}) {
    this.#limits = { ...defaultLimits, ...limits };
    const keep = { keepAlive: true, maxSockets: this.#limits.connectionsMax, maxFreeSockets: connectionsKept };
    this.#plainAgent = new http.Agent(keep);
    this.#tlsAgent = new https.Agent({ ...keep, ...tls, minVersion: 'TLSv1.2' });
  }

  post(request: HttpRequest): Promise<HttpResult> {
    if (this.#closed) return Promise.resolve({ kind: 'notSent', reason: 'closed' });
    if (this.#underWay.size >= this.#limits.requestsMax) {
      return Promise.resolve({ kind: 'notSent', reason: `${this.#limits.requestsMax} requests are under way` });
    }
    return new Promise((resolve) => this.#start(request, resolve));
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#underWay.values()) end('closed');
    this.#plainAgent.destroy();
    this.#tlsAgent.destroy();
  }

  #start(request: HttpRequest, resolve: (result: HttpResult) => void): void {
    const url = new URL(request.path, request.endpoint);
    const secure = url.protocol === 'https:';
    const options: https.RequestOptions = {
      method: 'POST',
      agent: secure ? this.#tlsAgent : this.#plainAgent,
      headers: {
        ...request.headers,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(request.body),
      },
    };
    const sending = secure ? https.request(url, options) : http.request(url, options);
    let sent = false;
    /** Why we ended it; Node would tell of an abort only. */
    let ended: string | null = null;
    const settle = (result: HttpResult): void => {
      clearTimeout(timer);
      this.#underWay.delete(sending);
      resolve(result);
    };
    const failed = (reason: string): void => settle({ kind: sent ? 'lost' : 'notSent', reason: ended ?? reason });
    const end = (reason: string): void => {
      ended = reason;
      sending.destroy();
    };
    this.#underWay.set(sending, end);
    const timer = setTimeout(() => end(`no answer within ${request.timeoutMs} ms`), request.timeoutMs);
    sending.on('socket', (socket) => {
      if (socket.connecting) socket.once(secure ? 'secureConnect' : 'connect', () => (sent = true));
      else sent = true;
    });
    sending.on('error', (error) => failed(reasonOf(error)));
    // Whatever else ends it.
    sending.on('close', () => failed('the connection was closed'));
    sending.on('response', (response) => {
      sent = true;
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > this.#limits.responseBytesMax) {
          end(`the answer is longer than ${this.#limits.responseBytesMax} bytes`);
        } else chunks.push(chunk);
      });
      response.on('error', (error) => failed(reasonOf(error)));
      response.on('end', () => {
        if (!response.complete || ended !== null) return;
        const body = Buffer.concat(chunks).toString('utf8');
        settle({ kind: 'answered', status: response.statusCode ?? 0, body });
      });
    });
    sending.end(request.body);
  }
}

/** Node tries every address of a name, and tells of it in an error without words of its own. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join(', ');
  }
  return error.message;
}
