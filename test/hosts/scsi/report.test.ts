import { describe, expect, it } from 'vitest';
import { commands } from '../../../src/hosts/scsi/commands.ts';
import { ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { Bench, hexOf, senseOf } from './bench-unit.ts';

const bench = new Bench({
  commands,
  volumes: [
    { blocks: 2048, blockSizeBytes: 512 },
    { blocks: 256, blockSizeBytes: 4096 },
  ],
});

describe('REPORT LUNS (SPC-4 6.33)', () => {
  const report = (select: number, lun = 0): string =>
    hexOf(bench.send([0xa0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0], { lun }).data);
  const both = '0000001000000000' + '0000000000000000' + '0001000000000000';

  it('lists the units for every value of SELECT REPORT that means them, nothing for the others', () => {
    for (const select of [0x00, 0x02, 0x11]) expect(report(select)).toBe(both);
    for (const select of [0x01, 0x10, 0x12]) expect(report(select)).toBe('0000000000000000');
  });

  it('is answered at a LUN without a unit too', () => {
    expect(report(0x00, 9)).toBe(both);
  });

  it('refuses other values, and less room than for one LUN', () => {
    expect(senseOf(bench.send([0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0]))).toEqual([0x5, 0x2400]);
    expect(senseOf(bench.send([0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0]))).toEqual([0x5, 0x2400]);
    expect(hexOf(bench.send([0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]).data)).toBe(both.slice(0, 32));
  });
});

describe('READ CAPACITY (SBC-3 5.15, 5.16)', () => {
  it('tells the last block and the block length', () => {
    expect(hexOf(bench.send([0x25]).data)).toBe('000007ff' + '00000200');
    expect(hexOf(bench.send([0x25], { lun: 1 }).data)).toBe('000000ff' + '00001000');
  });

  it('tells in the long form that blocks are provisioned when written and read as zeroes before', () => {
    const long = (length: number): string =>
      hexOf(bench.send([0x9e, 0x10, ...new Array<number>(11).fill(0), length]).data);
    const whole = '00000000000007ff' + '00000200' + '0000c000' + '00'.repeat(16);
    expect(long(32)).toBe(whole);
    for (let length = 0; length < 16; length += 1) expect(long(length)).toBe(whole.slice(0, 2 * length));
  });

  it('takes a block address with PMI only', () => {
    expect(senseOf(bench.send([0x25, 0, 0, 0, 0, 1]))).toEqual([0x5, 0x2400]);
    expect(bench.send([0x25, 0, 0, 0, 0, 1, 0, 0, 1]).status).toBe(ScsiStatus.good);
    expect(senseOf(bench.send([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 32]))).toEqual([0x5, 0x2400]);
    expect(bench.send([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 32, 1]).status).toBe(ScsiStatus.good);
  });
});

describe('REPORT SUPPORTED OPERATION CODES (SPC-4 6.35)', () => {
  const ask = (option: number, opcode = 0, action = 0): ReturnType<Bench['send']> =>
    bench.send([0xa3, 0x0c, option, opcode, action >> 8, action & 0xff, 0, 0, 0xff, 0xff, 0, 0]);

  it('lists every command of the table, with time-outs when asked for', () => {
    const plain = ask(0).data;
    expect(plain.length).toBe(4 + 8 * commands.length);
    // By operation code: TEST UNIT READY is the first.
    expect(hexOf(plain.subarray(0, 12))).toBe(
      (8 * commands.length).toString(16).padStart(8, '0') + '0000000000000006',
    );
    const timed = ask(0x80).data;
    expect(timed.length).toBe(4 + 20 * commands.length);
    expect(hexOf(timed.subarray(4, 24))).toBe('0000000000020006' + '000a' + '00'.repeat(10));
  });

  it('describes one command by operation code, or by service action, and not the other way round', () => {
    for (const command of commands) {
      const { opcode, serviceAction, usage } = command;
      const [right, wrong] = serviceAction === null ? [1, 2] : [2, 1];
      const one = ask(right, opcode, serviceAction ?? 0).data;
      expect(hexOf(one), command.name).toBe('000300' + usage.length.toString(16).padStart(2, '0') + hexOf(usage));
      expect(senseOf(ask(wrong, opcode, serviceAction ?? 0)), command.name).toEqual([0x5, 0x2400]);
      expect(hexOf(ask(3, opcode, serviceAction ?? 0).data)).toBe(hexOf(one));
    }
    expect(hexOf(ask(0x81, 0x25).data)).toBe('0083000a' + '2500ffffffff00000100' + '000a' + '00'.repeat(10));
  });

  it('says of others that they are not there', () => {
    expect(hexOf(ask(1, 0x04).data)).toBe('00010000');
    expect(hexOf(ask(2, 0xa3, 0x1f).data)).toBe('00010000');
    expect(hexOf(ask(3, 0x12, 1).data)).toBe('00010000');
    expect(senseOf(ask(4))).toEqual([0x5, 0x2400]);
  });

  it('has usage that names operation code and service action, and no two commands alike', () => {
    const names = new Set(commands.map(({ opcode, serviceAction }) => `${opcode}/${serviceAction}`));
    expect(names.size).toBe(commands.length);
    for (const { name, opcode, serviceAction, usage } of commands) {
      expect(usage[0], name).toBe(opcode);
      if (serviceAction !== null) expect((usage[1] ?? 0) & 0x1f, name).toBe(serviceAction);
      expect(usage.length, name).toBe(opcode < 0x20 ? 6 : opcode < 0x60 ? 10 : opcode < 0xa0 ? 16 : 12);
    }
  });
});

describe('REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36)', () => {
  it('names those there are, in four bytes or sixteen', () => {
    const ask = (flags: number, length: number): ReturnType<Bench['send']> =>
      bench.send([0xa3, 0x0d, flags, 0, 0, 0, 0, 0, 0, length, 0, 0]);
    expect(hexOf(ask(0, 255).data)).toBe('da000000');
    expect(hexOf(ask(0x80, 255).data)).toBe('da00000c' + '00'.repeat(12));
    expect(senseOf(ask(0, 3))).toEqual([0x5, 0x2400]);
  });
});

describe('SEND DIAGNOSTIC (SPC-4 6.42)', () => {
  it('passes the default self test, and takes no pages', () => {
    expect(bench.send([0x1d, 0x04, 0, 0, 0, 0]).status).toBe(ScsiStatus.good);
    expect(senseOf(bench.send([0x1d, 0x04, 0, 0, 4, 0]))).toEqual([0x5, 0x2400]);
  });
});
