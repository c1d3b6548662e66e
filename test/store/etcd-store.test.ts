/** What etcd may answer, and what the store makes of it. The contract against a real one: `test/clients/etcd.test.ts`. */
import { describe, expect, test } from 'vitest';
import type { HttpClient, HttpRequest, HttpResult } from '../../src/base/http.ts';
import type { Log } from '../../src/base/log.ts';
import { EtcdStore, etcdTimeoutMs, type EtcdUser } from '../../src/store/etcd-store.ts';
import type { Transaction } from '../../src/store/store.ts';

const [a, b, c] = ['https://a:2379', 'https://b:2379', 'https://c:2379'] as const;

/** Answers each request with the next of the answers, and keeps what was asked. */
class ScriptedHttp implements HttpClient {
  readonly asked: HttpRequest[] = [];
  readonly #answers: HttpResult[];
  closed = false;

  constructor(answers: HttpResult[]) {
    this.#answers = answers;
  }

  async post(request: HttpRequest): Promise<HttpResult> {
    this.asked.push(request);
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error(`not expected: ${request.endpoint}${request.path}`);
    return answer;
  }

  close(): void {
    this.closed = true;
  }

  get endpoints(): string[] {
    return this.asked.map(({ endpoint }) => endpoint);
  }

  body(index: number): unknown {
    return JSON.parse(this.asked[index]?.body ?? '');
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const header = (revision: number, cluster = '17') => ({ cluster_id: cluster, revision: String(revision) });
const answered = (status: number, body: unknown): HttpResult => ({
  kind: 'answered',
  status,
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
const kv = (key: string, value: string, revision: number) => ({
  key: base64(`/p/${key}`),
  value: base64(value),
  mod_revision: String(revision),
});
const range = (revision: number, kvs: readonly unknown[] = [], cluster?: string): HttpResult =>
  answered(200, { header: header(revision, cluster), ...(kvs.length > 0 ? { kvs } : {}) });
const committed = (revision: number, cluster?: string): HttpResult =>
  answered(200, { header: header(revision, cluster), succeeded: true, responses: [{ response_put: {} }] });
const failed = (status: number, code: number, message: string): HttpResult =>
  answered(status, { error: message, message, code });
const token = (value: string): HttpResult => answered(200, { header: header(1), token: value });
const invalidToken = failed(401, 16, 'etcdserver: invalid auth token');
const refusedConnection: HttpResult = { kind: 'notSent', reason: 'connection refused' };
const lost: HttpResult = { kind: 'lost', reason: 'no answer within 500 ms' };

const put: Transaction = { require: [{ key: 'k', revision: 4 }], put: [{ key: 'k', value: '1' }] };

function storeOn(answers: HttpResult[], options: { user?: EtcdUser; endpoints?: readonly string[] } = {}) {
  const http = new ScriptedHttp(answers);
  const warnings: string[] = [];
  const log: Log = { info() {}, warn: (message) => void warnings.push(message), error() {} };
  const store = new EtcdStore({ http, log, endpoints: [a, b, c], prefix: '/p/', ...options });
  return { http, store, warnings };
}

describe('reading', () => {
  test('is linearizable, of keys below the prefix, with the revision of the commit that wrote each', async () => {
    const { http, store } = storeOn([
      range(9, [kv('k', '"ü"', 4)]),
      range(9),
      range(9, [kv('', '', 8), kv('k', '1', 4)]),
    ]);
    expect(await store.read('k')).toEqual({ key: 'k', value: '"ü"', revision: 4 });
    expect(await store.read('absent')).toBeNull();
    expect(await store.readAll('')).toEqual([{ key: 'k', value: '1', revision: 4 }]);
    expect(http.body(0)).toEqual({ key: base64('/p/k'), serializable: false });
    expect(http.body(2)).toEqual({ key: base64('/p/'), range_end: base64('/p0'), serializable: false });
    expect(http.asked[0]).toMatchObject({ path: '/v3/kv/range', timeoutMs: 500, headers: {} });
  });

  test.each([
    ['cannot be connected to', refusedConnection],
    ['does not answer in time', lost],
    ['has no leader', failed(503, 14, 'etcdserver: no leader')],
    ['is too busy', failed(429, 8, 'etcdserver: too many requests')],
    ['is no etcd', answered(404, 'Not Found\n')],
    ['answers something else than JSON', answered(200, '<html>')],
    [
      'answers a revision that is none',
      answered(200, { header: header(9), kvs: [{ key: 'aw==', mod_revision: '9e9' }] }),
    ],
    [
      'answers a revision no number can hold',
      answered(200, { header: header(9), kvs: [{ mod_revision: '9007199254740993' }] }),
    ],
    ['answers in part', answered(200, { header: header(9), more: true })],
    ['does not say which cluster it is of', answered(200, { header: { revision: '9' } })],
  ])('goes on to the next endpoint when one %s, and stays with the one that answers', async (_what, answer) => {
    const { http, store, warnings } = storeOn([range(8), answer, range(9), range(9)]);
    await store.read('k');
    expect(await store.read('k')).toBeNull();
    await store.read('k');
    expect(http.endpoints).toEqual([a, a, b, b]);
    expect(warnings).toEqual([`store: ${b} answers instead of ${a}`]);
  });

  test('rejects with what each of them said when none answers, beginning with the next one', async () => {
    const { http, store } = storeOn([
      refusedConnection,
      lost,
      answered(404, 'Not Found\n'),
      refusedConnection,
      range(9),
    ]);
    await expect(store.readAll('')).rejects.toMatchObject({
      code: 'E_STORE_UNREACHABLE',
      message:
        `${a}: connection refused; ${b}: no answer within 500 ms; ` +
        `${c}: HTTP status 404: Not Found (is it etcd, 3.4 or later?)`,
    });
    await store.read('k');
    expect(http.endpoints).toEqual([a, b, c, a, b]);
  });

  test('asks nobody else when it is not permitted', async () => {
    const user = { name: 'holdfast', password: 'secret' };
    const { http, store } = storeOn([token('t'), failed(403, 7, 'etcdserver: permission denied')], { user });
    await expect(store.read('k')).rejects.toThrow(new RegExp(`${a}: etcdserver: permission denied$`));
    expect(http.endpoints).toEqual([a, a]);
  });
});

describe('committing', () => {
  test('is one transaction that compares revisions and gets its own', async () => {
    const { http, store } = storeOn([committed(12)]);
    const transaction = {
      require: [
        { key: 'k', revision: 4 },
        { key: 'new', revision: 0 },
      ],
      put: [
        { key: 'k', value: '1' },
        { key: 'k', value: '2' },
      ],
      remove: ['old', 'k'],
    };
    expect(await store.commit(transaction)).toEqual({ kind: 'committed', revision: 12 });
    const compare = { target: 'MOD', result: 'EQUAL' };
    expect(http.body(0)).toEqual({
      compare: [
        { key: base64('/p/k'), mod_revision: '4', ...compare },
        { key: base64('/p/new'), mod_revision: '0', ...compare },
      ],
      success: [
        { request_delete_range: { key: base64('/p/old') } },
        { request_put: { key: base64('/p/k'), value: base64('2') } },
      ],
      failure: ['k', 'new'].map((key) => ({ request_range: { key: base64(`/p/${key}`), keys_only: true } })),
    });
  });

  test('that only removes writes the prefix, so that its revision is its own', async () => {
    const { http, store } = storeOn([committed(12)]);
    await store.commit({ require: [], put: [], remove: ['k'] });
    expect(http.body(0)).toMatchObject({ success: [{}, { request_put: { key: base64('/p/'), value: '' } }] });
  });

  test('R11: names the keys that have another revision, and changes nothing', async () => {
    const responses = [
      { response_range: { kvs: [kv('k', '', 5)] } },
      { response_range: { kvs: [kv('l', '', 3)] } },
      { response_range: {} },
    ];
    const { store } = storeOn([answered(200, { header: header(9), responses })]);
    const require = [
      { key: 'k', revision: 4 },
      { key: 'l', revision: 3 },
      { key: 'm', revision: 2 },
    ];
    expect(await store.commit({ require, put: [] })).toEqual({ kind: 'conflict', conflicts: ['k', 'm'] });
  });

  test.each([
    ['nothing was sent', refusedConnection],
    ['etcd had too much to do to propose it', failed(429, 8, 'etcdserver: too many requests')],
  ])('goes on to the next endpoint when %s', async (_what, answer) => {
    const { http, store } = storeOn([answer, committed(12), committed(13)]);
    expect(await store.commit(put)).toEqual({ kind: 'committed', revision: 12 });
    await store.commit(put);
    expect(http.endpoints).toEqual([a, b, b]);
  });

  test('R11: is unreachable, nothing changed, only when no endpoint was sent anything', async () => {
    const { http, store } = storeOn([refusedConnection, refusedConnection, refusedConnection]);
    expect(await store.commit(put)).toMatchObject({ kind: 'unreachable' });
    expect(http.endpoints).toEqual([a, b, c]);
  });

  test.each([
    ['the answer is lost', lost],
    ['the answer is too long', { kind: 'lost', reason: 'the answer is longer than 9 bytes' } as const],
    ['there is no leader: it may have been proposed before', failed(503, 14, 'etcdserver: no leader')],
    ['etcd waited too long', failed(503, 14, 'etcdserver: request timed out')],
    [
      'etcd’s space is exceeded: members say so after having applied it',
      failed(429, 8, 'etcdserver: mvcc: database space exceeded'),
    ],
    ['the error is not known', failed(500, 2, 'raft proposal dropped')],
    ['something before etcd answered', answered(502, '<html>Bad gateway</html>')],
    ['something before etcd answers what looks like an error', failed(400, 3, 'unexpected EOF')],
    ['the answer cannot be understood', answered(200, '{"header":')],
    ['the answer has no revision', answered(200, { header: { cluster_id: '17' }, succeeded: true })],
  ])('R11: is unknown, and not sent again, when %s', async (_what, answer) => {
    const { http, store } = storeOn([answer, range(9)]);
    expect(await store.commit(put)).toMatchObject({ kind: 'unknown' });
    expect(http.endpoints).toEqual([a]);
    // Who reads back is better served elsewhere.
    await store.read('k');
    expect(http.endpoints).toEqual([a, b]);
  });

  test.each([
    [400, 3, 'etcdserver: too many operations in txn request'],
    [400, 3, 'etcdserver: request is too large'],
    [429, 8, 'grpc: received message larger than max (3000000 vs. 2097152)'],
  ])('HTTP %d, code %d, %s: nothing changed, and no other endpoint is asked', async (status, code, message) => {
    const { http, store } = storeOn([failed(status, code, message)]);
    expect(await store.commit(put)).toEqual({ kind: 'unreachable', reason: `${a}: ${message}` });
    expect(http.endpoints).toEqual([a]);
  });
});

describe('a user', () => {
  const user = { name: 'holdfast', password: 'secret' };
  const tokensSent = (http: ScriptedHttp) => http.asked.map(({ headers }) => headers?.['authorization'] ?? null);

  test('is authenticated once, for all that is asked at the same time', async () => {
    const { http, store } = storeOn([token('t1'), range(9), range(9), range(9)], { user });
    await Promise.all([store.read('k'), store.read('l')]);
    await store.read('m');
    expect(http.asked.map(({ path }) => path)).toEqual([
      '/v3/auth/authenticate',
      ...Array<string>(3).fill('/v3/kv/range'),
    ]);
    expect(http.body(0)).toEqual({ name: 'holdfast', password: 'secret' });
    expect(tokensSent(http)).toEqual([null, 't1', 't1', 't1']);
  });

  test.each([
    ['is not accepted any more', invalidToken],
    ['is from before users were changed', failed(400, 3, 'etcdserver: revision of auth store is old')],
  ])(
    'gets a new token when the old one %s, and the commit, not applied with it, is sent again',
    async (_what, answer) => {
      const { http, store } = storeOn([token('t1'), answer, token('t2'), committed(12)], { user });
      expect(await store.commit(put)).toEqual({ kind: 'committed', revision: 12 });
      expect(tokensSent(http)).toEqual([null, 't1', null, 't2']);
      expect(new Set(http.endpoints)).toEqual(new Set([a]));
    },
  );

  test('whose new token is not accepted either is tried elsewhere, not for ever', async () => {
    const twice = [token('t'), invalidToken, token('t'), invalidToken];
    const { http, store } = storeOn([...twice, ...twice, ...twice], { user });
    expect(await store.commit(put)).toMatchObject({ kind: 'unreachable' });
    expect(http.asked).toHaveLength(12);
  });

  test('of a wrong password is told so, and nothing was sent but that', async () => {
    const refused = failed(400, 3, 'etcdserver: authentication failed, invalid user ID or password');
    const { http, store } = storeOn([refused], { user });
    const reason = `${a}: it does not accept the user holdfast with this password`;
    expect(await store.commit(put)).toEqual({ kind: 'unreachable', reason });
    expect(http.asked).toHaveLength(1);
  });

  test('that cannot be authenticated at one endpoint is at the next; a commit is not in doubt for that', async () => {
    const { http, store } = storeOn([lost, token('t1'), committed(12)], { user });
    expect(await store.commit(put)).toEqual({ kind: 'committed', revision: 12 });
    expect(http.endpoints).toEqual([a, b, b]);
  });

  test('is not needed where etcd asks for none, which is told', async () => {
    const { store, warnings } = storeOn([failed(412, 9, 'etcdserver: authentication is not enabled'), range(9)], {
      user,
    });
    expect(await store.read('k')).toBeNull();
    expect(warnings).toEqual([expect.stringContaining('asks nobody who they are')]);
  });

  test.each([failed(400, 3, 'etcdserver: user name is empty'), failed(403, 7, 'etcdserver: permission denied')])(
    'is asked for where there is none',
    async (answer) => {
      const { store } = storeOn([answer]);
      await expect(store.read('k')).rejects.toThrow('it wants a user and a password');
    },
  );

  test('has a password that stands in no message', async () => {
    const { store, warnings } = storeOn([failed(500, 13, 'broke'), refusedConnection, lost], { user });
    const said = await store.commit(put).then((outcome) => JSON.stringify([outcome, warnings]));
    expect(said).not.toContain('secret');
  });
});

describe('one history', () => {
  test('R12: a store that goes back is not believed any more', async () => {
    const { http, store } = storeOn([range(9), range(8)]);
    await store.read('k');
    const damaged = { code: 'E_STORE_DAMAGED', message: expect.stringMatching(/revision 8, but 9 has existed/) };
    await expect(store.read('k')).rejects.toMatchObject(damaged);
    await expect(store.readAll('')).rejects.toMatchObject(damaged);
    expect(await store.commit(put)).toMatchObject({ kind: 'unreachable' });
    expect(http.asked).toHaveLength(2);
  });

  test('R12: a commit that a store gone back answers for is unknown', async () => {
    const { store } = storeOn([range(9), committed(8)]);
    await store.read('k');
    expect(await store.commit(put)).toMatchObject({ kind: 'unknown' });
  });

  test('an answer that was under way while others came may be older than they are', async () => {
    const { store } = storeOn([range(8), committed(12)]);
    // Both are sent before either is answered.
    const [read, outcome] = await Promise.all([store.read('k'), store.commit(put)]);
    expect([read, outcome]).toEqual([null, { kind: 'committed', revision: 12 }]);
    const late = storeOn([]);
    let answer: (result: HttpResult) => void = () => {};
    const slow: HttpResult[] = [committed(12)];
    late.http.post = (request) =>
      request.path === '/v3/kv/range'
        ? new Promise<HttpResult>((resolve) => (answer = resolve))
        : Promise.resolve(slow.shift() ?? lost);
    const reading = late.store.read('k');
    expect(await late.store.commit(put)).toMatchObject({ kind: 'committed' });
    answer(range(11));
    expect(await reading).toBeNull();
  });

  test('members of another etcd cluster are passed over, and refused where there is no other', async () => {
    const { http, store } = storeOn([range(9), refusedConnection, range(40, [], '18'), range(10)]);
    await store.read('k');
    expect(await store.read('k')).toBeNull();
    expect(http.endpoints).toEqual([a, a, b, c]);
    const anew = storeOn([range(9), range(40, [], '18')], { endpoints: [a] });
    await anew.store.read('k');
    await expect(anew.store.read('k')).rejects.toMatchObject({
      code: 'E_STORE_DAMAGED',
      message: expect.stringContaining('cluster 18, this node follows 17'),
    });
  });
});

test('R15: two endpoints can be given up within the third of the TTL after which a lease is renewed', () => {
  for (const ttlMs of [1200, 3000, 6000, 20_000]) expect(2 * etcdTimeoutMs(ttlMs)).toBeLessThanOrEqual(ttlMs / 3);
});

test('closing closes the connections', async () => {
  const { http, store } = storeOn([]);
  await store.close();
  expect(http.closed).toBe(true);
});
