import { randomBytes, randomInt } from 'node:crypto';
import type { Random } from '../random.ts';

/** The kernel's randomness. */
export class NodeRandom implements Random {
  bytes(count: number): Uint8Array {
    return randomBytes(count);
  }

  below(bound: number): number {
    return randomInt(bound);
  }
}
