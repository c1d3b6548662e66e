import { describe, expect, it } from 'vitest';
import { withLog, withLogPlace, withLogRetention, withLogSize, withoutLog } from '../../src/node/log-changes.ts';
import { withVolume } from '../../src/node/volume-changes.ts';
import type { ClusterDocument, LogEntry } from '../../src/store/document.ts';

const GiB = 2 ** 30;
const node = (name: string) => ({
  name,
  site: 's',
  replication: '127.0.0.1:1',
  pulse: [],
  heartbeat: null,
  iscsi: [],
});

/** Groups g1 and g2 on east and west, none on north. */
function withoutLogs(): ClusterDocument {
  const empty: ClusterDocument = {
    schema: 1,
    clusterId: 'c'.repeat(32),
    cluster: 'c',
    version: 1,
    sites: ['s'],
    nodes: [node('east'), node('west'), node('north')],
    groups: [],
    pulse: null,
  };
  const volume = (name: string, paths: Record<string, string>) => ({
    name,
    sizeBytes: GiB,
    blockSizeBytes: 512 as const,
    mirrors: [{ node: 'west', mode: 'sync' as const }],
    paths,
  });
  const defaults = { owner: 'east', wwid: '6'.padEnd(32, '0') };
  return withVolume(withVolume(empty, volume('g1', { west: '/dev/sdb' }), defaults), volume('g2', {}), defaults);
}

const logOf = (document: ClusterDocument, name = 'g1'): LogEntry | null | undefined =>
  document.groups.find((group) => group.name === name)?.log;

const request = { group: 'g1', sizeBytes: 8 * GiB, places: {} };
const logged = (): ClusterDocument => withLog(withoutLogs(), { ...request, places: { west: ['/fast/log'] } });

describe('a log (TL-9)', () => {
  it('is created, assigned, moved, grown, shrunk and removed; other groups stay as they are', () => {
    let document = logged();
    expect(logOf(document)).toEqual({
      sizeBytes: 8 * GiB,
      places: { west: ['/fast/log'] },
      retentionMs: 0,
      retentionBytes: 0,
    });
    document = withLogPlace(document, { group: 'g1', node: 'east', folders: ['/a/log', '/b/log/'] });
    document = withLogPlace(document, { group: 'g1', node: 'west', folders: ['/other/log'] });
    expect(logOf(document)?.places).toEqual({ east: ['/a/log', '/b/log'], west: ['/other/log'] });
    // Said again, it is no other log's place.
    expect(withLogPlace(document, { group: 'g1', node: 'west', folders: ['/other/log'] })).toEqual(document);
    document = withLogSize(document, { group: 'g1', sizeBytes: 16 * GiB });
    expect(logOf(document)?.sizeBytes).toBe(16 * GiB);
    document = withLogSize(document, { group: 'g1', sizeBytes: GiB });
    expect(logOf(document)?.sizeBytes).toBe(GiB);
    document = withoutLog(document, 'g1');
    expect(document).toEqual(withoutLogs());
  });

  it('keeps history for a time, a quarter of it unless another size is said (BY-3)', () => {
    const document = withLog(withoutLogs(), { ...request, retentionMs: 3_600_000 });
    expect(logOf(document)).toMatchObject({ retentionMs: 3_600_000, retentionBytes: 2 * GiB });
    const set = (more: { retentionMs?: number; retentionBytes?: number }, from = document) =>
      withLogRetention(from, { group: 'g1', ...more });
    expect(logOf(set({ retentionMs: 60_000 }))).toMatchObject({ retentionMs: 60_000, retentionBytes: 2 * GiB });
    expect(logOf(set({ retentionBytes: GiB }))).toMatchObject({ retentionMs: 3_600_000, retentionBytes: GiB });
    expect(logOf(set({ retentionMs: 0 }))).toMatchObject({ retentionMs: 0, retentionBytes: 0 });
    expect(logOf(set({ retentionMs: 5 }, logged()))).toMatchObject({ retentionMs: 5, retentionBytes: 2 * GiB });
  });
});

describe('is refused, with what would be right:', () => {
  const other = withLog(withoutLogs(), { ...request, group: 'g2', places: { west: ['/fast/log'] } });
  const assign = (document: ClusterDocument, at: string, ...folders: string[]) =>
    withLogPlace(document, { group: 'g1', node: at, folders });
  const create = (document: ClusterDocument, more: object) => withLog(document, { ...request, ...more });

  it.each<[string, () => ClusterDocument, string, string]>([
    ['no such group', () => withoutLog(logged(), 'g9'), 'E_NOT_FOUND', 'there is no group g9'],
    [
      'a second log',
      () => create(logged(), {}),
      'E_EXISTS',
      'group g1 has a log of 8 GiB already; holdfast log grow, assign and set change it',
    ],
    [
      'no log to change',
      () => withLogSize(withoutLogs(), request),
      'E_REFUSED',
      'group g1 has no log; make one: holdfast log create g1 --size 8GiB',
    ],
    [
      'too small',
      () => create(withoutLogs(), { sizeBytes: 2 ** 20 }),
      'E_USAGE',
      'group g1: a log has from 64 MiB to 64 TiB, not 1 MiB',
    ],
    [
      'smaller than its history',
      () => withLogSize(create(withoutLogs(), { retentionMs: 1 }), { group: 'g1', sizeBytes: GiB }),
      'E_USAGE',
      'group g1: 2 GiB of history do not fit into a log of 1 GiB',
    ],
    [
      'history for no time',
      () => create(withoutLogs(), { retentionBytes: GiB }),
      'E_USAGE',
      'group g1: to keep up to 1 GiB of history, say for how long, such as --retention 24h',
    ],
    [
      'no such node',
      () => assign(logged(), 'south', '/x'),
      'E_NOT_FOUND',
      'there is no node south (there are east, west, north)',
    ],
    [
      'a node without a copy',
      () => create(withoutLogs(), { places: { north: ['/x'] } }),
      'E_REFUSED',
      'group g1 has no copy on north, only on east, west',
    ],
    [
      'three places',
      () => assign(logged(), 'east', '/x', '/y', '/z'),
      'E_USAGE',
      'group g1: 3 places on east; a log is in one, or in two with the same contents',
    ],
    [
      'the same place twice',
      () => assign(logged(), 'east', '/x', '/x/'),
      'E_USAGE',
      'group g1: both copies of its log on east would be in /x; write two, on different disks',
    ],
    [
      'half a path',
      () => assign(logged(), 'east', 'x'),
      'E_USAGE',
      'group g1: "x" is not the whole path of a place on east; begin with /',
    ],
    [
      "another group's place",
      () => create(other, { places: { west: ['/fast/log'] } }),
      'E_REFUSED',
      'group g1: /fast/log on west is in use by the log of group g2; name another place',
    ],
    [
      "a volume's device",
      () => create(withoutLogs(), { group: 'g2', places: { west: ['/dev/sdb'] } }),
      'E_REFUSED',
      'group g2: /dev/sdb on west is in use by volume g1; name another place',
    ],
  ])('%s', (_what, change, code, message) => {
    expect(change).toThrow(expect.objectContaining({ code, message }));
  });

  it('the same path on two nodes is two places', () => {
    expect(() => create(other, { places: { east: ['/fast/log'] } })).not.toThrow();
  });
});
