/** The section `store`: its kinds, and what is wrong in each. */
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { describeConfiguration, parseConfiguration, requireConfiguration } from '../../src/node/configuration.ts';

const rest = `
sites: [here]
nodes:
  - { name: east, site: here, data: east, replication: '127.0.0.1:7001', api: '127.0.0.1:8001', nbd: ['127.0.0.1:9001'] }
`;
const withStore = (store: string): string => `cluster: demo\n${store}${rest}`;
const storeOf = (store: string) => requireConfiguration(withStore(store), '/etc/holdfast.yaml').store;

function problemsOf(store: string): string[] {
  const parsed = parseConfiguration(withStore(store), '/etc/holdfast.yaml');
  return parsed.kind === 'right'
    ? []
    : parsed.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

const full = `store:
  kind: etcd
  endpoints: ['https://a:2379', 'https://[::1]:2379/']
  ca: ca.pem
  cert: /tls/east.pem
  key: /tls/east.key
  user: holdfast
  password-file: password
  prefix: /storage/demo
  timeout: 300ms
`;

describe('a store of the kind etcd', () => {
  test('is read with absolute paths', () => {
    expect(storeOf(full)).toEqual({
      kind: 'etcd',
      endpoints: ['https://a:2379', 'https://[::1]:2379'],
      ca: '/etc/ca.pem',
      cert: '/tls/east.pem',
      key: '/tls/east.key',
      user: 'holdfast',
      passwordFile: '/etc/password',
      prefix: '/storage/demo/',
      timeoutMs: 300,
    });
  });

  test('needs its endpoints only', () => {
    expect(storeOf("store: { kind: etcd, endpoints: ['http://127.0.0.1:2379'] }")).toEqual({
      ...{ kind: 'etcd', endpoints: ['http://127.0.0.1:2379'] },
      ...{ ca: null, cert: null, key: null, user: null, passwordFile: null, prefix: null, timeoutMs: null },
    });
  });

  test.each([full, "store: { kind: etcd, endpoints: ['http://127.0.0.1:2379'] }", 'store: { kind: file, path: s }'])(
    'says the same when it is described and read again: %s',
    (store) => {
      const configuration = requireConfiguration(withStore(store), '/etc/holdfast.yaml');
      expect(requireConfiguration(stringify(describeConfiguration(configuration)), '/etc/holdfast.yaml')).toEqual(
        configuration,
      );
    },
  );
});

describe('the store is refused', () => {
  const etcd = 'store: { kind: etcd, endpoints:';
  test.each([
    ['', '1:1 store: is missing; it should be the store, beginning with the key kind'],
    ['store: file', '2:8 store: "file" is not the store; write the key kind, and those of the kind'],
    ['store: { path: s }', '2:8 store.kind: is missing; it should be one of file, etcd, none'],
    ['store: { kind: ectd }', '2:16 store.kind: "ectd" is not one of file, etcd, none (did you mean "etcd"?)'],
    ['store: { kind: file }', '2:8 store.path: is missing; it should be the path of a file or folder'],
    ['store: { kind: etcd }', '2:8 store.endpoints: is missing; it should be a list of endpoints'],
    [
      'store: { kind: file, path: s, endpoints: [] }',
      '2:31 store.endpoints: no such key; a store of the kind "file" has: kind, path',
    ],
    [
      `${etcd} ['http://a:1'], path: s }`,
      '2:49 store.path: no such key; a store of the kind "etcd" has: kind, endpoints, ca, cert, key, user, password-file, prefix, timeout',
    ],
    [`${etcd} [] }`, '2:33 store.endpoints: is empty; there must be at least 1 of the endpoints'],
    [
      `${etcd} [a] }`,
      '2:34 store.endpoints[0]: "a" is not the address of an etcd member, such as https://10.0.0.3:2379',
    ],
    [
      `${etcd} ['https://a'] }`,
      '2:34 store.endpoints[0]: "https://a" is not the address of an etcd member, such as https://10.0.0.3:2379',
    ],
    [
      `${etcd} ['http://a:1', 'http://a:1/'] }`,
      '2:48 store.endpoints[1]: http://a:1 is there twice; each member once',
    ],
    [
      `${etcd} ['https://a:1'], cert: c }`,
      '2:50 store.cert: a certificate is of no use without its key; write "key" as well',
    ],
    [
      `${etcd} ['https://a:1'], key: c }`,
      '2:50 store.key: a key is of no use without its certificate; write "cert" as well',
    ],
    [
      `${etcd} ['https://a:1'], password-file: p }`,
      '2:50 store.password-file: a password is of no use without a name; write "user" as well',
    ],
    [
      `${etcd} ['http://a:1'], ca: c }`,
      '2:49 store.ca: is for encrypted connections; write https:// for the endpoints, or leave it away',
    ],
    [
      `${etcd} ['https://a:1'], prefix: / }`,
      '2:58 store.prefix: "/" is what others have, too; write for example /holdfast/',
    ],
    [`${etcd} ['https://a:1'], timeout: 1 }`, '2:59 store.timeout: 1 has no unit; write for example 1s or 1ms'],
  ])('%s', (store, problem) => {
    expect(problemsOf(store)).toEqual([problem]);
  });
});
