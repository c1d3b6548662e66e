/**
 * Numbers of the NBD protocol as its public document (NBD proto.md) fixes them; all integers on the wire are
 * big-endian. Only what this server speaks or must recognise; what it means stands where it is used, and
 * docs/formats/nbd.md has the tables.
 */

/** `NBDMAGIC`, then `IHAVEOPT`, each as two 32-bit halves. */
export const serverMagicHigh = 0x4e42444d;
export const serverMagicLow = 0x41474943;
export const optionMagicHigh = 0x49484156;
export const optionMagicLow = 0x454f5054;

export const optionReplyMagicHigh = 0x0003e889;
export const optionReplyMagicLow = 0x045565a9;

export const requestMagic = 0x25609513;
export const simpleReplyMagic = 0x67446698;
export const structuredReplyMagic = 0x668e33ef;

export const requestHeaderBytes = 28;
export const simpleReplyBytes = 16;
export const chunkHeaderBytes = 20;
/** A structured reply's data chunk: the chunk header and the 64-bit offset of the data. */
export const dataChunkHeaderBytes = chunkHeaderBytes + 8;

/** Greeting of the server. */
export const HandshakeFlag = { fixedNewstyle: 1 << 0, noZeroes: 1 << 1 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  tooBig: 0x80000009,
} as const;

export const Info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const TransmissionFlag = {
  hasFlags: 1 << 0,
  flush: 1 << 2,
  fua: 1 << 3,
  trim: 1 << 5,
  writeZeroes: 1 << 6,
  dontFragment: 1 << 7,
  multiConnection: 1 << 8,
  cache: 1 << 10,
  fastZero: 1 << 11,
} as const;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const CommandFlag = {
  fua: 1 << 0,
  noHole: 1 << 1,
  dontFragment: 1 << 2,
  requestOne: 1 << 3,
  fastZero: 1 << 4,
} as const;

export const ChunkFlag = { done: 1 << 0 } as const;

export const ChunkType = { none: 0, offsetData: 1, blockStatus: 5, error: 0x8001 } as const;

export const ErrorNumber = {
  io: 5,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  notSupported: 95,
  shutdown: 108,
} as const;

/** Status of an extent in `base:allocation`. */
export const ExtentState = { hole: 1 << 0, zero: 1 << 1 } as const;

export const allocationContext = 'base:allocation';
/** Ours to choose; it is the only context there is. */
export const allocationContextId = 1;

/** Largest READ and WRITE. 32 MiB is what the document asks every server to stand, and what clients assume unasked. */
export const payloadBytesMax = 32 * 1024 * 1024;
/** What requests should be a multiple of; smaller ones are not slower by much, but the page cache thinks in pages. */
export const preferredBlockBytes = 4096;
/** Strings (names, queries) may not be longer. */
export const stringBytesMax = 4096;
