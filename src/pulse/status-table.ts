/**
 * The heartbeat status table of a node (HM-5): which ways of heartbeats are used, and how the remote group is seen by
 * them. Plain data and pure transitions: what happened goes in, the next table comes out. Who carries a table from one
 * place to another is not its business.
 *
 *     event        network                    mirror of the list          mirrors together
 *     network      ALIVE: ENABLE; FAILED:     -                           -
 *                  FAILED (HM-12)
 *     written      -                          not done: FAILED (HM-11)    FAILED when all that are sent on, or
 *     read         -                          invalid: FAILED (HM-12)     all that are read, are FAILED
 *     returned     ENABLE, ALIVE (HM-19)      ENABLE (HM-19)              ENABLE with the first
 *     use          ENABLE or DISABLE (HM-14)  ENABLE or DISABLE           ENABLE or DISABLE
 *     install      -                          a vacant entry is filled    what follows for all of them
 *     remove       -                          NULL (HM-9)                 what follows for all of them
 *
 * What the user has set to DISABLE stays so whatever is heard; only the user enables it again.
 */
import { z } from 'zod';
import { assertNever } from '../base/assert.ts';
import { hmacBytes, hmacSha256, isSameMac } from '../base/hmac.ts';
import type { Enable } from './snapshot.ts';

export type Remote = 'ALIVE' | 'FAILED';

export interface StatusTable {
  readonly node: string;
  readonly site: string;
  /** +1 with each change. */
  readonly version: number;
  /**
   * Wall clock of the user's last choice (HM-14), at the node where it was made; 0: none yet. Of two tables the later choice
   * counts, so a choice is always later than those it was made upon, whatever the clocks say.
   */
  readonly chosenAtMs: number;
  readonly network: { readonly enable: Enable; readonly remote: Remote | null };
  readonly mirrors: { readonly enable: Enable; readonly remote: Remote | null };
  /** Always `mirrorEntriesMax` of them; vacant ones are null (HM-5). */
  readonly list: readonly (MirrorRow | null)[];
}

export interface MirrorRow {
  /** As in the cluster document. */
  readonly name: string;
  /** Whether this node writes it or reads it. */
  readonly direction: 'send' | 'receive';
  /** Its backing file or device at this node. */
  readonly device: string;
  readonly status: Enable;
}

export const mirrorEntriesMax = 16;

export type TableEvent =
  /** The remote group as heard by the network: at least one of its nodes, or none. */
  | { readonly kind: 'network'; readonly remote: Remote }
  | { readonly kind: 'written'; readonly mirror: string; readonly done: boolean }
  | { readonly kind: 'read'; readonly mirror: string; readonly valid: boolean }
  /** The probation is over, or the user enabled it (HM-19). */
  | { readonly kind: 'returned'; readonly path: 'network' | { readonly mirror: string } }
  | {
      readonly kind: 'use';
      readonly path: 'network' | 'mirrors' | { readonly mirror: string };
      readonly enable: boolean;
    }
  | { readonly kind: 'install'; readonly row: Omit<MirrorRow, 'status'> }
  | { readonly kind: 'remove'; readonly mirror: string };

export function emptyTable(node: string, site: string, use: { network: boolean }): StatusTable {
  return {
    node,
    site,
    version: 1,
    chosenAtMs: 0,
    network: { enable: use.network ? 'ENABLE' : 'DISABLE', remote: null },
    mirrors: { enable: 'ENABLE', remote: null },
    list: Array<MirrorRow | null>(mirrorEntriesMax).fill(null),
  };
}

/** The same object where nothing has changed. */
export function advance(table: StatusTable, event: TableEvent): StatusTable {
  const next = settled(changed(table, event));
  return isSame(table, next) ? table : { ...next, version: table.version + 1 };
}

/** `next` came of the user's choice upon `table`. @param atMs when it was made, where that was elsewhere. */
export function chosen(table: StatusTable, next: StatusTable, nowMs: number, atMs?: number): StatusTable {
  const chosenAtMs = Math.max(atMs ?? nowMs, table.chosenAtMs + (atMs === undefined ? 1 : 0));
  return { ...next, version: Math.max(next.version, table.version + 1), chosenAtMs };
}

/** HM-5: the table with what the user chose by another node's, where that was later; what is heard stays its own. */
export function pickedUp(table: StatusTable, other: StatusTable): StatusTable {
  if (other.chosenAtMs <= table.chosenAtMs) return table;
  let next = table;
  const choose = (path: 'network' | 'mirrors' | { readonly mirror: string }, mine: Enable, theirs: Enable): void => {
    const enable = theirs !== 'DISABLE';
    if (enable !== (mine !== 'DISABLE')) next = advance(next, { kind: 'use', path, enable });
  };
  choose('network', table.network.enable, other.network.enable);
  choose('mirrors', table.mirrors.enable, other.mirrors.enable);
  for (const row of table.list) {
    const theirs = row && mirrorRow(other, row.name);
    if (row !== null && theirs !== null) choose({ mirror: row.name }, row.status, theirs.status);
  }
  return chosen(table, next, other.chosenAtMs, other.chosenAtMs);
}

export const mirrorRow = (table: StatusTable, mirror: string): MirrorRow | null =>
  table.list.find((row) => row?.name === mirror) ?? null;

export const hasVacancy = (table: StatusTable): boolean => table.list.includes(null);

function changed(table: StatusTable, event: TableEvent): StatusTable {
  switch (event.kind) {
    case 'network':
      if (table.network.enable === 'DISABLE') return table;
      if (event.remote === 'FAILED') return { ...table, network: { enable: 'FAILED', remote: 'FAILED' } };
      // A path that was FAILED counts again with `returned` only.
      return table.network.enable === 'FAILED' ? table : { ...table, network: { enable: 'ENABLE', remote: 'ALIVE' } };
    case 'written':
      return event.done ? table : failed(table, event.mirror, 'send');
    case 'read':
      if (!event.valid) return failed(table, event.mirror, 'receive');
      return isWorking(table, event.mirror, 'receive') ? mirrorsSeen(table, 'ALIVE') : table;
    case 'returned':
      if (event.path === 'network') {
        if (table.network.enable !== 'FAILED') return table;
        return { ...table, network: { enable: 'ENABLE', remote: 'ALIVE' } };
      }
      return returned(table, event.path.mirror);
    case 'use':
      return used(table, event.path, event.enable ? 'ENABLE' : 'DISABLE');
    case 'install': {
      const row: MirrorRow = { ...event.row, status: 'ENABLE' };
      const known = table.list.findIndex((entry) => entry?.name === row.name);
      const at = known >= 0 ? known : table.list.indexOf(null);
      return at < 0 ? table : { ...table, list: table.list.with(at, row) };
    }
    case 'remove':
      return { ...table, list: table.list.map((row) => (row?.name === event.mirror ? null : row)) };
    default:
      return assertNever(event);
  }
}

function isWorking(table: StatusTable, mirror: string, direction: MirrorRow['direction']): boolean {
  const row = mirrorRow(table, mirror);
  return table.mirrors.enable !== 'DISABLE' && row?.direction === direction && row.status === 'ENABLE';
}

function failed(table: StatusTable, mirror: string, direction: MirrorRow['direction']): StatusTable {
  return isWorking(table, mirror, direction) ? withStatus(table, mirror, 'FAILED') : table;
}

function returned(table: StatusTable, mirror: string): StatusTable {
  const row = mirrorRow(table, mirror);
  if (row?.status !== 'FAILED') return table;
  const next = withStatus(table, mirror, 'ENABLE');
  return row.direction === 'receive' && table.mirrors.enable !== 'DISABLE' ? mirrorsSeen(next, 'ALIVE') : next;
}

function used(table: StatusTable, path: Extract<TableEvent, { kind: 'use' }>['path'], enable: Enable): StatusTable {
  // Enabled by the user it counts at once (HM-19); how the remote group is seen, the next messages say.
  if (path === 'network') {
    return table.network.enable === enable ? table : { ...table, network: { enable, remote: null } };
  }
  if (path === 'mirrors') {
    if (table.mirrors.enable === enable) return table;
    const list = table.list.map((row) =>
      row?.status === 'FAILED' && enable === 'ENABLE' ? { ...row, status: enable } : row,
    );
    return { ...table, mirrors: { enable, remote: null }, list };
  }
  return withStatus(table, path.mirror, enable);
}

const withStatus = (table: StatusTable, mirror: string, status: Enable): StatusTable => ({
  ...table,
  list: table.list.map((row) => (row?.name === mirror ? { ...row, status } : row)),
});

const mirrorsSeen = (table: StatusTable, remote: Remote): StatusTable => ({
  ...table,
  mirrors: { ...table.mirrors, remote },
});

/** What follows for the mirrors together: FAILED when of those sent on, or of those read, none is left (HM-11, HM-12). */
function settled(table: StatusTable): StatusTable {
  if (table.mirrors.enable === 'DISABLE') return table;
  const inUse = table.list.filter((row) => row !== null).filter(({ status }) => status !== 'DISABLE');
  const noneLeft = (direction: MirrorRow['direction']): boolean => {
    const rows = inUse.filter((row) => row.direction === direction);
    return rows.length > 0 && rows.every(({ status }) => status === 'FAILED');
  };
  const isDeaf = noneLeft('receive');
  const reads = inUse.some(({ direction }) => direction === 'receive');
  const remote = isDeaf ? 'FAILED' : !reads || table.mirrors.remote === 'FAILED' ? null : table.mirrors.remote;
  return { ...table, mirrors: { enable: isDeaf || noneLeft('send') ? 'FAILED' : 'ENABLE', remote } };
}

const isSame = (one: StatusTable, other: StatusTable): boolean =>
  one === other || JSON.stringify(one) === JSON.stringify({ ...other, version: one.version });

const enable = z.enum(['ENABLE', 'DISABLE', 'FAILED']);
const side = z.object({ enable, remote: z.enum(['ALIVE', 'FAILED']).nullable() });
const row = z.object({
  name: z.string().min(1),
  direction: z.enum(['send', 'receive']),
  device: z.string(),
  status: enable,
});

export const statusTableSchema = z.object({
  node: z.string(),
  site: z.string(),
  version: z.int().positive(),
  chosenAtMs: z.number().nonnegative().default(0),
  network: side,
  mirrors: side,
  list: z.array(row.nullable()).length(mirrorEntriesMax).readonly(),
});

/** As it is kept in files. */
export const encodeTable = (table: StatusTable): string => JSON.stringify(table);

/** Total: null for what is no table. */
export function decodeTable(text: string): StatusTable | null {
  try {
    const read = statusTableSchema.safeParse(JSON.parse(text));
    return read.success ? read.data : null;
  } catch {
    return null;
  }
}

/** As it is kept on mirrored volumes: the text, then HMAC-SHA256 of it by the cluster's key, since others act upon it. */
export function sealTable(table: StatusTable, key: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(encodeTable(table));
  return Buffer.concat([text, hmacSha256(key, text)]);
}

/** Total: null for what was not sealed by this key, or is no table. */
export function openTable(bytes: Uint8Array, key: Uint8Array): StatusTable | null {
  const text = bytes.subarray(0, Math.max(0, bytes.length - hmacBytes));
  return isSameMac(hmacSha256(key, text), bytes.subarray(text.length))
    ? decodeTable(Buffer.from(text).toString())
    : null;
}
