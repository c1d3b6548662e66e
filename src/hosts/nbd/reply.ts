/**
 * Encoders of replies (NBD proto.md, "Simple reply message" and "Structured reply chunk message"). Each writes into
 * memory the caller has reserved, and nothing else.
 *
 *   simple   magic 0x67446698 4 │ error 4 │ cookie 8 │ data of a READ
 *   chunk    magic 0x668e33ef 4 │ flags 2 │ type 2 │ cookie 8 │ length 4 │ content
 *
 * Every structured reply of ours is one chunk, flagged done. Commands without data are answered by simple replies
 * also where structured ones were agreed on; errors are structured there, for the sentence they carry.
 */
import {
  chunkHeaderBytes,
  ChunkFlag,
  ChunkType,
  allocationContextId,
  ExtentState,
  simpleReplyMagic,
  structuredReplyMagic,
} from './wire.ts';

/** Whom a reply is for. */
export interface Cookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

export interface StatusExtent {
  readonly length: number;
  readonly data: boolean;
}

/** 16 bytes. */
export function writeSimpleReply(view: DataView, at: number, to: Cookie, error: number): void {
  view.setUint32(at, simpleReplyMagic);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, to.cookieHigh);
  view.setUint32(at + 12, to.cookieLow);
}

/** 28 bytes, followed by the data: 64-bit offset, then `length` bytes of data. */
export function writeDataChunk(view: DataView, at: number, to: Cookie, offset: number, length: number): void {
  writeChunkHeader(view, at, to, ChunkType.offsetData, 8 + length);
  view.setUint32(at + 20, Math.floor(offset / 0x1_0000_0000));
  view.setUint32(at + 24, offset >>> 0);
}

/** 20 bytes: success without content. */
export function writeEmptyChunk(view: DataView, at: number, to: Cookie): void {
  writeChunkHeader(view, at, to, ChunkType.none, 0);
}

export function errorChunkBytes(sentence: Uint8Array): number {
  return chunkHeaderBytes + 6 + sentence.length;
}

/** Error 4 │ length of sentence 2 │ sentence. */
export function writeErrorChunk(view: DataView, at: number, to: Cookie, error: number, sentence: Uint8Array): void {
  writeChunkHeader(view, at, to, ChunkType.error, 6 + sentence.length);
  view.setUint32(at + 20, error);
  view.setUint16(at + 24, sentence.length);
  for (let index = 0; index < sentence.length; index += 1) view.setUint8(at + 26 + index, sentence[index] ?? 0);
}

export function statusChunkBytes(extents: readonly StatusExtent[]): number {
  return chunkHeaderBytes + 4 + 8 * extents.length;
}

/** Context id 4 │ (length 4 │ state 4) for each extent. A hole reads as zeroes. */
export function writeStatusChunk(view: DataView, at: number, to: Cookie, extents: readonly StatusExtent[]): void {
  writeChunkHeader(view, at, to, ChunkType.blockStatus, 4 + 8 * extents.length);
  view.setUint32(at + 20, allocationContextId);
  let next = at + 24;
  for (const extent of extents) {
    view.setUint32(next, extent.length);
    view.setUint32(next + 4, extent.data ? 0 : ExtentState.hole | ExtentState.zero);
    next += 8;
  }
}

function writeChunkHeader(view: DataView, at: number, to: Cookie, type: number, length: number): void {
  view.setUint32(at, structuredReplyMagic);
  view.setUint16(at + 4, ChunkFlag.done);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, to.cookieHigh);
  view.setUint32(at + 12, to.cookieLow);
  view.setUint32(at + 16, length);
}
