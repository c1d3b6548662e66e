/** fio writes checksummed blocks and reads them back, in every mode a leg can have. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mustRun } from './command.ts';
import { Pair } from './pair.ts';

const modes = ['sync', 'receive', 'async'] as const;

describe('fio verifies what it wrote', () => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await Pair.start({
      groups: [
        { name: 'alone', owner: 'east', volumes: [{ name: 'alone', size: '128MiB' }] },
        ...modes.map((mode) => ({
          name: mode,
          owner: 'east' as const,
          volumes: [{ name: mode, size: '128MiB' }],
          mirrors: [{ to: 'west' as const, mode }],
        })),
      ],
    });
  });

  afterAll(() => pair?.stop());

  const verify = (volume: string, ...more: string[]) =>
    mustRun('fio', [
      ...['--name=verify', '--ioengine=nbd', `--uri=${pair.uri('east', volume)}`, '--thread=1'],
      ...[
        '--verify=crc32c',
        '--verify_fatal=1',
        '--do_verify=1',
        '--verify_state_save=0',
        '--iodepth=16',
        '--size=48M',
      ],
      ...more,
    ]);

  test('IM-10: unmirrored, mixed block sizes', async () => {
    await verify('alone', '--rw=randwrite', '--bsrange=4k-128k', '--bs_unaligned=0');
  });

  test.each(modes)('IM-3: %s, mixed block sizes with flushes, and both legs are equal', async (mode) => {
    await verify(mode, '--rw=randwrite', '--bsrange=4k-128k', '--fsync=16');
    await pair.untilEstablished();
    await pair.compareLegs(mode);
  });

  test.each(modes)('IM-3: %s, 4 KiB random writes read back while writing', async (mode) => {
    await verify(mode, '--rw=randwrite', '--bs=4k', '--verify_backlog=256');
    await pair.untilEstablished();
    await pair.compareLegs(mode);
  });

  test('TL-6: the lag of an asynchronous leg stays within its bounds under load, and ends with it', async () => {
    const samples: { writes: number | null; bytes: number | null }[] = [];
    let done = false;
    const load = verify('async', '--rw=randwrite', '--bs=4k', '--loops=3').finally(() => (done = true));
    while (!done) {
      samples.push((await pair.leg('west', 'async')).lag);
      await delay(20);
    }
    await load;
    expect(Math.max(...samples.map(({ writes }) => writes ?? 0))).toBeLessThanOrEqual(4096);
    expect(Math.max(...samples.map(({ bytes }) => bytes ?? 0))).toBeLessThanOrEqual(64 * 1024 ** 2);
    await pair.untilEstablished();
    expect((await pair.leg('west', 'async')).lag).toMatchObject({ writes: 0, bytes: 0 });
  });
});
