import { beforeEach, describe, expect, it } from 'vitest';
import { applyReservation } from '../../../src/group/reservations.ts';
import { commands } from '../../../src/hosts/scsi/commands.ts';
import { DeviceServer } from '../../../src/hosts/scsi/device-server.ts';
import type { Nexus } from '../../../src/hosts/scsi/task.ts';
import { decodeTransportId, encodeTransportId } from '../../../src/hosts/scsi/transport-id.ts';
import { HandClock, HandTurn } from '../../node/hand-clock.ts';
import { FakeGroup } from './fake-group.ts';
import { execute, nexusOf, senseOf, type FakeTask } from './initiator.ts';

let group: FakeGroup;
let device: DeviceServer;
const host = nexusOf('host');
const other = nexusOf('other', 17);

beforeEach(() => {
  group = new FakeGroup();
  group.reserving = (index, request) => {
    const { outcome, state, effects } = applyReservation(group.reservations(index), request);
    if (state !== null) group.state.set(index, state);
    group.tell((watcher) => watcher.reservationsChanged?.(index, effects));
    return outcome;
  };
  device = new DeviceServer({
    targetName: 'iqn.2026-11.org.holdfast:test:g1',
    group,
    commands,
    clock: new HandClock(),
    turn: new HandTurn(),
  });
  for (const nexus of [host, other]) {
    device.nexusGained(nexus);
    execute(device, nexus, [0x00]);
  }
});

function done(task: FakeTask): string {
  group.settle();
  expect(task.ends).toBe(1);
  return `${task.outcome?.status} ${senseOf(task.outcome)}`;
}

const key = (value: number): number[] => [0, 0, 0, 0, 0, 0, 0, value];
const wide = (value: number): number[] => [0, 0, value >> 8, value & 0xff];
const actions = { register: 0, reserve: 1, release: 2, clear: 3, preempt: 4, abort: 5, ignore: 6, move: 7 };

interface Out {
  key?: number;
  to?: number;
  type?: number;
  flags?: number;
  more?: readonly number[];
  length?: number;
}

function out(nexus: Nexus, action: keyof typeof actions, fields: Out = {}): string {
  const list = [...key(fields.key ?? 0), ...key(fields.to ?? 0), 0, 0, 0, 0, fields.flags ?? 0, 0, 0, 0];
  return send(nexus, action, [...list, ...(fields.more ?? [])], fields);
}

function send(
  nexus: Nexus,
  action: keyof typeof actions,
  list: readonly number[],
  { type = 0, length }: Out,
): string {
  const cdb = [0x5f, actions[action], type, 0, 0, ...wide(length ?? list.length), 0];
  return done(execute(device, nexus, cdb, { dataOut: Uint8Array.from(list) }));
}

function ask(nexus: Nexus, action: number, allocation = 4096): number[] {
  const task = execute(device, nexus, [0x5e, action, 0, 0, 0, 0, 0, allocation >> 8, allocation & 0xff, 0]);
  expect(done(task)).toBe('0 -');
  return [...(task.outcome?.data ?? [])];
}

/** `byte` of the field pointer of the last refusal of this list. */
function pointerOf(nexus: Nexus, action: keyof typeof actions, list: readonly number[], type = 0): string {
  const cdb = [0x5f, actions[action], type, 0, 0, ...wide(list.length), 0];
  const task = execute(device, nexus, cdb, { dataOut: Uint8Array.from(list) });
  const result = done(task);
  const [flags = 0, high = 0, low = 0] = task.outcome?.sense?.subarray(15, 18) ?? [];
  return `${result} ${flags & 0x40 ? 'cdb' : 'list'} ${high * 256 + low}${flags & 8 ? `.${flags & 7}` : ''}`;
}

const transportId = (nexus: Nexus): number[] => encodeTransportId(nexus.initiatorPort);
const good = '0 -';
const conflict = '24 -';

describe('PERSISTENT RESERVE IN (SPC-4 6.15)', () => {
  it('tells keys, cut to the allocation length', () => {
    expect(ask(host, 0)).toEqual(new Array(8).fill(0));
    expect(out(host, 'register', { to: 5 })).toBe(good);
    expect(out(other, 'register', { to: 6 })).toBe(good);
    expect(ask(other, 0)).toEqual([...wide(2), ...wide(16), ...key(5), ...key(6)]);
    expect(ask(other, 0, 12)).toEqual([...wide(2), ...wide(16), 0, 0, 0, 0]);
  });

  it('tells the reservation, with the key zero when all registrants hold it', () => {
    out(host, 'register', { to: 5 });
    expect(ask(host, 1)).toEqual([...wide(1), ...wide(0)]);
    expect(out(host, 'reserve', { key: 5, type: 6 })).toBe(good);
    expect(ask(other, 1)).toEqual([...wide(1), ...wide(16), ...key(5), 0, 0, 0, 0, 0, 6, 0, 0]);
    out(host, 'release', { key: 5, type: 6 });
    out(host, 'reserve', { key: 5, type: 8 });
    expect(ask(other, 1)).toEqual([...wide(1), ...wide(16), ...key(0), 0, 0, 0, 0, 0, 8, 0, 0]);
  });

  it('tells what can be done, and whether APTPL is on', () => {
    expect(ask(host, 2)).toEqual([0, 8, 0x1d, 0x80, 0xea, 0x01, 0, 0]);
    out(host, 'register', { to: 5, flags: 1 });
    expect(ask(host, 2)).toEqual([0, 8, 0x1d, 0x81, 0xea, 0x01, 0, 0]);
  });

  it('tells every registrant with its TransportID', () => {
    out(host, 'register', { to: 5 });
    out(other, 'register', { to: 6 });
    out(host, 'reserve', { key: 5, type: 5 });
    const ids = [transportId(host), transportId(other)] as const;
    const rest = [0, 0, 0, 0];
    expect(ask(host, 3)).toEqual([
      ...[...wide(2), ...wide(48 + ids[0].length + ids[1].length)],
      ...[...key(5), ...rest, 1, 5, ...rest, 0, 1, ...wide(ids[0].length), ...ids[0]],
      ...[...key(6), ...rest, 0, 0, ...rest, 0, 17, ...wide(ids[1].length), ...ids[1]],
    ]);
  });

  it('refuses what it does not know', () => {
    expect(done(execute(device, host, [0x5e, 4, 0, 0, 0, 0, 0, 0, 255, 0]))).toBe('2 5 2400');
  });
});

describe('PERSISTENT RESERVE OUT (SPC-4 6.16)', () => {
  it('keeps others out, until it is preempted: they are told once', () => {
    expect(out(host, 'register', { to: 5 })).toBe(good);
    expect(out(host, 'reserve', { key: 5, type: 3 })).toBe(good);
    expect(done(execute(device, other, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]))).toBe(conflict);
    expect(out(other, 'reserve', { key: 0, type: 3 })).toBe(conflict);
    expect(out(other, 'ignore', { to: 6 })).toBe(good);
    expect(out(other, 'abort', { key: 6, to: 5, type: 1 })).toBe(good);
    expect(out(host, 'register', { to: 5 })).toBe('2 6 2a05');
    expect(done(execute(device, host, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]))).toBe(good);
    expect(done(execute(device, host, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]))).toBe(conflict);
  });

  it('is carried out where another node serves (SPC-4 5.15.2.4)', () => {
    group.move('standby');
    execute(device, host, [0x00]);
    expect(out(host, 'register', { to: 5 })).toBe(good);
    expect(ask(host, 0)).toHaveLength(16);
  });

  it('refuses with the sense of each', () => {
    out(host, 'register', { to: 5 });
    out(host, 'reserve', { key: 5, type: 1 });
    expect(out(host, 'release', { key: 5, type: 3 })).toBe('2 5 2604');
    group.reserving = () => ({ kind: 'full' });
    expect(out(host, 'register', { to: 5 })).toBe('2 5 5504');
    group.reserving = () => ({ kind: 'unreachable', reason: '' });
    expect(out(host, 'register', { to: 5 })).toBe('2 2 040a');
  });

  it('points at the field that is wrong', () => {
    const list = (flags: number): number[] => [...key(5), ...key(0), 0, 0, 0, 0, flags, 0, 0, 0];
    out(host, 'register', { to: 5 });
    expect(pointerOf(host, 'reserve', list(0), 0x11)).toBe('2 5 2400 cdb 2.7');
    expect(pointerOf(host, 'reserve', list(0), 2)).toBe('2 5 2400 cdb 2.3');
    expect(pointerOf(host, 'register', list(0x10))).toBe('2 5 2600 list 20.4');
    expect(pointerOf(host, 'ignore', list(8))).toBe('2 5 2600 list 20.3');
    expect(pointerOf(host, 'preempt', list(0), 1)).toBe('2 5 2600 list 8');
  });

  it('refuses a list that is not so long as it should be', () => {
    expect(out(host, 'register', { to: 5, length: 23 })).toBe('2 5 1a00');
    expect(out(host, 'register', { to: 5, length: 25 })).toBe('2 5 1a00');
    expect(out(host, 'register', { to: 5, more: [0] })).toBe('2 5 1a00');
    expect(out(host, 'register', { to: 5, length: 1 << 20 })).toBe('2 5 1a00');
    expect(out(host, 'register', { to: 5, flags: 8, more: wide(48) })).toBe('2 5 1a00');
    expect(group.requested).toEqual([]);
  });

  it('registers the ports that a list names, and through all target ports', () => {
    const ids = transportId(other);
    expect(out(host, 'register', { to: 5, flags: 0x0c, more: [...wide(ids.length), ...ids] })).toBe(good);
    const registered = group.reservations(0)?.registrations.map((each) => `${each.initiatorPort} ${each.targetPort}`);
    const all = [host, other].flatMap(({ initiatorPort }) => [1, 17, 18].map((port) => `${initiatorPort} ${port}`));
    expect(registered?.sort()).toEqual(all.sort());
    const wrong = [...ids.slice(0, 1), 0, 0, 16, ...ids.slice(4)];
    const list = [...key(0), ...key(7), 0, 0, 0, 0, 8, 0, 0, 0, ...wide(wrong.length), ...wrong];
    expect(pointerOf(nexusOf('third'), 'register', list)).toContain('list 30');
  });

  it('moves a reservation to another port', () => {
    out(host, 'register', { to: 5 });
    out(host, 'reserve', { key: 5, type: 1 });
    const ids = transportId(other);
    const list = (port: number, flags = 2): number[] => [
      ...[...key(5), ...key(9), 0, flags, 0, port, ...wide(ids.length), ...ids],
    ];
    expect(pointerOf(host, 'move', list(3))).toBe('2 5 2600 list 18');
    expect(pointerOf(host, 'move', list(17, 4))).toBe('2 5 2600 list 17.2');
    expect(send(host, 'move', list(17), {})).toBe(good);
    expect(ask(host, 1).slice(8, 16)).toEqual(key(9));
    expect(done(execute(device, host, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]))).toBe(conflict);
    expect(done(execute(device, other, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]))).toBe(good);
  });
});

describe('RESERVE(6) and RELEASE(6)', () => {
  const reserve = (nexus: Nexus): string => done(execute(device, nexus, [0x16, 0, 0, 0, 0, 0]));
  const release = (nexus: Nexus): string => done(execute(device, nexus, [0x17, 0, 0, 0, 0, 0]));
  const read = (nexus: Nexus): string => done(execute(device, nexus, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]));

  it('keep others out until the holder releases (SPC-2 5.5.1)', () => {
    expect([reserve(host), reserve(host), reserve(other), read(other), read(host)]).toEqual([
      ...[good, good, conflict, conflict, good],
    ]);
    expect([release(other), read(other), release(host), read(other)]).toEqual([good, conflict, good, good]);
  });

  it('exclude persistent reservations, and are excluded', () => {
    reserve(host);
    expect([out(host, 'register', { to: 5 }), out(other, 'register', { to: 5 })]).toEqual([conflict, conflict]);
    release(host);
    out(host, 'register', { to: 5 });
    expect(reserve(other)).toBe(conflict);
  });

  it('do nothing for those with a part in a persistent reservation (SPC-4 5.13.3)', () => {
    out(host, 'register', { to: 5 });
    out(host, 'reserve', { key: 5, type: 1 });
    expect([reserve(host), reserve(other), release(other)]).toEqual([good, conflict, conflict]);
    out(other, 'register', { to: 6 });
    expect(reserve(other)).toBe(conflict);
    out(host, 'release', { key: 5, type: 1 });
    out(host, 'reserve', { key: 5, type: 5 });
    expect([reserve(other), release(other)]).toEqual([good, good]);
    expect(read(host)).toBe(good);
  });

  it('end when the group moves, and the holder is told', () => {
    reserve(host);
    group.move('standby');
    group.move('active');
    execute(device, other, [0x00]);
    expect(read(other)).toBe(good);
    expect([read(host), read(host), read(host)]).toEqual(['2 6 2a06', '2 6 2a04', good]);
  });
});

describe('a TransportID', () => {
  const name = 'iqn.2026-11.org.example:host,i,0x00023d000001';

  it('is read as it was written, in lower case', () => {
    const bytes = Uint8Array.from(encodeTransportId(name));
    expect([bytes[0], bytes.length % 4, decodeTransportId(bytes)]).toEqual([0x45, 0, name]);
    expect(encodeTransportId('a,i,0x000000000001')).toHaveLength(24);
    const upper = Uint8Array.from(encodeTransportId(name.toUpperCase().replace(',I,0X', ',i,0x')));
    expect(decodeTransportId(upper)).toBe(name);
  });

  it.each<[string, (bytes: Uint8Array) => void, number]>([
    ['another protocol', (bytes) => (bytes[0] = 0x46), 0],
    ['a name without an ISID', (bytes) => (bytes[0] = 0x05), 0],
    ['a length past the end', (bytes) => (bytes[2] = 1), 2],
    ['no end of the name', (bytes) => bytes.fill(0x41, 4), 4],
    ['something after its end', (bytes) => (bytes[bytes.length - 1] = 1), 4],
    ['no ISID in the name', (bytes) => (bytes[4 + name.indexOf(',')] = 0x41), 4],
  ])('with %s is refused by the byte', (_what, change, byte) => {
    const bytes = Uint8Array.from(encodeTransportId(name));
    change(bytes);
    expect(decodeTransportId(bytes)).toBe(byte);
  });
});
