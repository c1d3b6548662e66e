import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import type { BlockFault, Completion, Device } from '../../src/block/device.ts';
import { FileDevice } from '../../src/block/file-device.ts';
import type { FileDeviceOptions } from '../../src/block/file-device.ts';
import { NodeDeviceProvider } from '../../src/block/node-device-provider.ts';
import { sparseCalls } from '../../src/block/sparse.ts';
import { deviceContract } from '../contract/device.ts';
import { mountSmall, withLoopDevice } from './loop.ts';

const sizeBytes = 4 << 20;
const run = <Value>(work: Promise<Value>): Promise<Value> => work;
const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'device-'));
const fault = (start: (done: Completion) => void): Promise<BlockFault | null> => new Promise(start);

function openFile(folder: string, options: Partial<FileDeviceOptions> = {}): FileDevice {
  const path = join(folder, 'volume.img');
  const descriptor = openSync(path, 'a+');
  closeSync(descriptor);
  truncateSync(path, sizeBytes);
  return new FileDevice({
    descriptor: openSync(path, 'r+'),
    path,
    sizeBytes,
    blockSizeBytes: 4096,
    kind: 'file',
    turn: new NodeTurn(),
    ...options,
  });
}

const variants: [string, Partial<FileDeviceOptions>][] = [
  ['direct calls', { calls: 'direct' }],
  ['direct calls, blocks of 512', { calls: 'direct', blockSizeBytes: 512 }],
  ['thread pool', { calls: 'pooled' }],
  ['without calls for sparse files', { sparse: null }],
];
for (const [name, options] of variants) {
  const showsHoles = sparseCalls !== null && options.sparse !== null;
  deviceContract(`file, ${name}`, { showsHoles }, async () => {
    const folder = temporaryFolder();
    return { device: openFile(folder, options), run, dispose: async () => rmSync(folder, { recursive: true }) };
  });
}

const loop = withLoopDevice(sizeBytes);
describe.skipIf(loop === null)('loop device (needs root and losetup)', () => {
  deviceContract('block device', { showsHoles: false }, async () => {
    const attached = loop?.();
    if (attached === undefined) throw new Error('no loop device');
    const provider = new NodeDeviceProvider(new NodeTurn());
    const { device } = await provider.open({ path: attached.path, sizeBytes, blockSizeBytes: 4096, create: false });
    return { device, run, dispose: async () => attached.detach() };
  });
});

describe('the choice between direct calls and the pool', () => {
  const block = new Uint8Array(4096).fill(1);
  let folder: string;
  let device: FileDevice;
  let deferred: (() => void)[];
  let nowMs: number;
  /** How far the clock goes on after it is read next: before a call, hence how long that seems to take. */
  let callMs: number;
  let waitedMs: number;

  beforeEach(() => {
    folder = temporaryFolder();
    deferred = [];
    nowMs = 1000;
    callMs = 0;
    waitedMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => {
      const beforeMs = nowMs;
      nowMs += callMs;
      callMs = 0;
      return beforeMs;
    });
    device = openFile(folder, {
      turn: { defer: (run) => deferred.push(run), atEnd: () => {} },
      processorWait: { mark: () => {}, sinceMarkMs: () => waitedMs },
    });
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    let closed = false;
    const closing = device.close().then(() => (closed = true));
    await waitFor(() => {
      for (const run of deferred.splice(0)) run();
      return closed;
    });
    await closing;
    rmSync(folder, { recursive: true });
  });

  async function waitFor(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  }

  /** A direct call has deferred its completion when it returns. */
  function writesDirectly(seemsToTakeMs = 0): boolean {
    const before = deferred.length;
    callMs = seemsToTakeMs;
    device.write(0, block, () => {});
    return deferred.length > before;
  }

  /** Writes once more, and returns when the pool is empty. */
  async function writesThroughPool(): Promise<void> {
    const before = deferred.length;
    expect(writesDirectly()).toBe(false);
    await waitFor(() => deferred.length > before);
  }

  it('is for direct calls until one takes longer than 5 ms, then for the pool for 100 ms', async () => {
    expect(writesDirectly()).toBe(true);
    expect(writesDirectly(4.9)).toBe(true);
    expect(writesDirectly()).toBe(true);
    expect(writesDirectly(6)).toBe(true);
    nowMs += 99;
    await writesThroughPool();
    nowMs += 2;
    expect(writesDirectly()).toBe(true);
  });

  it('does not take waiting for the processor for a slow device', () => {
    waitedMs = 15;
    expect(writesDirectly(19)).toBe(true);
    expect(writesDirectly(21)).toBe(true);
    expect(writesDirectly()).toBe(false);
  });

  it('stays with the pool twice as long each time the device is slow again, up to 10 s', async () => {
    for (const pooledMs of [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) {
      expect(writesDirectly(6)).toBe(true);
      nowMs += pooledMs - 1;
      await writesThroughPool();
      nowMs += 2;
    }
    nowMs += 20_001;
    expect(writesDirectly(6)).toBe(true);
    nowMs += 101;
    expect(writesDirectly()).toBe(true);
  });

  it('never lets a direct call overtake a transfer in the pool', () => {
    writesDirectly(6);
    expect(writesDirectly()).toBe(false);
    nowMs += 500;
    expect(writesDirectly()).toBe(false);
  });
});

describe('FileDevice', () => {
  let folder: string;
  let device: Device;

  beforeEach(() => {
    folder = temporaryFolder();
    device = openFile(folder);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await device.close();
    rmSync(folder, { recursive: true });
  });

  /** The monotonic clock, from now on as the test says. */
  function stopClock(): (forwardMs: number) => void {
    let nowMs = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
    return (forwardMs) => (nowMs += forwardMs);
  }

  it('is gone once its file has been deleted, and says so at the next flush after a second', async () => {
    const forward = stopClock();
    await fault((done) => device.write(0, new Uint8Array(4096), done));
    unlinkSync(join(folder, 'volume.img'));
    forward(1001);
    expect(await fault((done) => device.flush(done))).toMatchObject({
      kind: 'gone',
      detail: expect.stringContaining('deleted'),
    });
    expect(await fault((done) => device.write(0, new Uint8Array(4096), done))).toMatchObject({ kind: 'gone' });
    expect(await fault((done) => device.zero(0, 4096, 'punch', done))).toMatchObject({ kind: 'gone' });
  });

  it('is gone once its file has been cut short, for reads at once', async () => {
    truncateSync(join(folder, 'volume.img'), 6000);
    expect(await fault((done) => device.read(4096, new Uint8Array(8192), done))).toMatchObject({
      kind: 'gone',
      detail: expect.stringContaining(`ends before byte 6000 of ${sizeBytes}`),
    });
  });

  it('finds a file cut short by looking, also when nobody reads', async () => {
    const forward = stopClock();
    truncateSync(join(folder, 'volume.img'), 8192);
    forward(1001);
    expect(await fault((done) => device.flush(done))).toMatchObject({
      kind: 'gone',
      detail: expect.stringContaining(`cut to 8192 of ${sizeBytes} bytes`),
    });
  });

  it('gives space back by punching, and keeps it otherwise', async ({ skip }) => {
    if (sparseCalls === null) return skip('needs the optional calls for sparse files');
    const blocks = (): number => statSync(join(folder, 'volume.img')).blocks;
    await fault((done) => device.write(0, new Uint8Array(1 << 20).fill(1), done));
    await fault((done) => device.flush(done));
    const full = blocks();
    await fault((done) => device.zero(0, 1 << 20, 'keep', done));
    expect(blocks()).toBeGreaterThanOrEqual(full);
    await fault((done) => device.zero(0, 1 << 20, 'punch', done));
    expect(blocks()).toBeLessThan(full / 8);
  });

  it('describes no more than 1024 extents and calls the rest data', async ({ skip }) => {
    if (sparseCalls === null) return skip('needs the optional calls for sparse files');
    let calls = 0;
    const everySecond = {
      ...sparseCalls,
      seek: (_: number, offset: number, what: 'data' | 'hole') => {
        calls++;
        const odd = (offset / 512) % 2 === 1;
        return odd === (what === 'data') ? offset : offset + 512;
      },
    };
    await device.close();
    device = openFile(folder, { sparse: everySecond, blockSizeBytes: 512 });
    const extents = await new Promise<readonly { offset: number; length: number; data: boolean }[]>((resolve) => {
      device.allocation(0, sizeBytes, (_fault, found) => resolve(found));
    });
    expect(extents.length).toBeLessThanOrEqual(1024);
    expect(calls).toBeLessThanOrEqual(1024);
    expect(extents.at(-1)).toMatchObject({ data: true });
    expect(extents.reduce((sum, extent) => sum + extent.length, 0)).toBe(sizeBytes);
  });

  it('rounds holes inwards to whole blocks', async ({ skip }) => {
    if (sparseCalls === null) return skip('needs the optional calls for sparse files');
    // Data from 5000 to 9000, all else hole.
    const odd = {
      ...sparseCalls,
      seek: (_: number, offset: number, what: 'data' | 'hole') => {
        if (what === 'hole') return offset < 5000 || offset >= 9000 ? offset : 9000;
        return offset < 5000 ? 5000 : offset < 9000 ? offset : 'ENXIO';
      },
    };
    await device.close();
    device = openFile(folder, { sparse: odd });
    const extents = await new Promise((resolve) => device.allocation(0, 32_768, (_fault, found) => resolve(found)));
    expect(extents).toEqual([
      { offset: 0, length: 4096, data: false },
      { offset: 4096, length: 8192, data: true },
      { offset: 12_288, length: 20_480, data: false },
    ]);
  });

  it('goes on with written zeroes where the file system cannot punch, and asks it only once', async ({ skip }) => {
    if (sparseCalls === null) return skip('needs the optional calls for sparse files');
    let asked = 0;
    await device.close();
    device = openFile(folder, { sparse: { ...sparseCalls, punch: () => (asked++, 'EOPNOTSUPP') } });
    await fault((done) => device.write(0, new Uint8Array(3 << 20).fill(7), done));
    expect(await fault((done) => device.zero(0, 3 << 20, 'punch', done))).toBeNull();
    const into = new Uint8Array(3 << 20).fill(1);
    await fault((done) => device.read(0, into, done));
    expect(into.every((byte) => byte === 0)).toBe(true);
    expect(asked).toBe(1);
  });

  it('names a descriptor that has been closed under it', async () => {
    await device.close();
    expect(await fault((done) => device.write(0, new Uint8Array(4096), done))).toMatchObject({
      kind: 'gone',
      detail: expect.stringMatching(/^EBADF.*volume\.img$/),
    });
    device = openFile(folder);
  });
});

const small = mountSmall();
describe.skipIf(small === null)('a full file system (needs root and mount)', () => {
  it('R10: out of space is a fault of its own, after which the device works on', async () => {
    const mounted = small?.();
    if (mounted === undefined) throw new Error('nothing mounted');
    try {
      const device = openFile(mounted.folder);
      const data = new Uint8Array(1 << 20).fill(3);
      const faults: (BlockFault | null)[] = [];
      for (let offset = 0; offset < sizeBytes; offset += data.length) {
        faults.push(await fault((done) => device.write(offset, data, done)));
      }
      expect(faults[0]).toBeNull();
      expect(faults.at(-1)).toMatchObject({ kind: 'noSpace', detail: expect.stringContaining('ENOSPC') });
      expect(await fault((done) => device.zero(0, 1 << 20, 'punch', done))).toBeNull();
      expect(await fault((done) => device.write(0, data.subarray(0, 4096), done))).toBeNull();
      expect(await fault((done) => device.flush(done))).toBeNull();
      await device.close();
    } finally {
      mounted.unmount();
    }
  });
});

it('leaves no mounts or loop devices behind', ({ skip }) => {
  if (loop === null) skip('needs root');
  expect(execFileSync('losetup', ['-l', '-O', 'BACK-FILE']).toString()).not.toContain('holdfast-loop-test');
});
