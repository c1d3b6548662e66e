import { describe, expect, it } from 'vitest';
import { Attention } from '../../../src/hosts/scsi/logical-unit.ts';
import { modeCommands } from '../../../src/hosts/scsi/mode.ts';
import { ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { Bench, hexOf, nexusOf, senseOf } from './bench-unit.ts';

function makeBench(): Bench {
  return new Bench({
    commands: modeCommands,
    volumes: [
      { blocks: 0x12345, blockSizeBytes: 512 },
      { blocks: 0x100, blockSizeBytes: 4096, writeCache: false },
    ],
  });
}

const caching = '08120400' + '00'.repeat(16);
const control = '0a0a0200' + '00000000' + 'ffff0000';
const exceptions = '1c0a0800' + '00'.repeat(8);
const shortDescriptor = '00012345' + '00000200';
const longDescriptor = '0000000000012345' + '00000000' + '00000200';

function sense6(bench: Bench, page: number, subpage = 0, { dbd = true, lun = 0 } = {}): string {
  return hexOf(bench.send([0x1a, dbd ? 8 : 0, page, subpage, 255, 0], { lun }).data);
}

function select6(bench: Bench, list: string, flags = 0x10): ReturnType<Bench['send']> {
  const dataOut = Buffer.from(list, 'hex');
  return bench.send([0x15, flags, 0, 0, dataOut.length, 0], { dataOut });
}

describe('MODE SENSE', () => {
  it('returns one page, all pages, and all with their subpages (SPC-4 6.13)', () => {
    const bench = makeBench();
    expect(sense6(bench, 0x0a)).toBe('0f001000' + control);
    expect(sense6(bench, 0x0a, 0xff)).toBe('0f001000' + control);
    expect(sense6(bench, 0x3f)).toBe('2f001000' + caching + control + exceptions);
    expect(sense6(bench, 0x3f, 0xff)).toBe(sense6(bench, 0x3f));
  });

  it('follows the setting of the volume in WCE', () => {
    const bench = makeBench();
    expect(sense6(bench, 0x08)).toBe('17001000' + caching);
    expect(sense6(bench, 0x08, 0, { lun: 1 })).toBe('17001000' + '0812' + '00'.repeat(18));
  });

  it('describes the blocks unless told not to, in the long form only where allowed (SBC-3 6.5.2)', () => {
    const bench = makeBench();
    expect(sense6(bench, 0x0a, 0, { dbd: false })).toBe('17001008' + shortDescriptor + control);
    const ten = (flags: number): string => hexOf(bench.send([0x5a, flags, 0x0a, 0, 0, 0, 0, 0, 255, 0]).data);
    expect(ten(0x00)).toBe('001a0010' + '00000008' + shortDescriptor + control);
    expect(ten(0x10)).toBe('00220010' + '01000010' + longDescriptor + control);
    expect(ten(0x18)).toBe('00120010' + '01000000' + control);
  });

  it('tells what can be changed, and what it was made with', () => {
    const bench = makeBench();
    bench.unit(0).descriptorSense = true;
    expect(sense6(bench, 0x4a)).toBe('0f001000' + '0a0a04' + '00'.repeat(9));
    expect(sense6(bench, 0x48)).toBe('17001000' + '0812' + '00'.repeat(18));
    expect(sense6(bench, 0x5c)).toBe('0f001000' + '1c0a' + '00'.repeat(10));
    expect(sense6(bench, 0x0a)).toBe('0f001000' + control.replace('0a0a02', '0a0a06'));
    expect(sense6(bench, 0x8a)).toBe('0f001000' + control);
  });

  it('has nothing saved: SAVING PARAMETERS NOT SUPPORTED (SPC-4 6.13)', () => {
    expect(senseOf(makeBench().send([0x1a, 0, 0xff, 0, 255, 0]))).toEqual([0x5, 0x3900]);
  });

  it('refuses pages and subpages there are not, and points at them', () => {
    const bench = makeBench();
    const page = bench.send([0x1a, 0, 0x19, 0, 255, 0]);
    expect(senseOf(page)).toEqual([0x5, 0x2400]);
    expect(hexOf(page.sense?.subarray(15) ?? [])).toBe('cd0002');
    const subpage = bench.send([0x1a, 0, 0x0a, 1, 255, 0]);
    expect(senseOf(subpage)).toEqual([0x5, 0x2400]);
    expect(hexOf(subpage.sense?.subarray(15) ?? [])).toBe('c00003');
  });

  it('is cut to the allocation length', () => {
    const bench = makeBench();
    expect(hexOf(bench.send([0x1a, 8, 0x3f, 0, 4, 0]).data)).toBe('2f001000');
    expect(bench.send([0x1a, 8, 0x3f, 0, 0, 0]).status).toBe(ScsiStatus.good);
  });
});

describe('MODE SELECT', () => {
  const withDSense = control.replace('0a0a02', '0a0a06');

  it('changes D_SENSE, and other nexuses are told so once there is something new (SPC-4 6.11)', () => {
    const bench = makeBench();
    const [unit] = bench.units;
    expect(select6(bench, '00000000' + withDSense).status).toBe(ScsiStatus.good);
    expect(unit?.descriptorSense).toBe(true);
    expect(unit?.attentions).toEqual([{ code: Attention.modeParametersChanged, except: nexusOf(1) }]);
    expect(select6(bench, '00000000' + withDSense).status).toBe(ScsiStatus.good);
    expect(unit?.attentions).toHaveLength(1);
    const refusal = select6(bench, '00000000' + control, 0x11);
    expect(refusal.sense?.[0]).toBe(0x72);
    expect(senseOf(refusal)).toEqual([0x5, 0x2400]);
  });

  it('takes back what MODE SENSE gave, with either descriptor', () => {
    const bench = makeBench();
    expect(select6(bench, '00001008' + shortDescriptor + caching + withDSense + exceptions).status).toBe(0);
    expect(bench.units[0]?.descriptorSense).toBe(true);
    const list = Buffer.from('00000000' + '01000010' + longDescriptor + control, 'hex');
    expect(bench.send([0x55, 0x10, 0, 0, 0, 0, 0, 0, list.length, 0], { dataOut: list }).status).toBe(0);
    expect(bench.units[0]?.descriptorSense).toBe(false);
  });

  it('applies nothing of a list with anything wrong in it, and points at the byte', () => {
    const cases: [why: string, list: string, byte: number][] = [
      ['WCE is the volume’s', '00000000' + withDSense + caching.replace('081204', '081200'), 4 + 12 + 2],
      ['SWP is not offered', '00000000' + '0a0a0600' + '08000000' + 'ffff0000', 4 + 4],
      ['no such page', '00000000' + withDSense + '190600000000', 4 + 12],
      ['no subpages', '00000000' + withDSense + '4a01000000', 4 + 12],
      ['PS is reserved', '00000000' + '8a' + withDSense.slice(2), 4],
      ['page of another length', '00000000' + '0a0b02' + '00'.repeat(10), 4 + 1],
      ['medium type', '00010000' + withDSense, 1],
      ['a descriptor of another length', '00000007' + '00'.repeat(7) + withDSense, 3],
      ['another capacity', '00000008' + '00000001' + '00000200' + withDSense, 4],
      ['another block length', '00000008' + '00000000' + '00001000' + withDSense, 4 + 5],
    ];
    for (const [why, list, byte] of cases) {
      const bench = makeBench();
      const answer = select6(bench, list);
      expect(senseOf(answer), why).toEqual([0x5, 0x2600]);
      expect(hexOf(answer.sense?.subarray(15) ?? []), why).toBe('8000' + byte.toString(16).padStart(2, '0'));
      expect(bench.units[0]?.descriptorSense, why).toBe(false);
      expect(bench.units[0]?.attentions, why).toEqual([]);
    }
  });

  it('finds a list too short that ends inside something: PARAMETER LIST LENGTH ERROR', () => {
    const whole = '00000008' + shortDescriptor + withDSense + caching;
    const ends = [4 + 8, 4 + 8 + 12, 4 + 8 + 12 + 20];
    for (let length = 1; length <= whole.length / 2; length += 1) {
      const answer = select6(makeBench(), whole.slice(0, 2 * length));
      if (ends.includes(length)) expect(answer.status, `${length} bytes`).toBe(ScsiStatus.good);
      else expect(senseOf(answer), `${length} bytes`).toEqual([0x5, 0x1a00]);
    }
    const cut = makeBench().send([0x15, 0x10, 0, 0, 16, 0], {
      dataOut: Buffer.from('00000000' + control.slice(8), 'hex'),
    });
    expect(senseOf(cut)).toEqual([0x5, 0x1a00]);
  });

  it('does nothing with an empty list, and refuses to save or to take a vendor’s format', () => {
    const bench = makeBench();
    expect(select6(bench, '').status).toBe(ScsiStatus.good);
    expect(senseOf(select6(bench, '', 0x11))).toEqual([0x5, 0x2400]);
    expect(senseOf(select6(bench, '00000000' + withDSense, 0x00))).toEqual([0x5, 0x2400]);
  });
});
