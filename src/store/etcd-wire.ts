/**
 * What is said to etcd and what it answers: the JSON form of its v3 API (`etcd-io/etcd`, `api/etcdserverpb/rpc.proto`,
 * served under `/v3/` since etcd 3.4). Keys and values are base64 there, numbers of 64 bits are decimal strings, and a
 * field that is zero, false or empty is absent.
 *
 * Decoders are total: null for what is no such answer. Revisions above 2^53 - 1 are among it; at a million commits a
 * second they are 285 years away.
 */
import { z } from 'zod';
import type { Entry, Transaction } from './store.ts';

export const rangePath = '/v3/kv/range';
export const transactionPath = '/v3/kv/txn';
export const authenticatePath = '/v3/auth/authenticate';

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

export function encodeRead(prefix: string, key: string): string {
  return JSON.stringify({ key: base64(prefix + key), serializable: false });
}

/** Of keys with the prefix, in one answer, hence from one moment. etcd sorts by the bytes of the key. */
export function encodeReadAll(prefix: string): string {
  return JSON.stringify({ key: base64(prefix), range_end: endOfPrefix(prefix), serializable: false });
}

/** The first key after all that have the prefix: its last byte counted up. In UTF-8 no byte is 255. */
function endOfPrefix(prefix: string): string {
  const bytes = Buffer.from(prefix, 'utf8');
  const last = bytes.length - 1;
  bytes[last] = (bytes[last] ?? 0) + 1;
  return bytes.toString('base64');
}

/**
 * Happens if every required key still has its revision; else the revisions there are come back, to name the conflicts.
 * One that puts nothing writes the prefix itself, under which nothing else is kept: a removal of what is not there would
 * otherwise get a revision that was there before.
 */
export function encodeTransaction(prefix: string, transaction: Transaction): string {
  const puts = new Map(transaction.put.map(({ key, value }) => [key, value]));
  if (puts.size === 0) puts.set('', '');
  // etcd refuses a transaction that touches a key twice; what is removed and put is put.
  const removals = new Set((transaction.remove ?? []).filter((key) => !puts.has(key)));
  return JSON.stringify({
    compare: transaction.require.map(({ key, revision }) => ({
      key: base64(prefix + key),
      target: 'MOD',
      result: 'EQUAL',
      // Of an absent key it is 0.
      mod_revision: String(revision),
    })),
    success: [
      ...[...removals].map((key) => ({ request_delete_range: { key: base64(prefix + key) } })),
      ...[...puts].map(([key, value]) => ({
        request_put: { key: base64(prefix + key), value: base64(value) },
      })),
    ],
    failure: [...new Set(transaction.require.map(({ key }) => key))].map((key) => ({
      request_range: { key: base64(prefix + key), keys_only: true },
    })),
  });
}

export function encodeAuthenticate(user: string, password: string): string {
  return JSON.stringify({ name: user, password });
}

const whole = z
  .string()
  .regex(/^\d{1,16}$/)
  .transform(Number)
  .refine((value) => Number.isSafeInteger(value));

const header = z.object({
  /** 64 bits, to be compared only. */
  cluster_id: z.string().regex(/^\d{1,20}$/),
  /** Of the store as a whole, when it answered. */
  revision: whole,
});

const text = z
  .base64()
  .default('')
  .transform((value) => Buffer.from(value, 'base64').toString('utf8'));

const range = z.object({
  kvs: z.array(z.object({ key: text, value: text, mod_revision: whole })).default([]),
  /** There is more than was sent; never so without a limit. */
  more: z.literal(false).default(false),
});
const rangeAnswer = range.extend({ header });
const transactionAnswer = z.object({
  header,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: range.optional() })).default([]),
});
const authenticateAnswer = z.object({ token: z.string().min(1).max(65_536) });
const errorAnswer = z.object({
  code: z.number().int(),
  message: z.string().optional(),
  error: z.string().optional(),
});

export interface Header {
  readonly clusterId: string;
  readonly revision: number;
}

export interface RangeAnswer {
  readonly header: Header;
  /** Without the prefix. */
  readonly entries: readonly Entry[];
}

export interface TransactionAnswer {
  readonly header: Header;
  readonly succeeded: boolean;
  /** Of the required keys that exist, when it has not succeeded. */
  readonly revisions: ReadonlyMap<string, number>;
}

export function decodeRange(body: string, prefix: string): RangeAnswer | null {
  const answer = parse(rangeAnswer, body);
  if (answer === null) return null;
  return { header: headerOf(answer.header), entries: entriesOf(answer, prefix) };
}

export function decodeTransaction(body: string, prefix: string): TransactionAnswer | null {
  const answer = parse(transactionAnswer, body);
  if (answer === null) return null;
  const entries = answer.responses.flatMap(({ response_range: found }) => (found ? entriesOf(found, prefix) : []));
  return {
    header: headerOf(answer.header),
    succeeded: answer.succeeded,
    revisions: new Map(entries.map(({ key, revision }) => [key, revision])),
  };
}

export function decodeToken(body: string): string | null {
  return parse(authenticateAnswer, body)?.token ?? null;
}

/** A gRPC status; null for what does not come from etcd. */
export function decodeError(body: string): { readonly code: number; readonly message: string } | null {
  const answer = parse(errorAnswer, body);
  return answer && { code: answer.code, message: (answer.message ?? answer.error ?? '').slice(0, 500) };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: string): z.infer<Schema> | null {
  try {
    const result = schema.safeParse(JSON.parse(body));
    return result.success ? result.data : null;
  } catch {
    return null;
  }
}

const headerOf = ({ cluster_id: clusterId, revision }: z.infer<typeof header>): Header => ({ clusterId, revision });

function entriesOf({ kvs }: z.infer<typeof range>, prefix: string): Entry[] {
  return kvs
    .filter(({ key }) => key.startsWith(prefix) && key !== prefix)
    .map(({ key, value, mod_revision: revision }) => ({ key: key.slice(prefix.length), value, revision }));
}
