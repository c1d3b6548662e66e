/**
 * A group's state in the words shown to people: one definition each. Every state that is not the normal one carries a
 * reason and a next step (BY-7). Honest before pretty: what this node cannot know is null or `Consistent`, never better.
 */
import { formatDuration, formatSize } from '../base/units.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';
import type { LegClass, LegEntry, MirrorMode } from '../store/document.ts';
import { comparePositions, origin } from '../stream/position.ts';
import { imageWords, type ImageOutlook } from '../volume/last-image.ts';
import { exchangeWords, withoutStore } from './describe-exchange.ts';
import type { Group } from './group.ts';
import type { Owner } from './owner.ts';
import type {
  CopyProgress,
  DiskState,
  ForkStatus,
  GroupStatus,
  LegStatus,
  LogStatus,
  ReplicationState,
  ServiceState,
} from './status.ts';

interface Words {
  readonly reason: string | null;
  readonly nextStep: string | null;
}

const fine: Words = { reason: null, nextStep: null };
const unknownLag = { writes: null, bytes: null, seconds: null };
const noLag = { writes: 0, bytes: 0, seconds: 0 };

export interface DescribeContext {
  readonly node: string;
  readonly leaseValid: boolean;
  readonly leaseReason: string | null;
  readonly storeProblem: string | null;
  /** How hosts name a volume to this node, e.g. `nbd://127.0.0.1:10809/vol1`. */
  readonly exportsOf: (group: string, volume: string, index: number) => readonly string[];
  readonly throughput: GroupStatus['throughput'];
  readonly reachable: (node: string) => { readonly up: boolean; readonly reason: string | null };
}

export function describeGroup(group: Group, context: DescribeContext): GroupStatus {
  const { record, entry } = group;
  const serving = group.serving;
  const service = serviceOf(group);
  const apart = exchangeWords(group, context.node);
  const words = apart ?? serviceWords(group, service, context);
  const ownerName = record?.owner ?? null;
  return {
    name: group.name,
    owner: ownerName,
    generation: record?.generation ?? 0,
    service,
    throughput: context.throughput,
    volumes: entry.volumes.map(({ name, wwid, sizeBytes, blockSizeBytes, index }) => ({
      name,
      wwid,
      sizeBytes,
      blockSizeBytes,
      exports: group.role === 'primary' && group.withheld === null ? context.exportsOf(entry.name, name, index) : [],
    })),
    log: logOf(group, context.node),
    legs: entry.legs.map((leg) => {
      const status = leg.node === context.node ? ownLeg(group, leg, context) : otherLeg(group, leg, context);
      return withoutStore(status, group, context.node);
    }),
    ...(serving && apart === null ? (storeTrouble(group, context) ?? legTrouble(group)) : words),
    forks: forksOf(group, context.node),
  };
}

/** How hosts name a volume to a server at `base`. */
export function exportUri(base: string, volume: string): string {
  return base.startsWith('nbd+unix:') ? base.replace('///', `///${volume}`) : `${base}/${volume}`;
}

function serviceOf(group: Group): ServiceState {
  switch (group.role) {
    case 'primary':
      if (group.withheld !== null) return 'Opening';
      return group.serving || group.owner?.onlyPaced === true ? 'Serving' : 'Suspended';
    case 'opening':
      return 'Opening';
    case 'closed':
    case 'secondary':
    case 'leaving':
    case 'frozen':
      return 'Unserved';
  }
}

function serviceWords(group: Group, service: ServiceState, context: DescribeContext): Words {
  const { name, owner, record } = group;
  if (group.withheld !== null) {
    return {
      reason: `hosts are kept out at ${context.node}: ${group.withheld}`,
      nextStep: `holdfast group check ${name}: what it found; then --again, or --serve to let hosts in all the same.`,
    };
  }
  if (service === 'Opening')
    return {
      reason: `${context.node} is opening it: ${group.problem ?? 'about to serve'}`,
      nextStep: 'Wait; it serves by itself.',
    };
  if (group.role === 'frozen') {
    return {
      reason: `frozen at ${context.node}: ${group.problem ?? 'unknown'}`,
      nextStep:
        group.leg?.state.wentBack == null
          ? 'Nothing is served here until the right store is restored; then restart this node.'
          : `holdfast group take-over ${name} --node ${successor(group, context.node)}; only if that copy is gone for good: ` +
            `--node ${context.node} --force, which loses what this older one lacks.`,
    };
  }
  if (service === 'Suspended' && owner !== null) return suspendedWords(group, owner, context);
  if (service === 'Serving') return fine;
  if (group.role === 'closed') {
    return {
      reason: `${context.node} could not open it: ${group.problem ?? 'unknown'}`,
      nextStep: 'Remove the cause; it is tried again every few seconds.',
    };
  }
  if (record === null) {
    return {
      reason: context.storeProblem ?? 'it has never been started: its preferred owner has not come up yet',
      nextStep: `Start ${group.entry.preferredOwner}.`,
    };
  }
  if (record.owner === context.node) {
    return {
      reason:
        group.problem ??
        (context.leaseValid ? 'about to be opened' : `this node holds no lease: ${context.leaseReason ?? 'unknown'}`),
      nextStep: context.leaseValid ? 'Wait; it opens by itself.' : 'Check the coordination store.',
    };
  }
  const { up, reason } = context.reachable(record.owner);
  return {
    reason: up
      ? `${record.owner} owns it but does not serve it yet`
      : `its owner ${record.owner} does not answer${reason === null ? '' : ` (${reason})`}`,
    nextStep: up
      ? 'Wait; it opens by itself.'
      : `Start ${record.owner} again, or: holdfast group take-over ${name} --node ${successor(group, record.owner)}`,
  };
}

function suspendedWords(group: Group, owner: Owner, context: DescribeContext): Words {
  if (owner.holds.has('ownLeg')) {
    return {
      reason: `the disk of ${context.node} failed: ${owner.leg.fault?.detail ?? 'unknown'}; hosts wait`,
      nextStep: `Hand it over: holdfast group switch-over ${group.name} --to ${successor(group, context.node)}`,
    };
  }
  if (owner.holds.has('opening')) {
    return {
      reason: 'what was under way when it was last served is being sent to the other copies; hosts wait',
      nextStep: 'Wait; it opens by itself, at the latest after the grace time.',
    };
  }
  if (owner.holds.has('lease')) {
    const missing = owner.leaseless ? owner.promises.missing : [];
    const why =
      missing.length === 0 ? '' : `, and ${missing.join(', ')} cannot be asked for a promise not to take over`;
    return {
      reason: `the lease of ${context.node} is not valid: ${context.leaseReason ?? context.storeProblem ?? 'unknown'}${why}; hosts wait`,
      nextStep: 'Check the coordination store; it goes on by itself when the lease is back.',
    };
  }
  if (owner.holds.has('log')) {
    return {
      reason: `the log is full (${owner.log?.status()?.reason ?? 'no space'}); writes wait, reads go on`,
      nextStep: `Bring the target back, or give it more room: holdfast log grow ${group.name} --help`,
    };
  }
  if (owner.holds.has('target')) {
    const lost = owner.legs.find((leg) => !leg.complete)?.node ?? 'a target';
    return {
      reason: `${lost} lacks writes, and on-target-loss is "suspend"; writes wait, reads go on`,
      nextStep: `Bring ${lost} back, or go on without it: holdfast mirror pause ${group.name} --to ${lost}`,
    };
  }
  return { reason: 'it is being handed over; hosts wait', nextStep: 'Wait.' };
}

const lacksMore: readonly LegClass[] = ['inSync', 'withinBound', 'behind'];

/** Who should serve it instead of that node: who lacks least, by the record; of those the first in succession (HG-7). */
function successor({ entry, record }: Group, node: string): string {
  const lacks = (other: string): number => lacksMore.indexOf(record?.legs[other]?.class ?? 'behind');
  const others = entry.legs.map((leg) => leg.node).filter((other) => other !== node);
  return others.sort((one, two) => lacks(one) - lacks(two))[0] ?? 'another node';
}

/** R16: hosts are served without a lease; null when that is not so. */
function storeTrouble({ owner }: Group, context: DescribeContext): Words | null {
  if (owner?.authority !== 'promises') return null;
  const { nodes, remainingMs } = owner.promises;
  const why = context.storeProblem ?? context.leaseReason ?? 'unknown';
  return {
    reason:
      `the coordination store does not answer (${why}); it goes on under the promises of ${nodes.join(', ')} not to take ` +
      `over, for another ${formatDuration(Math.round(remainingMs))} and for as long as they are renewed`,
    nextStep: 'Check the coordination store: until it answers nothing can be taken over, and no copy may be lost.',
  };
}

/** Hosts are served; what else is not as it should be. */
function legTrouble(group: Group): Words {
  const { owner } = group;
  if (owner === null) return fine;
  if (owner.leg.trouble !== null) {
    return {
      reason: `metadata cannot be saved: ${owner.leg.trouble}; writes to new places wait`,
      nextStep: 'Make room in the data folder.',
    };
  }
  if (owner.shortOfSpace) {
    return {
      reason: 'the file system of its volumes is full: hosts got errors',
      nextStep: 'Make room; writes work again by themselves then.',
    };
  }
  if (owner.readFault !== null) {
    return {
      reason: `a read failed at the disk: ${owner.readFault.detail}`,
      nextStep: 'Check the disk; consider a switch-over.',
    };
  }
  if (group.missing !== null)
    return { reason: group.missing, nextStep: 'Check the data; the statement goes with the next start.' };
  const lagging = owner.legs.filter((leg) => leg.phase !== 'streaming');
  if (lagging.length === 0) return fine;
  return {
    reason: lagging.map((leg) => `${leg.node}: ${leg.reason || phaseWords(leg)}`).join('; '),
    nextStep: `holdfast why ${group.name}`,
  };
}

function ownLeg(group: Group, entry: LegEntry, context: DescribeContext): LegStatus {
  const { record, leg, role } = group;
  const known = record?.legs[context.node];
  const primary = record?.owner === context.node;
  const base = {
    node: context.node,
    role: primary ? ('Primary' as const) : ('Secondary' as const),
    mode: entry.mode,
    class: known?.class ?? ('behind' as const),
    progress: null,
  };
  if (leg === null) {
    return {
      ...base,
      disk: 'Diskless',
      connection: primary ? null : 'StandAlone',
      replication: primary ? null : 'Off',
      lag: unknownLag,
      outOfSyncBytes: null,
      reason: group.problem ?? 'not open',
      nextStep: 'Remove the cause; it is tried again every few seconds.',
    };
  }
  if (primary) {
    const disk: DiskState =
      leg.fault !== null
        ? 'Failed'
        : leg.state.condition === 'inconsistent'
          ? 'Inconsistent'
          : role === 'primary'
            ? 'UpToDate'
            : 'Consistent';
    const words: Words =
      disk === 'UpToDate'
        ? fine
        : {
            reason: leg.fault?.detail ?? group.problem ?? 'not being served yet',
            nextStep:
              disk === 'Failed' || group.role === 'frozen'
                ? `holdfast group take-over ${group.name} --node ${successor(group, context.node)}`
                : 'Wait.',
          };
    return { ...base, disk, connection: null, replication: null, lag: noLag, outOfSyncBytes: 0, ...words };
  }
  // The owner knows better; this is what is said when it cannot be asked.
  const held = group.target?.owner ?? null;
  const disk = secondaryDisk(group, context);
  return {
    ...base,
    disk,
    connection: held !== null ? 'Connected' : known?.paused === true ? 'StandAlone' : 'Connecting',
    replication:
      held === null ? (known?.paused === true ? 'Paused' : 'Off') : held.copying ? 'SyncTarget' : 'Established',
    lag: held !== null && known?.class === 'inSync' ? noLag : unknownLag,
    outOfSyncBytes: known?.class === 'inSync' ? 0 : null,
    ...secondaryWords(group, disk, context),
  };
}

function secondaryDisk(group: Group, context: DescribeContext): DiskState {
  const { leg, record } = group;
  if (leg === null) return 'Diskless';
  if (leg.fault !== null) return 'Failed';
  if (leg.blank || leg.state.condition === 'inconsistent') return 'Inconsistent';
  if (leg.state.condition === 'unconfirmed' || context.storeProblem !== null) return 'Consistent';
  const known = record?.legs[context.node]?.class;
  return known === 'behind' || known === undefined ? 'Outdated' : 'UpToDate';
}

function secondaryWords(group: Group, disk: DiskState, context: DescribeContext): Words {
  const { leg, record, name } = group;
  const owner = record?.owner ?? 'its owner';
  switch (disk) {
    case 'UpToDate': {
      if (group.target?.owner != null) return fine;
      return {
        reason: `${owner} is not connected; this copy lacks nothing that hosts were told is safe`,
        nextStep: `Start ${owner}, or: holdfast group take-over ${name} --node ${context.node}`,
      };
    }
    case 'Failed':
      return {
        reason: leg?.fault?.detail ?? 'the disk failed',
        nextStep: 'Replace the disk, then restart the node.',
      };
    case 'Inconsistent':
      return leg?.blank === true
        ? { reason: 'no copy was made to it yet', nextStep: `Start ${owner}; the copy begins by itself.` }
        : unfinishedCopy(group, owner, context);
    case 'Consistent':
      return {
        reason:
          context.storeProblem !== null
            ? `whether it lacks something is not known: ${context.storeProblem}`
            : `it restarted and may lack what was not flushed; ${owner} has not confirmed it yet`,
        nextStep: `Start ${owner}; it confirms this copy or brings it up to date.`,
      };
    case 'Outdated':
      return {
        reason: `it lacks writes; ${owner} has them${beforehand(group.images?.outlook ?? null)}`,
        nextStep: `Start ${owner} and let it catch up.`,
      };
    case 'Diskless':
      return { reason: group.problem ?? 'not open', nextStep: 'Remove the cause.' };
  }
}

/** TL-16: a copy to this leg was interrupted; what it was before is there, or not. */
function unfinishedCopy({ name, images, leg }: Group, owner: string, context: DescribeContext): Words {
  const instead =
    leg?.state.image?.state === 'kept'
      ? ` Only if ${owner} is gone for good: holdfast group take-over ${name} --node ${context.node} --last-consistent`
      : '';
  return {
    reason: `a copy to it has not ended${images === null ? '' : `; ${images.words}`}`,
    nextStep: `Start ${owner}; the copy goes on by itself.${instead}`,
  };
}

/** TL-16: told while the leg is still an image. */
function beforehand(outlook: ImageOutlook | null): string {
  if (outlook === null || outlook.obstacle === null) return '';
  return `. While that is copied it cannot take over, and no image of it can be kept: ${outlook.obstacle}`;
}

function otherLeg(group: Group, entry: LegEntry, context: DescribeContext): LegStatus {
  const { record, owner, role } = group;
  const known = record?.legs[entry.node];
  const source = owner?.legOf(entry.node);
  if (source !== undefined && owner !== null && (role === 'primary' || role === 'opening')) {
    return sourceLeg(group, owner, source, entry.mode);
  }
  const primary = record?.owner === entry.node;
  const { up, reason } = context.reachable(entry.node);
  return {
    node: entry.node,
    role: primary ? 'Primary' : 'Secondary',
    disk: known?.class === 'behind' ? 'Outdated' : 'Consistent',
    mode: entry.mode,
    class: known?.class ?? 'behind',
    connection: primary ? null : 'Connecting',
    replication: primary ? null : 'Off',
    lag: unknownLag,
    outOfSyncBytes: null,
    progress: null,
    reason: up
      ? `${entry.node} has not told yet`
      : `${entry.node} cannot be reached${reason === null ? '' : `: ${reason}`}; shown as the record has it`,
    nextStep: up ? 'Wait.' : `Check ${entry.node} and the network to it.`,
  };
}

function sourceLeg(group: Group, owner: Owner, leg: SourceLeg, mode: MirrorMode): LegStatus {
  const lag = lagOf(owner, leg);
  const replication = replicationOf(leg);
  const target = leg.attachedAs;
  const complete = leg.complete && leg.recordClass !== 'behind';
  const copying = leg.phase === 'copying' || (leg.phase === 'settling' && !leg.merging);
  const inconsistent =
    copying || target?.condition === 'inconsistent' || target?.blank === true || neverCopied(owner, leg);
  const disk: DiskState = complete
    ? 'UpToDate'
    : inconsistent
      ? 'Inconsistent'
      : leg.recordClass === 'behind'
        ? 'Outdated'
        : target?.condition === 'unconfirmed'
          ? 'Consistent'
          : 'UpToDate';
  return {
    node: leg.node,
    role: 'Secondary',
    disk,
    mode,
    class: leg.recordClass,
    connection: leg.paused ? 'StandAlone' : leg.connected ? 'Connected' : 'Connecting',
    replication,
    lag,
    outOfSyncBytes: leg.outOfSyncBytes,
    progress: progressOf(leg),
    ...(complete && replication === 'Established' ? fine : sourceWords(group, owner, leg)),
  };
}

function neverCopied(owner: Owner, leg: SourceLeg): boolean {
  return owner.leg.state.peers[leg.node]?.known !== true && leg.recordClass === 'behind';
}

function replicationOf(leg: SourceLeg): ReplicationState {
  if (leg.paused) return 'Paused';
  if (leg.merging) return 'Merging';
  switch (leg.phase) {
    case 'streaming':
      return 'Established';
    case 'merging':
      return 'Merging';
    case 'copying':
    case 'settling':
      return 'SyncTarget';
    case 'detached':
    case 'attaching':
    case 'attached':
    case 'refused':
      return leg.needsLog ? 'Logging' : 'Off';
  }
}

function lagOf(owner: Owner, leg: SourceLeg): LegStatus['lag'] {
  if (!leg.tracking && leg.merger === null) return owner.lagOf(leg);
  if (!leg.needsLog || owner.log === null) return unknownLag;
  const at = comparePositions(leg.told, origin) > 0 ? leg.told : owner.leg.state.peers[leg.node]?.confirmed;
  if (at === undefined) return unknownLag;
  const { records, bytes, oldestWallMs } = owner.log.distanceFrom(at);
  const seconds = oldestWallMs === null ? 0 : Math.max(0, (owner.environment.clock.wallMs() - oldestWallMs) / 1000);
  return { writes: records, bytes, seconds };
}

function phaseWords(leg: SourceLeg): string {
  if (leg.phase === 'merging') return 'being merged';
  return leg.phase === 'copying' || leg.phase === 'settling' ? 'being copied to' : 'not attached';
}

function sourceWords(group: Group, owner: Owner, leg: SourceLeg): Words {
  const { name } = group;
  if (leg.paused) {
    return {
      reason: leg.needsLog
        ? 'paused by the user; what it misses is kept in the log'
        : `paused by the user; ${formatSize(leg.outOfSyncBytes)} have changed since${beforehand(leg.image)}`,
      nextStep: `holdfast mirror resume ${name} --to ${leg.node}`,
    };
  }
  if (leg.copier !== null) {
    const why = leg.reason === '' ? '' : ` (${leg.reason})`;
    return {
      reason:
        `${leg.copier.kind === 'fullCopy' ? 'a full copy' : 'a resync'} to it is under way${why}; ` +
        `${formatSize(leg.outOfSyncBytes)} to go${copiedImage(leg)}`,
      nextStep: leg.imageKept
        ? 'Wait; until it has ended this copy can take over as that image only.'
        : 'Wait; until it has ended this copy cannot take over.',
    };
  }
  if (leg.merging) {
    return {
      reason: 'what it missed is replayed from the log, in order; it is an image of a past moment all the time',
      nextStep: 'Wait; it catches up by itself.',
    };
  }
  if (leg.phase === 'refused')
    return {
      reason: leg.reason,
      nextStep: `It is tried again by itself; if that does not help, remove the cause at ${leg.node}.`,
    };
  if (leg.phase === 'streaming')
    return { reason: 'complete; the record is being changed', nextStep: 'Wait a moment.' };
  const away = leg.awayMs(owner.environment.clock.monotonicMs());
  const grace = group.entry.settings.graceMs;
  const what =
    leg.recordClass === 'behind'
      ? leg.needsLog
        ? 'what it misses is kept in the log'
        : `${formatSize(leg.outOfSyncBytes)} have changed since${logWords(owner)}${beforehand(leg.image)}`
      : away < grace
        ? `hosts wait for it up to ${formatDuration(grace)}`
        : 'nothing has been written since';
  return {
    reason: `not connected for ${formatDuration(Math.round(away / 1000) * 1000)} (${leg.reason}); ${what}`,
    nextStep: `Start ${leg.node} or mend the network to it; it catches up by itself.`,
  };
}

/** Why the log does not help a leg that is away. */
function logWords({ log }: Owner): string {
  if (log === null) return '; the group has no log';
  const why = log.problem ?? log.endReason;
  return why === null ? '' : `; not in the log: ${why}`;
}

/** What `status` says of the log at its owner. */
function logOf({ owner, name }: Group, node: string): LogStatus | null {
  const log = owner?.log ?? null;
  if (log === null) return null;
  const status = log.status();
  const { problem, endReason } = log;
  const waits = owner?.holds.has('log') === true;
  const waiting = waits ? `it is full, hosts wait: ${status?.reason ?? ''}` : null;
  const reason = problem ?? endReason ?? waiting ?? log.warning;
  const larger = `holdfast log grow ${name} --size ${formatSize(2 * (status?.capacityBytes ?? 0)).replace(' ', '')}`;
  return {
    node,
    state: problem !== null ? 'failed' : log.on ? 'logging' : endReason !== null ? 'ended' : 'idle',
    copies: (status?.copies ?? []).map(({ folder, dropped }) => ({ folder, problem: dropped })),
    sizeBytes: status?.capacityBytes ?? 0,
    usedBytes: status?.usedBytes ?? 0,
    freeBytes: status?.freeBytes ?? 0,
    segments: status?.segments ?? 0,
    oldestAtMs: log.oldestAtMs,
    fullInSeconds: !log.on || status?.fullInMs == null ? null : Math.round(status.fullInMs / 1000),
    reason,
    nextStep:
      reason === null
        ? null
        : problem !== null
          ? 'Mend the place of the log, or assign another; what targets miss meanwhile is copied, not merged.'
          : endReason === null
            ? `Bring the target back, or: ${larger}`
            : `The next outage is logged again, if there is room where it is; or give it more: ${larger}`,
  };
}

/** A full copy goes to a leg that was nothing before. */
function copiedImage({ copier, image, imageKept, attachedAs }: SourceLeg): string {
  if (copier?.kind !== 'resync' || image === null || imageKept === null || attachedAs === null) return '';
  return `; ${imageWords(image, attachedAs.condition, imageKept)}`;
}

function progressOf(leg: SourceLeg): CopyProgress | null {
  const { copier, merger } = leg;
  if (merger !== null) {
    const { doneBytes, bytesPerSecond } = merger;
    const leftBytes = merger.leftBytes;
    const secondsLeft = bytesPerSecond > 0 ? Math.ceil(leftBytes / bytesPerSecond) : null;
    return { kind: 'merge', doneBytes, totalBytes: doneBytes + leftBytes, bytesPerSecond, secondsLeft };
  }
  if (copier === null) return null;
  const { kind, doneBytes, totalBytes, remainingBytes, bytesPerSecond } = copier;
  const secondsLeft = bytesPerSecond > 0 ? Math.ceil(remainingBytes / bytesPerSecond) : null;
  return { kind, doneBytes, totalBytes, bytesPerSecond, secondsLeft };
}

function forksOf(group: Group, node: string): ForkStatus[] {
  return (group.leg?.state.forks ?? []).map(({ generation, extents, bytes, image }) => ({
    node,
    generation,
    extents,
    bytes,
    image,
  }));
}
