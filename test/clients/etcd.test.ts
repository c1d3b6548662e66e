/** The coordination store in a real etcd of three members, and what befalls those. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import type { EtcdStoreConfiguration } from '../../src/node/configuration-store.ts';
import { openStore } from '../../src/node/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import { until } from './command.ts';
import { EtcdCluster } from './etcd-cluster.ts';

let cluster: EtcdCluster;
const stores: Store[] = [];

async function openAt(over: Partial<EtcdStoreConfiguration> = {}, name = 'demo'): Promise<Store> {
  const plain = { ca: null, cert: null, key: null, user: null, passwordFile: null, prefix: null, timeoutMs: null };
  const configuration: EtcdStoreConfiguration = { kind: 'etcd', endpoints: cluster.endpoints, ...plain, ...over };
  const store = await openStore(configuration, name, createNodeEnvironment(silentLog));
  stores.push(store);
  return store;
}

const closeStores = async (): Promise<void> => {
  for (const store of stores.splice(0)) await store.close();
};

describe('in an undisturbed etcd', () => {
  beforeAll(async () => {
    cluster = await EtcdCluster.start();
  });
  afterAll(() => cluster.stop());
  afterEach(closeStores);

  let clusters = 0;
  storeContract('etcd', async () => {
    const name = `contract-${++clusters}`;
    // The machine that runs the tests may be slower than what the time limit is made for.
    return { open: () => openAt({ timeoutMs: 10_000 }, name), dispose: closeStores };
  });

  test('clusters share an etcd and see nothing of each other', async () => {
    const [one, two] = [await openAt({}, 'a'), await openAt({}, 'ab')];
    await one.commit({ require: [], put: [{ key: 'k', value: '1' }] });
    expect([await two.read('k'), await two.readAll('')]).toEqual([null, []]);
    expect(await one.readAll('')).toMatchObject([{ key: 'k' }]);
    expect((await cluster.ctl('get', '--print-value-only', '/holdfast/a/k')).stdout).toBe('1\n');
  });

  test('removing what is not there is a commit with a revision of its own', async () => {
    const store = await openAt({}, 'removals');
    const first = await store.commit({ require: [], put: [{ key: 'k', value: '1' }] });
    const second = await store.commit({ require: [], put: [], remove: ['absent'] });
    if (first.kind !== 'committed' || second.kind !== 'committed') throw new Error(second.kind);
    expect(second.revision).toBeGreaterThan(first.revision);
    expect(await store.readAll('')).toEqual([{ key: 'k', value: '1', revision: first.revision }]);
  });

  test('a document too large for etcd is refused, and nothing is changed', async () => {
    const store = await openAt({ timeoutMs: 10_000 }, 'large');
    const put = [{ key: 'k', value: JSON.stringify('x'.repeat(3_000_000)) }];
    expect(await store.commit({ require: [], put })).toMatchObject({ kind: 'unreachable' });
    expect(await store.read('k')).toBeNull();
  });
});

describe('in an etcd whose members fail', () => {
  beforeEach(async () => {
    cluster = await EtcdCluster.start();
  });
  afterEach(async () => {
    await closeStores();
    await cluster.stop();
  });

  /** The ids of all commits that happened, in one value. */
  const historyIn = async (store: Store): Promise<string[]> =>
    JSON.parse((await store.read('history'))?.value ?? '[]') as string[];

  test('R11: with the leader killed no commit is lost or done twice; what is unknown is read back', async () => {
    const known = new Set<string>();
    const inDoubt = new Set<string>();
    let ending = false;
    const writer = async (name: string): Promise<void> => {
      const store = await openAt();
      for (let attempt = 0; !ending; attempt++) {
        const id = `${name}-${attempt}`;
        try {
          const entry = await store.read('history');
          const history = JSON.parse(entry?.value ?? '[]') as string[];
          const outcome = await store.commit({
            require: [{ key: 'history', revision: entry?.revision ?? 0 }],
            put: [{ key: 'history', value: JSON.stringify([...history, id]) }],
          });
          if (outcome.kind === 'committed') known.add(id);
          else if (outcome.kind === 'unknown') inDoubt.add(id);
        } catch {
          await delay(50);
        }
      }
    };
    const writers = Promise.all(['a', 'b', 'c'].map(writer));
    await until('commits are under way', 20_000, () => (known.size >= 30 ? true : null));
    await cluster.endMember(await cluster.leader());
    const before = known.size;
    await until('commits go on', 30_000, () => (known.size >= before + 30 ? true : null));
    ending = true;
    await writers;
    const history = await historyIn(await openAt());
    expect(history.length).toBe(new Set(history).size);
    expect([...known].filter((id) => !history.includes(id))).toEqual([]);
    expect(history.filter((id) => !known.has(id) && !inDoubt.has(id))).toEqual([]);
  });

  test('with two members stopped nothing is answered and nothing called done; it goes on when one is back', async () => {
    const store = await openAt();
    const put = (value: string) => store.commit({ require: [], put: [{ key: 'k', value }] });
    expect(await put('1')).toMatchObject({ kind: 'committed' });
    const [one = '', two = '', three = ''] = cluster.endpoints;
    await Promise.all([cluster.endMember(one), cluster.endMember(three)]);
    await expect(store.read('k')).rejects.toMatchObject({ code: 'E_STORE_UNREACHABLE' });
    // The member that is left may have taken it up.
    for (let turn = 0; turn < 4; turn++) expect(['unreachable', 'unknown']).toContain((await put('2')).kind);
    await cluster.endMember(two);
    expect(await put('3')).toMatchObject({ kind: 'unreachable' });
    await cluster.startMembers();
    await until('it is answered', 20_000, () => store.read('k').catch(() => null));
    expect((await until('it commits', 20_000, async () => orNull(await put('4'), 'committed'))).kind).toBe(
      'committed',
    );
    expect((await store.read('k'))?.value).toBe('4');
  });

  test('R11: a member that stands still is passed over, and what it was sent fails for good once the key has moved on', async () => {
    const [still = ''] = cluster.endpoints;
    const store = await openAt({ timeoutMs: 1000 });
    await store.commit({ require: [], put: [{ key: 'k', value: '"first"' }] });
    const revision = (await store.read('k'))?.revision ?? 0;
    await cluster.haltMember(still);
    const late = await store.commit({ require: [{ key: 'k', revision }], put: [{ key: 'k', value: '"late"' }] });
    expect(late).toEqual({ kind: 'unknown', reason: `${still}: no answer within 1000 ms` });
    const entry = await until('another member answers', 20_000, () => store.read('k').catch(() => null));
    expect(entry.value).toBe('"first"');
    const put = [{ key: 'k', value: '"fenced"' }];
    await until('it commits', 20_000, async () =>
      orNull(await store.commit({ require: [{ key: 'k', revision }], put }), 'committed'),
    );
    cluster.resumeMember(still);
    await cluster.untilHealthy();
    await delay(1000);
    expect((await store.read('k'))?.value).toBe('"fenced"');
  });

  test('R12: a store restored from a backup is refused by whoever has seen it further', async () => {
    const store = await openAt();
    await store.commit({ require: [], put: [{ key: 'k', value: '1' }] });
    const backup = await cluster.save();
    await store.commit({ require: [], put: [{ key: 'k', value: '2' }] });
    await cluster.restore(backup);
    await until('it is noticed', 20_000, () =>
      store.read('k').then(
        () => {
          throw new Error('the backup was believed');
        },
        (error: { code?: string }) => (error.code === 'E_STORE_DAMAGED' ? true : null),
      ),
    );
    const outcome = await store.commit({ require: [], put: [{ key: 'k', value: '3' }] });
    expect(['unreachable', 'unknown']).toContain(outcome.kind);
    // Whoever starts now knows nothing of it but what it has on its own disk.
    expect((await (await openAt()).read('k'))?.value).toBe('1');
  });
});

describe('in an etcd with certificates and users', () => {
  const password = 'correct horse';
  let access: Partial<EtcdStoreConfiguration>;

  beforeAll(async () => {
    cluster = await EtcdCluster.start({ tls: true });
    const passwordFile = join(cluster.folder, 'password');
    await writeFile(passwordFile, `${password}\n`);
    access = { ...cluster.certificates, user: 'holdfast', passwordFile, timeoutMs: 5000 };
    await cluster.ctl('role', 'add', 'holdfast');
    await cluster.ctl('role', 'grant-permission', 'holdfast', '--prefix=true', 'readwrite', '/holdfast/demo/');
    await cluster.ctl('user', 'add', `holdfast:${password}`);
    await cluster.ctl('user', 'grant-role', 'holdfast', 'holdfast');
    await cluster.ctl('user', 'add', 'root:root');
    await cluster.ctl('user', 'grant-role', 'root', 'root');
    await cluster.ctl('auth', 'enable');
  });
  afterAll(() => cluster.stop());
  afterEach(closeStores);

  const put = { require: [], put: [{ key: 'k', value: '1' }] };

  test('who has both gets in, to its own keys only', async () => {
    expect(await (await openAt(access)).commit(put)).toMatchObject({ kind: 'committed' });
    const other = await openAt({ ...access, prefix: '/holdfast/other/' });
    await expect(other.read('k')).rejects.toThrow('permission denied');
    expect(await other.commit(put)).toMatchObject({
      kind: 'unreachable',
      reason: expect.stringContaining('permission'),
    });
  });

  test('the password may be in the environment', async () => {
    process.env['HOLDFAST_ETCD_PASSWORD'] = password;
    try {
      const store = await openAt({ ...access, passwordFile: null });
      expect(await store.commit(put)).toMatchObject({ kind: 'committed' });
    } finally {
      delete process.env['HOLDFAST_ETCD_PASSWORD'];
    }
    await expect(openAt({ ...access, passwordFile: null })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: 'store: there is no password for the user holdfast: the environment has no HOLDFAST_ETCD_PASSWORD',
    });
  });

  test('a wrong password, none, a certificate missing or not trusted: each is told as what it is', async () => {
    const passwordFile = join(cluster.folder, 'wrong');
    await writeFile(passwordFile, 'wrong');
    const said = async (over: Partial<EtcdStoreConfiguration>): Promise<string> =>
      (await openAt({ ...access, ...over })).read('k').then(
        () => 'answered',
        (error: Error) => error.message,
      );
    expect(await said({ passwordFile })).toContain('does not accept the user holdfast with this password');
    expect(await said({ user: null, passwordFile: null })).toContain('it wants a user and a password');
    expect(await said({ ca: null })).toMatch(/certificate/);
    expect(await said({ cert: null, key: null })).toMatch(/certificate|alert|closed|reset|hang up/i);
  });

  test('a commit that a certificate not trusted keeps from being sent has changed nothing', async () => {
    expect(await (await openAt({ ...access, ca: null })).commit(put)).toMatchObject({ kind: 'unreachable' });
  });

  test('after a restart of the members, which forget their tokens, it gets a new one by itself', async () => {
    const store = await openAt(access);
    expect(await store.commit(put)).toMatchObject({ kind: 'committed' });
    await cluster.endMembers();
    await cluster.startMembers();
    // The first request may go into a connection that has ended meanwhile.
    await until('it commits', 20_000, async () => orNull(await store.commit(put), 'committed'));
  });
});

const orNull = <Outcome extends { kind: string }>(outcome: Outcome, kind: string): Outcome | null =>
  outcome.kind === kind ? outcome : null;
