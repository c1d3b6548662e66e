import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Reservations } from '../../../src/group/reservations.ts';
import { commands } from '../../../src/hosts/scsi/commands.ts';
import { DeviceServer } from '../../../src/hosts/scsi/device-server.ts';
import { Attention } from '../../../src/hosts/scsi/logical-unit.ts';
import { conflicts } from '../../../src/hosts/scsi/reservation-check.ts';
import type { Nexus, TaskManagement } from '../../../src/hosts/scsi/task.ts';
import { HandClock, HandTurn } from '../../node/hand-clock.ts';
import { FakeGroup, fakeUnit } from './fake-group.ts';
import { execute, FakeTask, nexusOf, senseOf } from './initiator.ts';

let group: FakeGroup;
let turn: HandTurn;
let device: DeviceServer;
let host: Nexus;
let other: Nexus;

function start(made: FakeGroup): void {
  group = made;
  turn = new HandTurn();
  device = new DeviceServer({
    targetName: 'iqn.2026-11.org.holdfast:test:g1',
    group,
    commands,
    clock: new HandClock(),
    turn,
    unitTasksMax: 8,
  });
  host = nexusOf('host');
  other = nexusOf('other', 17);
  for (const nexus of [host, other]) {
    device.nexusGained(nexus);
    for (const { index } of group.units) execute(device, nexus, testUnitReady, { lun: index });
  }
}

beforeEach(() => start(new FakeGroup([fakeUnit(0), fakeUnit(3)])));

const testUnitReady = [0x00];
const read10 = (block: number, count: number): number[] => [0x28, 0, 0, 0, block >> 8, block & 0xff, 0, 0, count, 0];
const write10 = (block: number, count: number, flags = 0): number[] => [
  ...[0x2a, flags, 0, 0, block >> 8, block & 0xff, 0, 0, count, 0],
];
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);

function done(task: FakeTask): string {
  group.settle();
  expect(task.ends).toBe(1);
  return `${task.outcome?.status} ${senseOf(task.outcome)}`;
}

describe('a command', () => {
  it('reads what another has written', () => {
    expect(done(execute(device, host, write10(8, 2), { dataOut: bytes(1024, 7) }))).toBe('0 -');
    const read = execute(device, other, read10(8, 2));
    expect(done(read)).toBe('0 -');
    expect(read.outcome?.data).toEqual(bytes(1024, 7));
    expect(group.asked).toEqual(['write 4096 1024', 'read 4096 1024']);
  });

  it.each([
    ['for a unit that is not there', { lun: 7 }, testUnitReady, '2 5 2500'],
    ['for a LUN of no form', { lun: -1 }, testUnitReady, '2 5 2500'],
    ['of an unknown operation code', {}, [0xfe], '2 5 2000'],
    ['of an unknown service action', {}, [0x9e, 0x1f], '2 5 2400'],
    ['with a reserved bit', {}, [0x00, 0, 1], '2 5 2400'],
    ['with NACA', {}, [0x00, 0, 0, 0, 0, 0x04], '2 5 2400'],
    ['with protection', {}, [0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0], '2 5 2400'],
    ['past the end', {}, read10(2047, 2), '2 5 2100'],
    ['longer than a transfer may be', {}, [0xa8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], '2 5 2100'],
  ])('%s is refused', (_what, options, cdb, expected) => {
    expect(done(execute(device, host, cdb, options))).toBe(expected);
    expect(group.asked).toEqual([]);
  });

  it('is refused longer than a transfer may be', () => {
    start(new FakeGroup([fakeUnit(0, { sizeBytes: 16 * 1024 * 1024 })]));
    expect(done(execute(device, host, [0xa8, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x01, 0, 0]))).toBe('2 5 2400');
    expect(done(execute(device, host, [0xa8, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x00, 0, 0]))).toBe('0 -');
  });

  it('says in the format asked for where the fault is', () => {
    const { outcome } = execute(device, host, [0x00, 0, 0x10]);
    // Fixed: field pointer in bytes 15…17, of the CDB, byte 2, bit 4.
    expect([...(outcome?.sense ?? [])].slice(15)).toEqual([0x80 | 0x40 | 0x08 | 4, 0, 2]);
  });

  it.each([
    ['io', read10(0, 1), '2 3 1100'],
    ['io', write10(0, 1), '2 3 0c00'],
    ['noSpace', write10(0, 1), '2 7 2707'],
    ['moved', write10(0, 1), '2 2 040a'],
  ] as const)('whose volume answers %s fails so', (fault, cdb, expected) => {
    group.fault = fault;
    expect(done(execute(device, host, cdb, { dataOut: bytes(512, 1) }))).toBe(expected);
  });

  it('is answered TASK SET FULL when there are too many', () => {
    const tasks = Array.from({ length: 9 }, () => execute(device, host, read10(0, 1)));
    expect(tasks.at(-1)?.outcome?.status).toBe(0x28);
    expect(tasks.slice(0, 8).every((task) => task.ends === 0)).toBe(true);
  });

  it('reaches the medium before it is answered where there is no cache, or FUA is set', () => {
    done(execute(device, host, write10(0, 1, 0x08), { dataOut: bytes(512, 1) }));
    start(new FakeGroup([fakeUnit(0, { writeCache: false })]));
    done(execute(device, host, write10(0, 1), { dataOut: bytes(512, 1) }));
    expect(group.asked).toEqual(['write 0 512 fua']);
  });
});

describe('access', () => {
  it.each([
    ['standby', '2 2 040b'],
    ['transitioning', '2 2 040a'],
    ['unavailable', '2 2 040c'],
  ] as const)('%s: the change is told once, blocks are refused, the rest is answered', (access, refused) => {
    group.move(access);
    for (const nexus of [host, other]) expect(done(execute(device, nexus, testUnitReady))).toBe('2 6 2a06');
    expect(done(execute(device, host, read10(0, 1)))).toBe(refused);
    expect(device.dataOutBytes(host, 0, Uint8Array.from(write10(0, 1)))).toBe(0);
    const asked = execute(device, host, [0x03, 0, 0, 0, 252, 0]);
    expect(done(asked)).toBe('0 -');
    expect(senseOf({ status: 2, sense: asked.outcome?.data ?? null, data: bytes(0, 0) })).toBe(refused.slice(2));
  });
});

describe('unit attentions', () => {
  it('begin with POWER ON, go past REQUEST SENSE as data, and are of one unit', () => {
    const late = nexusOf('late');
    device.nexusGained(late);
    const asked = execute(device, late, [0x03, 0, 0, 0, 252, 0]);
    expect(senseOf({ status: 2, sense: asked.outcome?.data ?? null, data: bytes(0, 0) })).toBe('6 2900');
    expect(done(execute(device, late, testUnitReady))).toBe('0 -');
    expect(done(execute(device, late, testUnitReady, { lun: 3 }))).toBe('2 6 2900');
  });

  it('tell of units that come, go, and grow', () => {
    group.units = [fakeUnit(0, { sizeBytes: 2 * 1024 * 1024 }), fakeUnit(5)];
    group.tell((watcher) => watcher.unitsChanged?.());
    expect(done(execute(device, host, testUnitReady))).toBe('2 6 2a09');
    expect(done(execute(device, host, testUnitReady))).toBe('2 6 3f0e');
    expect(done(execute(device, host, testUnitReady, { lun: 3 }))).toBe('2 5 2500');
    expect(device.units({ nexus: host }).map(({ lun }) => lun)).toEqual([0, 5]);
  });

  it('tell those whose reservations were preempted, and their commands end in silence', () => {
    const task = execute(device, other, read10(0, 1));
    group.tell((watcher) =>
      watcher.reservationsChanged?.(0, {
        registrationsPreempted: [other],
        reservationsPreempted: [],
        reservationsReleased: [],
        aborted: [other],
      }),
    );
    group.settle();
    expect([task.isDropped, task.ends]).toEqual([true, 1]);
    expect(done(execute(device, other, testUnitReady))).toBe('2 6 2a05');
    expect(done(execute(device, other, testUnitReady))).toBe('2 6 2f00');
    expect(done(execute(device, host, testUnitReady))).toBe('0 -');
  });
});

describe('a nexus that may see some units only', () => {
  it('finds no others', () => {
    const narrow = nexusOf('narrow', 1, [3]);
    device.nexusGained(narrow);
    expect(done(execute(device, narrow, testUnitReady))).toBe('2 5 2500');
    expect(device.units({ nexus: narrow }).map(({ lun }) => lun)).toEqual([3]);
  });
});

describe('task management', () => {
  function manage(nexus: Nexus, request: TaskManagement): () => string | null {
    let answer: string | null = null;
    device.manage(nexus, request, (response) => (answer = response));
    expect(answer).toBeNull();
    return () => {
      turn.run();
      return answer;
    };
  }

  it('answers an abort when the write has ended, and never the write (I9)', () => {
    const task = execute(device, host, write10(0, 1), { dataOut: bytes(512, 1) });
    const answer = manage(host, { kind: 'abortTask', lun: 0, task });
    expect(answer()).toBeNull();
    group.settle();
    expect([answer(), task.isDropped, task.outcome]).toEqual(['complete', true, null]);
  });

  it('drops what has not begun, and waits for the rest', () => {
    const running = execute(device, host, read10(0, 1));
    const ordered = execute(device, host, write10(0, 1), { dataOut: bytes(512, 1), attribute: 'ordered' });
    const answer = manage(host, { kind: 'abortTaskSet', lun: 0 });
    expect([ordered.isDropped, running.isDropped]).toEqual([true, false]);
    group.settle();
    expect([answer(), running.isDropped]).toEqual(['complete', true]);
    expect(group.asked).toEqual(['read 0 512']);
  });

  it('tells the others whose commands were cleared, and everybody that the unit was reset', () => {
    execute(device, other, read10(0, 1));
    const cleared = manage(host, { kind: 'clearTaskSet', lun: 0 });
    group.settle();
    expect(cleared()).toBe('complete');
    expect(done(execute(device, other, testUnitReady))).toBe('2 6 2f00');
    expect(manage(host, { kind: 'logicalUnitReset', lun: 0 })()).toBe('complete');
    expect(done(execute(device, other, testUnitReady))).toBe('2 6 2903');
    expect(done(execute(device, host, testUnitReady))).toBe('2 6 2903');
    expect(manage(host, { kind: 'targetReset' })()).toBe('complete');
    expect(done(execute(device, other, testUnitReady, { lun: 3 }))).toBe('2 6 2903');
    expect(manage(host, { kind: 'abortTaskSet', lun: 9 })()).toBe('noSuchUnit');
  });

  it('loses a nexus only when none of its commands can touch a volume any more', () => {
    const task = execute(device, host, write10(0, 1), { dataOut: bytes(512, 1) });
    let gone = false;
    device.nexusLost(host, () => (gone = true));
    turn.run();
    expect(gone).toBe(false);
    group.settle();
    turn.run();
    expect([gone, task.isDropped]).toEqual([true, true]);
  });
});

describe('ordered commands', () => {
  it('wait for all before them, and all after wait for them; head of queue goes past', () => {
    const tasks = [
      execute(device, host, read10(0, 1)),
      execute(device, host, read10(1, 1), { attribute: 'ordered' }),
      execute(device, host, read10(2, 1)),
      execute(device, host, read10(3, 1), { attribute: 'headOfQueue' }),
    ];
    expect(group.asked).toEqual(['read 0 512', 'read 1536 512']);
    group.settle(2);
    expect(group.asked.slice(2)).toEqual(['read 512 512']);
    group.settle(1);
    expect(group.asked.slice(3)).toEqual(['read 1024 512']);
    group.settle();
    expect(tasks.map((task) => task.outcome?.status)).toEqual([0, 0, 0, 0]);
  });
});

describe('blocks', () => {
  const word = (value: number): number[] => [0, 0, 0, 0, 0, 0, value >> 8, value & 0xff];
  const compareAndWrite = (block: number, count: number): number[] => [
    ...[0x89, 0, ...word(block), 0, 0, 0, count, 0, 0],
  ];

  it('are compared and written with nothing in between', () => {
    group.memory(0).set(bytes(512, 1));
    const both = Uint8Array.from([...bytes(512, 1), ...bytes(512, 2)]);
    const first = execute(device, host, compareAndWrite(0, 1), { dataOut: both });
    const second = execute(device, other, compareAndWrite(0, 1), { dataOut: both });
    const write = execute(device, other, write10(0, 1), { dataOut: bytes(512, 9) });
    const elsewhere = execute(device, other, write10(1, 1), { dataOut: bytes(512, 8) });
    group.settle();
    expect(first.outcome?.status).toBe(0);
    expect(senseOf(second.outcome)).toBe('e 1d00');
    expect([write.outcome?.status, elsewhere.outcome?.status]).toEqual([0, 0]);
    expect(group.memory(0)[0]).toBe(9);
    expect(group.asked.slice(0, 3)).toEqual(['read 0 512', 'write 512 512', 'write 0 512']);
  });

  it('that differ are told by their offset', () => {
    const expected = bytes(1024, 0);
    expected[700] = 1;
    const task = execute(device, host, compareAndWrite(0, 2), {
      dataOut: Uint8Array.from([...expected, ...expected]),
    });
    group.settle();
    const sense = task.outcome?.sense ?? bytes(0, 0);
    expect([sense[0], new DataView(sense.buffer, sense.byteOffset).getUint32(3)]).toEqual([0xf0, 700]);
  });

  it('are ORed', () => {
    group.memory(0).set(bytes(512, 0x0f));
    const cdb = [0x8b, 0, ...word(0), 0, 0, 0, 1, 0, 0];
    expect(done(execute(device, host, cdb, { dataOut: bytes(512, 0xf0) }))).toBe('0 -');
    expect(group.memory(0).subarray(0, 512)).toEqual(bytes(512, 0xff));
  });

  it('are given back, and told so', () => {
    group.memory(0).fill(5);
    const list = [0, 22, 0, 16, 0, 0, 0, 0, ...word(8), 0, 0, 0, 16, 0, 0, 0, 0];
    const unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, list.length, 0];
    expect(done(execute(device, host, unmap, { dataOut: Uint8Array.from(list) }))).toBe('0 -');
    const status = execute(device, host, [0x9e, 0x12, ...word(0), 0, 0, 0, 255, 0, 0]);
    expect(done(status)).toBe('0 -');
    const view = new DataView(status.outcome?.data.buffer ?? new ArrayBuffer(0));
    const extents = [0, 1, 2].map((index) => [
      view.getUint32(8 + 16 * index + 4),
      view.getUint32(8 + 16 * index + 8),
      view.getUint8(8 + 16 * index + 12),
    ]);
    expect(extents).toEqual([
      [0, 8, 0],
      [8, 16, 1],
      [24, 2024, 0],
    ]);
  });

  it('are written alike', () => {
    const same = (flags: number, count: number): number[] => [0x93, flags, ...word(4), 0, 0, 0, count, 0, 0];
    expect(done(execute(device, host, same(0, 3), { dataOut: bytes(512, 6) }))).toBe('0 -');
    expect(group.memory(0).subarray(4 * 512, 7 * 512)).toEqual(bytes(3 * 512, 6));
    expect(done(execute(device, host, same(0x01, 2)))).toBe('0 -');
    expect(group.asked.at(-1)).toBe('zero 2048 1024');
    expect(done(execute(device, host, same(0x10, 2), { dataOut: bytes(512, 0) }))).toBe('2 5 2400');
    // Zero blocks: all up to the end.
    expect(done(execute(device, host, same(0x08, 0), { dataOut: bytes(512, 0) }))).toBe('0 -');
    expect(group.asked.at(-1)).toBe(`zero 2048 ${1024 * 1024 - 2048}`);
  });

  it.each([
    [0, bytes(0, 0), '0 -'],
    [1, bytes(1024, 3), '0 -'],
    [1, bytes(1024, 4), '2 e 1d00'],
    [2, bytes(1024, 3), '2 5 2400'],
    [3, bytes(512, 3), '0 -'],
  ])('are verified with BYTCHK = %i', (check, dataOut, expected) => {
    group.memory(0).fill(3);
    expect(done(execute(device, host, [0x2f, check << 1, 0, 0, 0, 0, 0, 0, 2, 0], { dataOut }))).toBe(expected);
  });

  it('are written, then verified', () => {
    const cdb = [0x2e, 0x02, 0, 0, 0, 0, 0, 0, 2, 0];
    expect(done(execute(device, host, cdb, { dataOut: bytes(1024, 3) }))).toBe('0 -');
    expect(group.asked).toEqual(['write 0 1024 fua', 'read 0 1024']);
  });
});

describe('reservations', () => {
  const ports = { holder: nexusOf('holder'), registered: nexusOf('registered'), stranger: nexusOf('stranger') };
  const registration = ({ initiatorPort, targetPort }: Nexus): Reservations['registrations'][number] => ({
    initiatorPort,
    targetPort,
    key: '0000000000000001',
  });
  // SPC-4 tables 62 and 63: who may do what, by type; r: reads, w: writes.
  const allowed: Readonly<
    Record<1 | 3 | 5 | 6 | 7 | 8, readonly [holder: string, registered: string, stranger: string]>
  > = {
    1: ['rw', 'r', 'r'],
    3: ['rw', '', ''],
    5: ['rw', 'rw', 'r'],
    6: ['rw', 'rw', ''],
    7: ['rw', 'rw', 'r'],
    8: ['rw', 'rw', ''],
  };

  it.each(([1, 3, 5, 6, 7, 8] as const).map((type) => [type]))('of type %i keep out whom they should', (type) => {
    const state: Reservations = {
      generation: 1,
      aptpl: false,
      registrations: [registration(ports.holder), registration(ports.registered)],
      reservation: { type, holder: type >= 7 ? null : registration(ports.holder) },
    };
    (['holder', 'registered', 'stranger'] as const).forEach((who, index) => {
      const may = (['read', 'write'] as const).filter((what) => !conflicts(state, ports[who], what));
      expect(may.map((what) => what[0]).join('')).toBe(allowed[type][index]);
      for (const what of ['any', 'own'] as const) expect(conflicts(state, ports[who], what)).toBe(false);
    });
  });

  it('answer RESERVATION CONFLICT, and let pass what is allowed', () => {
    group.state.set(0, {
      generation: 1,
      aptpl: false,
      registrations: [registration(host)],
      reservation: { type: 1, holder: registration(host) },
    });
    expect(done(execute(device, other, write10(0, 1), { dataOut: bytes(512, 1) }))).toBe('24 -');
    expect(done(execute(device, other, read10(0, 1)))).toBe('0 -');
    expect(done(execute(device, host, write10(0, 1), { dataOut: bytes(512, 1) }))).toBe('0 -');
    expect(done(execute(device, other, write10(0, 1), { lun: 3, dataOut: bytes(512, 1) }))).toBe('0 -');
  });
});

describe('whatever comes', () => {
  it('is answered exactly once, with sense where it fails', () => {
    const cdbs = fc.oneof(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc
        .tuple(fc.constantFrom(...commands), fc.uint8Array({ minLength: 16, maxLength: 16 }))
        .map(([command, noise]) =>
          noise.map((byte, index) => masked(command.usage, command.serviceAction, byte, index)),
        ),
    );
    fc.assert(
      fc.property(cdbs, fc.uint8Array({ maxLength: 2048 }), (cdb, dataOut) => {
        const wanted = device.dataOutBytes(host, 0, cdb);
        expect(wanted).toBeGreaterThanOrEqual(0);
        expect(wanted).toBeLessThanOrEqual(8 * 1024 * 1024);
        const task = new FakeTask(host, [...cdb], { dataOut: dataOut.subarray(0, wanted) });
        device.execute(task);
        group.settle();
        expect(task.ends).toBe(1);
        if (task.outcome?.status === 0x02) expect(task.outcome.sense?.length).toBeGreaterThanOrEqual(8);
      }),
      { numRuns: 3000 },
    );
  });

  function masked(usage: readonly number[], action: number | null, byte: number, index: number): number {
    if (index === 0) return usage[0] ?? 0;
    if (index === 1 && action !== null) return action;
    // Addresses near the beginning, so that many of them are inside.
    return index >= 2 && index <= 7 ? 0 : byte & (usage[index] ?? 0);
  }
});

it('names unit attentions by the codes of SPC-4', () => {
  expect(Attention.accessStateChanged).toBe(0x2a06);
});
