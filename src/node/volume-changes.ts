/** Changes of the cluster document that an administrator asks for: pure, refused by `HoldfastError`s. */
import { HoldfastError } from '../base/errors.ts';
import {
  defaultGroupSettings,
  defaultIscsi,
  defaultTakeOverSettings,
  type ClusterDocument,
  type GroupEntry,
  type IscsiEntry,
  type MirrorMode,
  type VolumeEntry,
} from '../store/document.ts';
import type { CreateVolumeRequest } from './control.ts';

/** Adds a volume to its group, or to a new group of its own (`E_EXISTS`, `E_NOT_FOUND`, `E_USAGE`). */
export function withVolume(
  document: ClusterDocument,
  request: CreateVolumeRequest,
  defaults: { readonly owner: string; readonly wwid: string },
): ClusterDocument {
  const taken = document.groups.find((group) => group.volumes.some((volume) => volume.name === request.name));
  if (taken !== undefined) {
    throw new HoldfastError('E_EXISTS', `volume ${request.name} exists already, in group ${taken.name}`);
  }
  const volume = (index: number): VolumeEntry => ({
    name: request.name,
    index,
    wwid: defaults.wwid,
    sizeBytes: request.sizeBytes,
    blockSizeBytes: request.blockSizeBytes,
    paths: request.paths,
  });
  const name = request.group ?? request.name;
  const known = document.groups.find((group) => group.name === name);
  if (known !== undefined) {
    const index = known.nextVolumeIndex;
    const changed: GroupEntry = { ...known, nextVolumeIndex: index + 1, volumes: [...known.volumes, volume(index)] };
    return { ...document, groups: document.groups.map((group) => (group.name === name ? changed : group)) };
  }
  const owner = request.owner ?? defaults.owner;
  for (const node of [owner, ...request.mirrors.map((mirror) => mirror.node)]) {
    if (!document.nodes.some((entry) => entry.name === node)) {
      throw new HoldfastError('E_NOT_FOUND', `there is no node ${node}`);
    }
  }
  if (request.mirrors.some((mirror) => mirror.node === owner)) {
    throw new HoldfastError('E_USAGE', `volume ${request.name}: ${owner} is its owner and cannot be its mirror too`);
  }
  const group: GroupEntry = {
    name,
    preferredOwner: owner,
    volumes: [volume(0)],
    nextVolumeIndex: 1,
    legs: [{ node: owner, mode: request.mirrors[0]?.mode ?? 'sync' }, ...request.mirrors],
    log: null,
    settings: defaultGroupSettings,
    takeOver: defaultTakeOverSettings,
    resources: [],
    iscsi: defaultIscsi,
  };
  return { ...document, groups: [...document.groups, group] };
}

/** How a copy is written to, from now on (`E_NOT_FOUND`). */
export function withMode(
  document: ClusterDocument,
  { group: name, to, mode }: { readonly group: string; readonly to: string; readonly mode: MirrorMode },
): ClusterDocument {
  const group = document.groups.find((entry) => entry.name === name);
  if (group === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
  if (!group.legs.some((leg) => leg.node === to)) {
    const known = group.legs.map((leg) => leg.node).join(', ');
    throw new HoldfastError('E_NOT_FOUND', `group ${name}: ${to} has no copy of it (those that have: ${known})`);
  }
  const legs = group.legs.map((leg) => (leg.node === to ? { ...leg, mode } : leg));
  return { ...document, groups: document.groups.map((entry) => (entry === group ? { ...entry, legs } : entry)) };
}

/** Takes a volume out; a group without volumes goes with its last one. */
export function withoutVolume(document: ClusterDocument, name: string): ClusterDocument {
  const groups = document.groups.flatMap((group) => {
    const volumes = group.volumes.filter((volume) => volume.name !== name);
    if (volumes.length === group.volumes.length) return [group];
    return volumes.length === 0 ? [] : [{ ...group, volumes, iscsi: withoutName(group.iscsi, name) }];
  });
  return { ...document, groups };
}

/** One created by that name later is another volume: nobody sees it before the document says so. */
function withoutName(iscsi: IscsiEntry, name: string): IscsiEntry {
  const { hosts } = iscsi;
  if (hosts === null) return iscsi;
  const seen = (volumes: readonly string[] | null): readonly string[] | null =>
    volumes?.filter((volume) => volume !== name) ?? null;
  return { ...iscsi, hosts: hosts.map((host) => ({ ...host, volumes: seen(host.volumes) })) };
}
