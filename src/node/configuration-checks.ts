/**
 * What takes more than one value of `holdfast.yaml` to judge: names that refer, names and addresses that collide. Reads
 * the declaration leniently, a malformed part counting as absent, so that these findings stand beside those of form.
 */
import { normalize } from 'node:path';
import { z } from 'zod';
import { formatAddress, parseAddress, type Address } from '../base/network.ts';
import { formatSize, parseDurationMs, parseSize } from '../base/units.ts';
import { checkAgents } from './configuration-agents.ts';
import { checkIscsi } from './configuration-iscsi.ts';
import { didYouMean } from './configuration-positions.ts';
import { checkResources, checkTakeOver } from './configuration-resources.ts';
import type { Finding } from './configuration-schema.ts';
import { checkPulse } from './configuration-pulse.ts';
import { checkStore } from './configuration-store.ts';

const text = z.string().catch('');
const size = z.union([z.number(), z.string().transform((value) => parseSize(value) ?? 0)]).catch(0);
const items = <Item extends z.ZodType>(item: Item) => z.array(item).catch([]);
const absentVolume = { name: '', size: 0, 'block-size': 512, paths: {} };
const absentLog = { size: 0, places: {}, retention: 0, 'retention-size': null };
const absentNode = { name: '', site: '', replication: '', api: '', nbd: [], iscsi: [] };

const sketch = z
  .object({
    store: z.unknown().optional(),
    sites: items(text),
    nodes: items(
      z
        .object({ name: text, site: text, replication: text, api: text, nbd: items(text), iscsi: items(text) })
        .catch(absentNode),
    ),
    groups: items(
      z
        .object({
          name: text,
          owner: text,
          volumes: items(
            z
              .object({
                name: text,
                size,
                'block-size': z.number().catch(512),
                paths: z.record(z.string(), text).catch({}),
              })
              .catch(absentVolume),
          ),
          mirrors: items(z.object({ to: text }).catch({ to: '' })),
          log: z
            .object({
              size,
              places: z.record(z.string(), z.union([items(text), text.transform((one) => [one])])).catch({}),
              retention: text.transform((value) => parseDurationMs(value) ?? 0),
              'retention-size': size.nullable().default(null),
            })
            .catch(absentLog),
        })
        .catch({ name: '', owner: '', volumes: [], mirrors: [], log: absentLog }),
    ),
  })
  .catch({ store: null, sites: [], nodes: [], groups: [] });

type Sketch = z.infer<typeof sketch>;

export function crossCheck(declared: unknown): readonly Finding[] {
  const configuration = sketch.parse(declared);
  return [
    ...checkNames(configuration),
    ...checkAddresses(configuration),
    ...checkVolumes(configuration),
    ...checkLogs(configuration),
    ...checkStore(configuration.store),
    ...checkPulse(declared),
    ...itemsOf(declared, 'groups').flatMap((group, index) => {
      const sketched = configuration.groups[index];
      return checkResources(group, sketched === undefined ? [] : legsOf(sketched), ['groups', index]);
    }),
    ...checkTakeOver(declared),
    ...checkIscsi(declared),
    ...itemsOf(declared, 'nodes').flatMap((node, index) => checkAgents(node, ['nodes', index])),
  ];
}

/** As they are declared, for sections that are sketched where they are read. */
function itemsOf(declared: unknown, key: 'groups' | 'nodes'): readonly unknown[] {
  const list: unknown = typeof declared === 'object' && declared !== null ? Reflect.get(declared, key) : null;
  return Array.isArray(list) ? list : [];
}

function* checkNames({ sites, nodes, groups }: Sketch): Generator<Finding> {
  const nodeNames = nodes.map((node) => node.name);
  const every = (list: readonly { name: string }[], at: readonly PropertyKey[]) =>
    list.map(({ name }, index) => ({ value: name, path: [...at, index, 'name'] }));

  yield* duplicates(
    sites.map((value, index) => ({ value, path: ['sites', index] })),
    (name) => `two sites "${name}"`,
  );
  yield* duplicates(every(nodes, ['nodes']), (name) => `two nodes are named "${name}"`);
  yield* duplicates(every(groups, ['groups']), (name) => `two groups are named "${name}"`);
  yield* duplicates(
    groups.flatMap((group, index) => every(group.volumes, ['groups', index, 'volumes'])),
    (name) => `two volumes are named "${name}"; hosts know them by name, so it must be the only one in the cluster`,
  );
  for (const [index, node] of nodes.entries()) {
    yield* refers('site', node.site, sites, ['nodes', index, 'site']);
  }
  for (const [index, group] of groups.entries()) {
    const at = ['groups', index];
    yield* refers('node', group.owner, nodeNames, [...at, 'owner']);
    for (const [mirrorIndex, mirror] of group.mirrors.entries()) {
      const path = [...at, 'mirrors', mirrorIndex, 'to'];
      yield* refers('node', mirror.to, nodeNames, path);
      if (mirror.to !== '' && mirror.to === group.owner) {
        const others = nodeNames.filter((name) => name !== group.owner).join(', ');
        yield {
          path,
          message: `"${mirror.to}" owns the group and cannot be its mirror; write another node: ${others}`,
        };
      }
    }
    yield* duplicates(
      group.mirrors.map(({ to }, mirrorIndex) => ({ value: to, path: [...at, 'mirrors', mirrorIndex, 'to'] })),
      (name) => `two mirrors to "${name}"; a node has one copy of a group`,
    );
  }
}

function* checkAddresses({ nodes }: Sketch): Generator<Finding> {
  for (const [index, node] of nodes.entries()) {
    const listens = [
      { use: 'replication', text: node.replication, path: ['nodes', index, 'replication'] },
      { use: 'api', text: node.api, path: ['nodes', index, 'api'] },
      ...node.nbd.map((at, nbdIndex) => ({
        use: `nbd[${nbdIndex}]`,
        text: at,
        path: ['nodes', index, 'nbd', nbdIndex],
      })),
      ...node.iscsi.map((at, portal) => ({
        use: `iscsi[${portal}]`,
        text: at,
        path: ['nodes', index, 'iscsi', portal],
      })),
    ].flatMap(({ text: at, ...rest }) => {
      const address = parseAddress(at);
      return address ? [{ ...rest, address }] : [];
    });
    for (const [later, listen] of listens.entries()) {
      const earlier = listens.slice(0, later).find((other) => collide(other.address, listen.address));
      if (!earlier) continue;
      const message = `${formatAddress(listen.address)} is taken by ${earlier.use} of the same node; choose another port`;
      yield { path: listen.path, message };
    }
  }
  yield* duplicates(
    nodes.map((node, index) => ({ value: node.replication, path: ['nodes', index, 'replication'] })),
    (address) => `two nodes have the address ${address}; each needs its own to be found by`,
  );
}

function* checkVolumes({ nodes, groups }: Sketch): Generator<Finding> {
  const paths: { value: string; path: PropertyKey[] }[] = [];
  for (const [index, group] of groups.entries()) {
    const legs = legsOf(group);
    for (const [volumeIndex, volume] of group.volumes.entries()) {
      const at = ['groups', index, 'volumes', volumeIndex];
      const blockSize = volume['block-size'];
      if ((blockSize === 512 || blockSize === 4096) && volume.size % blockSize !== 0) {
        const below = Math.floor(volume.size / blockSize) * blockSize;
        const message = `${volume.size} bytes is not a multiple of the block size ${blockSize}`;
        yield { path: [...at, 'size'], message: `${message}; ${below} or ${below + blockSize} is` };
      }
      for (const [node, value] of Object.entries(volume.paths)) {
        const path = [...at, 'paths', node];
        const wrong = checkHolder(nodes, legs, node, path);
        if (wrong.length > 0) yield* wrong;
        else paths.push({ value: `${node}\0${value}`, path });
      }
    }
  }
  yield* duplicates(paths, (value) => {
    const [node = '', path = ''] = value.split('\0');
    return `two volumes on "${node}" have the file ${path}; each needs its own`;
  });
}

function* checkLogs({ nodes, groups }: Sketch): Generator<Finding> {
  const folders: { value: string; path: PropertyKey[] }[] = [];
  for (const [index, group] of groups.entries()) {
    const at = ['groups', index, 'log'];
    const { size: bytes, retention, 'retention-size': retained } = group.log;
    if (retained !== null && retention === 0) {
      const message = 'without "retention" nothing is kept; write how long, such as retention: 24h';
      yield { path: [...at, 'retention-size'], message, onKey: true };
    } else if (retained !== null && retained > bytes) {
      const message = `${formatSize(retained)} do not fit into a log of ${formatSize(bytes)}; write less, or a larger size`;
      yield { path: [...at, 'retention-size'], message };
    }
    for (const [node, places] of Object.entries(group.log.places)) {
      const path = [...at, 'places', node];
      yield* checkHolder(nodes, legsOf(group), node, path);
      for (const [place, folder] of places.entries()) {
        const plain = normalize(folder).replace(/(?<=.)\/$/, '');
        if (folder !== '') folders.push({ value: `${node}\0${plain}`, path: [...path, place] });
      }
    }
  }
  yield* duplicates(folders, (value) => {
    const [node = '', folder = ''] = value.split('\0');
    return `two logs or copies of one on "${node}" are in ${folder}; each needs a folder of its own, copies one on another disk`;
  });
}

const legsOf = ({ owner, mirrors }: Sketch['groups'][number]): string[] => [
  owner,
  ...mirrors.map((mirror) => mirror.to),
];

/** That the key at `path` is a node with a copy of the group. */
function checkHolder(nodes: Sketch['nodes'], legs: readonly string[], node: string, path: PropertyKey[]): Finding[] {
  const known = nodes.some((candidate) => candidate.name === node);
  if (!known) return refers('node', node, legs, path).map((finding) => ({ ...finding, onKey: true }));
  if (legs.includes(node)) return [];
  return [{ path, message: `"${node}" has no copy of the group; its nodes are ${legs.join(', ')}`, onKey: true }];
}

/** One finding at every occurrence after the first. Empty values are malformed and reported as such elsewhere. */
function* duplicates(
  entries: readonly { value: string; path: readonly PropertyKey[] }[],
  message: (value: string) => string,
): Generator<Finding> {
  const seen = new Set<string>();
  for (const { value, path } of entries) {
    if (value !== '' && seen.has(value)) yield { path, message: message(value) };
    seen.add(value);
  }
}

function refers(what: string, value: string, known: readonly string[], path: readonly PropertyKey[]): Finding[] {
  if (value === '' || known.includes(value)) return [];
  const names = known.filter((name) => name !== '');
  const right = didYouMean(value, names) || (names.length > 0 ? `; there are: ${names.join(', ')}` : '');
  return [{ path, message: `there is no ${what} "${value}"${right}` }];
}

const wildcards = ['0.0.0.0', '::'];

/** Two sockets of one machine cannot both listen; port 0 is chosen by the system and collides with nothing. */
function collide(a: Address, b: Address): boolean {
  if (a.kind === 'unix' || b.kind === 'unix') return a.kind === 'unix' && b.kind === 'unix' && a.path === b.path;
  const overlap = a.host === b.host || wildcards.includes(a.host) || wildcards.includes(b.host);
  return a.port !== 0 && a.port === b.port && overlap;
}
