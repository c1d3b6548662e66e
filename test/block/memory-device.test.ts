import { expect, it } from 'vitest';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import type { BlockFault } from '../../src/block/device.ts';
import { MemoryDevice } from '../../src/block/memory-device.ts';
import { deviceContract } from '../contract/device.ts';

for (const blockSizeBytes of [512, 4096]) {
  deviceContract(`memory, blocks of ${blockSizeBytes}`, { showsHoles: true }, async () => ({
    device: new MemoryDevice({ sizeBytes: 4 << 20, blockSizeBytes, turn: new NodeTurn() }),
    run: (work) => work,
    dispose: async () => {},
  }));
}

it('meets the fault its test has chosen, and does nothing then', async () => {
  const fault: BlockFault = { kind: 'writeFailed', detail: 'chosen' };
  const device = new MemoryDevice({
    sizeBytes: 8192,
    blockSizeBytes: 4096,
    turn: new NodeTurn(),
    fate: (operation) => (operation.kind === 'write' && operation.offset === 4096 ? fault : null),
  });
  expect(await new Promise((resolve) => device.write(4096, new Uint8Array(4096).fill(1), resolve))).toBe(fault);
  const into = new Uint8Array(8192);
  await new Promise((resolve) => device.read(0, into, resolve));
  expect(into.every((byte) => byte === 0)).toBe(true);
});
