import { describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { PulseControlPart, type PulseAsked } from '../../src/node/pulse-control.ts';
import type { ClusterDocument } from '../../src/store/document.ts';
import { fakePulse, fakeTable } from '../api/fake-pulse.ts';

const document = {
  sites: ['here', 'there'],
  nodes: [
    { name: 'east', site: 'here' },
    { name: 'west', site: 'there' },
  ],
} as unknown as ClusterDocument;

const pulse: PulseAsked = {
  snapshot: async () => Promise.reject(new Error('nobody asks')),
  status: async () => fakePulse,
  use: async () => ({ table: fakeTable, passedOn: [] }),
};
const westTable = { ...fakeTable, node: 'west', site: 'there' };

function part(change: { pulse?: PulseAsked | null; answers?: () => unknown } = {}): PulseControlPart {
  return new PulseControlPart({
    node: 'east',
    clock: { monotonicMs: () => 0, wallMs: () => 77_000, after: () => ({ cancel() {} }) },
    document: () => document,
    pulse: () => (change.pulse === undefined ? pulse : change.pulse),
    request: async () => (change.answers ?? (() => westTable))(),
  });
}

describe('what is asked of the pulse', () => {
  it('gives the tables of both sites at either (HM-5)', async () => {
    expect(await part().pulseTables({})).toEqual([
      { node: 'east', site: 'here', isMaster: true, table: fakeTable, seenAtMs: null, problem: null },
      { node: 'west', site: 'there', isMaster: true, table: westTable, seenAtMs: null, problem: null },
    ]);
    expect((await part().pulseTables({ site: 'there' })).map(({ node }) => node)).toEqual(['west']);
    await expect(part().pulseTables({ site: 'none' })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('gives the table last seen of a node that cannot be asked, and says so (HM-5)', async () => {
    let answer = (): unknown => westTable;
    const control = part({ answers: () => answer() });
    await control.pulseTables({});
    answer = () => {
      throw new HoldfastError('E_NODE_UNREACHABLE', 'no connection');
    };
    expect((await control.pulseTables({ site: 'there' }))[0]).toMatchObject({
      table: westTable,
      seenAtMs: 77_000,
      problem: 'no connection',
    });
    expect((await part({ answers: answer }).pulseTables({ site: 'there' }))[0]).toMatchObject({ table: null });
  });

  it('is passed on to the node that is named', async () => {
    expect(await part({ answers: () => fakePulse }).pulseStatus({ node: 'west' })).toBe(fakePulse);
    await expect(part().pulseStatus({ node: 'north' })).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
      message: 'there is no node north; there are: east, west',
    });
    expect(await part().called('pulse.table', {})).toBe(fakeTable);
    expect(await part().called('pulse.status', {})).toBe(fakePulse);
  });

  it('is refused where there is no pulse', async () => {
    const without = part({ pulse: null });
    await expect(without.pulseStatus({})).rejects.toMatchObject({ code: 'E_REFUSED' });
    await expect(without.usePulse({ select: 'both', confirmed: false })).rejects.toMatchObject({ code: 'E_REFUSED' });
  });
});
