/**
 * Asking HTTP services: one JSON body there, one answer back. What matters to a caller whose question changes something
 * is whether it can have arrived, so that is what the result says; nothing is ever asked again behind the caller's back.
 */
export interface HttpClient {
  /** Never rejects. Connections are kept and used again. */
  post(request: HttpRequest): Promise<HttpResult>;
  /** Ends what is under way, as `lost` or `notSent`, and what is asked later as `notSent`. Idempotent. */
  close(): void;
}

export interface HttpRequest {
  /** `http://host:port` or `https://host:port`. */
  readonly endpoint: string;
  /** From the slash on. */
  readonly path: string;
  /** JSON text. */
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** From the call to the last byte of the answer, connecting included. */
  readonly timeoutMs: number;
}

export type HttpResult =
  | { readonly kind: 'answered'; readonly status: number; readonly body: string }
  /** Certain: no byte of the request has left, such as when the connection was refused. */
  | { readonly kind: 'notSent'; readonly reason: string }
  /** Sent, in part at least, and no whole answer came: it may or may not have been acted on. */
  | { readonly kind: 'lost'; readonly reason: string };
