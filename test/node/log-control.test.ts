import { beforeEach, describe, expect, it } from 'vitest';
import type { Group } from '../../src/group/group.ts';
import type { LogMoment, LogMomentsOptions } from '../../src/group/log-moments.ts';
import type { LegStatus, LogStatus } from '../../src/group/status.ts';
import { controlBytesMax } from '../../src/link/frame.ts';
import { LogControl } from '../../src/node/log-control.ts';
import type { ClusterDocument } from '../../src/store/document.ts';
import { fakeControl, fakeGroup, fakeLog, fakeStatus } from '../api/fake-control.ts';

let document: ClusterDocument;
let leg: Partial<LegStatus>;
let log: LogStatus | null;
let ownerState: 'up' | 'unreachable';
let owner: string;
let role: Group['role'];
let asked: unknown[];
let moments: readonly LogMoment[];
let logs: LogControl;

beforeEach(async () => {
  document = await fakeControl().document();
  leg = {};
  log = { ...fakeLog, state: 'idle', usedBytes: 0 };
  ownerState = 'up';
  owner = 'east';
  role = 'primary';
  asked = [];
  moments = fakeControl().moments;
  const held = {
    get role() {
      return role;
    },
    markLog: (name: string) => Promise.resolve({ position: '7:3', atMs: 5, name }),
    logMoments: (options: LogMomentsOptions) => {
      asked.push(options);
      return Promise.resolve({ moments, more: false });
    },
  } as unknown as Group;
  logs = new LogControl({
    node: 'east',
    document: () => document,
    changeDocument: (change) => {
      document = change(document);
      return Promise.resolve();
    },
    status: () => {
      const status = fakeStatus(fakeGroup(leg, { log, owner }));
      const nodes = status.nodes.map((node) => (node.name === owner ? { ...node, state: ownerState } : node));
      return Promise.resolve({ ...status, nodes });
    },
    group: () => held,
    ownerOf: () => owner,
    request: (...words) => {
      asked.push(words.slice(0, 3));
      return Promise.resolve({ position: '7:3', atMs: 5 });
    },
  });
});

const logInDocument = () => document.groups[0]?.log;

describe('a log is removed', () => {
  it('when no target needs it', async () => {
    await logs.removeLog({ group: 'g1', force: false });
    expect(logInDocument()).toBeNull();
  });

  it('only by force while one does, or when that cannot be known', async () => {
    const refused = (why: string) =>
      expect(logs.removeLog({ group: 'g1', force: false })).rejects.toMatchObject({
        code: 'E_REFUSED',
        message: expect.stringContaining(why) as string,
      });
    leg = { replication: 'Logging' };
    await refused('group g1: west is away and needs its log; wait until that has ended, or use --force');
    leg = { replication: 'Merging' };
    await refused('group g1: west is being merged from its log');
    leg = {};
    ownerState = 'unreachable';
    await refused('group g1: east, its owner, cannot be asked whether its log is needed; start it, or use --force');
    expect(logInDocument()).not.toBeNull();
    await logs.removeLog({ group: 'g1', force: true });
    expect(logInDocument()).toBeNull();
    await expect(logs.removeLog({ group: 'g1', force: true })).rejects.toThrow('group g1 has no log; make one');
  });
});

describe('a log shrinks', () => {
  it('not below what is in use while a target needs it', async () => {
    log = { ...fakeLog, usedBytes: 3 * 2 ** 30 };
    await expect(logs.setLogSize({ group: 'g1', sizeBytes: 2 ** 30 })).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: 'group g1: 3 GiB of its log are in use, more than 1 GiB; wait until its targets have been merged',
    });
    await logs.setLogSize({ group: 'g1', sizeBytes: 4 * 2 ** 30 });
    expect(logInDocument()?.sizeBytes).toBe(4 * 2 ** 30);
  });

  it('as far as it likes when it rests', async () => {
    log = { ...fakeLog, state: 'idle', usedBytes: 3 * 2 ** 30 };
    await logs.setLogSize({ group: 'g1', sizeBytes: 2 ** 30 });
    expect(logInDocument()?.sizeBytes).toBe(2 ** 30);
  });
});

describe('bookmarks and history', () => {
  it('come from the group where it is served', async () => {
    expect(await logs.markLog({ group: 'g1', name: 'm' })).toEqual({ position: '7:3', atMs: 5, name: 'm' });
    const options = { limit: 3, extents: true, after: '7:1' };
    expect(await logs.logMoments({ group: 'g1', ...options })).toEqual({ moments, more: false });
    expect(asked).toEqual([options]);
  });

  it('are asked of the owner elsewhere, once', async () => {
    owner = 'west';
    role = 'secondary';
    await logs.markLog({ group: 'g1', name: 'm' });
    await logs.logMoments({ group: 'g1', limit: 3, extents: false });
    expect(asked).toEqual([
      ['west', 'log.mark', { group: 'g1', name: 'm' }],
      ['west', 'log.moments', { group: 'g1', limit: 3, extents: false }],
    ]);
    await expect(async () => logs.called('log.mark', { group: 'g1', name: 'm' })).rejects.toThrow(
      'group g1: east does not serve it now',
    );
    expect(asked).toHaveLength(2);
  });

  it('are cut short where they would not fit into an answer between nodes', async () => {
    const epoch = (extents: number): LogMoment => ({
      ...(fakeControl().moments[0] ?? expect.fail()),
      extents: Array.from({ length: extents }, () => ({ volume: 'v'.repeat(63), offset: 2 ** 52, length: 2 ** 25 })),
    });
    const lengths = async (...epochs: number[]) => {
      moments = epochs.map(epoch);
      const answer = await logs.logMoments({ group: 'g1', limit: 1000, extents: true });
      expect(JSON.stringify(answer).length).toBeLessThan(controlBytesMax);
      return [answer.moments.map(({ extents }) => extents?.length), answer.more];
    };
    expect(await lengths(4000, 96)).toEqual([[4000, 96], false]);
    expect(await lengths(4000, 97, 1)).toEqual([[4000], true]);
    expect(await lengths(5000, 0, 0)).toEqual([[5000], true]);
  });

  it('are refused without a log', async () => {
    await logs.removeLog({ group: 'g1', force: false });
    await expect(logs.markLog({ group: 'g1', name: 'm' })).rejects.toMatchObject({ code: 'E_REFUSED' });
  });
});

it('every group is listed, with its log where it has one', async () => {
  const [group] = document.groups;
  document = { ...document, groups: [...document.groups, { ...(group ?? expect.fail()), name: 'g2', log: null }] };
  expect(await logs.listLogs()).toEqual([
    { group: 'g1', log: logInDocument(), status: log },
    { group: 'g2', log: null, status: null },
  ]);
});
