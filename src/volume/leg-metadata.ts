/**
 * What a leg remembers of itself beside its volumes' data. One file a group and node, not one a volume: generation,
 * cursors and hot regions qualify each other, and must change in one step.
 *
 * Three files in the leg's folder:
 * - `leg` (two slots, synced): who this leg is in the group's history, what is durable, which regions are hot.
 * - `bits` (two slots, synced, written at checkpoints): change bits against every other leg. Between checkpoints hot
 *   regions cover what the file lacks.
 * - `cursor` (page cache only): how far records were applied, for a restart on the same kernel (R6). See
 *   `leg-cursor.ts`.
 *
 * Invariants: `seen` never goes back (R12); `durable` is saved only after a flush that covers it, and before anybody is
 * told (R5, R9). Layouts: docs/formats/leg-metadata.md.
 */
import { z } from 'zod';
import { decode, Writer } from '../base/codec.ts';
import { HoldfastError } from '../base/errors.ts';
import type { Files } from '../base/files.ts';
import { comparePositions, type Position } from '../stream/position.ts';
import { ChangeBitmap } from './change-bitmap.ts';
import { TwoSlotFile, type TwoSlotFormat } from './two-slot-file.ts';

export const legFormat: TwoSlotFormat = { slotBytes: 512 * 1024, magic: 'HFLEGMD1', version: 1 };
export const bitsMagic = 'HFBITS_1';

const positionSchema = z.object({ generation: z.int().min(0), seq: z.int().min(0) }).readonly();
const ancestorSchema = z.object({ generation: z.int().min(0), id: z.string(), leftAtSeq: z.int().min(0) }).readonly();

export const lineageSchema = z
  .object({ generation: z.int().min(0), id: z.string(), ancestors: z.array(ancestorSchema).readonly() })
  .readonly();

const peerSchema = z
  .object({
    /** The change bits against this leg, with hot regions, name everything that may differ. False: full copy (R9). */
    known: z.boolean(),
    /** The highest durable position it has confirmed to us; it may never report less (R9). */
    confirmed: positionSchema,
  })
  .readonly();

const forkSchema = z
  .object({
    /** The generation given up, and where the history that won had left it. */
    generation: z.int(),
    leftAtSeq: z.int().nullable(),
    foundAtMs: z.number(),
    extents: z.int(),
    bytes: z.int(),
    image: z.string().nullable(),
  })
  .readonly();

export const bookmarkSchema = z
  .object({
    name: z.string().max(255),
    /** Everything up to it belongs before the mark. */
    position: positionSchema,
    /** Wall clock. */
    atMs: z.number(),
  })
  .readonly();

const imageSchema = z
  .object({
    /**
     * `kept`: beside an inconsistent leg. `promoting`: takes the volumes' places when the leg is opened next. `promoted`: it
     * has, and the leg is older, on purpose, than it once was.
     */
    state: z.enum(['kept', 'promoting', 'promoted']),
    /** Of its data, and where on it. */
    lineage: lineageSchema,
    position: positionSchema,
    /** `newestAtMs` of the leg then. */
    atMs: z.number().nullable(),
    /** Indices of the volumes that have one. */
    volumes: z.array(z.int()).readonly(),
  })
  .readonly();

const stateSchema = z
  .object({
    schema: z.literal(1),
    group: z.string(),
    node: z.string(),
    /** Highest generation ever seen in store or link (R12). */
    seen: z.object({ generation: z.int().min(0), id: z.string() }).readonly(),
    /** Of the data. */
    lineage: lineageSchema,
    durable: positionSchema,
    /**
     * `consistent`: an image of some moment. `inconsistent`: in the middle of an unordered copy, good for nothing until
     * it has ended. `unconfirmed`: fell back to `durable` after a start that may have lost writes; what lies beyond has
     * not been sent again yet (R6).
     */
    condition: z.enum(['consistent', 'inconsistent', 'unconfirmed']),
    /** The leg was its owner's in the generation of `lineage`, and nobody noted how far that went: it crashed (R6). */
    owning: z.boolean(),
    /**
     * As owner, this leg is a cursor on the group's log: all it may hold beyond `from` is in the log with that id, on the
     * medium when `synchronous`. That log reached to `end` when this was noted: one that reaches less far is older than it
     * was. Null: the leg is no cursor.
     */
    logAhead: z
      .object({ log: z.string(), from: positionSchema, end: positionSchema, synchronous: z.boolean() })
      .readonly()
      .nullable()
      .default(null),
    /** Where this node's part of the group's log is, while it is moved also where it goes; empty before its first use. */
    logPlaces: z.array(z.string()).readonly().default([]),
    /** Set at a clean stop, after a flush of everything: then nothing is hot. */
    clean: z.boolean(),
    bootId: z.string(),
    /** Why this leg's disk is known to be older than it was (R9): its owner does not serve it. Until a resync makes it whole. */
    wentBack: z.string().nullable(),
    /** Keys of `HotRegions`. */
    hot: z.array(z.int().min(0)).readonly(),
    peers: z.record(z.string(), peerSchema).readonly(),
    /** Volumes this leg holds, by index: a backing file that vanished is not made anew. */
    volumes: z.array(z.object({ index: z.int(), wwid: z.string(), sizeBytes: z.int() }).readonly()).readonly(),
    forks: z.array(forkSchema).readonly(),
    /** Bookmarks, oldest first; very old ones are forgotten. */
    marks: z.array(bookmarkSchema).readonly().default([]),
    /** When the newest change that is durable here arrived, wall clock; an earlier time where that is not known. */
    newestAtMs: z.number().nullable().default(null),
    /** What an opening as owner may have lost, until somebody was told of it; null: nothing, or it was told. */
    untold: z.string().nullable().default(null),
    /** What the leg was before the resync that goes on (`last-image.ts`); null when none is kept. */
    image: imageSchema.nullable().default(null),
  })
  .readonly();

export type LegState = z.infer<typeof stateSchema>;
export type PeerState = z.infer<typeof peerSchema>;
export type Fork = z.infer<typeof forkSchema>;
export type Bookmark = z.infer<typeof bookmarkSchema>;

export const bookmarksMax = 64;
export type Image = z.infer<typeof imageSchema>;

export function newLegState(group: string, node: string, bootId: string): LegState {
  return {
    schema: 1,
    group,
    node,
    seen: { generation: 0, id: '' },
    lineage: { generation: 0, id: '', ancestors: [] },
    durable: { generation: 0, seq: 0 },
    condition: 'consistent',
    owning: false,
    logAhead: null,
    logPlaces: [],
    clean: true,
    bootId,
    wentBack: null,
    hot: [],
    peers: {},
    volumes: [],
    forks: [],
    marks: [],
    newestAtMs: null,
    untold: null,
    image: null,
  };
}

/** Total: foreign bytes give the reason why they are none of ours. */
export function decodeLegState(payload: Uint8Array): { ok: true; state: LegState } | { ok: false; reason: string } {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(payload).toString('utf8'));
  } catch {
    return { ok: false, reason: 'not JSON' };
  }
  const parsed = stateSchema.safeParse(json);
  return parsed.success
    ? { ok: true, state: parsed.data }
    : {
        ok: false,
        reason: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
      };
}

export class LegMetadata {
  readonly #file: TwoSlotFile;
  #state: LegState;
  #saved: LegState | null;

  private constructor(file: TwoSlotFile, state: LegState, saved: LegState | null) {
    this.#file = file;
    this.#state = state;
    this.#saved = saved;
  }

  /** Rejects with `E_METADATA`. `found` is false when the leg has no metadata yet. */
  static async open(
    files: Files,
    folder: string,
    initial: LegState,
  ): Promise<{ metadata: LegMetadata; found: boolean }> {
    await files.makeFolder(folder);
    const file = await TwoSlotFile.open(files, `${folder}/leg`, legFormat);
    const payload = await file.load();
    if (payload === null) return { metadata: new LegMetadata(file, initial, null), found: false };
    const decoded = decodeLegState(payload);
    if (!decoded.ok) throw new HoldfastError('E_METADATA', `${file.path}: ${decoded.reason}`);
    return { metadata: new LegMetadata(file, decoded.state, decoded.state), found: true };
  }

  get state(): LegState {
    return this.#state;
  }

  /** What is known to be on the medium; null before the first save. */
  get saved(): LegState | null {
    return this.#saved;
  }

  /** Changes the state in memory; it reaches the medium with the next `save`. */
  change(change: Partial<Omit<LegState, 'schema' | 'group' | 'node'>>): void {
    this.#state = { ...this.#state, ...change };
  }

  changePeer(node: string, change: Partial<PeerState>): void {
    const before = this.#state.peers[node] ?? { known: false, confirmed: { generation: 0, seq: 0 } };
    this.change({ peers: { ...this.#state.peers, [node]: { ...before, ...change } } });
  }

  /** R9: that leg holds `durable`; what reports less one day has an older disk. Saved with the next save. */
  confirm(node: string, durable: Position): void {
    const known = this.#state.peers[node]?.confirmed;
    if (known === undefined || comparePositions(durable, known) > 0) this.changePeer(node, { confirmed: durable });
  }

  /** Adds bookmarks, each once, in the order of their places. Saved with the next save. */
  addBookmarks(marks: readonly Bookmark[]): void {
    const known = this.#state.marks;
    const fresh = marks.filter(
      ({ name, position }) =>
        !known.some((mark) => mark.name === name && comparePositions(mark.position, position) === 0),
    );
    if (fresh.length === 0) return;
    const all = [...known, ...fresh].sort((a, b) => comparePositions(a.position, b.position));
    this.change({ marks: all.slice(-bookmarksMax) });
  }

  /** What this leg and others may differ in is not known any more: it is copied in full, one way or the other (R9). */
  forgetPeers(): void {
    for (const node of Object.keys(this.#state.peers)) this.changePeer(node, { known: false });
  }

  /** Resolves when the state as it is now is on the medium. Rejects with `E_IO`, `E_NO_SPACE`. */
  async save(): Promise<void> {
    const state = this.#state;
    await this.#file.save(Buffer.from(JSON.stringify(state)));
    this.#saved = state;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Change bits of one leg against one other: a bitmap for each volume. */
export type PeerBits = Map<number, ChangeBitmap>;

/** The `bits` file. Payload: u16 count, then for each: string8 node, u16 volume, the bitmap (change-bitmap.ts). */
export class BitsFile {
  readonly #file: TwoSlotFile;

  private constructor(file: TwoSlotFile) {
    this.#file = file;
  }

  /** @param slotBytes room for the bitmaps of all volumes against all other legs; the file is sparse. */
  static async open(files: Files, folder: string, slotBytes: number): Promise<BitsFile> {
    return new BitsFile(await TwoSlotFile.open(files, `${folder}/bits`, { slotBytes, magic: bitsMagic, version: 1 }));
  }

  async load(): Promise<Map<string, PeerBits>> {
    const peers = new Map<string, PeerBits>();
    const payload = await this.#file.load();
    if (payload === null) return peers;
    const decoded = decode(payload, (reader) => {
      const count = reader.u16();
      for (let entry = 0; entry < count; entry++) {
        const node = reader.string8();
        const volume = reader.u16();
        const bits = peers.get(node) ?? new Map<number, ChangeBitmap>();
        bits.set(volume, ChangeBitmap.read(reader));
        peers.set(node, bits);
      }
    });
    if (!decoded.ok) throw new HoldfastError('E_METADATA', `${this.#file.path}: ${decoded.reason}`);
    return peers;
  }

  async save(peers: ReadonlyMap<string, PeerBits>): Promise<void> {
    await this.#file.save(encodeBits(peers, this.#file.payloadBytesMax));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function encodeBits(peers: ReadonlyMap<string, PeerBits>, bytesMax: number): Uint8Array {
  const entries = [...peers].flatMap(([node, bits]) =>
    [...bits].filter(([, bitmap]) => !bitmap.isEmpty()).map(([volume, bitmap]) => ({ node, volume, bitmap })),
  );
  const writer = new Writer(bytesMax);
  writer.u16(entries.length);
  for (const { node, volume, bitmap } of entries) {
    writer.string8(node).u16(volume).raw(bitmap.encode());
  }
  return writer.finish();
}
