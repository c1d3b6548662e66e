/**
 * An application agent that runs any program (AS-10): while the node has the group, the program runs; when the node asks
 * for the devices back, it is ended, and that is acknowledged when it has ended. `holdfast agent run` is this.
 *
 * A node that is away is waited for: it may only be restarting. After `graceMs` the program is ended, because the devices
 * may be another node's by then.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Acquired } from './agent-messages.ts';
import type { AgentHandlers } from './agent-client.ts';
import { faultOf, groupVariables, type Commands } from './commands.ts';
import { pauseUnless } from './resource-step.ts';

export type RestartPolicy =
  /** Whenever it ends. */
  | 'always'
  /** When it ends with another status than 0, or by a signal. */
  | 'on-failure'
  | 'never';

export interface ShellAgentOptions {
  readonly clock: Clock;
  readonly commands: Commands;
  readonly group: string;
  readonly words: readonly string[];
  readonly restart: RestartPolicy;
  /** How long it may take to end when asked to, before it is killed. */
  readonly stopWithinMs: number;
  /** How long the node may be away before the program is ended. */
  readonly graceMs: number;
  readonly output: (text: string) => void;
  readonly say: (sentence: string) => void;
}

const restartDelayMs = 1000;
const restartDelayMsMax = 30_000;

export class ShellAgent implements AgentHandlers {
  readonly #options: ShellAgentOptions;
  #running: { readonly stop: AbortController; readonly ended: Promise<void> } | null = null;
  #away: Timer | null = null;

  constructor(options: ShellAgentOptions) {
    this.#options = options;
  }

  get runs(): boolean {
    return this.#running !== null;
  }

  acquired(devices: Acquired): void {
    if (devices.group !== this.#options.group || this.#running !== null) return;
    const stop = new AbortController();
    this.#options.say(`${devices.node} has group ${devices.group} (${devices.cause}); the program is started`);
    this.#running = { stop, ended: this.#keepRunning(devices, stop.signal) };
  }

  async release(group: string, reason: string, withinMs: number): Promise<void> {
    if (group !== this.#options.group) return;
    this.#options.say(
      `the node gives group ${group} back (${reason}); the program is ended within ${withinMs / 1000} s`,
    );
    await this.end();
  }

  registered(): void {
    this.#away?.cancel();
    this.#away = null;
  }

  settled(acquired: ReadonlySet<string>): void {
    if (acquired.has(this.#options.group) || this.#running === null) return;
    this.#options.say('the node does not have the group any more; the program is ended');
    void this.end();
  }

  failoverNotConfigured(group: string, reason: string): void {
    this.#options.say(`nothing takes over for group ${group} by itself: ${reason}`);
  }

  maintenance(group: string, on: boolean, reason: string): void {
    this.#options.say(`group ${group}: maintenance ${on ? 'begins' : 'ends'} (${reason})`);
  }

  disconnected(reason: string): void {
    if (this.#away !== null) return;
    this.#options.say(`the node is away: ${reason}; it is tried again`);
    this.#away = this.#options.clock.after(this.#options.graceMs, () => {
      if (this.#running === null) return;
      this.#options.say(`the node is away for ${this.#options.graceMs / 1000} s; the program is ended`);
      void this.end();
    });
  }

  /** Resolves when the program has ended. */
  async end(): Promise<void> {
    const running = this.#running;
    running?.stop.abort();
    await running?.ended;
    if (this.#running === running) this.#running = null;
  }

  async #keepRunning(devices: Acquired, signal: AbortSignal): Promise<void> {
    const { clock, commands, words, restart, say, output, stopWithinMs } = this.#options;
    const volumes = devices.volumes.map(({ name, path, nbd }) => ({ name, path, nbd: nbd[0] ?? null }));
    const { group, node, cause } = devices;
    const environment = groupVariables({ group, node, reason: cause, volumes });
    let delayMs = restartDelayMs;
    while (!signal.aborted) {
      const startedMs = clock.monotonicMs();
      const result = await commands.run({
        words,
        timeoutMs: Infinity,
        environment,
        output,
        signal,
        killAfterMs: stopWithinMs,
      });
      if (signal.aborted) break;
      const fault = faultOf(result, Infinity);
      // One that ran for a while begins anew.
      if (clock.monotonicMs() - startedMs > 2 * restartDelayMsMax) delayMs = restartDelayMs;
      const again = restart === 'always' || (restart === 'on-failure' && fault !== null);
      const next = again ? `; it is started again in ${delayMs / 1000} s` : '';
      say(`${words[0] ?? 'the program'} ${fault ?? 'has ended'}${next}`);
      if (!again) return;
      await pauseUnless(clock, delayMs, signal);
      delayMs = Math.min(delayMs * 2, restartDelayMsMax);
    }
  }
}
