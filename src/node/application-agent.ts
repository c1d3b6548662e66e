/**
 * For programs that want to be told what their node has: an application agent (AS-10) on this machine's sockets and clock.
 *
 *     const agent = connectApplicationAgent({
 *       node: 'unix:/var/lib/holdfast/east/agents.sock',
 *       agent: 'database', groups: ['g1'],
 *       handlers: { acquired: ({ volumes }) => open(volumes), release: async () => close() },
 *     });
 */
import { AgentClient, type AgentHandlers } from '../agent/agent-client.ts';
import { HoldfastError } from '../base/errors.ts';
import { parseAddress } from '../base/network.ts';
import { NodeClock } from '../base/node/node-clock.ts';
import { NodeStream } from '../base/node/node-stream.ts';
import { connectTls, type TlsIdentity } from './tls-streams.ts';

export type { AgentHandlers } from '../agent/agent-client.ts';
export type { Acquired, AgentVolume } from '../agent/agent-messages.ts';

export interface ApplicationAgentOptions {
  /** `unix:/path` of the node's socket, or `host:port`, which takes `tls`. */
  readonly node: string;
  readonly tls?: TlsIdentity;
  /** Its name, for people. */
  readonly agent: string;
  readonly groups: readonly string[];
  readonly handlers: AgentHandlers;
  /** Between two attempts to reach the node; default 1000. Milliseconds. */
  readonly retryMs?: number;
}

/** Throws `E_USAGE` for an address it cannot go to. Ended by `close`. */
export function connectApplicationAgent(options: ApplicationAgentOptions): AgentClient {
  const { node, tls, ...rest } = options;
  const address = parseAddress(node);
  if (address === null) throw new HoldfastError('E_USAGE', `${node} is neither unix:/path nor host:port`);
  if (address.kind === 'tcp' && tls === undefined)
    throw new HoldfastError('E_USAGE', `${node} is reached by TLS only; name certificate, key and authority`);
  const client = new AgentClient({
    ...rest,
    clock: new NodeClock(),
    connect: (events) =>
      address.kind === 'tcp' && tls !== undefined
        ? connectTls(address, tls, events)
        : NodeStream.connecting(address, events),
  });
  client.start();
  return client;
}
