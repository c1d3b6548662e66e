/**
 * What of `holdfast.yaml` says what moves with a group, and when: `groups[].resources` and `groups[].take-over`. Form,
 * findings that take more than one value, defaults, and the same as a file would say it.
 */
import { isIP, isIPv4 } from 'node:net';
import { z } from 'zod';
import {
  defaultTakeOverSettings,
  type CommandEntry,
  type ResourceEntry,
  type TakeOverSettings,
} from '../store/document.ts';
import { duration, field, list, name, oneOf, section, show, whole, Wrong } from './configuration-fields.ts';
import type { Finding } from './configuration-schema.ts';

const commandTimeoutMsMax = 86_400_000;
const startTimeoutMs = 60_000;
const stopTimeoutMs = 60_000;
const healthTimeoutMs = 10_000;
const checkTimeoutMs = 300_000;
const healthEveryMs = 10_000;
const healthRestarts = 2;

const word = field('a word', (value) =>
  typeof value === 'number' ? String(value) : typeof value === 'string' && !value.includes('\0') ? value : null,
);
const commandTime = duration(100, commandTimeoutMsMax, 'from 100ms to 1d');
const words = list(word, 'words of a command', { min: 1 });

/** `[program, argument, …]` is short for a command with the usual time-out. */
const commandWith = <Shape extends z.core.$ZodLooseShape>(what: string, shape: Shape) =>
  z.preprocess((value) => (Array.isArray(value) ? { command: value } : value), section(what, shape));
export const command = commandWith('a command', { command: words, timeout: commandTime.optional() });

const address = field('an address with its prefix length, such as 10.0.0.9/24', (value) => {
  const [host = '', prefix, ...rest] = typeof value === 'string' ? value.split('/') : [];
  if (isIP(host) === 0 || rest.length > 0) return null;
  const longest = isIPv4(host) ? 32 : 128;
  if (prefix === undefined) return new Wrong(`${host} has no prefix length; write for example ${host}/${longest}`);
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= longest ? `${host}/${Number(prefix)}` : null;
});

/** As the kernel takes them (IFNAMSIZ). */
const device = field('the name of a network device, such as eth0', (value) =>
  typeof value === 'string' && /^[^\s/:]{1,15}$/.test(value) ? value : null,
);

const addressResource = section('an address', {
  address,
  name: name.optional(),
  device: z.record(z.string(), device, {
    error: (issue) =>
      issue.input === undefined
        ? 'is missing; it should name the device on each node: NODE: DEVICE'
        : `${show(issue.input)} is not of the form NODE: DEVICE`,
  }),
});

const applicationResource = section('an application', {
  application: name,
  start: command,
  stop: command,
  health: commandWith('a health check', {
    command: words,
    timeout: commandTime.optional(),
    every: duration(500, commandTimeoutMsMax, 'from 500ms to 1d').optional(),
    restarts: whole(0, 100).optional(),
  }).optional(),
});

const isMapping = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Which of the two it is, its first word says. */
export const resourceSchema = z.unknown().transform((value, context): ResourceEntry => {
  if (isMapping(value) && 'address' in value) {
    const read = addressResource.safeParse(value);
    if (read.success) {
      const { address: at, name: called = at, device: devices } = read.data;
      return { kind: 'address', name: called, address: at, device: devices };
    }
    forward(read.error, context);
    return z.NEVER;
  }
  if (isMapping(value) && 'application' in value) {
    const read = applicationResource.safeParse(value);
    if (read.success) {
      const { application, start, stop, health } = read.data;
      return {
        kind: 'application',
        name: application,
        start: commandEntry(start, startTimeoutMs),
        stop: commandEntry(stop, stopTimeoutMs),
        health:
          health === undefined
            ? null
            : {
                command: commandEntry(health, healthTimeoutMs),
                everyMs: health.every ?? healthEveryMs,
                restarts: health.restarts ?? healthRestarts,
              },
      };
    }
    forward(read.error, context);
    return z.NEVER;
  }
  context.addIssue({
    code: 'custom',
    message: `${show(value)} is no resource; begin with "address:" or "application:"`,
  });
  return z.NEVER;
});

function forward(error: z.ZodError, context: z.RefinementCtx): void {
  for (const issue of error.issues) {
    const { path, message } = issue;
    if (issue.code === 'unrecognized_keys') context.addIssue({ code: issue.code, keys: issue.keys, path, message });
    else context.addIssue({ code: 'custom', path, message });
  }
}

type DeclaredCommand = z.infer<typeof command>;

export const commandEntry = (declared: DeclaredCommand, timeoutMs: number): CommandEntry => ({
  words: declared.command,
  timeoutMs: declared.timeout ?? timeoutMs,
});

export const takeOverSchema = section('take-over', {
  automatic: oneOf(['on', 'off', 'heartbeat-only']).optional(),
  'give-back': oneOf(['manual', 'auto']).optional(),
  settle: duration(1000, 86_400_000, 'from 1s to 1d').optional(),
  'nodes-min': whole(1, 64).optional(),
  stall: duration(1000, 3_600_000, 'from 1s to 1h').optional(),
  check: command.optional(),
  'on-check-failed': oneOf(['close', 'serve']).optional(),
  'on-store-lost': oneOf(['freeze', 'stop']).optional(),
  'after-split-brain': section('after-split-brain', {
    'zero-primaries': oneOf([
      'disconnect',
      'discard-younger-primary',
      'discard-least-changes',
      'discard-zero-changes',
    ]).optional(),
    'one-primary': oneOf(['disconnect', 'discard-secondary', 'consensus']).optional(),
    'two-primaries': oneOf(['disconnect']).optional(),
  }).optional(),
  drills: field('true or false', (value) => (typeof value === 'boolean' ? value : null)).optional(),
});

/** Whether take-over is automatic where a group says nothing: where somebody sees a failure, and a store decides. */
export const automaticByDefault = (declared: { readonly store: { readonly kind: string } }): boolean =>
  declared.store.kind !== 'none' && 'pulse' in declared && declared.pulse != null;

export function takeOverSettings(
  declared: z.infer<typeof takeOverSchema> | undefined,
  automatic: boolean,
): TakeOverSettings {
  const set = declared ?? {};
  const usual = defaultTakeOverSettings;
  const split = set['after-split-brain'] ?? {};
  return {
    automatic: set.automatic ?? (automatic ? 'on' : 'off'),
    giveBack: set['give-back'] ?? usual.giveBack,
    giveBackSettleMs: set.settle ?? usual.giveBackSettleMs,
    nodesMin: set['nodes-min'] ?? usual.nodesMin,
    stallMs: set.stall ?? usual.stallMs,
    check: set.check === undefined ? null : commandEntry(set.check, checkTimeoutMs),
    onCheckFailed: set['on-check-failed'] ?? usual.onCheckFailed,
    onStoreLost: set['on-store-lost'] ?? usual.onStoreLost,
    afterSplitBrain: {
      zeroPrimaries: split['zero-primaries'] ?? usual.afterSplitBrain.zeroPrimaries,
      onePrimary: split['one-primary'] ?? usual.afterSplitBrain.onePrimary,
      twoPrimaries: 'disconnect',
    },
    drills: set.drills ?? usual.drills,
  };
}

const resourcesLoosely = z.object({
  resources: z
    .array(
      z
        .object({
          address: z.string(),
          name: z.string(),
          application: z.string(),
          device: z.record(z.string(), z.unknown()),
        })
        .partial()
        .catch({}),
    )
    .catch([]),
});

const loosely = z
  .object({
    store: z.union([z.object({ kind: z.string() }).transform(({ kind }) => kind), z.string()]).catch(''),
    pulse: z.unknown().optional(),
    groups: z
      .array(
        z
          .object({
            'take-over': z.object({ automatic: z.string().nullable().catch(null) }).catch({ automatic: null }),
          })
          .catch({ 'take-over': { automatic: null } }),
      )
      .catch([]),
  })
  .catch({ store: '', pulse: null, groups: [] });

/** @param legs nodes with a copy of the group */
export function checkResources(
  group: unknown,
  legs: readonly string[],
  at: readonly PropertyKey[],
): readonly Finding[] {
  const { resources } = resourcesLoosely.catch({ resources: [] }).parse(group);
  const findings: Finding[] = [];
  const names = new Set<string>();
  for (const [index, { address: given, name: called, application, device: devices }] of resources.entries()) {
    const path = [...at, 'resources', index];
    const own = application ?? called ?? given ?? '';
    if (own !== '' && names.has(own)) {
      const key = application !== undefined ? 'application' : called !== undefined ? 'name' : 'address';
      findings.push({ path: [...path, key], message: `two resources of the group are named "${own}"` });
    }
    names.add(own);
    if (devices === undefined) continue;
    for (const node of Object.keys(devices)) {
      if (legs.includes(node)) continue;
      const message = `"${node}" has no copy of the group; its nodes are ${legs.join(', ')}`;
      findings.push({ path: [...path, 'device', node], message, onKey: true });
    }
    const missing = legs.filter((node) => node !== '' && !Object.hasOwn(devices, node));
    if (missing.length > 0) {
      const message = `says nothing of ${missing.join(', ')}; the address moves there, too: name the device`;
      findings.push({ path: [...path, 'device'], message });
    }
  }
  return findings;
}

/** That take-over by itself is wanted only where somebody can see a failure, and in the way that decides here. */
export function checkTakeOver(declared: unknown): readonly Finding[] {
  const { store, pulse, groups } = loosely.parse(declared);
  return groups.flatMap(({ 'take-over': { automatic } }, index) => {
    const message =
      automatic === 'off' || automatic === null
        ? null
        : pulse == null
          ? 'without a "pulse" section nobody sees that an owner is lost; add one, or write off'
          : automatic === 'on' && store === 'none'
            ? 'without a store there is only heartbeat-only, at the risk of two owners (docs/manual/without-a-store.md), or off'
            : automatic === 'heartbeat-only' && store !== 'none'
              ? 'the store decides who owns the group; write on'
              : null;
    return message === null ? [] : [{ path: ['groups', index, 'take-over', 'automatic'], message }];
  });
}

export const describeCommand = ({ words: command, timeoutMs }: CommandEntry) => ({
  command,
  timeout: `${timeoutMs}ms`,
});

export function describeResources(resources: readonly ResourceEntry[]): unknown {
  return resources.map((resource) =>
    resource.kind === 'address'
      ? { address: resource.address, name: resource.name, device: resource.device }
      : {
          application: resource.name,
          start: describeCommand(resource.start),
          stop: describeCommand(resource.stop),
          ...(resource.health === null
            ? {}
            : {
                health: {
                  ...describeCommand(resource.health.command),
                  every: `${resource.health.everyMs}ms`,
                  restarts: resource.health.restarts,
                },
              }),
        },
  );
}

export function describeTakeOver(settings: TakeOverSettings): unknown {
  return {
    automatic: settings.automatic,
    'give-back': settings.giveBack,
    settle: `${settings.giveBackSettleMs}ms`,
    'nodes-min': settings.nodesMin,
    stall: `${settings.stallMs}ms`,
    ...(settings.check === null ? {} : { check: describeCommand(settings.check) }),
    'on-check-failed': settings.onCheckFailed,
    'on-store-lost': settings.onStoreLost,
    'after-split-brain': {
      'zero-primaries': settings.afterSplitBrain.zeroPrimaries,
      'one-primary': settings.afterSplitBrain.onePrimary,
      'two-primaries': settings.afterSplitBrain.twoPrimaries,
    },
    drills: settings.drills,
  };
}
