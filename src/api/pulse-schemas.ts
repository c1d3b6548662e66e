/** What goes over the control API about the pulse, as `schemas.ts` for the rest. */
import { z } from '@hono/zod-openapi';
import { refusalReasons } from '../pulse/receiver.ts';
import { mirrorEntriesMax } from '../pulse/status-table.ts';

const listOf = <Item extends z.ZodType>(item: Item) => z.array(item).readonly();
const count = z.number().nonnegative();
const enable = z.enum(['ENABLE', 'DISABLE', 'FAILED']);
const kind = z.enum(['network', 'mirror', 'interconnect', 'link']);
const side = z.object({ enable, remote: z.enum(['ALIVE', 'FAILED']).nullable() });

const statusTable = z
  .object({
    node: z.string(),
    site: z.string(),
    version: count,
    chosenAtMs: count,
    network: side,
    mirrors: side,
    list: listOf(
      z
        .object({ name: z.string(), direction: z.enum(['send', 'receive']), device: z.string(), status: enable })
        .nullable(),
    ),
  })
  .openapi('HeartbeatStatusTable');

const heard = z.object({
  channel: z.string(),
  kind,
  enable,
  hearing: z.enum(['alive', 'silent', 'probation', 'unknown']),
  silentMs: count.nullable(),
  fault: z.string().nullable(),
  unfit: z.string().optional(),
});

const word = z.object({
  leaving: z.boolean(),
  automatic: z.boolean(),
  lease: z.enum(['valid', 'lapsed', 'unknown', 'none']),
  ownedVersion: count,
  serving: count,
  hears: z.record(z.string(), listOf(z.string())),
});

const snapshot = z.object({
  node: z.string(),
  monotonicMs: z.number(),
  wallMs: z.number(),
  peers: listOf(
    z.object({
      node: z.string(),
      site: z.string(),
      incarnation: z.string().nullable(),
      heard: listOf(heard),
      said: word.nullable(),
    }),
  ),
  muted: z.string().nullable(),
  masters: z.record(z.string(), z.string().nullable()),
});

export const pulseStatus = z
  .object({
    snapshot,
    table: statusTable,
    intervalMs: count,
    timeoutMs: count,
    channels: listOf(
      z.object({
        id: z.string(),
        kind,
        device: z.string(),
        sent: count,
        fault: z.string().nullable(),
        paths: listOf(z.object({ node: z.string(), address: z.string(), silentMs: count.nullable() })),
      }),
    ),
    refused: z.record(z.string(), z.record(z.enum(refusalReasons), count)),
    waiting: z.record(z.string(), count),
  })
  .openapi('PulseStatus');

export const pulseTables = listOf(
  z.object({
    node: z.string(),
    site: z.string(),
    isMaster: z.boolean(),
    table: statusTable.nullable(),
    seenAtMs: count.nullable(),
    problem: z.string().nullable(),
  }),
).openapi('HeartbeatStatusTables');

const paths = z.array(z.string().min(1).max(80)).max(mirrorEntriesMax).readonly().exactOptional();

export const usePulseRequest = z
  .strictObject({
    select: z.enum(['network', 'mirrors', 'both']).exactOptional(),
    enable: paths,
    disable: paths,
    confirmed: z.boolean().default(false),
  })
  .openapi('UsePulseRequest');

export const usePulseResult = z
  .object({
    table: statusTable,
    passedOn: listOf(z.object({ node: z.string(), confirmed: z.boolean(), problem: z.string().nullable() })),
  })
  .openapi('UsePulseResult');
