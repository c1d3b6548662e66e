/** Noise in the full feature phase: spoilt, cut, repeated and made-up PDUs beside a session that behaves. */
import { expect, it } from 'vitest';
import { Prng } from '../../../src/sim/world/prng.ts';
import { noTag, pattern, read10, write10 } from './host.ts';
import { type Line, World } from './world.ts';

const conversations = 400;
/** One command may exceed the limit; what it says it expects counts up to here. */
const commandBytesMax = 8 * 1024 * 1024;
const limits = { sessionBytesMax: 65536, totalBytesMax: 131072, commandWindow: 16, maxRecvDataSegmentLength: 8192 };

it(`${conversations} spoilt conversations hurt nobody else, and leave nothing behind`, () => {
  let ended = 0;
  let answered = 0;
  for (let seed = 0; seed < conversations; seed++) {
    const random = new Prng(`session-fuzz-${seed}`);
    const world = new World(limits);
    const good = world.enter({ isid: '00023d0000aa' });
    const digest = random.below(3) === 0 ? 'CRC32C' : 'None';
    const bad = world.enter({ keys: [`InitialR2T=${random.below(2) === 0 ? 'Yes' : 'No'}`, `DataDigest=${digest}`] });
    bad.host.settings = { ...bad.host.settings, sendSegment: 4096 };
    if (random.below(4) === 0) world.device.holding = true;
    for (let step = 0; step < 30 && !bad.stream.closed; step++) {
      answered += speak(bad, spoilt(noise(bad, random), random), random);
      expect(world.server.usedBytes).toBeLessThanOrEqual(limits.sessionBytesMax + commandBytesMax);
    }
    world.device.release();
    world.turn.run();
    const all = pattern(4096, seed);
    expect(good.write(write10(2048, 8), all).answer.status).toBe(0);
    expect(world.device.data.subarray(2048 * 512, 2048 * 512 + 4096).equals(all)).toBe(true);
    if (bad.stream.closed) ended += 1;
    bad.stream.close();
    good.say(good.host.logout({}));
    world.turn.run();
    expect(world.device.nexuses.size).toBe(0);
    expect(world.device.tasks.size).toBe(0);
    expect(world.server.usedBytes).toBe(0);
  }
  // Both ends were reached: sessions that had to go, and such that lived with it.
  expect(ended).toBeGreaterThan(conversations / 20);
  expect(ended).toBeLessThan(conversations);
  expect(answered).toBeGreaterThan(conversations);
});

/** How many PDUs came back; what they are is anything. */
function speak(line: Line, bytes: Buffer, random: Prng): number {
  for (let at = 0; at < bytes.length && !line.stream.paused;) {
    const end = Math.min(bytes.length, at + 1 + random.below(4096));
    line.stream.deliver(bytes.subarray(at, end));
    at = end;
  }
  return line.hear().length;
}

function noise(line: Line, random: Prng): Buffer {
  const { host } = line;
  const blocks = 1 + random.below(16);
  // Below what the good session uses.
  const block = random.below(1024);
  const tag = host.tag - random.below(4);
  switch (random.below(9)) {
    case 0:
      return host.command({
        read: true,
        expected: random.below(20_000),
        cdb: read10(block, blocks),
        attribute: random.below(6),
      });
    case 1:
      return host.write({ cdb: write10(block, blocks), all: pattern(blocks * 512), expected: random.below(20_000) })
        .bytes;
    case 2:
      return host.dataOut({
        tag,
        transferTag: random.below(2) === 0 ? noTag : 1 + random.below(8),
        dataSn: random.below(3),
        offset: random.below(4) * 512,
        data: pattern(random.below(4097)),
        final: random.below(2) === 0,
      });
    case 3:
      return host.manage({
        function: random.below(7),
        refTag: tag,
        refCmdSn: (host.cmdSn + random.below(4) - 2) >>> 0,
        lun: random.below(2),
      });
    case 4:
      return host.nopOut({ data: pattern(random.below(64)), immediate: random.below(2) === 0 });
    case 5:
      return host.text('SendTargets=');
    case 6:
      return host.command({
        cdb: Buffer.alloc(16),
        cmdSn: (host.cmdSn + random.below(20) - 4) >>> 0,
        tag,
        ahs: pattern(random.below(3) * 4),
      });
    case 7:
      return host.logout({ reason: 1 + random.below(3), cid: 1 });
    default:
      return host.pdu(Buffer.from(random.bytes(48)), random.bytes(random.below(100)));
  }
}

function spoilt(bytes: Buffer, random: Prng): Buffer {
  if (random.below(3) > 0) return bytes;
  const copy = Buffer.from(bytes);
  switch (random.below(3)) {
    case 0: {
      const at = random.below(copy.length);
      copy[at] = random.below(256);
      return copy;
    }
    case 1:
      return Buffer.concat([copy, copy]);
    default:
      return copy.subarray(0, 48 + random.below(Math.max(1, copy.length - 48)));
  }
}
