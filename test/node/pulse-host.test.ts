/** Both kinds of `PulseHost`. Needs the compiled program, as `npm test` makes it: a thread runs nothing else. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Environment } from '../../src/base/environment.ts';
import { silentLog } from '../../src/base/log.ts';
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import { InProcessPulseHost } from '../../src/node/pulse-in-process.ts';
import type { PulseConfiguration, PulseHost, PulseMaker, PulseStart } from '../../src/node/pulse-host.ts';
import { WorkerPulseHost } from '../../src/node/pulse-worker.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import type { PulseSettings } from '../../src/pulse/settings.ts';
import type { SpokenWord } from '../../src/pulse/service.ts';
import { FileStore } from '../../src/store/file-store.ts';
import { parseLease } from '../../src/store/lease.ts';
import { until } from '../base/node/until.ts';

const compiled = existsSync(fileURLToPath(new URL('../../dist/node/pulse-port.js', import.meta.url)));

const settings: PulseSettings = {
  preset: 'lan',
  intervalMs: 200,
  timeoutMs: 1000,
  probationMs: 2000,
  validity: { serial: true, time: true },
  connectionTimeoutMs: 1500,
  connectionProbationMs: 1000,
  masterTimeoutMs: 5000,
  presence: { enabled: true, waitMs: 300, retries: 1 },
  startUpMs: 10_000,
  stallMs: 1000,
  leaseTtlMs: 1200,
  leaseMarginMs: 300,
  link: { echoMs: 500, silenceMs: 2000, commandTimeoutMs: 4000 },
  network: true,
  mirrors: [],
  interconnects: [],
};
const pulse: PulseConfiguration = { clusterId: 'c', nodes: [], settings, table: null };
const word: SpokenWord = { leaving: false, automatic: true, lease: 'valid', ownedVersion: 5, serving: 1 };
const indication: Indication = {
  component: 'disk',
  id: '/dev/sdb',
  code: 'disk-failed',
  level: 'SERIOUS',
  node: 'east',
  group: null,
  atMs: 1,
  text: 'it has failed',
  over: false,
};
const local = { dataFolder: '/nowhere', key: null };
const program = new URL('./fake-pulse-thread.mjs', import.meta.url);
const fakeMaker = async (): Promise<PulseMaker> => {
  const module = (await import(new URL('./fake-pulse.mjs', import.meta.url).href)) as { maker: PulseMaker };
  return module.maker;
};

let folder: string;
let environment: Environment;
let store: FileStore;
let host: PulseHost;
let told: unknown[][];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pulse-host-'));
  environment = createNodeEnvironment(silentLog);
  store = await FileStore.open(environment.files, join(folder, 'store'), environment.random, silentLog);
  told = [];
});
afterEach(async () => {
  await host.stop();
  await store.close();
  await rm(folder, { recursive: true });
});

const inWorker = (): PulseHost =>
  new WorkerPulseHost({
    environment,
    cluster: 'c',
    store: { kind: 'file', path: join(folder, 'store') },
    local,
    program,
  });

const start = (changes: Partial<PulseStart> = {}): Promise<void> =>
  host.start(
    { node: 'east', incarnation: 'i1', leaseTtlMs: 3000, stallMs: 1000, pulse, ...changes },
    {
      leaseAcquired: (id) => void told.push(['acquired', id]),
      leaseLapsed: (reason) => void told.push(['lapsed', reason]),
      changed: (snapshot) => void told.push(['changed', snapshot.node]),
      indicated: (what, from) => void told.push(['indicated', what.id, from]),
      tableChanged: ({ version }) => void told.push(['table', version]),
      control: (from, { kind }) => {
        told.push(['control', from, kind]);
        return Promise.resolve(kind === 'good' ? null : 'not now');
      },
    },
  );
const kinds = (): unknown[] => told.map(([kind]) => kind);
/** What the pulse was told. */
const calls = async (): Promise<unknown> => Reflect.get(await host.ask<'status'>({ kind: 'status' }), 'calls');
/** Waits until that is the last thing the pulse was told. */
const called = async (call: string): Promise<void> => {
  for (let tries = 0; tries < 500; tries++) {
    // Much is on its way to it, perhaps.
    if (String(await calls().catch(() => '')).endsWith(call)) return;
    await delay(10);
  }
  throw new Error(`the pulse was never told: ${call}`);
};
const stored = async () => parseLease((await store.read('leases/east'))?.value ?? '');
/** The engine does nothing else meanwhile, not even turn. */
const spin = (ms: number): void => {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
};

describe.runIf(compiled).each([
  { kind: 'worker', make: async () => inWorker() },
  {
    kind: 'in-process',
    make: async () => new InProcessPulseHost({ environment, store, local, maker: await fakeMaker() }),
  },
])('a pulse host, $kind', ({ make }) => {
  beforeEach(async () => {
    host = await make();
  });

  it('acquires the lease, tells of it, and gives it back at the end', async () => {
    expect(host.lease).toMatchObject({ state: 'unknown', leaseId: null, reason: 'not acquired yet' });
    await start();
    await until(() => kinds().includes('acquired'));
    const { leaseId } = host.lease;
    expect(told).toContainEqual(['acquired', leaseId]);
    expect(host.lease.isValid()).toBe(true);
    expect(await stored()).toMatchObject({ leaseId, incarnation: 'i1', ttlMs: 3000 });
    await host.stop();
    expect(host.lease.isValid()).toBe(false);
    expect(await stored()).toBeNull();
    expect(kinds()).not.toContain('lapsed');
  });

  it('passes on what the engine says, and what the pulse tells', async () => {
    await start();
    host.say(word);
    host.heard('link', 'west', 12);
    host.indicate(indication);
    await until(() => kinds().includes('indicated'));
    expect(await calls()).toEqual(['mute null', 'start', 'say 5', 'heard link west 12']);
    expect(host.snapshot?.node).toBe('east');
    expect(told).toContainEqual(['changed', 'east']);
    expect(told).toContainEqual(['indicated', '/dev/sdb', 'east']);
  });

  it('answers questions, and refuses in the words of the pulse', async () => {
    await start();
    const used = await host.ask<'use'>({ kind: 'use', change: { select: 'both', confirmed: true } });
    expect(used.passedOn).toEqual([]);
    expect(told).toContainEqual(['table', 7]);
    await expect(host.ask<'use'>({ kind: 'use', change: { confirmed: false } })).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: 'no path would be left',
    });
    const mirror = { name: 'hb1', from: 'east', to: 'west', paths: {} };
    await host.ask<'addChannel'>({ kind: 'addChannel', channel: { kind: 'mirror', mirror } });
    await host.ask<'removeChannel'>({ kind: 'removeChannel', id: 'mirror:hb1' });
    await host.ask<'leave'>({ kind: 'leave' });
    expect(await calls()).toEqual(['mute null', 'start', 'add mirror:made /dev/made', 'remove mirror:hb1', 'leave']);
  });

  it('lets the engine answer what another node asks', async () => {
    await start();
    const ask = (kind: string): Promise<null> =>
      host.ask<'sendControl'>({
        kind: 'sendControl',
        to: 'west',
        message: { kind, body: { a: 1 } },
        limitMs: 1000,
      });
    await ask('good');
    await expect(ask('bad')).rejects.toMatchObject({ code: 'E_REFUSED', message: 'not now' });
    expect(told).toContainEqual(['control', 'west', 'good']);
  });

  it('muted by the engine the pulse is muted and the lease is not renewed, until it is not', async () => {
    await start({ leaseTtlMs: 600 });
    await until(() => kinds().includes('acquired'));
    host.mute('it can neither serve nor hand over');
    await until(() => kinds().includes('lapsed'));
    expect(host.lease.reason).toContain('neither serve nor hand over');
    expect(await calls()).toEqual(['mute null', 'start', 'mute it can neither serve nor hand over']);
    host.mute(null);
    await until(() => host.lease.isValid());
  });

  it('without a pulse holds the lease, and refuses what concerns one', async () => {
    await start({ pulse: null });
    await until(() => host.lease.isValid());
    host.say(word);
    await expect(host.ask<'status'>({ kind: 'status' })).rejects.toMatchObject({ code: 'E_REFUSED' });
    await host.ask<'configure'>({ kind: 'configure', pulse });
    expect(await calls()).toEqual(['say 5', 'mute null', 'start']);
    await host.ask<'configure'>({ kind: 'configure', pulse: null });
    await expect(host.ask<'status'>({ kind: 'status' })).rejects.toMatchObject({ code: 'E_REFUSED' });
  });
});

describe.runIf(compiled)('the pulse in a thread of its own', () => {
  it('a busy engine keeps its lease, without doing anything for it', async () => {
    host = inWorker();
    await start({ leaseTtlMs: 1500, stallMs: 10_000 });
    await until(() => host.lease.isValid());
    const { leaseId } = host.lease;
    spin(4000);
    expect(host.lease.isValid()).toBe(true);
    expect(host.lease.leaseId).toBe(leaseId);
    expect(kinds()).not.toContain('lapsed');
  });

  it('a stuck engine loses its lease and its heartbeats, and gets both back when it moves', async () => {
    host = inWorker();
    await start({ leaseTtlMs: 900, stallMs: 500 });
    await until(() => host.lease.isValid());
    const { leaseId } = host.lease;
    spin(3000);
    // What the engine does in this very turn, it does not do as owner.
    expect(host.lease.isValid()).toBe(false);
    await until(() => kinds().includes('lapsed'));
    await until(() => host.lease.isValid());
    expect(host.lease.leaseId).not.toBe(leaseId);
    await called('mute null');
    expect(await calls()).toEqual([
      'mute null',
      'start',
      expect.stringContaining('mute the engine is stuck'),
      'mute null',
    ]);
    expect(kinds().filter((kind) => kind === 'acquired' || kind === 'lapsed')).toEqual([
      'acquired',
      'lapsed',
      'acquired',
    ]);
  });

  it('a store that cannot be opened is told by its code', async () => {
    host = new WorkerPulseHost({
      environment,
      cluster: 'c',
      store: { kind: 'file', path: '/proc/none/store' },
      local,
      program,
    });
    await expect(start()).rejects.toMatchObject({ code: expect.stringMatching(/^E_/) });
  });

  it('a question too many is refused, and what is only told never piles up', async () => {
    host = inWorker();
    await start();
    const asked = Array.from({ length: 300 }, () => host.ask<'status'>({ kind: 'status' }));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBe(300 - 256);
    for (let count = 0; count < 20_000; count++) host.heard('link', 'west', count);
    host.say({ ...word, ownedVersion: 99 });
    await called('say 99');
  });

  it.each(['fail', 'later', 'exit'])('a thread that fails (%s) takes the process with it', async (how) => {
    host = inWorker();
    const failing = fileURLToPath(new URL('./failing-pulse.mjs', import.meta.url));
    const child = spawn(process.execPath, [failing, join(folder, 'store'), how], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    const status = await Promise.race([
      new Promise((resolve) => child.on('exit', resolve)),
      delay(20_000).then(() => child.kill('SIGKILL')),
    ]);
    expect(status).toBe(70);
    const reason = { fail: 'an error of ours', later: 'TypeError', exit: 'has ended, status 3' }[how];
    expect(log).toContain(reason);
  });
});
