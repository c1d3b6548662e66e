/**
 * What owner and target say to each other about one group besides records, answers and fetches: JSON bodies of the
 * link's frames of the same names (docs/formats/link.md). Every message bears the `attachId` under which it is said; a
 * side drops what bears another.
 *
 *   owner                                            target
 *   attach   generation, volumes             →
 *                                            ←      attached   position, durable, condition
 *   (describe                                →      only when bits or hot regions of the target are needed)
 *                                            ←      description
 *   (fetch …                                 →      only while the group is being opened)
 *   start    continue | resync, lineage      →
 *   standing another leg, behind or not      →      for each other leg, and again when that changes
 *   records …                                →
 *                                            ←      answer …  (fault, when a record cannot be stored)
 *   settle   position                        →      "make durable"; at the end of a resync: "you are consistent then"
 *                                            ←      answer with durable at or beyond it
 *   marks    names, positions                →      bookmarks; all at the start, later ones as they are set
 *   detach   reason                          ↔      the attachment has ended; the owner begins another
 */
import { z } from 'zod';
import { lineageSchema, bookmarkSchema, bookmarksMax } from '../volume/leg-metadata.ts';

const position = z.object({ generation: z.int().min(0), seq: z.int().min(0) }).readonly();
const attachId = z.int().min(1).max(0xffff_ffff);
const text = z.string().max(500);

/** Bytes of data in one step, which a target holds in memory. */
export const wholeBytesMax = 64 * 1024 * 1024;

export const attachSchema = z.object({
  attachId,
  group: text,
  /** The authority of everything sent under this attachment. */
  generation: z.int().min(1),
  generationId: text,
  mode: z.enum(['sync', 'receive', 'async']),
  volumes: z
    .array(z.object({ index: z.int().min(0).max(65535), wwid: text, sizeBytes: z.int(), blockSizeBytes: z.int() }))
    .max(4096),
  documentVersion: z.int(),
});

/** Of an answer. */
export const answerFlags = {
  /** The target is consistent, on its medium. */
  consistent: 1,
  /** It is not, and its last image is kept. */
  imageKept: 2,
} as const;

/** Why a target does not attach. `newerGeneration` means the owner is no longer the owner. */
export const refusalCodes = ['newerGeneration', 'unknownGroup', 'volumesDiffer', 'failed', 'busy'] as const;

export const attachedSchema = z.discriminatedUnion('ok', [
  z.object({
    attachId,
    ok: z.literal(true),
    /** What it holds: `applied` where that still holds (R6), else `durable`. */
    position,
    /** Of its data: all positions of this answer but the last lie on it. */
    lineage: lineageSchema,
    /** It may hold parts of records up to here: beyond what any record says for one that crashed as owner. */
    intended: position,
    durable: position,
    condition: z.enum(['consistent', 'inconsistent', 'unconfirmed']),
    /** False after a start that may have lost what was not durable. */
    held: z.boolean(),
    /** No copy was ever made to it: its volumes were created empty for this group and read as zeroes. */
    blank: z.boolean(),
    /** Whether its change bits against this owner are complete since a common base (R9). */
    known: z.boolean(),
    /** The highest durable position of the owner's leg that it knows of (R9). */
    ownerConfirmed: position,
    /** What a resync would leave of it as it is, or has left (TL-16): `ImageOutlook`. */
    image: z.object({ atMs: z.number().nullable(), obstacle: text.nullable() }).readonly(),
  }),
  z.object({ attachId, ok: z.literal(false), code: z.enum(refusalCodes), reason: text, seen: z.int() }),
]);

/** `hot` false: the owner knows of it that hot regions are where the common history was last written, no more. */
export const describeSchema = z.object({ attachId, hot: z.boolean() });

/** Hot regions, if asked for, and change bits against the owner, together: a piece with an encoded `ExtentSet` for each volume. */
export const descriptionSchema = z.object({ attachId, volumes: z.array(z.int().min(0).max(65535)).max(4096) });

/**
 * How another leg of the group stands. One that is behind lacks what is named, a piece with an encoded `ExtentSet` for
 * each volume, and all that is sent from here on; one that is not lacks at most what is in flight.
 */
export const standingSchema = z.object({
  attachId,
  node: text,
  /** False: the owner does not know all in which that leg and this target may differ. */
  known: z.boolean(),
  behind: z.boolean(),
  /** The highest durable position that leg ever confirmed to the owner (R9). */
  confirmed: position,
  volumes: z.array(z.int().min(0).max(65535)).max(4096),
});

export const startSchema = z.object({
  attachId,
  /**
   * `continue`: the records that follow `from` complete what the target holds. `resync`: copies follow among the
   * records; the target is inconsistent until a `settle` with `consistent` is answered.
   */
  how: z.enum(['continue', 'resync']),
  /** What the target's data belongs to from now on. */
  lineage: lineageSchema,
  from: position,
  /** `continue`: once this is applied, an unconfirmed target lacks nothing it ever had (R6). */
  confirmAt: position,
  /**
   * Records up to here are one step: none is applied before all of them have come, and until they are applied the target is
   * no image of any moment (TL-8).
   */
  wholeUpTo: position.nullable(),
  /** The target held a history of its own, which is given up: it keeps what the resync overwrites. */
  fork: z.boolean(),
  /** `resync`: all is copied. What the target may differ in from other legs is not known until that has ended. */
  all: z.boolean(),
});

export const settleSchema = z.object({
  attachId,
  position,
  /** A resync ends with this position. */
  consistent: z.boolean(),
  /** The owner's durable position, to be remembered (R9). */
  ownerDurable: position,
});

export const detachSchema = z.object({ attachId, reason: text });

export const marksSchema = z.object({ attachId, marks: z.array(bookmarkSchema).max(bookmarksMax) });

export type Attach = z.infer<typeof attachSchema>;
export type Attached = z.infer<typeof attachedSchema>;
export type Standing = z.infer<typeof standingSchema>;
export type Start = z.infer<typeof startSchema>;
export type Settle = z.infer<typeof settleSchema>;
export type Detach = z.infer<typeof detachSchema>;
