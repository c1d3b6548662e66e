/** `nodes[].agents` of `holdfast.yaml`: where application agents reach the node (AS-10). */
import { resolve } from 'node:path';
import type { z } from 'zod';
import { formatAddress, parseAddress, type Address } from '../base/network.ts';
import { duration, field, list, path, section } from './configuration-fields.ts';
import type { Finding } from './configuration-schema.ts';

export interface AgentsConfiguration {
  /** A Unix socket is for this machine; `host:port` speaks TLS and asks for a certificate. */
  readonly listen: readonly Address[];
  /** Paths of PEM files; null: nobody comes from elsewhere. */
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string } | null;
  /** AS-13: how long agents have to let go of a group's devices. Milliseconds. */
  readonly releaseMs: number;
}

const releaseMsDefault = 30_000;

const address = field('host:port or unix:/path', (value) => (typeof value === 'string' ? parseAddress(value) : null));

export const agentsSchema = section('agents', {
  listen: list(address, 'addresses', { min: 0 }).optional(),
  cert: path.optional(),
  key: path.optional(),
  ca: path.optional(),
  release: duration(100, 3_600_000, 'from 100ms to 1h').optional(),
});

type DeclaredAgents = z.infer<typeof agentsSchema>;

/** @param folder that relative paths are relative to */
export function agentsConfiguration(
  declared: DeclaredAgents | undefined,
  dataFolder: string,
  folder: string,
): AgentsConfiguration {
  const { listen, cert, key, ca, release } = declared ?? {};
  const local: Address = { kind: 'unix', path: `${dataFolder}/agents.sock` };
  return {
    listen: listen?.map((at) => (at.kind === 'unix' ? { kind: 'unix', path: resolve(folder, at.path) } : at)) ?? [
      local,
    ],
    tls:
      cert === undefined || key === undefined || ca === undefined
        ? null
        : { cert: resolve(folder, cert), key: resolve(folder, key), ca: resolve(folder, ca) },
    releaseMs: release ?? releaseMsDefault,
  };
}

/** That what is needed to know who comes from another machine is there. */
export function checkAgents(node: unknown, at: readonly PropertyKey[]): readonly Finding[] {
  const agents = isMapping(node) ? node['agents'] : undefined;
  if (!isMapping(agents)) return [];
  const { listen } = agents;
  const fromElsewhere = (Array.isArray(listen) ? listen : []).some(
    (text) => typeof text === 'string' && parseAddress(text)?.kind === 'tcp',
  );
  const missing = ['cert', 'key', 'ca'].filter((name) => agents[name] === undefined);
  if (!fromElsewhere || missing.length === 0) return [];
  const message = `host:port takes TLS, and ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing`;
  return [{ path: [...at, 'agents', 'listen'], message }];
}

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function describeAgents({ listen, tls, releaseMs }: AgentsConfiguration): unknown {
  return { listen: listen.map(formatAddress), ...tls, release: `${releaseMs}ms` };
}
