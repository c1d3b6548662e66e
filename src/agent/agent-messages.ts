/**
 * What a node and an application agent say to each other (AS-10): one JSON object per line, UTF-8, in either direction.
 * `docs/formats/application-agents.md` has the grammar.
 *
 * A line that is no JSON object with a `type`, or too long, ends the connection. An object of a type that is not known is
 * counted, answered with UNKNOWN, and survived: the other side may be newer. Keys that are not known are ignored.
 */

/** Counted in bytes, without the line break. */
export const lineBytesMax = 64 * 1024;
export const agentProtocolVersion = 1;
export const agentNameLengthMax = 128;
export const groupsPerAgentMax = 256;

export interface AgentVolume {
  readonly name: string;
  readonly wwid: string;
  readonly sizeBytes: number;
  /** Backing file or device on the node: for looking at; what is written to it is not mirrored. */
  readonly path: string;
  /** Where hosts reach the volume; empty while nobody listens. */
  readonly nbd: readonly string[];
}

/** A group's devices are served by this node. */
export interface Acquired {
  /** MACHINE_FAILED: taken over from a node that was lost. */
  readonly type: 'MACHINE_FAILED' | 'ACQUIRED';
  readonly group: string;
  readonly node: string;
  readonly cause: 'takeOver' | 'handedOver' | 'start' | 'handOverFailed' | 'asked' | 'registered';
  readonly generation: number;
  readonly volumes: readonly AgentVolume[];
}

export type FromNode =
  | {
      readonly type: 'REGISTERED';
      readonly version: number;
      readonly node: string;
      readonly groups: readonly string[];
    }
  | Acquired
  /** Nothing takes over for the group by itself: no such group here, or switched off (AS-14). */
  | { readonly type: 'FAILOVER_NOT_CONFIGURED'; readonly group: string; readonly reason: string }
  /** Let go of the group's devices, and say RELEASED with this `id`, within the time. */
  | {
      readonly type: 'RELEASE';
      readonly group: string;
      readonly id: number;
      readonly reason: string;
      readonly withinMs: number;
    }
  /** AS-14: automatic take-over is off (`on: true`), or on again. */
  | { readonly type: 'MAINTENANCE'; readonly group: string; readonly on: boolean; readonly reason: string }
  /** The connection ends. */
  | { readonly type: 'REFUSED'; readonly reason: string }
  | { readonly type: 'UNKNOWN'; readonly what: string };

export type FromAgent =
  | {
      readonly type: 'REGISTER';
      readonly version: number;
      readonly agent: string;
      readonly groups: readonly string[];
    }
  | { readonly type: 'RELEASED'; readonly id: number; readonly problem: string | null }
  | { readonly type: 'UNKNOWN'; readonly what: string };

export type Parsed<Message> =
  | { readonly kind: 'message'; readonly message: Message }
  /** Of a type this version does not know, or of a known one in a form it does not know. */
  | { readonly kind: 'unknown'; readonly what: string }
  /** No message at all. */
  | { readonly kind: 'broken'; readonly reason: string };

export function encodeLine(message: FromNode | FromAgent): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(message)}\n`);
}

/** Cuts a stream of bytes into lines, holding one line at most. */
export class LineCutter {
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /** The lines completed by the chunk; null when one is too long, and after that always. */
  push(chunk: Uint8Array): string[] | null {
    if (this.#heldBytes > lineBytesMax) return null;
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      if (this.#heldBytes + end - from > lineBytesMax) {
        this.#heldBytes = Infinity;
        return null;
      }
      lines.push(this.#join(chunk.subarray(from, end)));
      from = end + 1;
    }
    if (from < chunk.length) {
      this.#heldBytes += chunk.length - from;
      if (this.#heldBytes > lineBytesMax) {
        this.#held = [];
        return null;
      }
      // Copied: the memory of a chunk is used again.
      this.#held.push(Uint8Array.prototype.slice.call(chunk, from));
    }
    return lines;
  }

  #join(end: Uint8Array): string {
    const decoder = new TextDecoder();
    const text = this.#held.map((part) => decoder.decode(part, { stream: true })).join('') + decoder.decode(end);
    this.#held = [];
    this.#heldBytes = 0;
    return text;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function parseObject(line: string): Fields | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return 'a line is not JSON';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'a line is not a JSON object';
  const fields = value as Fields;
  return typeof fields['type'] === 'string' ? fields : 'a message has no "type"';
}

const isText = (value: unknown, lengthMax = 4096): value is string =>
  typeof value === 'string' && value.length <= lengthMax;
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length <= groupsPerAgentMax && value.every((one) => isText(one));
const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

export function parseFromAgent(line: string): Parsed<FromAgent> {
  const fields = parseObject(line);
  if (typeof fields === 'string') return { kind: 'broken', reason: fields };
  const { type, version, agent, groups, id, what } = fields;
  const problem = fields['problem'] ?? null;
  if (type === 'REGISTER' && isCount(version) && isText(agent, agentNameLengthMax) && agent !== '' && isTexts(groups))
    return { kind: 'message', message: { type, version, agent, groups } };
  if (type === 'RELEASED' && isCount(id) && (problem === null || isText(problem)))
    return { kind: 'message', message: { type, id, problem } };
  if (type === 'UNKNOWN' && isText(what)) return { kind: 'message', message: { type, what } };
  return { kind: 'unknown', what: whatOf(type) };
}

export function parseFromNode(line: string): Parsed<FromNode> {
  const fields = parseObject(line);
  if (typeof fields === 'string') return { kind: 'broken', reason: fields };
  const { type, group, node, reason, version, groups, id, withinMs, on, what } = fields;
  switch (type) {
    case 'REGISTERED':
      if (isCount(version) && isText(node) && isTexts(groups))
        return { kind: 'message', message: { type, version, node, groups } };
      break;
    case 'MACHINE_FAILED':
    case 'ACQUIRED': {
      const { cause, generation, volumes } = fields;
      if (isText(group) && isText(node) && isCause(cause) && isCount(generation) && Array.isArray(volumes)) {
        const known = volumes.flatMap((volume) => parseVolume(volume) ?? []);
        return { kind: 'message', message: { type, group, node, cause, generation, volumes: known } };
      }
      break;
    }
    case 'FAILOVER_NOT_CONFIGURED':
      if (isText(group) && isText(reason)) return { kind: 'message', message: { type, group, reason } };
      break;
    case 'RELEASE':
      if (isText(group) && isCount(id) && isText(reason) && isCount(withinMs))
        return { kind: 'message', message: { type, group, id, reason, withinMs } };
      break;
    case 'MAINTENANCE':
      if (isText(group) && typeof on === 'boolean' && isText(reason))
        return { kind: 'message', message: { type, group, on, reason } };
      break;
    case 'REFUSED':
      if (isText(reason)) return { kind: 'message', message: { type, reason } };
      break;
    case 'UNKNOWN':
      if (isText(what)) return { kind: 'message', message: { type, what } };
      break;
  }
  return { kind: 'unknown', what: whatOf(type) };
}

const whatOf = (type: unknown): string => String(type).slice(0, 64);

const causes: readonly unknown[] = ['takeOver', 'handedOver', 'start', 'handOverFailed', 'asked', 'registered'];
const isCause = (value: unknown): value is Acquired['cause'] => causes.includes(value);

function parseVolume(value: unknown): AgentVolume | null {
  if (typeof value !== 'object' || value === null) return null;
  const { name, wwid, sizeBytes, path, nbd } = value as Fields;
  return isText(name) && isText(wwid) && isCount(sizeBytes) && isText(path) && isTexts(nbd)
    ? { name, wwid, sizeBytes, path, nbd }
    : null;
}
