/**
 * What goes over the control API, as schemas: they check what comes in, describe it in the OpenAPI document, and are
 * the same types as those of `group/status.ts`, `node/control.ts` and `store/document.ts` — the routes hand those out
 * through these schemas and the client hands these out as those, so a difference in either direction does not compile.
 */
import { decisionSchema } from '../agent/decision-book.ts';
import { z } from '@hono/zod-openapi';
import { componentNames } from '../alerts/alert-files.ts';
import { markNameBytesMax } from '../journal/entry.ts';
import { namePattern } from '../node/configuration-fields.ts';
import { logFoldersMax, logRetentionMsMax, volumeBytesMin } from '../node/configuration-schema.ts';
import { alertCodes } from '../pulse/indication.ts';
import { logBytesMin } from '../store/document.ts';
import { volumeBytesMax } from '../volume/change-bitmap.ts';

/** So many moments of a log are told at once. */
export const logMomentsMax = 1000;

export const listOf = <Item extends z.ZodType>(item: Item) => z.array(item).readonly();
const count = z.number().nonnegative();

export const mirrorMode = z.enum(['sync', 'receive', 'async']);

const copyProgress = z.object({
  kind: z.enum(['fullCopy', 'resync', 'merge']),
  doneBytes: count,
  totalBytes: count,
  bytesPerSecond: count,
  secondsLeft: count.nullable(),
});

const legStatus = z
  .object({
    node: z.string(),
    role: z.enum(['Primary', 'Secondary']),
    disk: z.enum(['UpToDate', 'Consistent', 'Outdated', 'Inconsistent', 'Failed', 'Diskless']),
    mode: mirrorMode,
    class: z.enum(['inSync', 'withinBound', 'behind']),
    connection: z.enum(['StandAlone', 'Connecting', 'Connected']).nullable(),
    replication: z
      .enum(['Established', 'Logging', 'Merging', 'SyncSource', 'SyncTarget', 'Paused', 'Off'])
      .nullable(),
    lag: z.object({ writes: count.nullable(), bytes: count.nullable(), seconds: count.nullable() }),
    outOfSyncBytes: count.nullable(),
    progress: copyProgress.nullable(),
    reason: z.string().nullable(),
    nextStep: z.string().nullable(),
  })
  .openapi('LegStatus');

const logStatus = z
  .object({
    node: z.string(),
    state: z.enum(['idle', 'logging', 'ended', 'failed']),
    copies: listOf(z.object({ folder: z.string(), problem: z.string().nullable() })),
    sizeBytes: count,
    usedBytes: count,
    freeBytes: count,
    segments: count,
    oldestAtMs: count.nullable(),
    fullInSeconds: count.nullable(),
    reason: z.string().nullable(),
    nextStep: z.string().nullable(),
  })
  .openapi('LogStatus');

const volumeStatus = z.object({
  name: z.string(),
  wwid: z.string(),
  sizeBytes: count,
  blockSizeBytes: count,
  exports: listOf(z.string()),
});

const groupStatus = z
  .object({
    name: z.string(),
    owner: z.string().nullable(),
    generation: count,
    service: z.enum(['Serving', 'Opening', 'Suspended', 'Unserved']),
    throughput: z.object({ readBytes: count, writeBytes: count, reads: count, writes: count }),
    volumes: listOf(volumeStatus),
    legs: listOf(legStatus),
    log: logStatus.nullable(),
    reason: z.string().nullable(),
    nextStep: z.string().nullable(),
    forks: listOf(
      z.object({
        node: z.string(),
        generation: count,
        extents: count,
        bytes: count,
        image: z.string().nullable(),
      }),
    ),
  })
  .openapi('GroupStatus');

const nodeStatus = z
  .object({
    name: z.string(),
    site: z.string(),
    state: z.enum(['up', 'unreachable']),
    pid: count.nullable(),
    version: z.string().nullable(),
    lease: z.enum(['valid', 'lapsed', 'unknown']),
    connections: listOf(
      z.object({
        peer: z.string(),
        direction: z.enum(['out', 'in']),
        index: count,
        local: z.string(),
        remote: z.string(),
        state: z.enum(['up', 'connecting', 'down']),
        lastHeardSecondsAgo: count.nullable(),
        mark: z.enum(['unknown', 'up', 'down', 'probation']),
        probationSecondsLeft: count.nullable(),
        reason: z.string().nullable(),
        groups: listOf(z.string()),
      }),
    ),
    reason: z.string().nullable(),
    nextStep: z.string().nullable(),
  })
  .openapi('NodeStatus');

export const clusterStatus = z
  .object({
    schema: z.literal(1),
    cluster: z.string(),
    answeredBy: z.string(),
    nodes: listOf(nodeStatus),
    groups: listOf(groupStatus),
    notes: listOf(z.string()),
  })
  .openapi('ClusterStatus');

const logEntry = z.object({
  sizeBytes: count,
  places: z.record(z.string(), listOf(z.string())),
  retentionMs: count,
  retentionBytes: count,
});

const commandEntry = z.object({ words: listOf(z.string()), timeoutMs: count });

const pulseSettings = z.object({
  preset: z.enum(['lan', 'wan', 'classic']),
  intervalMs: count,
  timeoutMs: count,
  probationMs: count,
  validity: z.object({ serial: z.boolean(), time: z.boolean(), check: commandEntry.optional() }),
  connectionTimeoutMs: count,
  connectionProbationMs: count,
  masterTimeoutMs: count,
  presence: z.object({ enabled: z.boolean(), waitMs: count, retries: count }),
  startUpMs: count,
  stallMs: count,
  leaseTtlMs: count,
  leaseMarginMs: count,
  link: z.object({ echoMs: count, silenceMs: count, commandTimeoutMs: count, framesCount: z.boolean().optional() }),
  network: z.boolean(),
  mirrors: listOf(
    z.object({ name: z.string(), from: z.string(), to: z.string(), paths: z.record(z.string(), z.string()) }),
  ),
  interconnects: listOf(z.object({ name: z.string(), at: z.record(z.string(), z.string()), baudRate: count })),
});

const takeOverSettings = z.object({
  automatic: z.enum(['on', 'off', 'heartbeat-only']),
  giveBack: z.enum(['manual', 'auto']),
  giveBackSettleMs: count,
  nodesMin: count,
  stallMs: count,
  check: commandEntry.nullable(),
  onCheckFailed: z.enum(['close', 'serve']),
  onStoreLost: z.enum(['freeze', 'stop']),
  afterSplitBrain: z.object({
    zeroPrimaries: z.enum(['disconnect', 'discard-younger-primary', 'discard-least-changes', 'discard-zero-changes']),
    onePrimary: z.enum(['disconnect', 'discard-secondary', 'consensus']),
    twoPrimaries: z.literal('disconnect'),
  }),
  drills: z.boolean(),
});

const resourceEntry = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('address'),
    name: z.string(),
    address: z.string(),
    device: z.record(z.string(), z.string()),
  }),
  z.object({
    kind: z.literal('application'),
    name: z.string(),
    start: commandEntry,
    stop: commandEntry,
    health: z.object({ command: commandEntry, everyMs: count, restarts: count }).nullable(),
  }),
]);

const chapEntry = z.object({ user: z.string(), secretFile: z.string() });

const iscsiEntry = z.object({
  target: z.string().nullable(),
  redirect: z.boolean(),
  hosts: listOf(
    z.object({
      initiator: z.string(),
      addresses: listOf(z.string()).nullable(),
      volumes: listOf(z.string()).nullable(),
      chap: chapEntry.nullable(),
      mutual: chapEntry.nullable(),
    }),
  ).nullable(),
});

export const clusterDocument = z
  .object({
    schema: z.literal(1),
    clusterId: z.string(),
    cluster: z.string(),
    version: count,
    sites: listOf(z.string()),
    nodes: listOf(
      z.object({
        name: z.string(),
        site: z.string(),
        replication: z.string(),
        pulse: listOf(z.string()),
        heartbeat: z.string().nullable(),
        iscsi: listOf(z.string()),
      }),
    ),
    pulse: pulseSettings.nullable(),
    groups: listOf(
      z.object({
        name: z.string(),
        preferredOwner: z.string(),
        nextVolumeIndex: z.number().int().min(0),
        volumes: listOf(
          z.object({
            name: z.string(),
            index: count,
            wwid: z.string(),
            sizeBytes: count,
            blockSizeBytes: z.union([z.literal(512), z.literal(4096)]),
            paths: z.record(z.string(), z.string()),
          }),
        ),
        legs: listOf(z.object({ node: z.string(), mode: mirrorMode })),
        log: logEntry.nullable(),
        settings: z.object({
          graceMs: count,
          lagWritesMax: count,
          lagBytesMax: count,
          resyncShare: count,
          hotRegionsMax: count,
          intentEntries: count,
          onTargetLoss: z.enum(['log', 'suspend']),
          onCongestion: z.enum(['throttle', 'log']),
          onLogFull: z.enum(['throttle', 'bitmap', 'suspend']),
          mergeGain: z.number(),
        }),
        takeOver: takeOverSettings,
        resources: listOf(resourceEntry),
        iscsi: iscsiEntry,
      }),
    ),
  })
  .openapi('ClusterDocument');

export const explanation = z
  .object({
    group: z.string(),
    summary: z.string(),
    findings: listOf(z.object({ subject: z.string(), state: z.string(), reason: z.string(), nextStep: z.string() })),
    decisions: listOf(decisionSchema),
  })
  .openapi('Explanation');

export const decisions = z
  .object({ decisions: listOf(decisionSchema), notes: listOf(z.string()) })
  .openapi('Decisions');
export const groupAutomaticRequest = z.object({ automatic: z.enum(['on', 'off', 'heartbeat-only']) });
export const nodeAutomaticRequest = z.object({ on: z.boolean() });

/** A volume's status with where it belongs. */
export const volumeRow = volumeStatus.extend({ group: z.string(), owner: z.string().nullable() }).openapi('Volume');
export const volumeRows = listOf(volumeRow);
export type VolumeRow = z.infer<typeof volumeRow>;

const name = z.string().regex(namePattern, {
  error: 'must be letters, digits, ".", "_" and "-", first a letter or digit, up to 63',
});

export const createVolumeRequest = z
  .strictObject({
    name,
    sizeBytes: z
      .int()
      .min(volumeBytesMin, { error: 'must be at least 1 MiB' })
      .max(volumeBytesMax, { error: 'must be at most 64 TiB' }),
    blockSizeBytes: z.union([z.literal(512), z.literal(4096)]).default(512),
    group: name.exactOptional(),
    owner: name.exactOptional(),
    mirrors: z
      .array(z.strictObject({ node: name, mode: mirrorMode }))
      .max(16)
      .readonly()
      .default([]),
    paths: z.record(name, z.string().min(1)).default({}),
  })
  .refine(({ sizeBytes, blockSizeBytes }) => sizeBytes % blockSizeBytes === 0, {
    path: ['sizeBytes'],
    error: 'must be a multiple of blockSizeBytes',
  })
  .openapi('CreateVolumeRequest');

export const createVolumeResult = z.object({ group: z.string(), wwid: z.string() });

export const switchOverRequest = z.strictObject({ to: name }).openapi('SwitchOverRequest');

export const takeOverRequest = z
  .strictObject({ node: name, force: z.boolean().default(false), lastConsistent: z.boolean().default(false) })
  .openapi('TakeOverRequest');

export const resolveRequest = z
  .strictObject({ keep: name, yes: z.boolean().default(false) })
  .openapi('ResolveRequest');

export const resolveResult = z
  .object({ group: z.string(), kept: z.string(), generation: count, text: z.string() })
  .openapi('ResolveResult');

export const setMirrorRequest = z.strictObject({ mode: mirrorMode }).openapi('SetMirrorRequest');

export const moveResult = z
  .object({
    group: z.string(),
    owner: z.string(),
    generation: count,
    pauseMs: count.nullable(),
    loss: z.object({
      writes: count.nullable(),
      bytes: count.nullable(),
      seconds: count.nullable(),
      text: z.string(),
    }),
  })
  .openapi('MoveResult');

export const logRows = listOf(
  z.object({ group: z.string(), log: logEntry.nullable(), status: logStatus.nullable() }).openapi('Log'),
);

const logBytes = z.int().min(logBytesMin, { error: 'must be at least 64 MiB' });
const logFolders = z.array(z.string().min(1)).min(1).max(logFoldersMax).readonly();
const retention = {
  retentionMs: z.int().min(0).max(logRetentionMsMax).exactOptional(),
  retentionBytes: z.int().min(0).exactOptional(),
};

export const createLogRequest = z
  .strictObject({ sizeBytes: logBytes, places: z.record(name, logFolders).default({}), ...retention })
  .openapi('CreateLogRequest');
export const assignLogRequest = z.strictObject({ folders: logFolders }).openapi('AssignLogRequest');
export const logSizeRequest = z.strictObject({ sizeBytes: logBytes }).openapi('LogSizeRequest');
export const logRetentionRequest = z.strictObject(retention).openapi('LogRetentionRequest');

export const markLogRequest = z
  .strictObject({
    name: z
      .string()
      .regex(/^[^\p{Cc}]+$/u, { error: 'must be a name without line breaks and the like' })
      .refine((text) => Buffer.byteLength(text) <= markNameBytesMax, {
        error: `must be at most ${markNameBytesMax} bytes`,
      }),
  })
  .openapi('MarkLogRequest');
export const logMark = z.object({ position: z.string(), atMs: z.number() }).openapi('LogMark');

/** As they stand in a query: text. */
export const logMomentsQuery = z.object({
  after: z
    .string()
    .regex(/^\d+:\d+$/, { error: 'must be GENERATION:NUMBER' })
    .exactOptional(),
  limit: z.coerce.number().int().min(1).max(logMomentsMax).default(100),
  extents: z.enum(['true', 'false']).default('false'),
});
export const logMoments = z
  .object({
    moments: listOf(
      z.object({
        kind: z.enum(['epochEnd', 'mark', 'damage']),
        position: z.string(),
        atMs: z.number().nullable(),
        name: z.string().nullable(),
        reason: z.string().nullable(),
        records: count,
        bytes: count,
        extents: listOf(z.object({ volume: z.string(), offset: count, length: count })).nullable(),
      }),
    ),
    more: z.boolean(),
  })
  .openapi('LogMoments');

export const alertLevel = z.enum(['SYSTEM DOWN', 'SERIOUS', 'MODERATE', 'TEMPORARY']);
const person = z.string().min(1).max(64);

const alert = z
  .object({
    number: count,
    component: z.enum(componentNames),
    id: z.string(),
    code: z.enum(alertCodes),
    level: alertLevel,
    node: z.string(),
    group: z.string().nullable(),
    text: z.string(),
    firstAtMs: z.number(),
    lastAtMs: z.number(),
    count,
    seenBy: listOf(z.string()),
    endedAtMs: z.number().nullable(),
    acknowledged: z.object({ by: z.string(), atMs: z.number() }).nullable(),
  })
  .openapi('Alert');
const sinkStatus = z
  .object({
    name: z.string(),
    kind: z.string(),
    levels: listOf(alertLevel),
    state: z.enum(['ok', 'failing']),
    sent: count,
    queued: count,
    heldBack: count,
    lastSentAtMs: z.number().nullable(),
    failingSinceMs: z.number().nullable(),
    problem: z.string().nullable(),
    nextTryAtMs: z.number().nullable(),
  })
  .openapi('AlertSink');
export const alertList = z
  .object({ node: z.string(), alerts: listOf(alert), sinks: listOf(sinkStatus) })
  .openapi('AlertList');
export const testAlertsRequest = z
  .strictObject({ sink: z.string().exactOptional(), level: alertLevel.exactOptional(), by: person })
  .openapi('TestAlertsRequest');
export const testResults = listOf(
  z.object({ sink: z.string(), outcome: z.enum(['sent', 'failed', 'refused']), detail: z.string() }),
);
export const acknowledgeAlertsRequest = z
  .strictObject({
    numbers: z.union([z.array(z.int().min(1)).min(1).max(1000).readonly(), z.literal('all')]),
    by: person,
    end: z.boolean().default(false),
  })
  .openapi('AcknowledgeAlertsRequest');
export const acknowledged = z.object({ alerts: listOf(alert), notes: listOf(z.string()) }).openapi('Acknowledged');

export const versionInformation = z.object({ version: z.string(), node: z.string() });

/** Carried by the event stream: one JSON object per event. */
export const nodeEvent = z
  .object({
    atMs: z.number(),
    node: z.string(),
    group: z.string().nullable(),
    kind: z.string(),
    message: z.string(),
    status: groupStatus.exactOptional(),
  })
  .openapi('NodeEvent');

/** Every answer that is not a success. */
export const failure = z.object({ code: z.string(), message: z.string(), cure: z.string() }).openapi('Failure');
