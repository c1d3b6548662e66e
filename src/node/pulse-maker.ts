/**
 * Builds the pulse of a node with its channels, in whichever thread it is to live. What the cluster document has of channels is
 * there from the start: network, link, interconnects. Heartbeat mirrors are added one by one by who installs them.
 */
import type { Environment } from '../base/environment.ts';
import { assert } from '../base/assert.ts';
import { HoldfastError } from '../base/errors.ts';
import { parseAddress, type HostPort } from '../base/network.ts';
import type { Channel } from '../pulse/channel.ts';
import { DiskSlots } from '../pulse/disk-slots.ts';
import { InterconnectChannel } from '../pulse/interconnect-channel.ts';
import { LinkChannel } from '../pulse/link-channel.ts';
import { MirrorSourceChannel, MirrorTargetChannel } from '../pulse/mirror-channel.ts';
import { MirrorFeedListener } from '../pulse/mirror-feed-listener.ts';
import { NetworkChannel } from '../pulse/network-channel.ts';
import { Pulse } from '../pulse/pulse.ts';
import type { ChannelEntry, PulseEvents, PulseService } from '../pulse/service.ts';
import type { HeartbeatMirror, Interconnect } from '../pulse/settings.ts';
import { sealTable } from '../pulse/status-table.ts';
import type { ChannelSpec, PulseConfiguration, PulseLocal, PulseMaker } from './pulse-host.ts';

interface Making {
  readonly environment: Environment;
  readonly node: string;
  readonly configuration: PulseConfiguration;
  readonly local: PulseLocal;
}

export class NodePulseMaker implements PulseMaker {
  /** Of this node's `heartbeat` address: all mirrors to it share one. */
  #listener: MirrorFeedListener | null = null;
  readonly #sources = new Map<string, MirrorSourceChannel>();
  /** What hangs when a pulse ends hangs on in the next one's time. */
  readonly #slots = new DiskSlots();

  pulse(options: Parameters<PulseMaker['pulse']>[0]): PulseService {
    const { environment, start, configuration, local, events } = options;
    const { nodes, settings, clusterId, table } = configuration;
    const making: Making = { environment, node: start.node, configuration, local };
    const own = nodes.find(({ name }) => name === start.node);
    const others = nodes.filter(({ name }) => name !== start.node);
    this.#listener = null;
    this.#sources.clear();
    if (own?.heartbeat != null) {
      const at = parseAddress(own.heartbeat);
      assert(at !== null, `${own.heartbeat} is no address`);
      this.#listener = new MirrorFeedListener(environment, at, keyOf(local));
      this.#listener.start();
    }
    const network = new NetworkChannel(environment, {
      listen: hostPorts(own?.pulse ?? []),
      peers: others.map(({ name, pulse }) => ({ node: name, addresses: hostPorts(pulse) })),
    });
    const interconnects = settings.interconnects.filter(({ at }) => start.node in at);
    const listener = this.#listener;
    const pulse = new Pulse(
      environment,
      {
        node: start.node,
        members: nodes.map(({ name, site }) => ({ name, site })),
        clusterId,
        key: keyOf(local),
        settings,
        incarnation: start.incarnation,
        channels: [
          ...(settings.network ? [{ channel: network, device: own?.pulse.join(', ') ?? '' }] : []),
          { channel: new LinkChannel(others.map(({ name }) => name)), device: own?.replication ?? '' },
          ...interconnects.map((interconnect) => this.#interconnect(making, interconnect)),
        ],
        table,
      },
      this.#watched(events, keyOf(local)),
    );
    return listener === null ? pulse : closingAfter(pulse, listener);
  }

  channel(options: Making & { readonly spec: ChannelSpec }): ChannelEntry {
    const { spec } = options;
    return spec.kind === 'mirror'
      ? this.#mirror(options, spec.mirror)
      : this.#interconnect(options, spec.interconnect);
  }

  /** HM-5: the status table is kept on every mirrored volume that this node writes. */
  #watched(events: PulseEvents, key: Uint8Array): PulseEvents {
    return {
      changed: (snapshot) => events.changed(snapshot),
      indicated: (indication, from) => events.indicated(indication, from),
      control: (from, message) => events.control(from, message),
      tableChanged: (table) => {
        const bytes = sealTable(table, key);
        // Where it cannot be written the channel itself is at fault, and says so.
        for (const source of this.#sources.values()) source.writeTable(bytes).catch(() => {});
        events.tableChanged(table);
      },
    };
  }

  #interconnect({ environment, node, configuration }: Making, interconnect: Interconnect): ChannelEntry {
    const ends = configuration.nodes.map(({ name }) => name).filter((name) => name in interconnect.at);
    const peer = ends.find((name) => name !== node) ?? '';
    const channel = new InterconnectChannel(environment, {
      interconnect,
      node,
      peer,
      role: ends[0] === node ? 'listen' : 'dial',
      timeoutMs: configuration.settings.timeoutMs,
    });
    return { channel, device: interconnect.at[node] ?? '' };
  }

  #mirror({ environment, node, configuration, local }: Making, mirror: HeartbeatMirror): ChannelEntry {
    const { name, from, to, paths } = mirror;
    const path = paths[node] ?? `${local.dataFolder}/heartbeat/${name}.img`;
    const identity = { mirror: name, from, to };
    const limitMs = configuration.settings.timeoutMs;
    if (from === node) {
      const feedAt = configuration.nodes.find((entry) => entry.name === to)?.heartbeat ?? null;
      if (feedAt === null)
        return { channel: new Unfed(`mirror:${name}`, [to], `${to} has no heartbeat address`), device: path };
      const channel = new MirrorSourceChannel(environment, {
        mirror: identity,
        path,
        limitMs,
        slots: this.#slots,
        feedAt,
        key: keyOf(local),
        closed: () => void this.#sources.delete(channel.id),
      });
      this.#sources.set(channel.id, channel);
      return { channel, device: path };
    }
    if (this.#listener === null) {
      return { channel: new Unfed(`mirror:${name}`, [], `${node} has no heartbeat address`, [from]), device: path };
    }
    const channel = new MirrorTargetChannel(environment, {
      mirror: identity,
      path,
      limitMs,
      slots: this.#slots,
      listener: this.#listener,
    });
    return { channel, device: path };
  }
}

/** A mirror that cannot be carried, as the configuration stands: a fault for as long as it is there. */
class Unfed implements Channel {
  readonly kind = 'mirror';
  readonly id: string;
  readonly targets: readonly string[];
  readonly sources: readonly string[];
  readonly #problem: string;

  constructor(id: string, targets: readonly string[], problem: string, sources: readonly string[] = []) {
    this.id = id;
    this.targets = targets;
    this.sources = sources;
    this.#problem = problem;
  }

  start(events: Parameters<Channel['start']>[0]): void {
    events.fault(this.#problem);
  }

  send(): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The listener of mirrors ends with the pulse it was made for. */
function closingAfter(pulse: Pulse, listener: MirrorFeedListener): PulseService {
  const stop = pulse.stop.bind(pulse);
  pulse.stop = async () => {
    await stop();
    await listener.close();
  };
  return pulse;
}

function hostPorts(texts: readonly string[]): HostPort[] {
  return texts.flatMap((text) => {
    const address = parseAddress(text);
    return address?.kind === 'tcp' ? [{ host: address.host, port: address.port }] : [];
  });
}

function keyOf({ key }: PulseLocal): Uint8Array {
  if (key !== null) return key;
  throw new HoldfastError(
    'E_CONFIG',
    'the cluster has a pulse, and this node no key for it: name the key file in its configuration (pulse: key-file)',
  );
}
