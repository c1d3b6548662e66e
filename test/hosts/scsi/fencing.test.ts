/** What must not happen after a host was told that others' commands are over, and what a unit does while that is decided. */
import { beforeEach, describe, expect, it } from 'vitest';
import { payloadMemory } from '../../../src/base/payload-memory.ts';
import type { HostVolume } from '../../../src/group/host-access.ts';
import type { Reservations } from '../../../src/group/reservations.ts';
import type { Command } from '../../../src/hosts/scsi/command.ts';
import { commands } from '../../../src/hosts/scsi/commands.ts';
import { DeviceServer } from '../../../src/hosts/scsi/device-server.ts';
import { type Nexus, ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { HandClock, HandTurn } from '../../node/hand-clock.ts';
import { FakeGroup, fakeUnit } from './fake-group.ts';
import { execute, type FakeTask, nexusOf, senseOf } from './initiator.ts';

const testUnitReady = [0x00];
const read10 = (block: number): number[] => [0x28, 0, 0, 0, 0, block, 0, 0, 1, 0];
const write10 = (block: number, flags = 0): number[] => [0x2a, flags, 0, 0, 0, block, 0, 0, 1, 0];
const compareAndWrite = (block: number): number[] => [
  0x89,
  0,
  ...new Array<number>(7).fill(0),
  block,
  0,
  0,
  0,
  1,
  0,
  0,
];
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);

let group: FakeGroup;
let turn: HandTurn;
let device: DeviceServer;
let host: Nexus;
let other: Nexus;

function start(made: FakeGroup, unitTasksMax = 5000, known: readonly Command[] = commands): void {
  group = made;
  turn = new HandTurn();
  const targetName = 'iqn.2026-11.org.holdfast:test:g1';
  device = new DeviceServer({ targetName, group, commands: known, clock: new HandClock(), turn, unitTasksMax });
  host = nexusOf('host');
  other = nexusOf('other', 17);
  for (const nexus of [host, other]) {
    device.nexusGained(nexus);
    for (const { index } of group.units) execute(device, nexus, testUnitReady, { lun: index });
  }
}

beforeEach(() => start(new FakeGroup([fakeUnit(0), fakeUnit(3)])));

function heldBy({ initiatorPort, targetPort }: Nexus): Reservations {
  const registration = { initiatorPort, targetPort, key: '0000000000000001' };
  return {
    generation: 1,
    aptpl: false,
    registrations: [registration],
    reservation: { type: 1, holder: registration },
  };
}

function preemptAndAbort(victim: Nexus): void {
  const none = { registrationsPreempted: [], reservationsPreempted: [], reservationsReleased: [] };
  group.tell((watcher) => watcher.reservationsChanged?.(0, { ...none, aborted: [victim] }));
}

const statusOf = (task: FakeTask): string => `${task.outcome?.status} ${senseOf(task.outcome)}`;

describe('a command that waits for an ORDERED one', () => {
  it('meets the reservation that was made meanwhile', () => {
    execute(device, host, read10(0), { attribute: 'ordered' });
    const write = execute(device, other, write10(1), { dataOut: bytes(512, 1) });
    group.state.set(0, heldBy(host));
    group.settle();
    expect(statusOf(write)).toBe('24 -');
    expect(group.asked).toEqual(['read 0 512']);
  });

  it('meets the access state that came meanwhile', () => {
    execute(device, host, read10(0), { attribute: 'ordered' });
    const ready = execute(device, other, testUnitReady);
    group.move('standby');
    group.settle();
    expect(statusOf(ready)).toBe('2 2 040b');
  });

  it('goes on waiting when another ORDERED one that waits is aborted', () => {
    execute(device, host, read10(0), { attribute: 'ordered' });
    const task = execute(device, host, read10(1), { attribute: 'ordered' });
    device.manage(host, { kind: 'abortTask', lun: 0, task }, () => undefined);
    execute(device, host, read10(2));
    expect(group.asked).toEqual(['read 0 512']);
    group.settle();
    expect(group.asked).toEqual(['read 0 512', 'read 1024 512']);
  });

  it('begins when the one it waited for is dropped', () => {
    execute(device, host, read10(0));
    const task = execute(device, host, read10(1), { attribute: 'ordered' });
    const behind = execute(device, host, read10(2));
    device.manage(host, { kind: 'abortTask', lun: 0, task }, () => undefined);
    expect(group.asked).toEqual(['read 0 512', 'read 1024 512']);
    group.settle();
    expect([task.isDropped, statusOf(behind)]).toEqual([true, '0 -']);
  });

  it('may be one of thousands that end as soon as they begin', () => {
    execute(device, host, read10(0), { attribute: 'ordered' });
    const tasks = Array.from({ length: 4900 }, () => execute(device, host, testUnitReady));
    group.settle();
    expect(tasks.every((task) => task.ends === 1 && task.outcome?.status === 0)).toBe(true);
  });
});

describe('an aborted command', () => {
  it('does not write after it was compared', () => {
    const task = execute(device, other, compareAndWrite(0), { dataOut: bytes(1024, 0) });
    preemptAndAbort(other);
    group.settle();
    expect([task.isDropped, group.asked]).toEqual([true, ['read 0 512']]);
  });

  it('does not write after it waited for others to compare', () => {
    execute(device, host, compareAndWrite(0), { dataOut: bytes(1024, 0) });
    const task = execute(device, other, write10(0), { dataOut: bytes(512, 9) });
    preemptAndAbort(other);
    group.settle();
    expect([task.isDropped, group.asked]).toEqual([true, ['read 0 512', 'write 0 512']]);
  });

  it('stops between the pieces of a long change', () => {
    start(new FakeGroup([fakeUnit(0, { sizeBytes: 4 * 1024 * 1024 })]));
    const same = [0x93, 0, ...new Array<number>(8).fill(0), 0, 0, 0x20, 0, 0, 0];
    const task = execute(device, other, same, { dataOut: bytes(512, 5) });
    group.settle(1);
    expect(group.asked).toHaveLength(2);
    preemptAndAbort(other);
    group.settle();
    expect([task.isDropped, group.asked.length]).toEqual([true, 2]);
  });

  it('lets those go on that waited for its blocks', () => {
    execute(device, other, compareAndWrite(0), { dataOut: bytes(1024, 0) });
    const write = execute(device, host, write10(0), { dataOut: bytes(512, 9) });
    preemptAndAbort(other);
    group.settle();
    expect([statusOf(write), group.memory(0)[0]]).toEqual(['0 -', 9]);
  });
});

describe('a unit that goes', () => {
  it('keeps a nexus that is lost waiting for the commands it still has (I9)', () => {
    execute(device, host, write10(0), { lun: 3, dataOut: bytes(512, 1) });
    group.units = [fakeUnit(0)];
    group.tell((watcher) => watcher.unitsChanged?.());
    let gone = false;
    device.nexusLost(host, () => (gone = true));
    turn.run();
    expect(gone).toBe(false);
    group.settle();
    turn.run();
    expect(gone).toBe(true);
  });

  it('gives nothing to its volume any more', () => {
    execute(device, host, compareAndWrite(0), { lun: 3, dataOut: bytes(1024, 0) });
    const write = execute(device, host, write10(0), { lun: 3, dataOut: bytes(512, 1) });
    group.units = [fakeUnit(0)];
    group.tell((watcher) => watcher.unitsChanged?.());
    group.settle();
    expect([write.ends, group.asked]).toEqual([1, ['read 0 512']]);
  });
});

describe('WRITE AND VERIFY', () => {
  const cdb = [0x2e, 0x02, 0, 0, 0, 0, 0, 0, 64, 0];

  it('compares with what it wrote, not with what has come into that memory since', () => {
    const lending = new (class extends FakeGroup {
      override volume(index: number): HostVolume | null {
        const volume = super.volume(index);
        if (volume === null) return null;
        // As a group does when every leg has it: the memory is lent again.
        const write: HostVolume['write'] = (offset, data, fua, done) => {
          volume.write(offset, data, fua, (fault) => {
            payloadMemory.give(data);
            payloadMemory.take(data.length).fill(0xff);
            done(fault);
          });
        };
        return { ...volume, write };
      }
    })([fakeUnit(0)]);
    start(lending);
    const task = execute(device, host, cdb, { dataOut: payloadMemory.take(32768).fill(3) });
    group.settle();
    expect(statusOf(task)).toBe('0 -');
  });

  it('does not take for an error what another writes meanwhile', () => {
    const task = execute(device, host, cdb, { dataOut: bytes(32768, 3) });
    const write = execute(device, other, write10(0), { dataOut: bytes(512, 9) });
    group.settle();
    expect([statusOf(task), statusOf(write)]).toEqual(['0 -', '0 -']);
    expect(group.asked).toEqual(['write 0 32768 fua', 'read 0 32768', 'write 0 512']);
  });
});

describe('START STOP UNIT', () => {
  const startStop = (flags: number): number[] => [0x1b, 0, 0, 0, flags, 0];

  it('has nothing to eject, and makes durable what it does not stop', () => {
    for (const flags of [0x02, 0x03]) expect(statusOf(execute(device, host, startStop(flags)))).toBe('2 5 2400');
    const stop = execute(device, host, startStop(0x00));
    expect([stop.ends, group.asked]).toEqual([0, ['flush']]);
    group.settle();
    expect(statusOf(stop)).toBe('0 -');
    expect(statusOf(execute(device, host, testUnitReady))).toBe('0 -');
  });

  it('starts whatever is reserved, and stops only for who may write (SBC-3 table 13)', () => {
    group.state.set(0, heldBy(host));
    expect(statusOf(execute(device, other, startStop(0x01)))).toBe('0 -');
    expect(statusOf(execute(device, other, startStop(0x00)))).toBe('24 -');
  });
});

describe('PREVENT ALLOW MEDIUM REMOVAL', () => {
  it('may be allowed whatever is reserved, and prevented only by who may write (SPC-4 table 63)', () => {
    group.state.set(0, heldBy(host));
    const prevent = (value: number): number[] => [0x1e, 0, 0, 0, value, 0];
    expect(statusOf(execute(device, other, prevent(0)))).toBe('0 -');
    expect(statusOf(execute(device, other, prevent(1)))).toBe('24 -');
    expect(statusOf(execute(device, host, prevent(1)))).toBe('0 -');
  });
});

describe('the device server', () => {
  it('does not tell of a changed list of units who has just read it (SPC-4 6.33)', () => {
    const reportLuns: Command = {
      ...{ name: 'REPORT LUNS', opcode: 0xa0, serviceAction: null, usage: new Array<number>(12).fill(0xff) },
      ...{ reservation: 'any', access: 'any', pastUnitAttention: true },
      run: (_unit, task) => task.complete(ScsiStatus.good),
    };
    start(new FakeGroup([fakeUnit(0)]), 8, [...commands, reportLuns]);
    group.units = [fakeUnit(0), fakeUnit(5)];
    group.tell((watcher) => watcher.unitsChanged?.());
    execute(device, host, [0xa0]);
    expect(statusOf(execute(device, host, testUnitReady))).toBe('0 -');
    expect(statusOf(execute(device, other, testUnitReady))).toBe('2 6 3f0e');
  });

  it('resets no unit that the nexus may not see', () => {
    const narrow = nexusOf('narrow', 1, [3]);
    device.nexusGained(narrow);
    const write = execute(device, host, write10(0), { dataOut: bytes(512, 1) });
    device.manage(narrow, { kind: 'targetReset' }, () => undefined);
    group.settle();
    expect([write.isDropped, statusOf(write)]).toEqual([false, '0 -']);
    expect(statusOf(execute(device, host, testUnitReady))).toBe('0 -');
    expect(statusOf(execute(device, host, testUnitReady, { lun: 3 }))).toBe('2 6 2903');
  });

  it('knows no ACA that a command could be for', () => {
    expect(statusOf(execute(device, host, testUnitReady, { attribute: 'aca' }))).toBe('2 5 4900');
  });

  it('asks for no data of a command that it will refuse', () => {
    expect(device.dataOutBytes(host, 0, Uint8Array.from([...write10(0, 0x20), 0, 0, 0, 0, 0, 0]))).toBe(0);
  });

  it('takes FUA_NV for FUA: there is nothing in between', () => {
    execute(device, host, write10(0, 0x02), { dataOut: bytes(512, 1) });
    expect(group.asked).toEqual(['write 0 512 fua']);
  });

  it('answers a READ with FUA when all it has seen is on the medium', () => {
    execute(device, host, [0x28, 0x08, 0, 0, 0, 0, 0, 0, 1, 0]);
    group.settle();
    expect(group.asked).toEqual(['read 0 512', 'flush']);
  });
});
