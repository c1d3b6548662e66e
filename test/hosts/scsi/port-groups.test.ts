import { describe, expect, it } from 'vitest';
import type { AccessState } from '../../../src/group/host-access.ts';
import { portGroupCommands } from '../../../src/hosts/scsi/port-groups.ts';
import { ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { Bench, hexOf, senseOf, twoNodes } from './bench-unit.ts';

function benchOf(east: AccessState, west: AccessState): Bench {
  const idle = { node: 'third', number: 3, access: 'standby', portals: [] } as const;
  return new Bench({
    commands: portGroupCommands,
    volumes: [{ blocks: 8, blockSizeBytes: 512 }],
    nodes: [...twoNodes(east, west), idle],
  });
}

const report = (bench: Bench, flags = 0): string =>
  hexOf(bench.send([0xa3, 0x0a | flags, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]).data);

describe('REPORT TARGET PORT GROUPS (SPC-4 6.37)', () => {
  const east = '8d00010000000200000001' + '00000002';
  const west = '8d000200000001' + '00000011';

  it('makes every node with portals a group, with its state and its ports', () => {
    expect(report(benchOf('active', 'standby'))).toBe('0000001c' + '00' + east + '02' + west);
    expect(report(benchOf('transitioning', 'unavailable'))).toBe('0000001c' + '0f' + east + '03' + west);
  });

  it('puts the time a transition may take into the extended header', () => {
    expect(report(benchOf('active', 'standby'), 0x20)).toBe('00000020' + '103c0000' + '00' + east + '02' + west);
  });
});

describe('SET TARGET PORT GROUPS (SPC-4 6.45)', () => {
  const set = (list: string, length = list.length / 2): ReturnType<Bench['send']> =>
    benchOf('active', 'standby').send([0xa4, 0x0a, 0, 0, 0, 0, 0, 0, length >> 8, length & 0xff, 0, 0], {
      dataOut: Buffer.from(list, 'hex'),
    });

  it('accepts the states as they are', () => {
    expect(set('').status).toBe(ScsiStatus.good);
    expect(set('00000000').status).toBe(ScsiStatus.good);
    expect(set('00000000' + '00000001' + '02000002').status).toBe(ScsiStatus.good);
  });

  it('refuses others: ownership moves by itself, or by the administrator', () => {
    expect(senseOf(set('00000000' + '00000002'))).toEqual([0x4, 0x670a]);
    expect(senseOf(set('00000000' + '00000001' + '00000002'))).toEqual([0x4, 0x670a]);
  });

  it('refuses states nobody can ask for, and groups there are not', () => {
    const transitioning = set('00000000' + '0f000001');
    expect(senseOf(transitioning)).toEqual([0x5, 0x2600]);
    expect(hexOf(transitioning.sense?.subarray(15) ?? [])).toBe('8b0004');
    expect(senseOf(set('00000000' + '02000003'))).toEqual([0x5, 0x2600]);
    expect(senseOf(set('00000000' + '00000001' + '00000009'))).toEqual([0x5, 0x2600]);
  });

  it('refuses lists that are cut', () => {
    expect(senseOf(set('00000000' + '000000'))).toEqual([0x5, 0x1a00]);
    expect(senseOf(set('000000'))).toEqual([0x5, 0x1a00]);
    expect(senseOf(set('00000000', 8))).toEqual([0x5, 0x1a00]);
    expect(senseOf(set('00'.repeat(2000)))).toEqual([0x5, 0x1a00]);
  });
});
