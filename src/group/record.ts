/**
 * A group's record in the coordination store: who owns it, in which generation, and what may be said of each leg. The
 * only authority there is (R11, R12); everything that could hurt bears its generation.
 *
 * Pure: records in, records out. Writing them is `record-keeper.ts`.
 */
import { z } from 'zod';
import type { LegClass } from '../store/document.ts';
import type { Lineage } from '../stream/position.ts';
import { reservationsSchema, type Reservations } from './reservations.ts';

const legSchema = z
  .object({
    class: z.enum(['inSync', 'withinBound', 'behind']),
    /** Stopped by the user; stays so until resumed. */
    paused: z.boolean(),
  })
  .readonly();

const tenureSchema = z.object({ generation: z.int().min(1), id: z.string() }).readonly();

const recordSchema = z
  .object({
    schema: z.literal(1),
    group: z.string(),
    generation: z.int().min(1),
    /** 32 hex digits, drawn with the generation. */
    id: z.string(),
    /** False while the owner has not yet fixed where the generation left its parent: nothing was stamped in it. */
    established: z.boolean(),
    ancestors: z
      .array(z.object({ generation: z.int().min(0), id: z.string(), leftAtSeq: z.int().min(0) }).readonly())
      .readonly(),
    owner: z.string(),
    /** The lease it stands on. When that is gone, another node may take over. */
    leaseId: z.string(),
    legs: z.record(z.string(), legSchema).readonly(),
    /** Wall clock: since when its owner has been that, through all generations in a row. */
    ownedSinceMs: z.number().optional(),
    /** BY-1: tenures of other nodes that were given up in favour of this history when both had written. Newest last. */
    overrules: z.array(tenureSchema).readonly().optional(),
    /** Persistent reservations by volume index; those without any are absent. */
    reservations: z.record(z.string(), reservationsSchema).readonly().optional(),
  })
  .readonly();

export type GroupRecord = z.infer<typeof recordSchema>;
export type RecordLeg = z.infer<typeof legSchema>;
export type Tenure = z.infer<typeof tenureSchema>;

const overrulesMax = 8;

export { recordSchema };

/** Null when the text is no record. */
export function parseRecord(text: string): GroupRecord | null {
  try {
    const parsed = recordSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

export function lineageOf(record: GroupRecord): Lineage {
  return { generation: record.generation, id: record.id, ancestors: record.ancestors };
}

/** A new tenure begins: the generation exists, where it leaves its parent is not fixed yet. */
export function claimed(
  before: GroupRecord | null,
  claim: {
    group: string;
    owner: string;
    leaseId: string;
    id: string;
    legs: readonly string[];
    generationMin: number;
    /** Wall clock. */
    atMs?: number;
  },
): GroupRecord {
  const legs: Record<string, RecordLeg> = {};
  for (const node of claim.legs) {
    const known = before?.legs[node];
    legs[node] = known ?? { class: node === claim.owner && before === null ? 'inSync' : 'behind', paused: false };
  }
  return {
    schema: 1,
    group: claim.group,
    generation: Math.max((before?.generation ?? 0) + 1, claim.generationMin),
    id: claim.id,
    established: false,
    ancestors: before?.ancestors ?? [],
    owner: claim.owner,
    leaseId: claim.leaseId,
    legs,
    ...ownedSince(before, claim.owner, claim.atMs),
    ...(before?.overrules === undefined ? {} : { overrules: before.overrules }),
    ...(before?.reservations === undefined ? {} : { reservations: before.reservations }),
  };
}

/** Those of the volume are these now; null: there are none. */
export function withReservations(record: GroupRecord, index: number, now: Reservations | null): GroupRecord {
  const { reservations = {}, ...rest } = record;
  const others = Object.entries(reservations).filter(([volume]) => volume !== `${index}`);
  const all = Object.fromEntries(now === null ? others : [...others, [`${index}`, now] as const]);
  return Object.keys(all).length === 0 ? rest : { ...rest, reservations: all };
}

export function reservationsOf(record: GroupRecord | null, index: number): Reservations | null {
  return record?.reservations?.[`${index}`] ?? null;
}

function ownedSince(
  before: GroupRecord | null,
  owner: string,
  atMs: number | undefined,
): Pick<GroupRecord, 'ownedSinceMs'> {
  const since = before?.owner === owner ? before.ownedSinceMs : atMs;
  return since === undefined ? {} : { ownedSinceMs: since };
}

/** The owner has fixed its history: hosts are let in next. Every leg not among `equal` is behind from here on. */
export function established(
  record: GroupRecord,
  lineage: Lineage,
  equal: ReadonlyMap<string, LegClass>,
): GroupRecord {
  const legs: Record<string, RecordLeg> = {};
  for (const [node, leg] of Object.entries(record.legs)) {
    legs[node] = { ...leg, class: node === record.owner ? 'inSync' : (equal.get(node) ?? 'behind') };
  }
  return { ...record, established: true, ancestors: lineage.ancestors, legs };
}

export function withLeg(record: GroupRecord, node: string, change: Partial<RecordLeg>): GroupRecord {
  const before = record.legs[node] ?? { class: 'behind', paused: false };
  return { ...record, legs: { ...record.legs, [node]: { ...before, ...change } } };
}

/** BY-1: this history is gone on with, and the other is given up wherever it is met. */
export function overruling(record: GroupRecord, tenure: Tenure): GroupRecord {
  const others = (record.overrules ?? []).filter(({ id }) => id !== tenure.id);
  return { ...record, overrules: [...others, tenure].slice(-overrulesMax) };
}

/**
 * A planned move: both legs hold the same, and the new owner's generation follows at once. Others keep their class if they
 * are `equal`, which means that they hold the same, too.
 */
export function handedOver(
  record: GroupRecord,
  to: {
    node: string;
    leaseId: string;
    id: string;
    lineage: Lineage;
    ownLegGood: boolean;
    equal: ReadonlySet<string>;
    /** Wall clock. */
    atMs?: number;
  },
): GroupRecord {
  const legs: Record<string, RecordLeg> = {};
  for (const [node, leg] of Object.entries(record.legs)) {
    const kept = node === to.node || (node === record.owner && to.ownLegGood);
    const other = to.equal.has(node) ? leg.class : 'behind';
    legs[node] = { ...leg, class: kept ? 'inSync' : other, ...(node === to.node ? { paused: false } : {}) };
  }
  return {
    ...record,
    ...ownedSince(record, to.node, to.atMs),
    generation: to.lineage.generation,
    id: to.id,
    established: true,
    ancestors: to.lineage.ancestors,
    owner: to.node,
    leaseId: to.leaseId,
    legs,
  };
}
