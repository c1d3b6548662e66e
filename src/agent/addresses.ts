/**
 * An address that moves with a group (BY-12): put on the node's device when the group is served there, taken off when it
 * is not any more.
 *
 * - Before it is put on, the network is asked whether somebody has it (RFC 5227, RFC 4862 §5.4): two holders of one
 *   address are worse than none. The old holder may be about to let go, so it is asked for a while.
 * - Afterwards neighbours are told where it is now (gratuitous ARP, RFC 5227 §3; unsolicited neighbour advertisement, RFC
 *   4861 §7.2.6), again and again, because nobody confirms and a switch that just lost a port may drop the first.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { ResourceEntry } from '../store/document.ts';
import { OutputTail } from './output-tail.ts';
import { pauseUnless, type ResourceState, type ResourceStep, type StepContext } from './resource-step.ts';

export type AddressEntry = Extract<ResourceEntry, { kind: 'address' }>;

/** The addresses of this machine's network devices; bound in `node/node-addresses.ts`. Promises never reject. */
export interface NetworkDevices {
  /** Whether the device has the address (with prefix length); text: it cannot be told. */
  has(device: string, address: string): Promise<boolean | string>;
  /** Null: done, or done already. */
  add(device: string, address: string): Promise<string | null>;
  /** Null: it is not there any more. */
  remove(device: string, address: string): Promise<string | null>;
  /** Asks the network who has it; takes some hundred milliseconds. */
  probe(device: string, address: string): Promise<ProbeAnswer>;
  /** Tells the neighbours once; text: it could not be told. */
  announce(device: string, address: string): Promise<string | null>;
}

export type ProbeAnswer =
  | { readonly kind: 'free' }
  /** `by`: the holder's hardware address. */
  | { readonly kind: 'taken'; readonly by: string }
  | { readonly kind: 'unknown'; readonly reason: string };

/** Whoever has the address is given so long to let go. */
const conflictMs = 10_000;
const conflictLookMs = 1000;
const announcementsAtOnce = 3;
const announcementGapMs = 200;
/** After it was put on; neighbours that were away hear one of these. */
export const announceAgainMs: readonly number[] = [1000, 5000, 30_000];

export class MovingAddress implements ResourceStep {
  readonly kind = 'address';
  readonly name: string;
  state: ResourceState = 'stopped';
  problem: string | null = null;

  readonly #entry: AddressEntry;
  readonly #node: string;
  readonly #clock: Clock;
  readonly #devices: NetworkDevices;
  readonly #output = new OutputTail();
  #timers: Timer[] = [];

  constructor(entry: AddressEntry, node: string, world: { clock: Clock; networkDevices: NetworkDevices }) {
    this.#entry = entry;
    this.name = entry.name;
    this.#node = node;
    this.#clock = world.clock;
    this.#devices = world.networkDevices;
  }

  get output(): string {
    return this.#output.text;
  }

  async start({ signal }: StepContext): Promise<string | null> {
    const { address } = this.#entry;
    const device = this.#entry.device[this.#node];
    if (device === undefined) return `no device is named for address ${address} on ${this.#node}`;
    const has = await this.#devices.has(device, address);
    if (typeof has === 'string') return this.#fault(has);
    if (!has) {
      const conflict = await this.#conflict(device, signal);
      if (signal.aborted) return 'was broken off';
      if (conflict !== null) return this.#fault(conflict);
      const fault = await this.#devices.add(device, address);
      if (fault !== null) return this.#fault(fault);
      this.#note(`${address} was put on ${device}`);
    }
    for (let times = 0; times < announcementsAtOnce && !signal.aborted; times++) {
      if (times > 0) await pauseUnless(this.#clock, announcementGapMs, signal);
      if (!(await this.#announce(device))) break;
    }
    return null;
  }

  async stop(_context: StepContext): Promise<string | null> {
    await this.unwatch();
    const { address } = this.#entry;
    const device = this.#entry.device[this.#node];
    if (device === undefined) return null;
    const fault = await this.#devices.remove(device, address);
    if (fault !== null) return this.#fault(fault);
    this.#note(`${address} is not on ${device} any more`);
    return null;
  }

  watch(_context: StepContext): void {
    const device = this.#entry.device[this.#node];
    if (device === undefined) return;
    this.#timers = announceAgainMs.map((delayMs) => this.#clock.after(delayMs, () => void this.#announce(device)));
  }

  async unwatch(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#timers = [];
  }

  async #conflict(device: string, signal: AbortSignal): Promise<string | null> {
    const { address } = this.#entry;
    const deadlineMs = this.#clock.monotonicMs() + conflictMs;
    for (;;) {
      const answer = await this.#devices.probe(device, address);
      if (answer.kind === 'free') return null;
      if (answer.kind === 'unknown') {
        this.#note(`whether another has ${address} is not known: ${answer.reason}`);
        return null;
      }
      const conflict = `${answer.by} on the network of ${device} has ${address}`;
      this.#note(conflict);
      if (signal.aborted || this.#clock.monotonicMs() >= deadlineMs) return conflict;
      await pauseUnless(this.#clock, conflictLookMs, signal);
      if (signal.aborted) return conflict;
    }
  }

  /** That neighbours cannot be told is no failure: they find out, later. */
  async #announce(device: string): Promise<boolean> {
    const fault = await this.#devices.announce(device, this.#entry.address);
    this.problem = fault === null ? null : `not announced: ${fault}`;
    if (fault !== null) this.#note(this.problem ?? '');
    return fault === null;
  }

  #fault(text: string): string {
    this.#note(text);
    return text;
  }

  #note(line: string): void {
    this.#output.note(`--- ${new Date(this.#clock.wallMs()).toISOString()} ${line}`);
  }
}
