import { describe, expect, it } from 'vitest';
import { inquiryCommands } from '../../../src/hosts/scsi/inquiry.ts';
import { Bench, hexOf, nexusOf, senseOf, targetName, wwidOf } from './bench-unit.ts';

const bench = new Bench({
  commands: inquiryCommands,
  volumes: [
    { blocks: 2048, blockSizeBytes: 512 },
    { blocks: 256, blockSizeBytes: 4096, writeCache: false },
  ],
});

function inquiry(page: number | null, { lun = 0, targetPort = 1, allocationLength = 1024 } = {}): Uint8Array {
  const cdb = [0x12, page === null ? 0 : 1, page ?? 0, allocationLength >> 8, allocationLength & 0xff, 0];
  return bench.send(cdb, { lun, nexus: nexusOf(targetPort) }).data;
}

const text = (value: string): string => hexOf(new TextEncoder().encode(value));

describe('standard INQUIRY data', () => {
  it('is that of a thin disk of SPC-4, with version descriptors for SAM-5, SPC-4, SBC-3 and iSCSI (SPC-4 6.6.2)', () => {
    expect(hexOf(inquiry(null))).toBe(
      '00000612' + // disk, not removable, SPC-4, HISUP and format 2
        '5b181002' + // 91 bytes follow, implicit ALUA and copies, several ports, command queuing
        text('HOLDFAST') +
        text('VOLUME          ') +
        text('0001') +
        '00'.repeat(22) +
        '00a0046004c00960' +
        '00'.repeat(30),
    );
  });

  it('says of a LUN without a unit that there is none, and could be none (SPC-4 table 177)', () => {
    const data = inquiry(null, { lun: 7 });
    expect(data[0]).toBe(0x7f);
    expect(data.length).toBe(96);
    expect(hexOf(inquiry(0x00, { lun: 7 }))).toBe('7f00000100');
    expect(senseOf(bench.send([0x12, 1, 0x83, 0, 255, 0], { lun: 7 }))).toEqual([0x5, 0x2400]);
  });

  it('is cut to the allocation length, from 0 on, its own length untouched (SPC-4 4.2.5.6)', () => {
    const whole = inquiry(null);
    for (const allocationLength of [0, 1, 5, 36, 95, 96, 97, 256]) {
      expect(inquiry(null, { allocationLength })).toEqual(whole.subarray(0, allocationLength));
    }
  });

  it('refuses a page code without EVPD, and a page there is not, with a pointer to the page code', () => {
    for (const cdb of [
      [0x12, 0, 1, 0, 255, 0],
      [0x12, 1, 0xb7, 0, 255, 0],
    ]) {
      const answer = bench.send(cdb);
      expect(senseOf(answer)).toEqual([0x5, 0x2400]);
      expect(hexOf(answer.sense?.subarray(15) ?? [])).toBe('c00002');
    }
  });
});

describe('vital product data', () => {
  it('lists exactly the pages there are, ascending (SPC-4 7.8.11)', () => {
    expect(hexOf(inquiry(0x00))).toBe('000000090080838687' + '8fb0b1b2');
    for (const page of inquiry(0x00).subarray(4)) {
      const data = inquiry(page);
      expect(data[1]).toBe(page);
      expect(data.length).toBe(4 + ((data[2] ?? 0) << 8) + (data[3] ?? 0));
    }
  });

  it('has the WWID as serial number', () => {
    expect(hexOf(inquiry(0x80))).toBe('00800020' + text(wwidOf(0)));
  });

  it('names the unit first by NAA, then by vendor, and the port asked through (SPC-4 7.8.5)', () => {
    const portName = `${targetName},t,0x0012`;
    // Null-terminated, and padded to a multiple of four: 40 + 4 and 31 + 1 bytes.
    expect(hexOf(inquiry(0x83, { targetPort: 18 }))).toBe(
      '008300a4' +
        ('01030010' + wwidOf(0)) +
        ('02010028' + text('HOLDFAST' + wwidOf(0))) +
        '5194000400000012' + // relative target port 18
        '5195000400000002' + // target port group 2: the node's number
        ('5398002c' + text(portName) + '00000000') +
        ('53a80020' + text(targetName) + '00'),
    );
  });

  it('is byte for byte the same at two nodes, but for what names their ports (TL-14)', () => {
    const east = { targetPort: 1 };
    const west = { targetPort: 17 };
    expect(inquiry(null, west)).toEqual(inquiry(null, east));
    for (const page of inquiry(0x00)
      .subarray(4)
      .filter((other) => other !== 0x83)) {
      expect(hexOf(inquiry(page, west))).toBe(hexOf(inquiry(page, east)));
    }
    const ofPort = (bytes: readonly number[]): boolean => ((bytes[1] ?? 0) & 0x30) === 0x10;
    const designators = (page: Uint8Array): number[][] => {
      const found: number[][] = [];
      for (let at = 4; at < page.length; at += 4 + (page[at + 3] ?? 0)) {
        found.push([...page.subarray(at, at + 4 + (page[at + 3] ?? 0))]);
      }
      return found;
    };
    const atEast = designators(inquiry(0x83, east));
    const atWest = designators(inquiry(0x83, west));
    expect(atWest.filter((one) => !ofPort(one))).toEqual(atEast.filter((one) => !ofPort(one)));
    expect(atEast.filter(ofPort)).toHaveLength(3);
    expect(atWest.filter(ofPort)).not.toEqual(atEast.filter(ofPort));
  });

  it('tells which task attributes there are, and whether a cache is volatile (SPC-4 7.8.7)', () => {
    expect(hexOf(inquiry(0x86))).toBe('0086003c000701' + '00'.repeat(57));
    expect(hexOf(inquiry(0x86, { lun: 1 }))).toBe('0086003c000700' + '00'.repeat(57));
  });

  it('shares mode pages among all nexuses (SPC-4 7.8.9)', () => {
    expect(hexOf(inquiry(0x87))).toBe('008700043fff0000');
  });

  it('limits one command in blocks of the unit (SBC-3 6.6.3)', () => {
    expect(hexOf(inquiry(0xb0))).toBe(
      '00b0003c' +
        '00ff0008' + // COMPARE AND WRITE 255, granularity 4 KiB
        '00004000' + // at most 8 MiB
        '00000800' + // best 1 MiB
        '00000000' +
        '00100000' + // unmapped: 2^20 blocks a descriptor
        '00000100' + // 256 descriptors
        '00000008' +
        '80000000' +
        '000000000000ffff' + // WRITE SAME: what its short form can say
        '00'.repeat(20),
    );
    expect(hexOf(inquiry(0xb0, { lun: 1 }).subarray(4, 24))).toBe('00ff0001000008000000010000000000' + '00040000');
  });

  it('is a thin medium that does not rotate, unmapped in three ways, and reads as zeroes (SBC-3 6.6.2, 6.6.4)', () => {
    expect(hexOf(inquiry(0xb1))).toBe('00b1003c0001' + '00'.repeat(58));
    expect(hexOf(inquiry(0xb2))).toBe('00b2000400e40200');
  });

  it('tells of copies what RECEIVE COPY RESULTS tells (SPC-4 7.8.17)', () => {
    expect(hexOf(inquiry(0x8f))).toBe(
      '008f0084' +
        '0001000c' +
        '0983010084040001' +
        '03040000' +
        '0004001c' +
        '00000000' +
        '0010004000000900' +
        '00000000' +
        '00'.repeat(12) +
        '00080004' +
        '0202e400' +
        '000c0004' +
        '00000000' +
        '80010020' +
        '0000001000000010' +
        '0ffff000' +
        '0900' +
        '00'.repeat(18) +
        'c001001c' +
        '00'.repeat(28),
    );
  });
});
