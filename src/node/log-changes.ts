/** What an administrator asks of a group's log, as changes of the cluster document: pure, refused by `HoldfastError`s. */
import { isAbsolute, resolve } from 'node:path';
import { HoldfastError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { logBytesMin, type ClusterDocument, type GroupEntry, type LogEntry } from '../store/document.ts';
import { logBytesMax, logFoldersMax } from './configuration-schema.ts';
import type { AssignLogRequest, CreateLogRequest, LogRetentionRequest, LogSizeRequest } from './control.ts';

/** History kept by who says for how long only is at most a quarter of the log: the rest is for outages. */
export function retentionOf(
  sizeBytes: number,
  retentionMs = 0,
  retentionBytes = retentionMs > 0 ? Math.floor(sizeBytes / 4) : 0,
): Pick<LogEntry, 'retentionMs' | 'retentionBytes'> {
  return { retentionMs, retentionBytes };
}

/** Gives a group its log (`E_NOT_FOUND`, `E_EXISTS`, `E_USAGE`, `E_REFUSED`). */
export function withLog(document: ClusterDocument, request: CreateLogRequest): ClusterDocument {
  const group = groupOf(document, request.group);
  if (group.log !== null) {
    throw new HoldfastError(
      'E_EXISTS',
      `group ${group.name} has a log of ${formatSize(group.log.sizeBytes)} already; holdfast log grow, assign and set change it`,
    );
  }
  const { sizeBytes, retentionMs, retentionBytes } = request;
  const log: LogEntry = { sizeBytes, places: {}, ...retentionOf(sizeBytes, retentionMs, retentionBytes) };
  return Object.entries(request.places).reduce(
    (changed, [node, folders]) => withLogPlace(changed, { group: group.name, node, folders }),
    changedLog(document, group, log),
  );
}

/** Assigns folders at one node: where the log is made there, or moved to. */
export function withLogPlace(document: ClusterDocument, request: AssignLogRequest): ClusterDocument {
  const { group: name, node } = request;
  const { group, log } = logOf(document, name);
  const folders = request.folders.map((folder) => wholePath(name, node, folder));
  requireCopy(document, group, node);
  if (folders.length === 0 || folders.length > logFoldersMax) {
    throw new HoldfastError(
      'E_USAGE',
      `group ${name}: ${folders.length} places on ${node}; a log is in one, or in two with the same contents`,
    );
  }
  if (new Set(folders).size < folders.length) {
    throw new HoldfastError(
      'E_USAGE',
      `group ${name}: both copies of its log on ${node} would be in ${folders[0]}; write two, on different disks`,
    );
  }
  for (const folder of folders) requireFree(document, name, node, folder);
  return changedLog(document, group, { ...log, places: { ...log.places, [node]: folders } });
}

/** Grows it, or shrinks it; what is in it stays. */
export function withLogSize(document: ClusterDocument, { group: name, sizeBytes }: LogSizeRequest): ClusterDocument {
  const { group, log } = logOf(document, name);
  return changedLog(document, group, { ...log, sizeBytes });
}

/** How long what no target needs any more is kept, and how much of it; what is not said stays. */
export function withLogRetention(document: ClusterDocument, request: LogRetentionRequest): ClusterDocument {
  const { group, log } = logOf(document, request.group);
  const retentionMs = request.retentionMs ?? log.retentionMs;
  const kept = retentionMs === 0 ? 0 : log.retentionBytes || undefined;
  const retention = retentionOf(log.sizeBytes, retentionMs, request.retentionBytes ?? kept);
  return changedLog(document, group, { ...log, ...retention });
}

/** Its history goes with it. */
export function withoutLog(document: ClusterDocument, name: string): ClusterDocument {
  return changedLog(document, logOf(document, name).group, null);
}

function changedLog(document: ClusterDocument, group: GroupEntry, log: LogEntry | null): ClusterDocument {
  if (log !== null) requireRightSizes(group.name, log);
  return {
    ...document,
    groups: document.groups.map((other) => (other.name === group.name ? { ...group, log } : other)),
  };
}

function requireRightSizes(group: string, { sizeBytes, retentionMs, retentionBytes }: LogEntry): void {
  const problem =
    sizeBytes < logBytesMin || sizeBytes > logBytesMax
      ? `a log has from ${formatSize(logBytesMin)} to ${formatSize(logBytesMax)}, not ${formatSize(sizeBytes)}`
      : retentionBytes > sizeBytes
        ? `${formatSize(retentionBytes)} of history do not fit into a log of ${formatSize(sizeBytes)}`
        : retentionBytes > 0 && retentionMs === 0
          ? `to keep up to ${formatSize(retentionBytes)} of history, say for how long, such as --retention 24h`
          : null;
  if (problem !== null) throw new HoldfastError('E_USAGE', `group ${group}: ${problem}`);
}

function requireCopy(document: ClusterDocument, { name, legs }: GroupEntry, node: string): void {
  if (legs.some((leg) => leg.node === node)) return;
  const known = document.nodes.some((entry) => entry.name === node);
  if (!known) {
    const names = document.nodes.map((entry) => entry.name).join(', ');
    throw new HoldfastError('E_NOT_FOUND', `there is no node ${node} (there are ${names})`);
  }
  const holders = legs.map((leg) => leg.node).join(', ');
  throw new HoldfastError('E_REFUSED', `group ${name} has no copy on ${node}, only on ${holders}`);
}

function wholePath(group: string, node: string, folder: string): string {
  if (isAbsolute(folder)) return resolve(folder);
  throw new HoldfastError(
    'E_USAGE',
    `group ${group}: "${folder}" is not the whole path of a place on ${node}; begin with /`,
  );
}

/** A folder holds one log, and a device one log or one volume. */
function requireFree(document: ClusterDocument, name: string, node: string, folder: string): void {
  for (const { name: other, log, volumes } of document.groups) {
    const volume = volumes.find(({ paths }) => paths[node] === folder);
    const what =
      volume !== undefined
        ? `volume ${volume.name}`
        : other !== name && log?.places[node]?.includes(folder)
          ? `the log of group ${other}`
          : null;
    if (what === null) continue;
    throw new HoldfastError(
      'E_REFUSED',
      `group ${name}: ${folder} on ${node} is in use by ${what}; name another place`,
    );
  }
}

/** `E_NOT_FOUND` for no such group, `E_REFUSED` for one without a log. */
export function logOf(document: ClusterDocument, name: string): { group: GroupEntry; log: LogEntry } {
  const group = groupOf(document, name);
  if (group.log === null) {
    throw new HoldfastError(
      'E_REFUSED',
      `group ${name} has no log; make one: holdfast log create ${name} --size 8GiB`,
    );
  }
  return { group, log: group.log };
}

function groupOf(document: ClusterDocument, name: string): GroupEntry {
  const group = document.groups.find((candidate) => candidate.name === name);
  if (group === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
  return group;
}
