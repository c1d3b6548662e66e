/**
 * The parameter list of EXTENDED COPY (LID1) (SPC-4 6.4), understood as a whole before anything is copied:
 *
 *   0      LIST IDENTIFIER            2…3    CSCD DESCRIPTOR LIST LENGTH (m)
 *   1      STR, LIST ID USAGE, …      8…11   SEGMENT DESCRIPTOR LIST LENGTH (n)
 *   12…15  INLINE DATA LENGTH         16…    m bytes of CSCD descriptors, n bytes of segment descriptors
 *
 * A CSCD (copy source, copy destination) is named by its NAA designator; block ranges go from one to another.
 */
import { blockToBlockBytes, copyLimits, cscdBytes, cscdCode, segmentCode } from './copy-limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { hex } from './parameter-data.ts';
import type { SenseDetail, SenseKeyName } from './sense.ts';
import type { Nexus } from './task.ts';
import { u16, u24, u32, u64 } from './wire.ts';

export interface CopyList {
  readonly listIdentifier: number;
  /** Status can be asked for by the list identifier (LIST ID USAGE other than 11b). */
  readonly identified: boolean;
  readonly segments: readonly CopySegment[];
}

/** Offsets and length in bytes, inside both volumes, multiples of both block sizes; length may be 0. */
export interface CopySegment {
  readonly source: LogicalUnit;
  readonly destination: LogicalUnit;
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

export class CopyRefusal {
  readonly key: SenseKeyName;
  readonly code: number;
  readonly detail: SenseDetail;

  constructor(key: SenseKeyName, code: number, detail: SenseDetail = {}) {
    this.key = key;
    this.code = code;
    this.detail = detail;
  }
}

const headerBytes = 16;
/** The most bytes a list that is carried out can have. */
export const copyListBytes = headerBytes + copyLimits.descriptorBytes;

const listLengthError = new CopyRefusal('illegalRequest', 0x1a00);
const tooManyCscds = new CopyRefusal('illegalRequest', 0x2606);
const unsupportedCscd = new CopyRefusal('illegalRequest', 0x2607);
const tooManySegments = new CopyRefusal('illegalRequest', 0x2608);
const unsupportedSegment = new CopyRefusal('illegalRequest', 0x2609);
const inlineDataTooLong = new CopyRefusal('illegalRequest', 0x260b);

function invalid(byte: number, bit?: number): CopyRefusal {
  return new CopyRefusal('illegalRequest', 0x2600, { field: { of: 'parameters', byte, bit } });
}

/** `byte` of the segment descriptor. */
function aborted(code: number, byte: number): CopyRefusal {
  return new CopyRefusal('copyAborted', code, { field: { of: 'segment', byte } });
}

/** `units`: those the nexus may see. */
export function parseCopyList(list: Uint8Array, units: readonly LogicalUnit[], nexus: Nexus): CopyList | CopyRefusal {
  if (list.length < headerBytes) return listLengthError;
  const flags = list[1] ?? 0;
  const usage = (flags >> 3) & 0x03;
  const listIdentifier = list[0] ?? 0;
  if ((flags & 0xc0) !== 0) return invalid(1, 7);
  if (usage === 0x01) return invalid(1, 4);
  if (usage === 0x03 && listIdentifier !== 0) return invalid(0);
  const cscdLength = u16(list, 2);
  const segmentLength = u32(list, 8);
  if (u32(list, 12) !== 0) return inlineDataTooLong;
  const segmentsAt = headerBytes + cscdLength;
  const end = segmentsAt + segmentLength;
  if (cscdLength + segmentLength > copyLimits.descriptorBytes || end > list.length) return listLengthError;
  if (cscdLength % cscdBytes !== 0) return listLengthError;
  if (cscdLength / cscdBytes > copyLimits.cscds) return tooManyCscds;

  const places = segmentPlaces(list, segmentsAt, end);
  if (places === null) return listLengthError;
  if (places.length > copyLimits.segments) return tooManySegments;

  const cscds: Cscd[] = [];
  for (let at = headerBytes; at < segmentsAt; at += cscdBytes) {
    const cscd = parseCscd(list, at, units);
    if (cscd instanceof CopyRefusal) return cscd;
    cscds.push(cscd);
  }
  const segments: CopySegment[] = [];
  for (const at of places) {
    const segment = parseSegment(list, at, cscds, nexus);
    if (segment instanceof CopyRefusal) return segment;
    segments.push(segment);
  }
  return { listIdentifier, identified: usage !== 0x03, segments };
}

/** Null: the last one is not whole. */
function segmentPlaces(list: Uint8Array, start: number, end: number): number[] | null {
  const places: number[] = [];
  let at = start;
  while (at < end) {
    places.push(at);
    if (at + 4 > end) return null;
    at += 4 + u16(list, at + 2);
  }
  return at === end ? places : null;
}

/** A unit, or with which additional sense code a segment that uses it ends. */
type Cscd = LogicalUnit | { readonly unusable: number };

/** Identification descriptor (SPC-4 6.4.5.…). One that names nothing of ours is an error for the segment that uses it. */
function parseCscd(list: Uint8Array, at: number, units: readonly LogicalUnit[]): Cscd | CopyRefusal {
  if (list[at] !== cscdCode.identification) return unsupportedCscd;
  const flags = list[at + 1] ?? 0;
  // LU ID TYPE is of earlier standards, and ignored.
  const notReachable = { unusable: 0x0d02 };
  if ((flags & 0x20) !== 0) return notReachable; // NUL
  if ((flags & 0x1f) !== 0) return { unusable: 0x0d03 }; // INCORRECT COPY TARGET DEVICE TYPE
  const binary = ((list[at + 4] ?? 0) & 0x0f) === 0x01;
  const naaOfUnit = ((list[at + 5] ?? 0) & 0x3f) === 0x03;
  if (!binary || !naaOfUnit || list[at + 7] !== 16) return notReachable;
  const named = units.find(({ unit }) => hex(unit.wwid).every((byte, index) => byte === list[at + 8 + index]));
  if (named === undefined) return notReachable;
  return u24(list, at + 29) === named.blockSizeBytes ? named : invalid(at + 29);
}

/** Block device to block device (SPC-4 6.4.6.…). */
function parseSegment(list: Uint8Array, at: number, cscds: readonly Cscd[], nexus: Nexus): CopySegment | CopyRefusal {
  if (list[at] !== segmentCode.blockToBlock) return unsupportedSegment;
  if (u16(list, at + 2) !== blockToBlockBytes - 4) return invalid(at + 2);
  const source = cscds[u16(list, at + 4)] ?? { unusable: 0x0d02 };
  const destination = cscds[u16(list, at + 6)] ?? { unusable: 0x0d02 };
  if ('unusable' in source) return aborted(source.unusable, 4);
  if ('unusable' in destination) return aborted(destination.unusable, 6);
  // COPY TARGET … cannot be had: THIRD PARTY DEVICE FAILURE
  if (source.conflicts(nexus, 'read')) return aborted(0x0d01, 4);
  if (destination.conflicts(nexus, 'write')) return aborted(0x0d01, 6);
  const countsDestination = ((list[at + 1] ?? 0) & 0x02) !== 0; // DC
  const length = u16(list, at + 10) * (countsDestination ? destination : source).blockSizeBytes;
  // UNEXPECTED INEXACT SEGMENT: what is left over of a block is neither padded nor kept for the next segment.
  if (length % source.blockSizeBytes !== 0 || length % destination.blockSizeBytes !== 0) return aborted(0x260a, 10);
  const from = u64(list, at + 12) * source.blockSizeBytes;
  const to = u64(list, at + 20) * destination.blockSizeBytes;
  if (from + length > source.blocks * source.blockSizeBytes) return aborted(0x0000, 12);
  if (to + length > destination.blocks * destination.blockSizeBytes) return aborted(0x0000, 20);
  return { source, destination, from, to, length };
}
