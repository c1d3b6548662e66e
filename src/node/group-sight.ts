/**
 * What of one group can be a failure, as plain data for `conditions.ts`: looked at about once a second on every node that has a
 * copy. Costs nothing to speak of while all is well; words are made only of what is not.
 */
import { formatSize } from '../base/units.ts';
import type { Group } from '../group/group.ts';
import type { GroupStatus, LegStatus } from '../group/status.ts';
import type { VolumeEntry } from '../store/document.ts';

export interface GroupSight {
  readonly name: string;
  /** By the record. */
  readonly owned: boolean;
  /** Why its storage here does not answer (HM-17). */
  readonly stalled: string | null;
  /** The copy here cannot be opened. */
  readonly closed: FailedVolumes | null;
  /** The copy here failed, and not by what its disk reported, which is in `disks`: one failure is told once. */
  readonly fault: FailedVolumes | null;
  /** The copy here is older than it once was (R9). */
  readonly wentBack: FailedVolumes | null;
  /** What reported errors, without necessarily failing the copy. */
  readonly disks: readonly { readonly path: string; readonly reason: string }[];
  /** Where there was no room. */
  readonly full: { readonly path: string; readonly reason: string } | null;
  readonly splitBrain: string | null;
  /** At its owner: what the last opening may have lost. */
  readonly missing: string | null;
  /** Of the log, at its owner. */
  readonly log: { readonly isFull: boolean; readonly reason: string } | null;
  /** Copies that lack more than they may, at the owner. */
  readonly copies: readonly { readonly node: string; readonly reason: string }[];
}

interface FailedVolumes {
  readonly volumes: readonly string[];
  readonly reason: string;
}

export interface GroupSightContext {
  readonly node: string;
  readonly stalled: string | null;
  readonly pathOf: (volume: VolumeEntry) => string;
  readonly metadataFolder: string;
  /** As people are told it. */
  readonly describe: () => GroupStatus;
}

export function sightOf(group: Group, context: GroupSightContext): GroupSight {
  const { name, record, role, problem, leg, owner, entry, missing } = group;
  const { node, stalled, pathOf } = context;
  const fault = leg?.fault ?? null;
  const paths = entry.volumes.map((volume) => ({ volume: volume.name, path: pathOf(volume) }));
  /** Of those that the operating system's words name; of all where they name none. */
  const failed = (reason: string): FailedVolumes => {
    const named = paths.filter(({ path }) => reason.includes(path));
    return { volumes: (named.length === 0 ? paths : named).map(({ volume }) => volume), reason };
  };
  const wentBack = leg?.state.wentBack ?? null;
  const behind = owner?.legs.some(isBehind) === true;
  return {
    name,
    owned: record?.owner === node,
    stalled,
    closed: role === 'closed' && problem !== null ? failed(problem) : null,
    fault: fault === null || isOfMedium(fault) ? null : failed(fault.detail),
    wentBack: role === 'frozen' && wentBack !== null ? failed(wentBack) : null,
    disks: failedDisks(group, context, paths),
    full: fullDisk(group, context, paths),
    splitBrain:
      group.exchange?.split != null || (role === 'frozen' && wentBack === null)
        ? (group.exchange?.obstacle ?? problem ?? 'it is frozen')
        : null,
    missing: role === 'primary' ? missing : null,
    log: logSight(group),
    copies: behind && role === 'primary' ? copiesBehind(group, context.describe()) : [],
  };
}

type Paths = readonly { readonly volume: string; readonly path: string }[];

/** Faults that a medium itself reported; that a file is gone or may not be written is none of the disk's. */
const mediumFaults: readonly string[] = ['readFailed', 'writeFailed', 'flushFailed'];
const isOfMedium = ({ kind }: { readonly kind: string }): boolean => mediumFaults.includes(kind);

function failedDisks({ name, leg, owner }: Group, { node }: GroupSightContext, paths: Paths): GroupSight['disks'] {
  const disks: { path: string; reason: string }[] = [];
  for (const fault of [leg?.fault ?? null, owner?.readFault ?? null]) {
    if (fault === null || !isOfMedium(fault)) continue;
    const { path, volume } = paths.find((one) => fault.detail.includes(one.path)) ??
      paths[0] ?? { path: name, volume: name };
    if (disks.some((disk) => disk.path === path)) continue;
    const use = fault === leg?.fault ? `the copy of volume ${volume} there cannot be used; ` : '';
    disks.push({ path, reason: `${use}the disk of ${path} at ${node} reported: ${fault.detail}` });
  }
  const log = owner?.log ?? null;
  const status = log?.status() ?? null;
  for (const { folder, dropped } of status?.copies ?? [])
    if (dropped !== null)
      disks.push({
        path: folder,
        reason: `the log of group ${name} in ${folder} at ${node} is not used: ${dropped}`,
      });
  if (disks.length === 0 && log !== null && log.problem !== null) {
    const path = status?.copies[0]?.folder ?? `log of ${name}`;
    disks.push({ path, reason: `the log of group ${name} at ${node} cannot be used: ${log.problem}` });
  }
  return disks;
}

function fullDisk({ name, leg, owner }: Group, context: GroupSightContext, paths: Paths): GroupSight['full'] {
  const { node, metadataFolder } = context;
  const trouble = leg?.trouble ?? null;
  if (trouble !== null)
    return { path: metadataFolder, reason: `metadata of group ${name} at ${node} cannot be saved: ${trouble}` };
  if (owner?.shortOfSpace !== true) return null;
  const path = paths[0]?.path ?? name;
  return { path, reason: `no room for volumes of group ${name} at ${node} (${path}): hosts got errors` };
}

function logSight({ owner }: Group): GroupSight['log'] {
  const log = owner?.log ?? null;
  if (owner === null || log === null || log.problem !== null) return null;
  if (owner.holds.has('log'))
    return { isFull: true, reason: `it is full, hosts wait: ${log.status()?.reason ?? 'no space'}` };
  // How it ended in an earlier outage is of no interest once every copy has caught up, nor in the grace time of the next.
  const isMissed = owner.legs.some(({ recordClass }) => recordClass === 'behind');
  if (log.endReason !== null && isMissed)
    return { isFull: true, reason: `it has ended, change bits remember the rest: ${log.endReason}` };
  return log.warning === null ? null : { isFull: false, reason: log.warning };
}

const isBehind = (leg: { readonly phase: string; readonly recordClass: string }): boolean =>
  leg.phase !== 'streaming' || leg.recordClass === 'behind';

function copiesBehind({ owner }: Group, status: GroupStatus): GroupSight['copies'] {
  const behind = new Set((owner?.legs ?? []).filter(isBehind).map((leg) => leg.node));
  return status.legs.filter((leg) => behind.has(leg.node)).map((leg) => ({ node: leg.node, reason: lagWords(leg) }));
}

function lagWords({ disk, replication, reason, lag, outOfSyncBytes }: LegStatus): string {
  const lacks = [
    ...(lag.writes === null ? [] : [`${lag.writes} writes`]),
    ...(lag.bytes === null ? [] : [formatSize(lag.bytes)]),
    ...(lag.seconds === null ? [] : [`${Math.round(lag.seconds)} s`]),
  ].join(', ');
  const changed = outOfSyncBytes === null ? '' : `${formatSize(outOfSyncBytes)} out of sync`;
  const numbers = lacks === '' ? changed : `it lacks ${lacks}`;
  return `${disk}, ${replication ?? 'Off'}: ${reason ?? 'not in sync yet'}${numbers === '' ? '' : ` (${numbers})`}`;
}
