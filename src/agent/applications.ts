/**
 * An application of a group (HM-18, HM-20): started and stopped by commands, looked after by another.
 *
 * HM-20: a health check that fails is answered by a restart (stop, start), so many times in a row; the next failure is
 * the end of patience, and the group is given up to another node. A check that succeeds forgets the failures before it. A
 * start that fails counts as a check that failed. Nothing is checked while it starts, restarts or stops.
 *
 * After it has given up it goes on as before: hand-over may be impossible now, and whatever ails the application may pass.
 */
import type { Clock } from '../base/clock.ts';
import type { CommandEntry, ResourceEntry } from '../store/document.ts';
import { faultOf, type Commands } from './commands.ts';
import { OutputTail } from './output-tail.ts';
import { pauseUnless, type ResourceState, type ResourceStep, type StepContext } from './resource-step.ts';

export type ApplicationEntry = Extract<ResourceEntry, { kind: 'application' }>;

export interface ApplicationEvents {
  /** It does not stay up here; `reason` says how often what was tried. */
  giveUp(application: string, reason: string): void;
  /** It was failing, and its health check succeeds again. */
  recovered(application: string): void;
  event(kind: string, message: string): void;
}

type Verb = 'start' | 'stop' | 'health';

export class Application implements ResourceStep {
  readonly kind = 'application';
  readonly name: string;
  state: ResourceState = 'stopped';
  problem: string | null = null;

  readonly #entry: ApplicationEntry;
  readonly #clock: Clock;
  readonly #commands: Commands;
  readonly #events: ApplicationEvents;
  readonly #output = new OutputTail();
  #watching: { readonly stop: AbortController; readonly ended: Promise<void> } | null = null;

  constructor(entry: ApplicationEntry, world: { clock: Clock; commands: Commands }, events: ApplicationEvents) {
    this.#entry = entry;
    this.name = entry.name;
    this.#clock = world.clock;
    this.#commands = world.commands;
    this.#events = events;
  }

  get output(): string {
    return this.#output.text;
  }

  async start(context: StepContext): Promise<string | null> {
    const retries = this.#entry.health?.restarts ?? 0;
    for (let attempt = 0; ; attempt++) {
      const fault = await this.#run('start', this.#entry.start, context);
      if (fault === null || attempt >= retries || context.signal.aborted) return fault;
      this.#events.event('application', `${this.name} ${fault}; it is stopped and started again`);
      await this.#run('stop', this.#entry.stop, context);
      if (context.signal.aborted) return fault;
    }
  }

  stop(context: StepContext): Promise<string | null> {
    return this.#run('stop', this.#entry.stop, context);
  }

  watch(context: StepContext): void {
    if (this.#entry.health === null || this.#watching !== null) return;
    const stop = new AbortController();
    this.#watching = { stop, ended: this.#lookAfter({ ...context, reason: 'health', signal: stop.signal }) };
  }

  async unwatch(): Promise<void> {
    const watching = this.#watching;
    this.#watching = null;
    watching?.stop.abort();
    await watching?.ended;
  }

  async #lookAfter(context: StepContext): Promise<void> {
    const { health } = this.#entry;
    const { signal } = context;
    if (health === null) return;
    let restarts = 0;
    let failing = false;
    while (!signal.aborted) {
      await pauseUnless(this.#clock, health.everyMs, signal);
      if (signal.aborted) return;
      const fault = await this.#run('health', health.command, context);
      if (signal.aborted) return;
      if (fault === null) {
        restarts = 0;
        this.state = 'running';
        this.problem = null;
        if (failing) this.#events.recovered(this.name);
        failing = false;
        continue;
      }
      this.problem = fault;
      if (restarts >= health.restarts) {
        const tried = restarts === 0 ? '' : ` after ${restarts} restart${restarts === 1 ? '' : 's'}`;
        this.state = 'failed';
        failing = true;
        restarts = 0;
        this.#events.giveUp(this.name, `${this.name} does not stay up${tried}: ${fault}`);
        continue;
      }
      restarts++;
      this.state = 'restarting';
      this.#events.event('application', `${this.name}: ${fault}; restart ${restarts} of ${health.restarts}`);
      await this.#run('stop', this.#entry.stop, context);
      if (signal.aborted) return;
      const startFault = await this.#run('start', this.#entry.start, context);
      if (signal.aborted) return;
      this.state = startFault === null ? 'running' : 'failed';
      this.problem = startFault ?? this.problem;
    }
  }

  async #run(verb: Verb, command: CommandEntry, context: StepContext): Promise<string | null> {
    const { words, timeoutMs } = command;
    // A check that succeeds every few seconds would push out what matters.
    let noted = false;
    const note = (): void => {
      if (noted) return;
      noted = true;
      this.#output.note(
        `--- ${new Date(this.#clock.wallMs()).toISOString()} ${verb} (${context.reason}): ${words.join(' ')}`,
      );
    };
    if (verb !== 'health') note();
    const held: string[] = [];
    const result = await this.#commands.run({
      words,
      timeoutMs,
      environment: context.variables,
      signal: context.signal,
      output: (text) => {
        if (noted) this.#output.add(text);
        else if (held.length < 256) held.push(text);
      },
    });
    const fault = faultOf(result, timeoutMs);
    if (fault === null) return null;
    note();
    for (const text of held) this.#output.add(text);
    const sentence = `${verb} command ${words[0] ?? ''} ${fault}`;
    this.#output.note(`--- ${sentence}`);
    return sentence;
  }
}
