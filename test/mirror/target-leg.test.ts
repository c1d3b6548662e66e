/** The target's end of a mirror, spoken to message by message. */
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../src/base/crc32c.ts';
import type { Frame } from '../../src/link/frame.ts';
import { decodeAnswer, decodeFault } from '../../src/link/messages/answer.ts';
import { decodeFetched, encodeFetch } from '../../src/link/messages/fetch.ts';
import { decodeJson, encodeJson } from '../../src/link/messages/json.ts';
import { encodeRecords } from '../../src/link/messages/records.ts';
import { MessageType } from '../../src/link/messages/types.ts';
import type { Attach, Settle, Standing, Start } from '../../src/mirror/messages.ts';
import { encodeStanding } from '../../src/mirror/other-legs.ts';
import type { Position } from '../../src/stream/position.ts';
import type { StreamRecord } from '../../src/stream/record.ts';
import { ExtentSet } from '../../src/volume/extents.ts';
import { record } from '../stream/steps.ts';
import { MiB, volumeEntry } from '../volume/legs.ts';
import { End, firstLineage, Pair, sizeBytes } from './pair.ts';

/** Says what an owner would, and keeps what the target answers. */
class Speaker {
  readonly pair: Pair;
  readonly heard: Frame[] = [];
  readonly end: End;
  readonly mine: End;

  constructor(pair: Pair) {
    this.pair = pair;
    const ignore = (): void => {};
    this.mine = new End(100, pair.east.process, 'west', 'out', {
      arrive: (frame) => this.heard.push(frame),
      down: ignore,
    });
    this.end = new End(101, pair.west.process, 'east', 'in', {
      arrive: (frame) => pair.target.frame(this.end, frame),
      down: () => pair.target.connectionDown(this.end),
    });
    this.end.other = this.mine;
    this.mine.other = this.end;
  }

  static async make(seed = 'target'): Promise<Speaker> {
    return new Speaker(await Pair.make({ seed }));
  }

  /** Lets the target act on it, and answer. */
  async say(parts: readonly Uint8Array[]): Promise<void> {
    this.mine.send(parts);
    await this.pair.world.run(50);
  }

  attach(changes: Partial<Attach> = {}): Promise<void> {
    const { index, wwid, blockSizeBytes } = volumeEntry(0, sizeBytes);
    const body: Attach = {
      attachId: 1,
      group: 'g1',
      generation: 1,
      generationId: 'a',
      mode: 'sync',
      volumes: [{ index, wwid, sizeBytes, blockSizeBytes }],
      documentVersion: 1,
      ...changes,
    };
    return this.say(encodeJson(MessageType.attach, body));
  }

  start(changes: Partial<Start> = {}): Promise<void> {
    return this.say(startOf(changes));
  }

  records(
    records: readonly StreamRecord[],
    changes: { attachId?: number; generation?: number; stable?: Position } = {},
  ): Promise<void> {
    const position = { generation: 1, seq: 0 };
    const header = { attachId: 1, generation: 1, stamped: position, stable: position, ...changes };
    return this.say(encodeRecords(header, records));
  }

  /** How `south` stands. */
  standing(changes: Partial<Standing>, named: ReadonlyMap<number, ExtentSet> = new Map()): Promise<void> {
    const confirmed = { generation: 1, seq: 0 };
    return this.say(
      encodeStanding({ attachId: 1, node: 'south', known: true, behind: true, confirmed, ...changes }, named),
    );
  }

  settle(seq: number, consistent = true): Promise<void> {
    const position = { generation: 1, seq };
    const body: Settle = { attachId: 1, position, consistent, ownerDurable: position };
    return this.say(encodeJson(MessageType.synced, body));
  }

  /** The latest message of a type, as JSON. */
  json(type: MessageType): Record<string, unknown> {
    const frame = this.heard.findLast((one) => one.type === type);
    const decoded = frame === undefined ? null : decodeJson(frame);
    if (decoded?.ok !== true) throw new Error(`no message ${type}`);
    return decoded.value as Record<string, unknown>;
  }

  /** received, applied, durable of the latest answer. */
  get cursors(): number[] {
    const frame = this.heard.findLast((one) => one.type === MessageType.answer);
    const decoded = frame === undefined ? null : decodeAnswer(frame);
    if (decoded?.ok !== true) throw new Error('no answer');
    return [decoded.value.received, decoded.value.applied, decoded.value.durable].map(({ seq }) => seq);
  }
}

function startOf(changes: Partial<Start>): Uint8Array[] {
  const from = { generation: 1, seq: 0 };
  const body: Start = {
    attachId: 1,
    how: 'continue',
    lineage: firstLineage,
    from,
    confirmAt: from,
    wholeUpTo: null,
    fork: false,
    all: false,
    ...changes,
  };
  return encodeJson(MessageType.start, body);
}

/** 512 bytes of `fill`, as a sound record. */
function write(seq: number, fill = seq, changes: Partial<StreamRecord> = {}): StreamRecord {
  const data = new Uint8Array(512).fill(fill);
  return record('write', seq, { length: 512, data, checksum: crc32c(data), epoch: seq, ...changes });
}

describe('a target leg', () => {
  test('R2: a record at or below its cursor, or already held, is answered and dropped', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1), write(2, 2, { offset: 512 })]);
    expect(speaker.cursors).toEqual([2, 2, 0]);
    // Had it been applied again, it would have overwritten what came later.
    await speaker.records([write(1, 99), write(3, 3, { offset: 1024 })]);
    expect(speaker.cursors).toEqual([3, 3, 0]);
    const { cached } = speaker.pair.disk('west');
    expect([cached[0], cached[512], cached[1024]]).toEqual([1, 2, 3]);
  });

  test('a record that does not match its checksum closes the connection and is not applied', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1, 7, { checksum: 12345 })]);
    expect(speaker.end.reason).toContain('does not match its checksum');
    expect(speaker.pair.disk('west').cached[0]).toBe(0);
  });

  test('TL-8: a step is applied when all of it has come, and is no image until it is applied', async () => {
    const speaker = await Speaker.make('step');
    const { leg } = speaker.pair.west;
    const { cached } = speaker.pair.disk('west');
    await speaker.attach({ mode: 'receive' });
    await speaker.start({ wholeUpTo: { generation: 1, seq: 3 } });
    await speaker.records([write(1, 1, { epoch: 1 }), write(2, 2, { offset: 512, epoch: 1 })]);
    expect([cached[0], cached[512]]).toEqual([0, 0]);
    // Not even said to have been received: it would be dropped.
    expect(speaker.cursors).toEqual([0, 0, 0]);
    expect(leg.state.condition).toBe('consistent');
    speaker.pair.disk('west').hang();
    await speaker.records([write(3, 3, { offset: 1024, epoch: 1 }), write(4, 4, { offset: 1536 })]);
    expect(leg.state.condition).toBe('unconfirmed');
    speaker.pair.disk('west').unhang();
    await speaker.pair.world.run(50);
    expect([0, 512, 1024, 1536].map((at) => cached[at])).toEqual([1, 2, 3, 4]);
    expect(speaker.cursors).toEqual([4, 4, 0]);
    expect(leg.state.condition).toBe('consistent');
  });

  test('TL-8: of a step whose end never comes nothing is applied; one that has come is, whoever is left', async () => {
    for (const last of [2, 3]) {
      const speaker = await Speaker.make('cut');
      const { leg } = speaker.pair.west;
      await speaker.attach();
      await speaker.start({ wholeUpTo: { generation: 1, seq: 3 } });
      const records = [1, 2, 3].map((seq) => write(seq, seq, { offset: seq * 512, epoch: 1 }));
      speaker.pair.disk('west').hang();
      await speaker.records(records.slice(0, last));
      speaker.end.close('gone');
      const letGo = speaker.pair.target.letGo();
      speaker.pair.disk('west').unhang();
      expect(await speaker.pair.world.settle(letGo)).toBe(true);
      const { cached } = speaker.pair.disk('west');
      expect([512, 1024, 1536].map((at) => cached[at])).toEqual(last === 3 ? [1, 2, 3] : [0, 0, 0]);
      expect(leg.state.condition).toBe('consistent');
      expect(leg.applied.seq).toBe(last === 3 ? 3 : 0);
    }
  });

  const breaches: [what: string, say: (speaker: Speaker) => Promise<void>][] = [
    ['records before start', (speaker) => speaker.records([write(1)])],
    [
      'records of another generation',
      async (speaker) => {
        await speaker.start();
        await speaker.records([write(1)], { generation: 2 });
      },
    ],
    [
      'a record for a volume it does not have',
      async (speaker) => {
        await speaker.start();
        await speaker.records([write(1, 1, { volume: 7 })]);
      },
    ],
    [
      'a lineage of another generation',
      (speaker) => speaker.start({ lineage: { generation: 2, id: 'b', ancestors: [] } }),
    ],
    [
      'a second start',
      async (speaker) => {
        await speaker.start();
        await speaker.start();
      },
    ],
    ['word of another leg before start', (speaker) => speaker.standing({})],
    [
      'word of another leg without its pieces',
      async (speaker) => {
        await speaker.start();
        const body: Standing = {
          ...{ attachId: 1, node: 'south', known: true, behind: true },
          ...{ confirmed: { generation: 1, seq: 0 }, volumes: [0] },
        };
        await speaker.say(encodeJson(MessageType.standing, body));
      },
    ],
    [
      'a fetch past the end',
      (speaker) =>
        speaker.say(encodeFetch({ attachId: 1, requestId: 1, volume: 0, offset: sizeBytes - 512, length: 1024 })),
    ],
    ['a message for an owner', (speaker) => speaker.say(encodeJson(MessageType.attached, { attachId: 1 }))],
    ['a body that is none', (speaker) => speaker.say(encodeJson(MessageType.start, { attachId: 1 }))],
  ];
  test.each(breaches)('%s is a breach: the connection closes, nothing is applied', async (_what, say) => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await say(speaker);
    expect(speaker.end.reason).toMatch(/^mirror: /);
    expect(speaker.pair.disk('west').cached.every((byte) => byte === 0)).toBe(true);
  });

  test('what bears another attachment is dropped without a word', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1)], { attachId: 2 });
    expect(speaker.end.reason).toBeNull();
    expect(speaker.pair.disk('west').cached[0]).toBe(0);
  });

  test('R12, R14: an older generation, or the same number of another id, is refused with what was seen', async () => {
    for (const [generation, generationId] of [
      [4, 'd'],
      [5, 'x'],
    ] as const) {
      const speaker = await Speaker.make();
      await speaker.pair.settle(speaker.pair.west.leg.see(5, 'e'));
      await speaker.attach({ generation, generationId });
      expect(speaker.json(MessageType.attached)).toMatchObject({ ok: false, code: 'newerGeneration', seen: 5 });
      await speaker.attach({ generation: 5, generationId: 'e', attachId: 2 });
      expect(speaker.json(MessageType.attached)).toMatchObject({ ok: true, attachId: 2 });
    }
  });

  test('R12: a newer generation is on the medium before the attachment is answered', async () => {
    const speaker = await Speaker.make();
    await speaker.attach({ generation: 9, generationId: 'i' });
    expect(speaker.json(MessageType.attached)).toMatchObject({ ok: true });
    await speaker.pair.restartTarget('powerLoss');
    expect(speaker.pair.west.leg.state.seen).toEqual({ generation: 9, id: 'i' });
  });

  test('a node that is the owner itself, or has other volumes, does not let itself be attached', async () => {
    const speaker = await Speaker.make();
    speaker.pair.mayServe = false;
    await speaker.attach();
    expect(speaker.json(MessageType.attached)).toMatchObject({ ok: false, code: 'busy' });
    speaker.pair.mayServe = true;
    await speaker.attach({ volumes: [{ index: 0, wwid: 'other', sizeBytes, blockSizeBytes: 512 }] });
    expect(speaker.json(MessageType.attached)).toMatchObject({ ok: false, code: 'volumesDiffer' });
    await speaker.attach({ volumes: [{ index: 4, wwid: 'other', sizeBytes, blockSizeBytes: 512 }] });
    expect(speaker.json(MessageType.attached).reason).toContain('volume number 4');
  });

  test('R14, IM-3: what has arrived is on the disk before the next attachment is answered', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1)]);
    const disk = speaker.pair.disk('west');
    disk.hang();
    // 3 overlaps 2: it has not started when the next owner comes.
    await speaker.records([write(2), write(3, 3)]);
    await speaker.attach({ generation: 2, generationId: 'b', attachId: 2 });
    const before = speaker.heard.filter(({ type }) => type === MessageType.attached).length;
    expect(before).toBe(1);
    disk.unhang();
    await speaker.pair.world.run(100);
    expect(speaker.json(MessageType.attached)).toMatchObject({
      attachId: 2,
      ok: true,
      position: { generation: 1, seq: 3 },
    });
    expect(disk.cached[0]).toBe(3);
    const { leg } = speaker.pair.west;
    expect([leg.applied.seq, leg.intended.seq]).toEqual([3, 3]);
  });

  test('R6: what it tells to have applied, its successor on this kernel finds', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    for (let seq = 1; seq <= 20; seq++) await speaker.records([write(seq, seq, { offset: (seq % 4) * 512 })]);
    const [, applied] = speaker.cursors;
    expect(applied).toBe(20);
    await speaker.pair.restartTarget('crash');
    expect(speaker.pair.west.leg.applied.seq).toBe(20);
    expect([speaker.pair.west.leg.held, speaker.pair.west.leg.state.condition]).toEqual([true, 'consistent']);
  });

  test('R6: a crash in the middle of records leaves it unconfirmed, until all it ever had was sent again', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1)]);
    speaker.pair.disk('west').hang();
    await speaker.records([write(2), write(3, 3, { offset: 512 })]);
    await speaker.pair.restartTarget('crash');
    speaker.pair.disk('west').unhang();
    const { leg } = speaker.pair.west;
    expect([leg.state.condition, leg.applied.seq]).toEqual(['unconfirmed', 1]);
    const again = new Speaker(speaker.pair);
    await again.attach();
    expect(again.json(MessageType.attached)).toMatchObject({ condition: 'unconfirmed', position: { seq: 1 } });
    await again.start({ from: { generation: 1, seq: 1 }, confirmAt: { generation: 1, seq: 3 } });
    await again.records([write(2)]);
    expect(leg.state.condition).toBe('unconfirmed');
    await again.records([write(3, 3, { offset: 512 })]);
    expect(leg.metadata.saved?.condition).toBe('consistent');
  });

  test('I11: a resync makes it inconsistent on its medium before the first copy, until its end is durable', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start({ how: 'resync' });
    expect(speaker.pair.west.leg.metadata.saved?.condition).toBe('inconsistent');
    const copy = write(1, 1, { kind: 'copy' });
    speaker.pair.west.leg.bitsFor('east').get(0)?.set(0, 1);
    await speaker.records([copy]);
    await speaker.settle(1, false);
    expect(speaker.pair.west.leg.metadata.saved?.condition).toBe('inconsistent');
    expect(speaker.cursors).toEqual([1, 1, 1]);
    await speaker.settle(1, true);
    expect(speaker.pair.west.leg.metadata.saved?.condition).toBe('consistent');
    expect(speaker.pair.west.leg.bitsFor('east').get(0)?.isEmpty()).toBe(true);
    await speaker.pair.restartTarget('powerLoss');
    expect(speaker.pair.disk('west').cached[0]).toBe(1);
  });

  test('R10: a record that cannot be stored is told, nothing after it is applied; out of space is no failed leg', async () => {
    for (const kind of ['noSpace', 'writeFailed'] as const) {
      const speaker = await Speaker.make(kind);
      await speaker.attach();
      await speaker.start();
      const disk = speaker.pair.disk('west');
      if (kind === 'noSpace') disk.freeBytes = 0;
      else disk.failNext('write');
      await speaker.records([write(1), write(2, 2, { offset: 4096 })]);
      const frame = speaker.heard.find(({ type }) => type === MessageType.fault);
      const fault = frame === undefined ? null : decodeFault(frame);
      expect(fault).toMatchObject({ ok: true, value: { kind, position: { seq: 1 }, offset: 0, length: 512 } });
      expect(disk.cached[4096]).toBe(0);
      expect(speaker.pair.west.leg.fault?.kind ?? null).toBe(kind === 'noSpace' ? null : 'writeFailed');
      await speaker.attach({ attachId: 2 });
      expect(speaker.json(MessageType.attached)).toMatchObject(
        kind === 'noSpace' ? { ok: true } : { ok: false, code: 'failed' },
      );
    }
  });

  test('R14: what arrived before the connection was lost is applied all the same', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    speaker.pair.disk('west').hang();
    await speaker.records([write(1)]);
    speaker.mine.close('cut');
    await speaker.pair.world.run(10);
    speaker.pair.disk('west').unhang();
    await speaker.pair.world.run(100);
    expect(speaker.pair.west.leg.applied.seq).toBe(1);
    expect(speaker.pair.target.owner).toBeNull();
  });

  test('reads its copy for the owner, zeroes as such', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1, 5)]);
    const fetched = async (offset: number): Promise<unknown> => {
      await speaker.say(encodeFetch({ attachId: 1, requestId: 1 + offset, volume: 0, offset, length: 512 }));
      const frame = speaker.heard.findLast(({ type }) => type === MessageType.fetched);
      return frame === undefined ? null : decodeFetched(frame);
    };
    expect(await fetched(0)).toMatchObject({
      ok: true,
      value: { status: 'data', data: new Uint8Array(512).fill(5) },
    });
    expect(await fetched(4096)).toMatchObject({ ok: true, value: { status: 'zeroes', data: null } });
    speaker.pair.disk('west').failNext('read');
    expect(await fetched(0)).toMatchObject({ ok: true, value: { status: 'fault' } });
  });

  test('R5: while hosts are quiet it makes durable what it applied, and lets regions cool once all are stable', async () => {
    const speaker = await Speaker.make();
    await speaker.attach();
    await speaker.start();
    await speaker.records([write(1)]);
    expect(speaker.pair.west.leg.hot.size).toBe(1);
    await speaker.pair.ticks(5);
    expect(speaker.cursors).toEqual([1, 1, 1]);
    expect(speaker.pair.west.leg.hot.size).toBe(1);
    const stable = { generation: 1, seq: 1 };
    await speaker.say(encodeRecords({ attachId: 1, generation: 1, stamped: stable, stable }, []));
    await speaker.pair.ticks(5);
    expect(speaker.pair.west.leg.hot.size).toBe(0);
  });
});

describe('R9, HG-7: of another leg a target', () => {
  const at = (seq: number): Position => ({ generation: 1, seq });

  async function attached(seed: string): Promise<Speaker> {
    const speaker = await Speaker.make(seed);
    await speaker.attach();
    await speaker.start();
    return speaker;
  }

  /** What it names against `south`, in bytes. */
  function named({ pair }: Speaker): number {
    const { leg } = pair.west;
    return [...leg.named('south').values()].reduce((sum, set) => sum + set.totalBytes, 0);
  }

  const knows = ({ pair }: Speaker): boolean | undefined => pair.west.leg.state.peers['south']?.known;

  test('that is behind takes over what the owner names, and adds what it applies', async () => {
    const speaker = await attached('behind');
    await speaker.records([write(1)]);
    const set = new ExtentSet();
    set.add(MiB, 1);
    await speaker.standing({}, new Map([[0, set]]));
    const chunkBytes = named(speaker);
    expect(chunkBytes).toBeGreaterThan(0);
    await speaker.records([write(2, 2, { offset: 2 * MiB })]);
    expect(named(speaker)).toBe(2 * chunkBytes);
    // Neither does a restart without page cache forget it.
    await speaker.pair.ticks(4);
    await speaker.pair.restartTarget('powerLoss');
    expect([named(speaker), knows(speaker)]).toEqual([2 * chunkBytes, true]);
  });

  test('that is behind has it named on the medium before regions cool by what the owner calls stable', async () => {
    const speaker = await attached('cool');
    await speaker.records([write(1)]);
    // A mark that stands for it waits for its position to be stable.
    await speaker.pair.ticks(4);
    const { hot } = speaker.pair.west.leg;
    expect(hot.size).toBe(1);
    const set = new ExtentSet();
    set.add(0, 512);
    await speaker.standing({}, new Map([[0, set]]));
    // Stable without south: the old mark stands for nothing that the bits on the medium may lack.
    await speaker.records([], { stable: at(1) });
    expect(hot.size).toBe(1);
    await speaker.pair.ticks(4);
    expect(hot.size).toBe(0);
    await speaker.pair.restartTarget('powerLoss');
    expect(named(speaker)).toBeGreaterThan(0);
  });

  test('that is whole again remembers nothing but how far it is durable', async () => {
    const speaker = await attached('whole');
    await speaker.standing({});
    await speaker.records([write(1)]);
    expect(named(speaker)).toBeGreaterThan(0);
    await speaker.standing({ behind: false, confirmed: at(1) });
    await speaker.records([write(2)]);
    expect(named(speaker)).toBe(0);
    expect(speaker.pair.west.leg.state.peers['south']).toEqual({ known: true, confirmed: at(1) });
    await speaker.pair.ticks(4);
    await speaker.records([], { stable: at(2) });
    expect(speaker.pair.west.leg.hot.size).toBe(0);
    expect(speaker.pair.west.leg.state.peers['south']?.confirmed).toEqual(at(2));
  });

  test('forgets all when it is copied anew itself, and takes no bits for complete before that has ended', async () => {
    const speaker = await attached('anew');
    await speaker.standing({});
    expect(knows(speaker)).toBe(true);
    await speaker.attach({ attachId: 2 });
    await speaker.start({ attachId: 2, how: 'resync', all: true });
    await speaker.standing({ attachId: 2, behind: false });
    expect(knows(speaker)).toBe(false);
    const body: Settle = { attachId: 2, position: at(0), consistent: true, ownerDurable: at(0) };
    await speaker.say(encodeJson(MessageType.synced, body));
    await speaker.standing({ attachId: 2 });
    expect(knows(speaker)).toBe(true);
  });

  test('keeps what it knows while it is to be copied to, from the very start on', async () => {
    for (const all of [false, true]) {
      const speaker = await attached(`start ${all}`);
      await speaker.standing({});
      await speaker.records([write(1)]);
      const before = named(speaker);
      await speaker.attach({ attachId: 2 });
      // What follows arrives while the metadata does not call the leg inconsistent yet.
      speaker.mine.send(startOf({ attachId: 2, how: 'resync', all }));
      await speaker.standing({ attachId: 2, behind: false });
      expect([named(speaker), knows(speaker)]).toEqual([before, !all]);
    }
  });

  test('that the owner does not know itself knows nothing', async () => {
    const speaker = await attached('unknown');
    await speaker.standing({});
    await speaker.standing({ known: false });
    expect(knows(speaker)).toBe(false);
  });
});
