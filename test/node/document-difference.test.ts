/** What two nodes without a coordination store must have in common before they deal with each other. */
import { describe, expect, test } from 'vitest';
import type { Random } from '../../src/base/random.ts';
import { requireConfiguration } from '../../src/node/configuration.ts';
import { toClusterDocument } from '../../src/node/configuration-document.ts';
import { DocumentAgreement } from '../../src/node/document-agreement.ts';
import { documentDifference } from '../../src/node/document-difference.ts';
import { derivedIdentities } from '../../src/node/identities.ts';
import type { LinkConnection } from '../../src/link/link.ts';
import type { ClusterDocument } from '../../src/store/document.ts';
import { isWwid } from '../../src/volume/wwid.ts';

const right = `
cluster: example
store: { kind: none }
sites: [a, b]
nodes:
  - { name: east, site: a, data: east, replication: '127.0.0.1:7410', api: '127.0.0.1:8009', nbd: ['127.0.0.1:10809'] }
  - { name: west, site: b, data: west, replication: '127.0.0.1:7411', api: '127.0.0.1:8010', nbd: ['127.0.0.1:10810'] }
groups:
  - name: g1
    owner: east
    volumes: [{ name: v1, size: 1GiB }]
    mirrors: [{ to: west, mode: sync }]
`;

let draws = 0;
/** What is drawn differs with every draw. */
const random: Random = { bytes: (count) => new Uint8Array(count).fill(++draws), below: (bound) => ++draws % bound };

const documentOf = (text: string): ClusterDocument =>
  toClusterDocument(requireConfiguration(text, '/etc/holdfast.yaml'), random);

const difference = (change: (text: string) => string): string | null =>
  documentDifference(documentOf(right), documentOf(change(right)), { ours: 'east', theirs: 'west' });

describe('configurations of two nodes', () => {
  test('are the same when the files are: identities are derived, not drawn', () => {
    expect(difference((text) => text)).toBeNull();
    const { clusterId, groups } = documentOf(right);
    expect(clusterId).toMatch(/^[0-9a-f]{32}$/);
    expect(isWwid(groups[0]?.volumes[0]?.wwid ?? '')).toBe(true);
  });

  test('TL-14: identities last: these must never change', () => {
    const identities = derivedIdentities('example');
    expect([identities.clusterId, identities.wwid('g1', 'v1')]).toMatchInlineSnapshot(`
      [
        "1ad68f7ac933c56391a89afccecf7557",
        "602484619e7e62b389f923229b8f6b8e",
      ]
    `);
    expect(identities.wwid('g1', 'v2')).not.toBe(identities.wwid('g1', 'v1'));
    expect(identities.wwid('g1v', '1')).not.toBe(identities.wwid('g1', 'v1'));
  });

  test('may have other addresses: each side reaches the other in its own way', () => {
    expect(difference((text) => text.replace('7411', '7499'))).toBeNull();
  });

  test.each([
    ['a size', ['1GiB', '2GiB'], 'groups.g1.volumes.v1.sizeBytes is 1073741824'],
    ['a mode', ['mode: sync', 'mode: async'], 'groups.g1.legs.east.mode is "sync"'],
    [
      'a volume',
      ['[{ name: v1, size: 1GiB }]', '[{ name: v1, size: 1GiB }, { name: v2, size: 1GiB }]'],
      'v2 is missing',
    ],
    ['an owner', ['owner: east', 'owner: west'], 'preferredOwner is "east"'],
    ['a cluster', ['cluster: example', 'cluster: other'], 'clusterId'],
  ] as const)('differ in %s, and it is named', (_what, [before, after], expected) => {
    const change = (text: string): string =>
      after === 'owner: west'
        ? text.replace(before, after).replace('to: west', 'to: east')
        : text.replace(before, after);
    expect(difference(change)).toContain(expected.split(' is ')[0] ?? '');
  });
});

describe('the agreement of two nodes', () => {
  const connection = (incarnation: string): LinkConnection =>
    ({ peer: 'west', peerIncarnation: incarnation }) as unknown as LinkConnection;

  function agreement(theirs: () => string | Error): { agreement: DocumentAgreement; told: string[] } {
    const told: string[] = [];
    const made = new DocumentAgreement({
      node: 'east',
      document: () => documentOf(right),
      request: () => {
        const answer = theirs();
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
      agreed: (peer) => told.push(`agreed ${peer}`),
      differs: (text) => told.push(text),
    });
    return { agreement: made, told };
  }

  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  test('is there when the documents are the same, and only for the process that was asked', async () => {
    const { agreement: made, told } = agreement(() => JSON.stringify(documentOf(right)));
    expect(made.agrees('west')).toBe(false);
    made.connectionUp(connection('1'));
    await settled();
    expect(made.agrees('west')).toBe(true);
    expect(told).toEqual(['agreed west']);
    made.connectionUp(connection('2'));
    expect(made.agrees('west')).toBe(false);
    await settled();
    expect(made.agrees('west')).toBe(true);
  });

  test('is not there when they differ, and the difference is named', async () => {
    const { agreement: made, told } = agreement(() => JSON.stringify(documentOf(right.replace('1GiB', '2GiB'))));
    made.connectionUp(connection('1'));
    await settled();
    expect(made.agrees('west')).toBe(false);
    expect(made.problem('west')).toContain('sizeBytes');
    expect(told[0]).toContain('sizeBytes');
  });

  test('is asked for again when it could not be reached', async () => {
    let answers = false;
    const { agreement: made } = agreement(() => (answers ? JSON.stringify(documentOf(right)) : new Error('gone')));
    made.connectionUp(connection('1'));
    await settled();
    expect(made.agrees('west')).toBe(false);
    answers = true;
    made.tick();
    await settled();
    expect(made.agrees('west')).toBe(true);
  });
});
