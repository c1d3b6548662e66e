/** The full feature phase: numbers, management, signs of life, the end, and bounds. */
import { describe, expect, it } from 'vitest';
import { noTag, pattern, read10, write10 } from './host.ts';
import { isid, type Line, World } from './world.ts';

const testUnitReady = Buffer.alloc(16);

function opcodes(answers: readonly { opcode: number }[]): number[] {
  return answers.map((answer) => answer.opcode);
}

function startWrite(
  line: Line,
  block: number,
  blocks: number,
  seed = 1,
): { tag: number; all: Buffer; transferTag: number } {
  const all = pattern(blocks * 512, seed);
  const [r2t] = line.say(line.host.write({ cdb: write10(block, blocks), all }).bytes);
  return { tag: line.host.tag, all, transferTag: r2t?.transferTag ?? expect.unreachable('no R2T') };
}

describe('command numbers (RFC 7143 4.2.2.1)', () => {
  it('open a window that moves on as commands end', () => {
    const world = new World({ commandWindow: 4 });
    const line = world.enter();
    world.device.holding = true;
    const { host } = line;
    expect(line.say(...[1, 2, 3, 4].map(() => host.command({ cdb: testUnitReady })))).toEqual([]);
    // The fifth is outside: ignored, whatever comes of the others.
    line.say(host.command({ cdb: testUnitReady, cmdSn: 5 }));
    expect(world.device.tasks.size).toBe(4);
    world.device.release();
    const answers = line.hear();
    expect(answers.map(({ expCmdSn, maxCmdSn }) => [expCmdSn, maxCmdSn])).toEqual([
      [5, 5],
      [5, 6],
      [5, 7],
      [5, 8],
    ]);
    expect(line.say(host.command({ cdb: testUnitReady, cmdSn: 5 }))).toHaveLength(1);
  });

  it.each([0, 0x7ffffffe, 0xfffffffe])('wrap round (from %i)', (first) => {
    const world = new World({ commandWindow: 4 });
    const line = world.connect();
    line.host.cmdSn = first;
    line.login();
    for (let count = 0; count < 6; count++) {
      const [answer] = line.say(line.host.command({ cdb: testUnitReady }));
      expect(answer).toMatchObject({
        opcode: 0x21,
        expCmdSn: (first + count + 1) >>> 0,
        maxCmdSn: (first + count + 4) >>> 0,
      });
    }
    expect(line.say(line.host.command({ cdb: testUnitReady, cmdSn: (first + 4) >>> 0 }))).toEqual([]);
    expect(line.say(line.host.command({ cdb: testUnitReady, cmdSn: (first + 10) >>> 0 }))).toEqual([]);
  });

  it('bring commands that came early into order, and each counts once', () => {
    const world = new World();
    const line = world.enter();
    const { host } = line;
    const write = (block: number, cmdSn: number): Buffer =>
      host.command({ write: true, cdb: write10(block, 1), data: pattern(512, block), cmdSn });
    expect(line.say(write(3, 3), write(2, 2), write(3, 3))).toEqual([]);
    expect(line.say(write(1, 1))).toHaveLength(3);
    expect(world.device.calls.slice(1)).toEqual(['write 1+512', 'write 2+512', 'write 3+512']);
    expect(world.device.data.subarray(1536, 2048).equals(pattern(512, 3))).toBe(true);
    expect(line.say(write(3, 3))).toEqual([]);
  });

  it('are not used by immediate commands, of which there is a limit', () => {
    const world = new World({ commandWindow: 2, immediateMax: 3 });
    const line = world.enter();
    world.device.holding = true;
    const { host } = line;
    const commands = [1, 2, 3, 4].map(() => host.command({ cdb: testUnitReady, immediate: true }));
    expect(line.say(...commands)).toMatchObject([{ opcode: 0x3f, response: 0x06, expCmdSn: 1, maxCmdSn: 2 }]);
    world.device.release();
    expect(line.hear()).toHaveLength(3);
    expect(line.say(host.command({ cdb: testUnitReady, immediate: true }))).toMatchObject([
      { expCmdSn: 1, maxCmdSn: 2 },
    ]);
  });

  it('are used up by a command whose task tag is in use', () => {
    const world = new World();
    const line = world.enter();
    world.device.holding = true;
    const { host } = line;
    line.say(host.command({ cdb: testUnitReady, tag: 7 }));
    expect(line.say(host.command({ cdb: testUnitReady, tag: 7 }))).toMatchObject([
      { opcode: 0x3f, response: 0x07, expCmdSn: 3 },
    ]);
    world.device.release();
    expect(line.hear()).toMatchObject([{ opcode: 0x21, tag: 7 }]);
  });
});

describe('ordered commands (SAM-5 8.6.3)', () => {
  it('wait for writes that still gather, and hold back later commands', () => {
    const world = new World();
    const line = world.enter({ keys: ['ImmediateData=No'] });
    const { host } = line;
    const { tag, all, transferTag } = startWrite(line, 0, 2);
    expect(line.say(host.command({ cdb: testUnitReady, attribute: 2 }))).toEqual([]);
    expect(line.say(host.command({ read: true, expected: 512, cdb: read10(5, 1) }))).toEqual([]);
    expect(line.say(host.command({ cdb: testUnitReady, attribute: 3 }))).toHaveLength(1);
    expect(line.say(...host.sequence(tag, transferTag, all, 0, 1024))).toHaveLength(3);
    expect(world.device.calls.slice(1)).toEqual([
      'op0 0+0 headOfQueue',
      'write 0+1024',
      'op0 0+0 ordered',
      'read 5+512',
    ]);
  });

  it('are let go when what they wait for is aborted', () => {
    const world = new World();
    const line = world.enter({ keys: ['ImmediateData=No'] });
    const { host } = line;
    const { tag } = startWrite(line, 0, 2);
    line.say(host.command({ cdb: testUnitReady, attribute: 2 }));
    expect(opcodes(line.say(host.manage({ function: 1, refTag: tag, refCmdSn: 1 })))).toEqual([0x22, 0x21]);
  });
});

describe('task management', () => {
  it('aborts a command that still gathers: its data is passed over', () => {
    const world = new World();
    const line = world.enter({ keys: ['ImmediateData=No'] });
    const { host } = line;
    const { tag, all, transferTag } = startWrite(line, 0, 2);
    expect(line.say(host.manage({ function: 1, refTag: tag }))).toMatchObject([{ opcode: 0x22, response: 0 }]);
    expect(line.say(...host.sequence(tag, transferTag, all, 0, 1024))).toEqual([]);
    expect(world.device.calls).toHaveLength(1);
    expect(world.server.usedBytes).toBe(0);
    // Its place in the window is free again.
    expect(line.say(host.command({ cdb: testUnitReady }))).toMatchObject([{ expCmdSn: 3, maxCmdSn: 2 + 128 }]);
  });

  it.each([false, true])(
    'answers an abort when the command has ended, and never the command (too late: %s) (I9)',
    (late) => {
      const world = new World();
      world.device.finishing = late;
      const line = world.enter();
      const { host } = line;
      world.device.holding = true;
      line.say(host.command({ write: true, cdb: write10(0, 1), data: pattern(512) }));
      expect(line.say(host.manage({ function: 1, refTag: host.tag }))).toEqual([]);
      world.device.release();
      expect(opcodes(line.hear())).toEqual([0x22]);
      expect(world.device.tasks.size).toBe(0);
    },
  );

  it('takes a command that has not come for aborted (RFC 7143 11.6.1)', () => {
    const world = new World();
    const line = world.enter();
    const { host } = line;
    line.say(host.command({ cdb: testUnitReady, cmdSn: 2, tag: 2 }));
    host.cmdSn = 3;
    const abort = host.manage({ function: 1, refTag: 1, refCmdSn: 1 });
    expect(opcodes(line.say(abort)).sort()).toEqual([0x21, 0x22]);
    expect(line.say(host.command({ cdb: testUnitReady, cmdSn: 1, tag: 1 }))).toEqual([]);
    expect(line.say(host.command({ cdb: testUnitReady }))).toHaveLength(1);
  });

  it('knows no task that has ended, or never was', () => {
    const world = new World();
    const line = world.enter();
    const { host } = line;
    line.say(host.command({ cdb: testUnitReady, tag: 5 }));
    expect(line.say(host.manage({ function: 1, refTag: 5, refCmdSn: 1 }))).toMatchObject([{ response: 1 }]);
    expect(line.say(host.manage({ function: 1, refTag: 6, refCmdSn: 500 }))).toMatchObject([{ response: 1 }]);
  });

  it.each([
    { name: 'abort task set', code: 2, others: true, kind: 'abortTaskSet' },
    { name: 'clear task set', code: 4, others: false, kind: 'clearTaskSet' },
    { name: 'logical unit reset', code: 5, others: false, kind: 'logicalUnitReset' },
    { name: 'target warm reset', code: 6, others: false, kind: 'targetReset' },
  ])('$name ends its own commands in every phase, and others: survive $others', ({ code, others, kind }) => {
    const world = new World();
    const line = world.enter({ keys: ['ImmediateData=No'] });
    const other = world.enter({ keys: ['ImmediateData=No'], isid: '00023d000002' });
    const theirs = startWrite(other, 8, 2);
    const ours = startWrite(line, 0, 2);
    world.device.holding = true;
    line.say(line.host.command({ cdb: testUnitReady }));
    line.say(line.host.command({ cdb: testUnitReady, attribute: 2 }));
    other.say(other.host.command({ cdb: testUnitReady }));
    expect(line.say(line.host.manage({ function: code }))).toEqual([]);
    world.device.release();
    expect(line.hear()).toMatchObject([{ opcode: 0x22, response: 0 }]);
    expect(other.hear()).toHaveLength(others ? 1 : 0);
    expect(world.device.calls).toContain(`manage ${kind}`);
    expect(line.say(...line.host.sequence(ours.tag, ours.transferTag, ours.all, 0, 1024))).toEqual([]);
    const answers = other.say(...other.host.sequence(theirs.tag, theirs.transferTag, theirs.all, 0, 1024));
    expect(answers).toHaveLength(others ? 1 : 0);
    expect(world.server.usedBytes).toBe(0);
  });

  it('resets the target cold: all its sessions end', () => {
    const world = new World();
    const line = world.enter();
    const other = world.enter({ isid: '00023d000002' });
    expect(line.say(line.host.manage({ function: 7 }))).toMatchObject([{ opcode: 0x22 }, { opcode: 0x32 }]);
    expect(other.hear()).toMatchObject([{ opcode: 0x32 }]);
    expect([line.stream.closed, other.stream.closed]).toEqual([true, true]);
    expect(world.device.nexuses.size).toBe(0);
  });

  it('lets nobody reset cold who sees only some of the units', () => {
    const world = new World();
    world.admission = { visible: new Set([0]), chap: null };
    const line = world.enter();
    expect(line.say(line.host.manage({ function: 7 }))).toMatchObject([{ opcode: 0x22, response: 6 }]);
  });

  it.each([
    { code: 3, response: 5 },
    { code: 8, response: 4 },
    { code: 99, response: 5 },
  ])('answers function $code with $response', ({ code, response }) => {
    const line = new World().enter();
    expect(line.say(line.host.manage({ function: code }))).toMatchObject([{ opcode: 0x22, response }]);
  });

  it('says that there is no such unit', () => {
    const line = new World().enter();
    expect(line.say(line.host.manage({ function: 5, lun: 3 }))).toMatchObject([{ opcode: 0x22, response: 2 }]);
  });
});

describe('signs of life', () => {
  it('are answered with their data, as much as the initiator takes', () => {
    const line = new World().enter({ keys: ['MaxRecvDataSegmentLength=512'] });
    const [pong] = line.say(line.host.nopOut({ data: pattern(1001) }));
    expect(pong).toMatchObject({ opcode: 0x20, tag: line.host.tag, transferTag: noTag, expCmdSn: 2, maxCmdSn: 129 });
    expect(pong?.data.equals(pattern(512))).toBe(true);
    expect(line.say(line.host.nopOut({ immediate: true }))).toMatchObject([{ opcode: 0x20, expCmdSn: 2 }]);
    expect(line.say(line.host.nopOut({ immediate: true, tag: noTag }))).toEqual([]);
  });

  it('are asked for after silence; none, and the session ends', () => {
    const world = new World({ silenceMs: 10_000 });
    const line = world.enter();
    world.pass(9_000);
    expect(line.hear()).toEqual([]);
    world.pass(3_000);
    const [ping] = line.hear();
    expect(ping).toMatchObject({ opcode: 0x20, tag: noTag });
    expect(ping?.transferTag).not.toBe(noTag);
    line.say(line.host.nopOut({ immediate: true, tag: noTag, transferTag: ping?.transferTag ?? 0 }));
    world.pass(12_000);
    expect(line.hear()).toHaveLength(1);
    expect(line.stream.closed).toBe(false);
    world.pass(12_000);
    line.hear();
    expect(line.stream.closed).toBe(true);
    expect(world.logged.at(-1)).toMatch(/silent for/);
    expect(world.device.nexuses.size).toBe(0);
  });

  it('are not missed while commands come', () => {
    const world = new World({ silenceMs: 10_000 });
    const line = world.enter();
    for (let count = 0; count < 10; count++) {
      world.pass(6_000);
      expect(line.say(line.host.command({ cdb: testUnitReady }))).toMatchObject([{ opcode: 0x21 }]);
    }
  });
});

describe('a logout', () => {
  it.each([0, 1])('for reason %i ends the session when its commands have ended', (reason) => {
    const world = new World();
    const line = world.enter();
    world.device.holding = true;
    line.say(line.host.command({ write: true, cdb: write10(0, 1), data: pattern(512) }));
    expect(line.say(line.host.logout({ reason }))).toEqual([]);
    world.device.release();
    expect(line.hear()).toMatchObject([{ opcode: 0x26, response: 0 }]);
    expect(line.stream.closed).toBe(true);
    expect(world.server.sessions()).toEqual([]);
    expect(world.server.usedBytes).toBe(0);
    expect(line.host.expStatSn).toBeGreaterThan(0);
  });

  it('of another connection, or for recovery, is refused', () => {
    const world = new World();
    const line = world.enter();
    expect(line.say(line.host.logout({ reason: 1, cid: 9 }))).toMatchObject([{ opcode: 0x26, response: 1 }]);
    expect(line.say(line.host.logout({ reason: 2 }))).toMatchObject([{ opcode: 0x26, response: 2 }]);
    expect(line.say(line.host.command({ cdb: testUnitReady }))).toHaveLength(1);
  });

  it('survives the loss of the connection in its middle', () => {
    const world = new World();
    const line = world.enter();
    world.device.holding = true;
    line.say(line.host.command({ cdb: testUnitReady }), line.host.logout({}));
    line.stream.close();
    const again = world.connect();
    expect(again.login()).toBeNull();
    world.device.release();
    expect(again.hear()).toMatchObject([{ opcode: 0x23 }]);
  });
});

describe('what a session does not take', () => {
  it('is refused with the header of it', () => {
    const line = new World().enter();
    expect(line.say(line.host.snack())).toMatchObject([{ opcode: 0x3f, response: 0x03 }]);
    const unknown = Buffer.alloc(48);
    unknown[0] = 0x1f;
    const [reject] = line.say(unknown);
    expect(reject).toMatchObject({ opcode: 0x3f, response: 0x05 });
    expect(reject?.data.equals(unknown)).toBe(true);
  });

  it('ends it when it is a login, a wrong header digest or a segment too long', () => {
    const login = new World().enter();
    expect(opcodes(login.say(login.host.login(isid, 0, [])))).toEqual([0x3f]);
    const digest = new World().enter({ keys: ['HeaderDigest=CRC32C'] });
    const spoilt = digest.host.command({ cdb: testUnitReady });
    spoilt[40] = 1;
    expect(digest.say(spoilt)).toEqual([]);
    const long = new World({ maxRecvDataSegmentLength: 1024 }).enter();
    long.say(long.host.nopOut({ data: pattern(1025) }));
    for (const line of [login, digest, long]) expect(line.stream.closed).toBe(true);
  });

  it('is not counted when the digest of its data is wrong: it may be sent again', () => {
    const world = new World();
    const line = world.enter({ keys: ['DataDigest=CRC32C'] });
    const { host } = line;
    const first = host.command({ write: true, cdb: write10(0, 1), data: pattern(512) });
    const spoilt = Buffer.from(first);
    spoilt[50] = (spoilt[50] ?? 0) ^ 4;
    const later = host.command({ cdb: testUnitReady });
    expect(line.say(spoilt, later)).toMatchObject([{ opcode: 0x3f, response: 0x02, expCmdSn: 1 }]);
    expect(line.say(first)).toMatchObject([{ opcode: 0x21 }, { opcode: 0x21, expCmdSn: 3 }]);
  });

  it('in discovery is everything but text and logout', () => {
    const world = new World();
    const line = world.enter({ discovery: true });
    const [targets] = line.say(line.host.text('SendTargets=All'));
    expect(targets?.data.toString()).toMatch(/^TargetName=iqn.*\0TargetAddress=10\.0\.0\.1:3260,1\0$/);
    expect(line.say(line.host.command({ cdb: testUnitReady }))).toMatchObject([{ opcode: 0x3f, response: 0x04 }]);
    expect(line.say(line.host.nopOut({}))).toMatchObject([{ opcode: 0x3f, response: 0x04 }]);
    expect(line.say(line.host.manage({ function: 5 }))).toMatchObject([{ opcode: 0x3f, response: 0x04 }]);
    expect(line.say(line.host.logout({}))).toMatchObject([{ opcode: 0x26, expCmdSn: 5 }]);
    expect(world.device.calls).toEqual([]);
  });
});

describe('a session of the same nexus', () => {
  it('takes the place of the old one, whose write is never after its own (I9)', () => {
    const world = new World();
    const old = world.enter();
    world.device.holding = true;
    old.say(old.host.command({ write: true, cdb: write10(0, 1), data: pattern(512, 1) }));
    const line = world.connect();
    expect(line.login()).toBeNull();
    // What it sends already is not looked at before.
    line.stream.deliver(line.host.command({ write: true, cdb: write10(0, 1), data: pattern(512, 2), cmdSn: 1 }));
    line.hear();
    old.hear();
    expect(old.stream.closed).toBe(true);
    expect(world.device.calls).toEqual([expect.stringContaining('gained'), 'write 0+512']);
    world.device.release();
    expect(opcodes(line.hear())).toContain(0x23);
    line.say(line.host.command({ write: true, cdb: write10(0, 1), data: pattern(512, 2), cmdSn: 1 }));
    expect(world.device.calls.slice(2)).toEqual([
      expect.stringContaining('lost'),
      expect.stringContaining('gained'),
      'write 0+512',
    ]);
    expect(world.device.data.subarray(0, 512).equals(pattern(512, 2))).toBe(true);
    expect(world.server.sessions()).toHaveLength(1);
  });

  it('waits as long though others came and went in between, and though the old connection is gone', () => {
    const world = new World();
    const old = world.enter();
    world.device.holding = true;
    old.say(old.host.command({ cdb: testUnitReady }));
    old.stream.close();
    const second = world.connect();
    expect(second.login()).toBeNull();
    const third = world.connect();
    expect(third.login()).toBeNull();
    second.hear();
    expect(second.stream.closed).toBe(true);
    expect(world.device.nexuses.size).toBe(0);
    world.device.release();
    expect(opcodes(third.hear())).toEqual([0x23]);
    expect(world.device.nexuses.size).toBe(1);
    expect(world.server.sessions()).toHaveLength(1);
  });

  it('is none with another ISID, name or portal', () => {
    const world = new World();
    world.enter();
    world.enter({ isid: '00023d000002' });
    world.enter({ initiator: 'iqn.1993-08.org.debian:01:other' });
    const portal = world.connect(1);
    portal.login();
    expect(world.server.sessions().map((session) => session.portalTag)).toEqual([1, 1, 1, 2]);
    expect(new Set(world.server.sessions().map((session) => session.tsih)).size).toBe(4);
  });

  it('cannot be joined by a second connection', () => {
    const world = new World();
    const line = world.enter();
    const [{ tsih } = { tsih: 0 }] = world.server.sessions();
    expect(world.connect().login({ tsih })?.bhs.readUInt16BE(36)).toBe(0x0206);
    expect(
      world
        .connect()
        .login({ tsih: tsih + 1 })
        ?.bhs.readUInt16BE(36),
    ).toBe(0x020a);
    expect(line.say(line.host.command({ cdb: testUnitReady }))).toHaveLength(1);
  });
});

describe('the server', () => {
  it('ends a session on request, telling the initiator', () => {
    const world = new World();
    const line = world.enter();
    const [session] = world.server.sessions();
    expect(world.server.disconnect((session?.id ?? 0) + 1)).toBe(false);
    expect(world.server.disconnect(session?.id ?? 0)).toBe(true);
    expect(line.hear()).toMatchObject([{ opcode: 0x32 }]);
    expect(line.stream.closed).toBe(true);
  });

  it('asks for a logout when it stops, and does not wait for ever', async () => {
    const world = new World({ logoutMs: 2000 });
    const polite = world.enter();
    const deaf = world.enter({ isid: '00023d000002' });
    const closed = world.server.close();
    await Promise.resolve();
    await Promise.resolve();
    const [request] = polite.hear();
    expect(request).toMatchObject({ opcode: 0x32 });
    expect([request?.bhs[36], request?.bhs.readUInt16BE(42)]).toEqual([1, 2]);
    polite.say(polite.host.logout({}));
    expect(polite.stream.closed).toBe(true);
    expect(world.connect().stream.closed).toBe(true);
    world.pass(2000);
    await new Promise((resolve) => setImmediate(resolve));
    deaf.hear();
    expect(deaf.stream.closed).toBe(true);
    await closed;
    expect(world.device.nexuses.size).toBe(0);
  });

  it('passes on asynchronous events of the device', () => {
    const world = new World();
    const line = world.enter();
    world.device.asyncEvent?.(0, Uint8Array.of(0x70, 0, 6));
    const [message] = line.hear();
    expect(message).toMatchObject({ opcode: 0x32, tag: noTag });
    expect(message?.bhs[36]).toBe(0);
    expect(message?.data).toEqual(Buffer.from([0, 3, 0x70, 0, 6]));
  });

  it('bounds sessions, and connections that do not log in', () => {
    const world = new World({ sessionsMax: 2, loginsMax: 5, loginsPerAddressMax: 3, loginMs: 5000 });
    world.enter();
    world.enter({ isid: '00023d000002' });
    expect(world.connect().login({ isid: '00023d000003' })?.bhs.readUInt16BE(36)).toBe(0x0302);
    world.pass(6000);
    const idle = [1, 2, 3, 4].map(() => world.connect());
    expect(idle.map((line) => line.stream.closed)).toEqual([false, false, false, true]);
    world.pass(6000);
    for (const line of idle) line.hear();
    expect(idle.map((line) => line.stream.closed)).toEqual([true, true, true, true]);
    expect(world.server.sessions()).toHaveLength(2);
  });
});

describe('bounds', () => {
  it('withhold R2Ts until there is memory, and lose nothing', () => {
    const world = new World({ sessionBytesMax: 8192 });
    const line = world.enter({ keys: ['ImmediateData=Yes', 'FirstBurstLength=512', 'MaxBurstLength=1024'] });
    const { host } = line;
    const writes = [0, 1, 2, 3, 4, 5].map((index) => ({ all: pattern(4096, index), block: index * 8 }));
    const bytes = writes.map(({ all, block }) => {
      const part = host.write({ cdb: write10(block, 8), all }).bytes;
      return { part, tag: host.tag };
    });
    const asked = line.say(...bytes.map(({ part }) => part));
    expect(opcodes(asked)).toEqual([0x31, 0x31]);
    expect(world.server.usedBytes).toBeLessThan(8192 + 4 * 512 + 1);
    const done: number[] = [];
    for (let answers = asked; answers.length > 0;) {
      const next: typeof answers = [];
      for (const answer of answers) {
        if (answer.opcode === 0x21) {
          done.push(answer.tag);
          continue;
        }
        const all = writes[bytes.findIndex(({ tag }) => tag === answer.tag)]?.all ?? pattern(0);
        next.push(
          ...line.say(
            ...host.sequence(answer.tag, answer.transferTag, all, answer.offset, answer.offset + answer.desired),
          ),
        );
      }
      answers = next;
    }
    expect(done).toHaveLength(6);
    for (const { all, block } of writes) {
      expect(world.device.data.subarray(block * 512, block * 512 + 4096).equals(all)).toBe(true);
    }
    expect(world.server.usedBytes).toBe(0);
  });

  it('answer TASK SET FULL to data that comes unasked while there is no memory', () => {
    const world = new World({ sessionBytesMax: 4096 });
    const line = world.enter({
      keys: ['ImmediateData=No', 'InitialR2T=No', 'FirstBurstLength=512', 'MaxBurstLength=4096'],
    });
    const { host } = line;
    const held = pattern(8192);
    const [r2t] = line.say(host.write({ cdb: write10(0, 16), all: held }).bytes);
    const { tag } = host;
    expect(line.say(host.write({ cdb: write10(16, 1), all: pattern(512) }).bytes)).toMatchObject([
      { opcode: 0x21, status: 0x28 },
    ]);
    expect(line.say(host.command({ read: true, expected: 512, cdb: read10(0, 1) }))).toMatchObject([
      { opcode: 0x21, status: 0x28 },
    ]);
    const [second] = line.say(...host.sequence(tag, r2t?.transferTag ?? 0, held, 512, 4608));
    expect(second).toMatchObject({ opcode: 0x31, offset: 4608 });
    expect(line.say(...host.sequence(tag, second?.transferTag ?? 0, held, 4608, 8192))).toMatchObject([
      { status: 0 },
    ]);
  });

  it('stop reading while a volume is slow, and go on', () => {
    const world = new World({ sessionBytesMax: 4096 });
    const line = world.enter();
    world.device.holding = true;
    const { host } = line;
    const writes = Array.from({ length: 32 }, (_, index) =>
      host.command({ write: true, cdb: write10(index, 1), data: pattern(512, index) }),
    );
    line.say(Buffer.concat(writes));
    expect(world.device.tasks.size).toBe(8);
    expect(line.stream.paused).toBe(true);
    world.device.release();
    expect(line.hear()).toHaveLength(32);
    expect(line.stream.paused).toBe(false);
  });

  it('stop reading from a host that fetches nothing, and end it when it never does', () => {
    const world = new World({ unsentBytesMax: 65536, stallMs: 20_000 });
    const line = world.enter();
    line.stream.slow = true;
    let sent = 0;
    while (sent < 100 && line.stream.deliver(line.host.command({ read: true, expected: 8192, cdb: read10(0, 16) }))) {
      world.turn.run();
      sent += 1;
    }
    expect(sent).toBeLessThan(12);
    expect(world.server.usedBytes).toBeGreaterThan(65536);
    world.pass(18_000);
    expect(line.stream.ended).toBe(false);
    world.pass(6_000);
    expect(line.stream.ended).toBe(true);
    expect(world.server.usedBytes).toBe(0);
    world.pass(6_000);
    expect(line.stream.destroyed).toBe(true);
  });

  it('hinder only those who have more than their share', () => {
    const world = new World({ totalBytesMax: 16384 });
    const greedy = world.enter({ keys: ['ImmediateData=No'] });
    const modest = world.enter({ isid: '00023d000002' });
    const asked = greedy.say(
      ...[0, 1, 2, 3].map((index) => greedy.host.write({ cdb: write10(index * 16, 16), all: pattern(8192) }).bytes),
    );
    expect(asked).toHaveLength(2);
    expect(modest.write(write10(100, 8), pattern(4096)).answer.status).toBe(0);
    expect(world.server.usedBytes).toBeLessThanOrEqual(16384);
    greedy.stream.close();
    world.turn.run();
    expect(world.server.usedBytes).toBe(0);
  });

  it('end a session that owes data and never sends it', () => {
    const world = new World({ stallMs: 20_000, silenceMs: 60_000 });
    const line = world.enter({ keys: ['ImmediateData=No'] });
    startWrite(line, 0, 2);
    world.pass(22_000);
    line.hear();
    expect(line.stream.closed).toBe(true);
    expect(world.server.usedBytes).toBe(0);
  });
});
