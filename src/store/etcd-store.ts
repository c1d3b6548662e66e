/**
 * The coordination store in etcd: one prefix of its keys, over the JSON form of its API, at any of several endpoints.
 * A revision is the key's `mod_revision`, a commit one transaction that compares those. Reads are linearizable.
 *
 * Invariants:
 * - A commit goes to another endpoint only while it is certain that it has not been applied: nothing was sent, or etcd
 *   said so (`etcd-verdict.ts`). In all other cases the outcome is `unknown`, and whoever committed reads back (R11).
 * - What is answered is of one history: by members of one etcd cluster, never of a revision below one that was known when
 *   the question was sent. Anything else is a store restored from a backup, or a member of another cluster, and is
 *   refused. What a restart makes of it is R12's concern: this process has no memory beyond itself.
 *
 * etcd's own leases are not used. Their time is counted by etcd's leader, anew and from the full TTL by each new leader, and
 * their end removes keys without a word to the holder: neither does the holder know how long it may still act, nor is
 * a lapse something others have seen. Here the holder counts from before it sent a renewal, others from when they saw it
 * (R15, `lease.ts`), and etcd keeps values.
 */
import { HoldfastError } from '../base/errors.ts';
import type { HttpClient } from '../base/http.ts';
import type { Log } from '../base/log.ts';
import { verdictOn } from './etcd-verdict.ts';
import {
  authenticatePath,
  decodeError,
  decodeRange,
  decodeToken,
  decodeTransaction,
  encodeAuthenticate,
  encodeRead,
  encodeReadAll,
  encodeTransaction,
  rangePath,
  transactionPath,
  type Header,
} from './etcd-wire.ts';
import { defaultLeaseTtlMs } from './lease.ts';
import type { CommitOutcome, Entry, Store, Transaction } from './store.ts';

export interface EtcdStoreOptions {
  readonly http: HttpClient;
  readonly log: Log;
  /** `https://host:port` of the members' client addresses; at least one. The first is asked first. */
  readonly endpoints: readonly string[];
  /** Of the names of all keys; ends in `/`. */
  readonly prefix: string;
  /** For one request to one endpoint; by default `etcdTimeoutMs` of the default TTL. */
  readonly timeoutMs?: number;
  readonly user?: EtcdUser | null;
}

export interface EtcdUser {
  readonly name: string;
  readonly password: string;
}

/** Two endpoints in a row are given up in the third of a lease's TTL after which a renewal is due. */
export const etcdTimeoutMs = (leaseTtlMs: number): number => Math.max(100, Math.floor(leaseTtlMs / 6));

/** To check a password takes etcd a tenth of a second of computing by intent, a busy one more. */
const authenticateMsMin = 3000;

/** Of one request at one endpoint. */
type Reply =
  | { readonly kind: 'answer'; readonly body: string }
  /** Certain: nothing was applied. `elsewhere`: another endpoint may do it. */
  | { readonly kind: 'nothing'; readonly elsewhere: boolean; readonly reason: string }
  | { readonly kind: 'unsure'; readonly reason: string };

export class EtcdStore implements Store {
  readonly #options: EtcdStoreOptions;
  readonly #timeoutMs: number;
  /** Index of the endpoint asked first: the last that answered well, or the one after the last that did not. */
  #first = 0;
  /** The last that answered well; null before any has. */
  #answering: string | null = null;
  /** Empty where etcd wants none; null: to be had first. */
  #token: string | null;
  #authenticating: Promise<Reply> | null = null;
  /** Of the etcd cluster that is followed; null before the first answer. */
  #clusterId: string | null = null;
  /** The highest the store is known to have reached. */
  #revision = 0;
  /** How the store contradicted itself; from then on it is not believed any more. */
  #wentBack: string | null = null;

  constructor(options: EtcdStoreOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? etcdTimeoutMs(defaultLeaseTtlMs);
    this.#token = options.user ? null : '';
  }

  async read(key: string): Promise<Entry | null> {
    const { prefix } = this.#options;
    return (await this.#range(encodeRead(prefix, key))).find((entry) => entry.key === key) ?? null;
  }

  readAll(prefix: string): Promise<readonly Entry[]> {
    return this.#range(encodeReadAll(this.#options.prefix + prefix));
  }

  /** `durable` does not matter: etcd's members have every commit on their disks before they answer. */
  async commit(transaction: Transaction): Promise<CommitOutcome> {
    if (this.#wentBack !== null) return { kind: 'unreachable', reason: this.#wentBack };
    const { prefix } = this.#options;
    const body = encodeTransaction(prefix, transaction);
    const reasons: string[] = [];
    for (const endpoint of this.#inOrder()) {
      const floor = this.#revision;
      const reply = await this.#send(endpoint, transactionPath, body);
      if (reply.kind === 'nothing') {
        reasons.push(reply.reason);
        if (!reply.elsewhere) break;
        this.#passOver(endpoint);
        continue;
      }
      const answer = reply.kind === 'answer' ? decodeTransaction(reply.body, prefix) : null;
      const fault = reply.kind === 'unsure' ? reply.reason : this.#faultOf(endpoint, answer?.header, floor);
      if (answer === null || fault !== null) {
        this.#passOver(endpoint);
        return { kind: 'unknown', reason: fault ?? notUnderstood(endpoint) };
      }
      this.#answeredWell(endpoint, answer.header);
      if (answer.succeeded) return { kind: 'committed', revision: answer.header.revision };
      const conflicts = transaction.require
        .filter(({ key, revision }) => (answer.revisions.get(key) ?? 0) !== revision)
        .map(({ key }) => key);
      return { kind: 'conflict', conflicts };
    }
    return { kind: 'unreachable', reason: reasons.join('; ') };
  }

  async close(): Promise<void> {
    this.#options.http.close();
  }

  /** Rejects with `E_STORE_UNREACHABLE`, or with `E_STORE_DAMAGED` when what answers is of another history. */
  async #range(body: string): Promise<readonly Entry[]> {
    const reasons: string[] = [];
    let code: 'E_STORE_UNREACHABLE' | 'E_STORE_DAMAGED' = 'E_STORE_UNREACHABLE';
    for (const endpoint of this.#inOrder()) {
      if (this.#wentBack !== null) break;
      const floor = this.#revision;
      const reply = await this.#send(endpoint, rangePath, body);
      if (reply.kind !== 'answer') {
        reasons.push(reply.reason);
        if (reply.kind === 'nothing' && !reply.elsewhere) break;
      } else {
        const answer = decodeRange(reply.body, this.#options.prefix);
        const fault = this.#faultOf(endpoint, answer?.header, floor);
        if (answer !== null && fault === null) {
          this.#answeredWell(endpoint, answer.header);
          return answer.entries;
        }
        if (fault !== null) code = 'E_STORE_DAMAGED';
        reasons.push(fault ?? notUnderstood(endpoint));
      }
      this.#passOver(endpoint);
    }
    if (this.#wentBack !== null) throw new HoldfastError('E_STORE_DAMAGED', this.#wentBack);
    throw new HoldfastError(code, reasons.join('; '));
  }

  /** Why an answer is not of the history followed; null when it is. */
  #faultOf(endpoint: string, header: Header | undefined, floor: number): string | null {
    if (header === undefined || this.#wentBack !== null) return this.#wentBack;
    if (this.#clusterId !== null && header.clusterId !== this.#clusterId) {
      return (
        `${endpoint} is of etcd cluster ${header.clusterId}, this node follows ${this.#clusterId}: ` +
        `its address is wrong, or etcd was made anew, and then all nodes must be restarted`
      );
    }
    if (header.revision < floor) {
      this.#wentBack =
        `${endpoint} is at revision ${header.revision}, but ${floor} has existed: ` +
        `etcd was restored from a backup; all nodes must be restarted`;
      return this.#wentBack;
    }
    return null;
  }

  /** Those to be asked, one after another. */
  #inOrder(): string[] {
    const { endpoints } = this.#options;
    return [...endpoints.slice(this.#first), ...endpoints.slice(0, this.#first)];
  }

  #answeredWell(endpoint: string, header: Header): void {
    const { endpoints, log } = this.#options;
    this.#clusterId ??= header.clusterId;
    this.#revision = Math.max(this.#revision, header.revision);
    this.#first = endpoints.indexOf(endpoint);
    if (this.#answering !== null && this.#answering !== endpoint) {
      log.warn(`store: ${endpoint} answers instead of ${this.#answering}`);
    }
    this.#answering = endpoint;
  }

  /** Unless others, asked meanwhile, have chosen another one already. */
  #passOver(endpoint: string): void {
    const { endpoints } = this.#options;
    if (endpoints[this.#first] === endpoint) this.#first = (this.#first + 1) % endpoints.length;
  }

  /** One request, with a token where one is needed; once more with a new one when that is not accepted any more. */
  async #send(endpoint: string, path: string, body: string): Promise<Reply> {
    for (let attempt = 0; ; attempt++) {
      if (this.#token === null) {
        const reply = await this.#authenticate(endpoint);
        if (reply.kind !== 'answer') return reply;
      }
      const token = this.#token ?? '';
      const reply = await this.#post(endpoint, path, body, token, this.#timeoutMs);
      if (reply.kind !== 'token') return reply;
      const { user } = this.#options;
      if (!user) {
        const reason = `${endpoint}: ${reply.reason}: ${wantsUser}`;
        return { kind: 'nothing', elsewhere: false, reason };
      }
      if (this.#token === token) this.#token = null;
      if (attempt > 0) return { kind: 'nothing', elsewhere: true, reason: `${endpoint}: ${reply.reason}` };
    }
  }

  /** Whoever needs a token at the same time gets the same: to make one costs etcd much. */
  #authenticate(endpoint: string): Promise<Reply> {
    this.#authenticating ??= this.#newToken(endpoint).finally(() => (this.#authenticating = null));
    return this.#authenticating;
  }

  /** What comes of it, and `#token` when that is an answer. Nothing of a transaction has been sent with it. */
  async #newToken(endpoint: string): Promise<Reply> {
    const { user, log } = this.#options;
    const { name, password } = user ?? { name: '', password: '' };
    const timeoutMs = Math.max(authenticateMsMin, this.#timeoutMs);
    const reply = await this.#post(endpoint, authenticatePath, encodeAuthenticate(name, password), '', timeoutMs);
    if (reply.kind === 'answer') {
      this.#token = decodeToken(reply.body);
      if (this.#token !== null) return reply;
      return { kind: 'nothing', elsewhere: true, reason: notUnderstood(endpoint) };
    }
    if (reply.reason.includes('authentication is not enabled')) {
      log.warn(`store: ${endpoint} asks nobody who they are; anybody who reaches it can move ownership`);
      this.#token = '';
      return { kind: 'answer', body: '' };
    }
    const refused = reply.reason.includes('authentication failed');
    const reason = refused ? `${endpoint}: it does not accept the user ${name} with this password` : reply.reason;
    return { kind: 'nothing', elsewhere: !refused, reason };
  }

  async #post(
    endpoint: string,
    path: string,
    body: string,
    token: string,
    timeoutMs: number,
  ): Promise<Reply | { readonly kind: 'token'; readonly reason: string }> {
    const headers: Record<string, string> = token === '' ? {} : { authorization: token };
    const result = await this.#options.http.post({ endpoint, path, body, headers, timeoutMs });
    if (result.kind === 'notSent') {
      return { kind: 'nothing', elsewhere: true, reason: `${endpoint}: ${result.reason}` };
    }
    if (result.kind === 'lost') return { kind: 'unsure', reason: `${endpoint}: ${result.reason}` };
    if (result.status === 200) return { kind: 'answer', body: result.body };
    const error = decodeError(result.body);
    const reason = `${endpoint}: ${error?.message ?? noError(result.status, result.body)}`;
    const verdict = verdictOn(error);
    switch (verdict) {
      case 'token':
        return { kind: 'token', reason: error?.message ?? '' };
      case 'refused':
      case 'busy': {
        // To those it takes for nobody etcd denies permission, too, not only to users.
        const unnamed = verdict === 'refused' && error?.code === 7 && !this.#options.user;
        return {
          kind: 'nothing',
          elsewhere: verdict === 'busy',
          reason: unnamed ? `${reason}: ${wantsUser}` : reason,
        };
      }
      case 'unsure':
        return { kind: 'unsure', reason };
    }
  }
}

const wantsUser = 'it wants a user and a password';

/** Its first words, for what stands before etcd, and etcd itself where it looks at certificates, say why in plain text. */
function noError(status: number, body: string): string {
  const words = body.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
  return `HTTP status ${status}${words === '' ? '' : `: ${words}`} (is it etcd, 3.4 or later?)`;
}

const notUnderstood = (endpoint: string): string => `${endpoint}: its answer is none of etcd, 3.4 or later`;
