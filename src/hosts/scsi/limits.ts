/**
 * What one command may ask of a unit, as told in the Block Limits page (SBC-3 6.6.3) and held to by the block commands.
 * All in logical blocks, but where a name says otherwise.
 */
export interface BlockLimits {
  readonly maximumTransfer: number;
  readonly optimalTransfer: number;
  /** The medium's own unit is 4 KiB. */
  readonly granularity: number;
  /** Of one descriptor. */
  readonly unmap: number;
  readonly unmapDescriptors: number;
  readonly writeSame: number;
  readonly compareAndWrite: number;
}

const mebibyte = 1024 * 1024;

const limitsOf = (blockSizeBytes: number): BlockLimits => ({
  maximumTransfer: (8 * mebibyte) / blockSizeBytes,
  optimalTransfer: mebibyte / blockSizeBytes,
  granularity: 4096 / blockSizeBytes,
  // 1 GiB, and no more than 2²⁰ blocks: initiators' test suites take a larger number for a mistake.
  unmap: Math.min((1024 * mebibyte) / blockSizeBytes, 1 << 20),
  unmapDescriptors: 256,
  // What WRITE SAME(10) can say.
  writeSame: 0xffff,
  compareAndWrite: 255,
});
const limits = { 512: limitsOf(512), 4096: limitsOf(4096) } as const;

export function blockLimits(blockSizeBytes: 512 | 4096): BlockLimits {
  return limits[blockSizeBytes];
}
