/** Frames by which neighbours learn of an address, byte for byte. */
import { describe, expect, it } from 'vitest';
import { addressBytes, announcementFrame, holderIn, probeFrame } from '../../src/node/neighbour-frames.ts';

const mac = '02:00:00:00:00:07';
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('frames for neighbours', () => {
  it('BY-12: an announcement is an ARP request from and for the address (RFC 5227)', () => {
    expect(hex(announcementFrame(mac, '10.0.0.9'))).toBe(
      [
        'ffffffffffff',
        '020000000007',
        '0806',
        '0001080006040001',
        '020000000007',
        '0a000009',
        '000000000000',
        '0a000009',
      ].join(''),
    );
  });

  it('a probe says nothing of who asks', () => {
    expect(hex(probeFrame(mac, '10.0.0.9')).slice(56, 64)).toBe('00000000');
  });

  it('BY-12: an advertisement goes to all nodes, overrides, and its checksum is right (RFC 4861, RFC 4443)', () => {
    const frame = announcementFrame(mac, 'fd77::9');
    const body = frame.subarray(54);
    expect([hex(frame.subarray(0, 14)), frame[21], body[0], body[4]]).toEqual([
      '33330000000102000000000786dd',
      255,
      136,
      0x20,
    ]);
    const pseudo = Buffer.concat([frame.subarray(22, 54), Buffer.from([0, 0, 0, body.length, 0, 0, 0, 58]), body]);
    let sum = 0;
    for (let at = 0; at < pseudo.length; at += 2) sum += pseudo.readUInt16BE(at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    expect(sum).toBe(0xffff);
  });

  it('the holder is read from its answer, and from nothing else', () => {
    const other = '02:00:00:00:00:08';
    for (const address of ['10.0.0.9', 'fd77::9']) {
      expect(holderIn(announcementFrame(other, address), mac, address)).toBe(other);
      expect(holderIn(announcementFrame(mac, address), mac, address)).toBe(null);
      expect(holderIn(probeFrame(other, address), mac, address)).toBe(null);
      expect(holderIn(announcementFrame(other, address).subarray(0, 40), mac, address)).toBe(null);
    }
    expect(holderIn(announcementFrame(other, '10.0.0.8'), mac, '10.0.0.9')).toBe(null);
  });

  it.each([
    ['::', '0'.repeat(32)],
    ['fd77::9', 'fd770000000000000000000000000009'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['::ffff:10.0.0.9', '00000000000000000000ffff0a000009'],
  ])('reads %s', (text, bytes) => expect(hex(addressBytes(text))).toBe(bytes));
});
