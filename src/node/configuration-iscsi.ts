/** What `holdfast.yaml` says of iSCSI: portals of nodes, and of each group its target and who may log in. */
import { resolve } from 'node:path';
import { z } from 'zod';
import { portsPerNode } from '../hosts/scsi/port-groups.ts';
import { iscsiTargetName, type ChapEntry, type IscsiEntry, type IscsiHostEntry } from '../store/document.ts';
import { parseAddressRange } from './address-range.ts';
import { field, list, name, path, reachable, section, Wrong, yesNo } from './configuration-fields.ts';
import type { Finding } from './configuration-schema.ts';

/** Each has a tag of its own, and every node sixteen of them. */
const portalsMax = portsPerNode;
const hostsMax = 1024;

export const nodeIscsiField = list(reachable('a TCP address', '10.0.0.1:3260'), 'portals', { min: 1 })
  .max(portalsMax, { error: `has too many; a node has ${portalsMax} portals at most` })
  .optional();

/** RFC 7143 4.2.7: the three forms of names, up to 223 bytes, in lower case as they are compared. */
const namePattern =
  /^(?:iqn\.\d{4}-(?:0[1-9]|1[0-2])\.[a-z0-9.-]+(?::[a-z0-9.:-]+)?|eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32}))$/;

function readName(value: unknown): string | Wrong | null {
  if (typeof value !== 'string' || value.length > 223) return null;
  const lower = value.toLowerCase();
  if (!namePattern.test(lower)) return null;
  return lower === value ? value : new Wrong(`"${value}" is compared in lower case; write "${lower}"`);
}

const exampleName = 'iqn.2026-11.org.example:server';
const targetName = field(`the name of an iSCSI target, such as ${exampleName}`, readName);
const initiatorName = field(`the name of an iSCSI initiator, such as ${exampleName}, or "*" for any`, (value) =>
  value === '*' ? value : readName(value),
);
const range = field('an address such as 10.0.0.7, or a range such as 10.0.0.0/24', (value) =>
  typeof value === 'string' && parseAddressRange(value) !== null ? value : null,
);
const user = field('a name of 1 to 255 characters', (value) =>
  typeof value === 'string' && value !== '' && value.length <= 255 ? value : null,
);
const login = (what: string) => section(what, { user, 'secret-file': path }).optional();

const host = section('a host', {
  initiator: initiatorName,
  addresses: list(range, 'addresses', { min: 1 }).optional(),
  volumes: list(name, 'volumes', { min: 0 }).optional(),
  chap: login('what the host must know'),
  mutual: login('what the target answers with'),
});

export const groupIscsiSchema = section('iscsi', {
  target: targetName.optional(),
  redirect: yesNo.optional(),
  hosts: list(host, 'hosts', { min: 0 })
    .max(hostsMax, { error: `has too many; a group has ${hostsMax} hosts at most` })
    .optional(),
});

type DeclaredIscsi = z.infer<typeof groupIscsiSchema>;
type DeclaredLogin = { readonly user: string; readonly 'secret-file': string };

/** @param folder that relative paths are relative to */
export function iscsiEntry(declared: DeclaredIscsi | undefined, folder: string): IscsiEntry {
  const chapEntry = (of: DeclaredLogin | undefined): ChapEntry | null =>
    of === undefined ? null : { user: of.user, secretFile: resolve(folder, of['secret-file']) };
  return {
    target: declared?.target ?? null,
    redirect: declared?.redirect ?? false,
    hosts:
      declared?.hosts?.map(({ initiator, addresses, volumes, chap, mutual }): IscsiHostEntry => ({
        initiator,
        addresses: addresses ?? null,
        volumes: volumes ?? null,
        chap: chapEntry(chap),
        mutual: chapEntry(mutual),
      })) ?? null,
  };
}

export function describeIscsi({ target, redirect, hosts }: IscsiEntry): unknown {
  const describeLogin = (key: string, of: ChapEntry | null): object =>
    of === null ? {} : { [key]: { user: of.user, 'secret-file': of.secretFile } };
  return {
    ...(target === null ? {} : { target }),
    redirect,
    ...(hosts === null
      ? {}
      : {
          hosts: hosts.map(({ initiator, addresses, volumes, chap, mutual }) => ({
            initiator,
            ...(addresses === null ? {} : { addresses }),
            ...(volumes === null ? {} : { volumes }),
            ...describeLogin('chap', chap),
            ...describeLogin('mutual', mutual),
          })),
        }),
  };
}

const text = z.string().catch('');
const names = z.array(z.object({ name: text }).catch({ name: '' })).catch([]);
const sketch = z
  .object({
    cluster: text,
    nodes: z.array(z.object({ iscsi: z.array(text).catch([]) }).catch({ iscsi: [] })).catch([]),
    groups: z
      .array(
        z
          .object({
            name: text,
            volumes: names,
            iscsi: z
              .object({
                target: z.string().nullable().catch(null),
                hosts: z
                  .array(
                    z
                      .object({
                        volumes: z.array(text).catch([]),
                        chap: z.unknown().optional(),
                        mutual: z.unknown().optional(),
                      })
                      .catch({ volumes: [], chap: null, mutual: null }),
                  )
                  .catch([]),
              })
              .catch({ target: null, hosts: [] }),
          })
          .catch({ name: '', volumes: [], iscsi: { target: null, hosts: [] } }),
      )
      .catch([]),
  })
  .catch({ cluster: '', nodes: [], groups: [] });

/** Lenient: what is malformed is told of elsewhere. */
export function* checkIscsi(declared: unknown): Generator<Finding> {
  const { cluster, nodes, groups } = sketch.parse(declared);
  const portals = new Set<string>();
  for (const [index, { iscsi }] of nodes.entries()) {
    for (const [portal, address] of iscsi.entries()) {
      // Each machine has all of its own addresses.
      if (/^(?:0\.0\.0\.0|\[::\]):/.test(address)) continue;
      const own = iscsi.indexOf(address) !== portal;
      if (portals.has(address) && !own)
        yield {
          path: ['nodes', index, 'iscsi', portal],
          message: `two nodes have the address ${address}; each needs its own to be found by`,
        };
      portals.add(address);
    }
  }
  const targets = new Map<string, string>();
  for (const [index, { name: group, volumes, iscsi }] of groups.entries()) {
    const at = ['groups', index];
    const target = iscsi.target ?? iscsiTargetName(cluster, group);
    const other = targets.get(target);
    if (other !== undefined && group !== '' && other !== group) {
      const message = `"${target}" is the target of group "${other}" already; give one of the two another, iscsi: { target: … }`;
      yield { path: iscsi.target === null ? [...at, 'name'] : [...at, 'iscsi', 'target'], message };
    }
    targets.set(target, group);
    const known = volumes.map((volume) => volume.name).filter((volume) => volume !== '');
    for (const [place, each] of iscsi.hosts.entries()) {
      const path = [...at, 'iscsi', 'hosts', place];
      for (const [nth, volume] of each.volumes.entries()) {
        if (volume === '' || known.includes(volume)) continue;
        const message = `group "${group}" has no volume "${volume}"; it has: ${known.join(', ')}`;
        yield { path: [...path, 'volumes', nth], message };
      }
      if (each.mutual != null && each.chap == null) {
        const message = 'a host that need not authenticate itself cannot ask it of the target; write chap as well';
        yield { path: [...path, 'mutual'], message, onKey: true };
      }
    }
  }
}
