import { describe, expect, it } from 'vitest';
import {
  advance,
  decodeTable,
  emptyTable,
  encodeTable,
  hasVacancy,
  mirrorEntriesMax,
  mirrorRow,
  type StatusTable,
  type TableEvent,
} from '../../src/pulse/status-table.ts';
import type { Enable } from '../../src/pulse/snapshot.ts';

const apply = (table: StatusTable, ...events: TableEvent[]): StatusTable => events.reduce(advance, table);
const empty = emptyTable('east', 'here', { network: true });
const install = (name: string, direction: 'send' | 'receive'): TableEvent => ({
  kind: 'install',
  row: { name, direction, device: `/hb/${name}` },
});
const written = (mirror: string, done: boolean): TableEvent => ({ kind: 'written', mirror, done });
const read = (mirror: string, valid: boolean): TableEvent => ({ kind: 'read', mirror, valid });
const returned = (mirror: string): TableEvent => ({ kind: 'returned', path: { mirror } });
const use = (path: 'network' | 'mirrors' | { mirror: string }, enable: boolean): TableEvent => ({
  kind: 'use',
  path,
  enable,
});
const both = apply(empty, install('out', 'send'), install('in', 'receive'));

/** Network / its remote, mirrors / their remote, then each row. */
const show = ({ network, mirrors, list }: StatusTable): string =>
  [
    `${network.enable} ${network.remote ?? '-'}`,
    `${mirrors.enable} ${mirrors.remote ?? '-'}`,
    ...list.flatMap((row) => (row === null ? [] : [`${row.name} ${row.status}`])),
  ].join(' | ');

describe('the heartbeat status table (HM-5)', () => {
  it('has vacant entries as null, and takes no more mirrors than it has entries', () => {
    expect(empty.list).toEqual(Array(mirrorEntriesMax).fill(null));
    const full = apply(
      empty,
      ...Array.from({ length: mirrorEntriesMax }, (_, index) => install(`m${index}`, 'send')),
    );
    expect([hasVacancy(both), hasVacancy(full)]).toEqual([true, false]);
    expect(advance(full, install('more', 'send'))).toBe(full);
    const less = advance(full, { kind: 'remove', mirror: 'm3' });
    expect(less.list[3]).toBe(null);
    expect(advance(less, install('more', 'send')).list[3]).toMatchObject({ name: 'more', status: 'ENABLE' });
    expect(mirrorRow(less, 'm3')).toBe(null);
  });

  it('is a new version with each change, and the same object without one', () => {
    expect(both.version).toBe(3);
    expect(advance(both, written('out', true))).toBe(both);
    expect(advance(both, { kind: 'remove', mirror: 'none' })).toBe(both);
    expect(advance(both, written('out', false)).version).toBe(4);
  });

  it('can be kept as text; what is none is refused', () => {
    expect(decodeTable(encodeTable(both))).toEqual(both);
    for (const text of ['', '{}', 'null', encodeTable(both).replace('ENABLE', 'MAYBE'), encodeTable(both).slice(1)])
      expect(decodeTable(text)).toBe(null);
  });
});

describe('the network in the table', () => {
  const network = (remote: 'ALIVE' | 'FAILED'): TableEvent => ({ kind: 'network', remote });
  const states: Readonly<Record<Enable, StatusTable>> = {
    ENABLE: advance(empty, network('ALIVE')),
    FAILED: advance(empty, network('FAILED')),
    DISABLE: advance(empty, use('network', false)),
  };
  it.each<[Enable, string, TableEvent, string]>([
    ['ENABLE', 'heard', network('ALIVE'), 'ENABLE ALIVE'],
    ['ENABLE', 'silent', network('FAILED'), 'FAILED FAILED'],
    ['ENABLE', 'returned', { kind: 'returned', path: 'network' }, 'ENABLE ALIVE'],
    ['ENABLE', 'enabled', use('network', true), 'ENABLE ALIVE'],
    ['ENABLE', 'disabled', use('network', false), 'DISABLE -'],
    ['FAILED', 'heard', network('ALIVE'), 'FAILED FAILED'],
    ['FAILED', 'silent', network('FAILED'), 'FAILED FAILED'],
    ['FAILED', 'returned', { kind: 'returned', path: 'network' }, 'ENABLE ALIVE'],
    ['FAILED', 'enabled', use('network', true), 'ENABLE -'],
    ['FAILED', 'disabled', use('network', false), 'DISABLE -'],
    ['DISABLE', 'heard', network('ALIVE'), 'DISABLE -'],
    ['DISABLE', 'silent', network('FAILED'), 'DISABLE -'],
    ['DISABLE', 'returned', { kind: 'returned', path: 'network' }, 'DISABLE -'],
    ['DISABLE', 'enabled', use('network', true), 'ENABLE -'],
    ['DISABLE', 'disabled', use('network', false), 'DISABLE -'],
  ])('%s, %s (HM-12, HM-14, HM-19)', (state, _what, event, expected) => {
    expect(show(advance(states[state], event))).toBe(`${expected} | ENABLE -`);
  });
});

describe('mirrors in the table', () => {
  const alive = advance(both, read('in', true));
  const states = {
    ENABLE: alive,
    'out FAILED': advance(alive, written('out', false)),
    'in FAILED': advance(alive, read('in', false)),
    'out DISABLE': advance(alive, use({ mirror: 'out' }, false)),
    'in DISABLE': advance(alive, use({ mirror: 'in' }, false)),
    'all DISABLE': advance(alive, use('mirrors', false)),
  };

  it.each<[keyof typeof states, string, TableEvent, string]>([
    ['ENABLE', 'written', written('out', true), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['ENABLE', 'not written', written('out', false), 'FAILED ALIVE | out FAILED | in ENABLE'],
    ['ENABLE', 'read', read('in', true), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['ENABLE', 'nothing valid read', read('in', false), 'FAILED FAILED | out ENABLE | in FAILED'],
    ['ENABLE', 'read of the one that is sent on', read('out', false), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['ENABLE', 'returned', returned('out'), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['ENABLE', 'one disabled', use({ mirror: 'in' }, false), 'ENABLE - | out ENABLE | in DISABLE'],
    ['ENABLE', 'all disabled', use('mirrors', false), 'DISABLE - | out ENABLE | in ENABLE'],
    ['ENABLE', 'removed', { kind: 'remove', mirror: 'out' }, 'ENABLE ALIVE | in ENABLE'],
    ['out FAILED', 'written', written('out', true), 'FAILED ALIVE | out FAILED | in ENABLE'],
    ['out FAILED', 'returned', returned('out'), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['out FAILED', 'enabled', use({ mirror: 'out' }, true), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['out FAILED', 'mirrors enabled', use('mirrors', true), 'ENABLE - | out ENABLE | in ENABLE'],
    ['out FAILED', 'removed', { kind: 'remove', mirror: 'out' }, 'ENABLE ALIVE | in ENABLE'],
    ['in FAILED', 'read', read('in', true), 'FAILED FAILED | out ENABLE | in FAILED'],
    ['in FAILED', 'returned', returned('in'), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['in FAILED', 'another installed', install('in2', 'receive'), 'ENABLE - | out ENABLE | in FAILED | in2 ENABLE'],
    ['in FAILED', 'disabled', use({ mirror: 'in' }, false), 'ENABLE - | out ENABLE | in DISABLE'],
    ['out DISABLE', 'not written', written('out', false), 'ENABLE ALIVE | out DISABLE | in ENABLE'],
    ['out DISABLE', 'returned', returned('out'), 'ENABLE ALIVE | out DISABLE | in ENABLE'],
    ['out DISABLE', 'enabled', use({ mirror: 'out' }, true), 'ENABLE ALIVE | out ENABLE | in ENABLE'],
    ['in DISABLE', 'nothing valid read', read('in', false), 'ENABLE - | out ENABLE | in DISABLE'],
    ['in DISABLE', 'read', read('in', true), 'ENABLE - | out ENABLE | in DISABLE'],
    ['all DISABLE', 'not written', written('out', false), 'DISABLE - | out ENABLE | in ENABLE'],
    ['all DISABLE', 'nothing valid read', read('in', false), 'DISABLE - | out ENABLE | in ENABLE'],
    ['all DISABLE', 'read', read('in', true), 'DISABLE - | out ENABLE | in ENABLE'],
    ['all DISABLE', 'enabled', use('mirrors', true), 'ENABLE - | out ENABLE | in ENABLE'],
  ])('%s, %s (HM-9, HM-11, HM-12, HM-14, HM-19)', (state, _what, event, expected) => {
    expect(show(advance(states[state], event))).toBe(`ENABLE - | ${expected}`);
  });

  it('are FAILED together only when none of a direction is left (HM-11, HM-12)', () => {
    const four = apply(both, install('out2', 'send'), install('in2', 'receive'), read('in', true), read('in2', true));
    const less = apply(four, written('out', false), read('in2', false));
    expect([less.mirrors.enable, less.mirrors.remote]).toEqual(['ENABLE', 'ALIVE']);
    expect(advance(less, written('out2', false)).mirrors).toEqual({ enable: 'FAILED', remote: 'ALIVE' });
    expect(advance(less, read('in', false)).mirrors).toEqual({ enable: 'FAILED', remote: 'FAILED' });
  });
});
