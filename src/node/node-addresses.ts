/**
 * Addresses of this machine's network devices, by iproute2. Neighbours are told and asked by raw frames; where those cannot
 * be had, by `arping` (iputils), which knows IPv4 only.
 */
import type { NetworkDevices, ProbeAnswer } from '../agent/addresses.ts';
import { faultOf, type Commands } from '../agent/commands.ts';
import { announcementFrame, etherTypeArp, etherTypeIpv6, holderIn, probeFrame } from './neighbour-frames.ts';
import { openPacketSocket } from './packet-socket.ts';

const commandTimeoutMs = 5000;
/** RFC 5227 asks three times over some seconds; on a local network an answer takes a millisecond. */
const probes = 3;
const probeGapMs = 150;
const probeLookMs = 10;

interface Device {
  readonly index: number;
  readonly mac: string;
}

export class NodeAddresses implements NetworkDevices {
  readonly #commands: Commands;

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  async has(device: string, address: string): Promise<boolean | string> {
    const shown = await this.#run([
      'ip',
      '-o',
      'addr',
      'show',
      'dev',
      device,
      'to',
      `${bare(address)}/${isV6(address) ? 128 : 32}`,
    ]);
    return shown.fault ?? shown.output.trim() !== '';
  }

  async add(device: string, address: string): Promise<string | null> {
    // Whether another has it was asked before; the kernel's own question would keep the address unusable for a second.
    const noQuestion = isV6(address) ? ['nodad'] : [];
    const { fault } = await this.#run(['ip', 'addr', 'add', address, 'dev', device, ...noQuestion]);
    return fault !== null && (await this.has(device, address)) === true ? null : fault;
  }

  async remove(device: string, address: string): Promise<string | null> {
    const { fault } = await this.#run(['ip', 'addr', 'del', address, 'dev', device]);
    if (fault === null) return null;
    const has = await this.has(device, address);
    // A device that is gone has no address.
    return has === false || (typeof has === 'string' && /does not exist|cannot find/i.test(has)) ? null : fault;
  }

  async probe(device: string, address: string): Promise<ProbeAnswer> {
    const target = bare(address);
    const found = await this.#device(device);
    if (typeof found === 'string') return { kind: 'unknown', reason: found };
    const socket = openPacketSocket(found.index, isV6(address) ? etherTypeIpv6 : etherTypeArp);
    if (typeof socket === 'string') return this.#probeByProgram(device, address, socket);
    try {
      const frame = probeFrame(found.mac, target);
      for (let sent = 0; sent < probes; sent++) {
        const error = socket.send(frame);
        if (error !== null)
          return { kind: 'unknown', reason: `the question could not be sent on ${device}: ${error}` };
        for (let waitedMs = 0; waitedMs < probeGapMs; waitedMs += probeLookMs) {
          await new Promise((resolve) => setTimeout(resolve, probeLookMs));
          for (let seen = socket.receive(); seen !== null; seen = socket.receive()) {
            const by = holderIn(seen, found.mac, target);
            if (by !== null) return { kind: 'taken', by };
          }
        }
      }
      return { kind: 'free' };
    } finally {
      socket.close();
    }
  }

  async announce(device: string, address: string): Promise<string | null> {
    const found = await this.#device(device);
    if (typeof found === 'string') return found;
    const socket = openPacketSocket(found.index, isV6(address) ? etherTypeIpv6 : etherTypeArp);
    if (typeof socket === 'string') {
      if (isV6(address)) return socket;
      const { fault } = await this.#run(['arping', '-U', '-c', '1', '-I', device, bare(address)]);
      return fault === null ? null : `${socket}; ${fault}`;
    }
    try {
      return socket.send(announcementFrame(found.mac, bare(address)));
    } finally {
      socket.close();
    }
  }

  async #probeByProgram(device: string, address: string, why: string): Promise<ProbeAnswer> {
    if (isV6(address)) return { kind: 'unknown', reason: why };
    const { fault, output } = await this.#run(['arping', '-D', '-c', '2', '-w', '1', '-I', device, bare(address)]);
    if (fault === null) return { kind: 'free' };
    const by = /\[([0-9A-Fa-f:]{17})\]/.exec(output)?.[1];
    return by === undefined
      ? { kind: 'unknown', reason: `${why}; ${fault}` }
      : { kind: 'taken', by: by.toLowerCase() };
  }

  async #device(device: string): Promise<Device | string> {
    const { fault, output } = await this.#run(['ip', '-o', 'link', 'show', 'dev', device]);
    if (fault !== null) return fault;
    const [, index] = /^(\d+):/.exec(output) ?? [];
    const [, mac] = /link\/ether ([0-9a-f:]{17})/.exec(output) ?? [];
    if (index === undefined || mac === undefined) return `${device} is no Ethernet device`;
    return { index: Number(index), mac };
  }

  async #run(words: readonly string[]): Promise<{ readonly fault: string | null; readonly output: string }> {
    let output = '';
    const result = await this.#commands.run({
      words,
      timeoutMs: commandTimeoutMs,
      environment: {},
      output: (text) => (output = (output + text).slice(0, 65_536)),
    });
    const fault = faultOf(result, commandTimeoutMs);
    return { fault: fault === null ? null : `${words.slice(0, 3).join(' ')} ${fault}: ${output.trim()}`, output };
  }
}

const bare = (address: string): string => address.split('/', 1)[0] ?? address;
const isV6 = (address: string): boolean => address.includes(':');
