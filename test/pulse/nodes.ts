/** Pulses in the simulated world, one per machine, joined by UDP and, where wanted, by a channel of the test's own. */
import type { Channel, ChannelEvents } from '../../src/pulse/channel.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import type { ControlMessage } from '../../src/pulse/message.ts';
import { NetworkChannel } from '../../src/pulse/network-channel.ts';
import { presets } from '../../src/pulse/presets.ts';
import { Pulse } from '../../src/pulse/pulse.ts';
import type { ChannelEntry, PulseMember } from '../../src/pulse/service.ts';
import type { PulseSettings } from '../../src/pulse/settings.ts';
import type { Hearing, PulseSnapshot } from '../../src/pulse/snapshot.ts';
import type { StatusTable } from '../../src/pulse/status-table.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';

export const key = new Uint8Array(32).fill(7);
export const clusterId = 'c'.repeat(32);
export const lan: PulseSettings = { ...presets.lan, network: true, mirrors: [], interconnects: [] };

export interface TestNode {
  readonly name: string;
  readonly process: SimProcess;
  readonly pulse: Pulse;
  readonly snapshots: PulseSnapshot[];
  readonly indications: { readonly indication: Indication; readonly from: string }[];
  readonly controls: { readonly from: string; readonly message: ControlMessage }[];
  /** What it answers to requests. */
  answer: string | null;
}

export const members: readonly PulseMember[] = [
  { name: 'east', site: 'here' },
  { name: 'west', site: 'there' },
];

export function startNode(
  world: World,
  name: string,
  change: {
    settings?: Partial<PulseSettings>;
    members?: readonly PulseMember[];
    channels?: readonly ChannelEntry[];
    network?: boolean;
    start?: boolean;
    table?: StatusTable;
  } = {},
): TestNode {
  const process = world.machine(name).start('holdfast');
  const { environment } = process;
  const all = change.members ?? members;
  const network = new NetworkChannel(environment, {
    listen: [{ host: name, port: 10_815 }],
    peers: all
      .filter((member) => member.name !== name)
      .map((member) => ({ node: member.name, addresses: [{ host: member.name, port: 10_815 }] })),
  });
  const snapshots: PulseSnapshot[] = [];
  const indications: TestNode['indications'] = [];
  const controls: TestNode['controls'] = [];
  const pulse = new Pulse(
    environment,
    {
      node: name,
      members: all,
      clusterId,
      key,
      settings: { ...lan, ...change.settings },
      incarnation: Buffer.from(environment.random.bytes(16)).toString('hex'),
      table: change.table ?? null,
      channels: [
        ...(change.network === false ? [] : [{ channel: network, device: `${name}:10815` }]),
        ...(change.channels ?? []),
      ],
    },
    {
      changed: (snapshot) => snapshots.push(snapshot),
      indicated: (indication, from) => indications.push({ indication, from }),
      tableChanged: () => {},
      control: async (from, message) => {
        controls.push({ from, message });
        return node.answer;
      },
    },
  );
  const node: TestNode = { name, process, pulse, snapshots, indications, controls, answer: null };
  if (change.start !== false) process.call(() => pulse.start());
  return node;
}

export function hearing(node: TestNode, peer: string, channel = 'network'): Hearing | undefined {
  return node.pulse
    .snapshot()
    .peers.find((one) => one.node === peer)
    ?.heard.find((one) => one.channel === channel)?.hearing;
}

export const refused = (node: TestNode, from: string) => node.pulse.status().refused[from];

/** A channel in the hands of a test: what is sent by it goes to `wire`, what the wire brings is put into `arrive`. */
export class TestChannel implements Channel {
  readonly id: string;
  readonly kind: Channel['kind'];
  readonly targets: readonly string[];
  readonly sources: readonly string[];
  readonly sent: { readonly to: string; readonly message: Uint8Array }[] = [];
  wire: (to: string, message: Uint8Array) => void = () => {};
  #events: ChannelEvents | null = null;

  constructor(id: string, ends: { targets: readonly string[]; sources: readonly string[] }) {
    this.id = id;
    this.kind = id.startsWith('mirror:') ? 'mirror' : 'interconnect';
    this.targets = ends.targets;
    this.sources = ends.sources;
  }

  start(events: ChannelEvents): void {
    this.#events = events;
  }

  send(to: string, message: Uint8Array): void {
    this.sent.push({ to, message });
    this.wire(to, message);
  }

  arrive(message: Uint8Array): void {
    this.#events?.received(message, 'test');
  }

  /** What its volume has, of a mirror's target. */
  table: Uint8Array | null = null;

  readTable(): Promise<Uint8Array | null> {
    return Promise.resolve(this.table);
  }

  fault(problem: string | null): void {
    this.#events?.fault(problem);
  }

  close(): Promise<void> {
    this.#events = null;
    return Promise.resolve();
  }
}
