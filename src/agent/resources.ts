/**
 * What runs where a group is served (HM-18, BY-12): started in the document's order, stopped in reverse, one thing at a time.
 *
 *   stopped ──► starting ──► running ──► stopping ──► stopped        failed: something would not start or stop
 *                  └──────────────────────►│
 *
 * Invariants:
 * - What was begun is stopped before it is forgotten: a note in the data folder names it from before its first command until
 *   after its last (`RunNote`), so that a node that crashed stops at its next start what still runs, whoever owns the group
 *   then. What ran before stands on devices that are gone, and an address may be held twice.
 * - One of `start` and `stop` is under way at a time. A stop breaks a start off; a start waits for the stop before it. Of
 *   several that wait the last counts, and the others are told that they are superseded.
 * - A strict stop, before a group is handed over, stops at the first thing that will not stop and starts again what it
 *   stopped: better no move than two of an application. Any other stop stops everything it can.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { ResourceEntry } from '../store/document.ts';
import type { ResourceState, ResourceStep, StepContext } from './resource-step.ts';
import type { RunNote } from './run-note.ts';

export type ResourcesState =
  /** Nothing runs here. */
  | 'stopped'
  | 'starting'
  | 'running'
  | 'stopping'
  /** Something would not start, and the rest was stopped; or would not stop, and may run still. `problem` says what. */
  | 'failed';

export type Outcome =
  | { readonly kind: 'ok' }
  | { readonly kind: 'failed'; readonly reason: string }
  /** Something else was asked for meanwhile. */
  | { readonly kind: 'superseded' };

/** HOLDFAST_REASON of the commands. */
export type StartReason = 'start' | 'takeOver' | 'handedOver' | 'handOverFailed' | 'asked';
export type StopReason = 'handOver' | 'lost' | 'nodeStops' | 'crashed' | 'startFailed' | 'asked';

export interface GroupResourcesOptions {
  readonly group: string;
  readonly clock: Clock;
  readonly note: RunNote;
  /** As the document has them now. */
  readonly entries: () => readonly ResourceEntry[];
  readonly makeStep: (entry: ResourceEntry) => ResourceStep;
  /** What comes last and goes first, whatever the document says: the application agents. */
  readonly last: readonly ResourceStep[];
  readonly variables: (reason: string) => Readonly<Record<string, string>>;
  readonly event: (kind: string, message: string) => void;
  /** Not everything could be started here. */
  readonly startFailed: (reason: string) => void;
  readonly started: () => void;
}

export interface ResourceRow {
  readonly kind: ResourceStep['kind'];
  readonly name: string;
  readonly state: ResourceState;
  readonly problem: string | null;
  readonly output: string;
}

interface Job {
  readonly what: 'start' | 'stop';
  readonly reason: StartReason | StopReason;
  strict: boolean;
  /** A stop that did not get through: what it stopped is being started again. */
  startsAgain: boolean;
  readonly breakOff: AbortController;
  readonly outcome: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
}

const ok: Outcome = { kind: 'ok' };
const superseded: Outcome = { kind: 'superseded' };

export class GroupResources {
  state: ResourcesState = 'stopped';
  problem: string | null = null;

  readonly #options: GroupResourcesOptions;
  /** Those there are; made anew when the first of them is to start. */
  #steps: readonly ResourceStep[] = [];
  /** Of these, those that may run, in the order of their beginning. */
  #begun: ResourceStep[] = [];
  readonly #entryOf = new WeakMap<ResourceStep, ResourceEntry>();
  #current: Job | null = null;
  #next: Job | null = null;

  constructor(options: GroupResourcesOptions) {
    this.#options = options;
  }

  /** In the order of their start. */
  get rows(): readonly ResourceRow[] {
    const idle = this.#begun.length === 0 && this.#current === null && this.state === 'stopped';
    const steps = idle && this.#steps.length === 0 ? this.#makeSteps() : this.#steps;
    return steps.map(({ kind, name, state, problem, output }) => ({ kind, name, state, problem, output }));
  }

  /** The group is served here. Resolves `ok` when everything runs. */
  start(reason: StartReason): Promise<Outcome> {
    if (this.#next !== null) {
      if (this.#next.what === 'start') return this.#next.outcome;
      this.#drop(this.#next);
      this.#next = null;
      // The start under way was broken off for the stop that is not wanted any more: it is begun anew behind it.
    }
    if (this.#current?.what === 'start' && !this.#current.breakOff.signal.aborted) return this.#current.outcome;
    if (this.#current === null && this.state === 'running') return Promise.resolve(ok);
    return this.#enqueue('start', reason, false);
  }

  /**
   * The group is not served here any more, or soon. Resolves `ok` when nothing of it runs.
   * @param strict what has stopped is started again when something does not stop
   */
  stop(reason: StopReason, options: { readonly strict: boolean } = { strict: false }): Promise<Outcome> {
    if (this.#next !== null) {
      this.#next.strict &&= options.strict;
      if (this.#next.what === 'stop') return this.#next.outcome;
      this.#drop(this.#next);
      this.#next = null;
    }
    if (this.#current?.what === 'stop' && !this.#current.startsAgain) {
      this.#current.strict &&= options.strict;
      return this.#current.outcome;
    }
    if (this.#current === null && this.#begun.length === 0) {
      this.#become('stopped', null);
      return Promise.resolve(ok);
    }
    this.#current?.breakOff.abort();
    return this.#enqueue('stop', reason, options.strict);
  }

  /** R15: before a planned move. Not `ok`: the group stays here, and so does what runs on it. */
  beforeHandOver(): Promise<Outcome> {
    return this.stop('handOver', { strict: true });
  }

  afterHandOverFailed(): Promise<Outcome> {
    return this.start('handOverFailed');
  }

  /** At the start of the node: stops what may run from before. */
  async recover(): Promise<Outcome> {
    let entries: readonly ResourceEntry[];
    try {
      entries = await this.#options.note.read();
    } catch (error) {
      const reason = `what may still run from before is not known: ${messageOf(error)}`;
      this.#options.event('resources', reason);
      return { kind: 'failed', reason };
    }
    if (entries.length === 0) return ok;
    this.#options.event(
      'resources',
      `may run from before this start, and is stopped: ${entries.map(({ name }) => name).join(', ')}`,
    );
    this.#steps = entries.map((entry) => this.#makeStep(entry));
    this.#begun = [...this.#steps];
    return this.stop('crashed');
  }

  #enqueue(what: Job['what'], reason: Job['reason'], strict: boolean): Promise<Outcome> {
    let resolve: (outcome: Outcome) => void = () => {};
    const outcome = new Promise<Outcome>((settle) => (resolve = settle));
    const job: Job = { what, reason, strict, startsAgain: false, breakOff: new AbortController(), outcome, resolve };
    if (this.#current === null) void this.#carryOut(job);
    else this.#next = job;
    return outcome;
  }

  #drop(job: Job): void {
    job.resolve(superseded);
  }

  async #carryOut(first: Job): Promise<void> {
    for (let job: Job | null = first; job !== null; job = this.#takeNext()) {
      this.#current = job;
      const context: StepContext = {
        variables: this.#options.variables(job.reason),
        reason: job.reason,
        signal: job.breakOff.signal,
      };
      const outcome = job.what === 'start' ? await this.#start(context) : await this.#stop(job, context);
      job.resolve(outcome);
    }
  }

  #takeNext(): Job | null {
    const job = this.#next;
    this.#next = null;
    this.#current = null;
    return job;
  }

  async #start(context: StepContext): Promise<Outcome> {
    if (this.state === 'running') return ok;
    this.#become('starting', null);
    // What would not stop is stopped once more rather than started on top.
    if (this.#begun.length > 0) await this.#stopAll(context);
    if (context.signal.aborted) return superseded;
    const left = this.#begun;
    this.#steps = this.#makeSteps();
    // What did not stop even so goes on to count as begun, as what takes its place.
    this.#begun = left.map(
      (old) => this.#steps.find(({ kind, name }) => kind === old.kind && name === old.name) ?? old,
    );
    const fault = await this.#startFrom(this.#steps, context);
    if (context.signal.aborted) return superseded;
    if (fault === null) return this.#allRun();
    this.#options.event('resources', `could not be started: ${fault}`);
    this.#become('stopping', fault);
    await this.#stopAll({ ...context, reason: 'startFailed', variables: this.#options.variables('startFailed') });
    if (context.signal.aborted) return superseded;
    this.#become('failed', fault);
    this.#options.startFailed(fault);
    return { kind: 'failed', reason: fault };
  }

  /** One after another; the first that fails ends it. */
  async #startFrom(steps: readonly ResourceStep[], context: StepContext): Promise<string | null> {
    for (const step of steps) {
      if (!this.#begun.includes(step)) this.#begun.push(step);
      this.#begun.sort((one, other) => this.#steps.indexOf(one) - this.#steps.indexOf(other));
      // On the medium before the command: the crash may come in the middle of it.
      await this.#saveNote();
      if (context.signal.aborted) return null;
      step.state = 'starting';
      step.problem = null;
      const fault = await step.start(context);
      if (context.signal.aborted) return null;
      if (fault !== null) {
        step.state = 'failed';
        step.problem = fault;
        return `${step.name}: ${fault}`;
      }
      step.state = 'running';
    }
    return null;
  }

  #allRun(): Outcome {
    this.#options.started();
    this.#become('running', null);
    const context = {
      variables: this.#options.variables('health'),
      reason: 'health',
      signal: new AbortController().signal,
    };
    for (const step of this.#steps) step.watch(context);
    return ok;
  }

  async #stop(job: Job, context: StepContext): Promise<Outcome> {
    this.#become('stopping', null);
    await Promise.all(this.#steps.map((step) => step.unwatch()));
    if (!job.strict) {
      const faults = await this.#stopAll(context);
      if (faults.length === 0) return this.#allStopped();
      const reason = faults.join('; ');
      this.#become('failed', `may run still: ${reason}`);
      return { kind: 'failed', reason };
    }
    for (const step of [...this.#begun].reverse()) {
      const fault = await this.#stopOne(step, context);
      if (fault === null) continue;
      const reason = `${step.name}: ${fault}`;
      // Asked for again without the condition meanwhile, by a node that has lost the group.
      if (!job.strict) {
        const faults = await this.#stopAll(context);
        if (faults.length === 0) return this.#allStopped();
        this.#become('failed', `may run still: ${faults.join('; ')}`);
        return { kind: 'failed', reason: faults.join('; ') };
      }
      this.#options.event('resources', `${reason}; what was stopped is started again`);
      await this.#startAgain(job);
      return { kind: 'failed', reason };
    }
    return this.#allStopped();
  }

  /** After a strict stop that did not get through. Broken off by another stop. */
  async #startAgain(job: Job): Promise<void> {
    job.startsAgain = true;
    this.#become('starting', null);
    const { signal } = job.breakOff;
    const context = { variables: this.#options.variables('handOverFailed'), reason: 'handOverFailed', signal };
    const down = this.#steps.filter(({ state }) => state !== 'running');
    const fault = await this.#startFrom(down, context);
    if (signal.aborted) return;
    if (fault === null) {
      this.#allRun();
      return;
    }
    this.#become('failed', fault);
    this.#options.startFailed(fault);
  }

  /** In reverse; what fails is tried no further, and the rest goes on. Returns what went wrong. */
  async #stopAll(context: StepContext): Promise<string[]> {
    await Promise.all(this.#steps.map((step) => step.unwatch()));
    const faults: string[] = [];
    for (const step of [...this.#begun].reverse()) {
      const fault = await this.#stopOne(step, context);
      if (fault !== null) faults.push(`${step.name}: ${fault}`);
    }
    return faults;
  }

  async #stopOne(step: ResourceStep, context: StepContext): Promise<string | null> {
    step.state = 'stopping';
    const fault = await step.stop(context);
    step.state = fault === null ? 'stopped' : 'failed';
    step.problem = fault;
    if (fault !== null) return fault;
    this.#begun = this.#begun.filter((other) => other !== step);
    await this.#saveNote();
    return null;
  }

  #allStopped(): Outcome {
    this.#become('stopped', null);
    return ok;
  }

  #makeSteps(): readonly ResourceStep[] {
    return [...this.#options.entries().map((entry) => this.#makeStep(entry)), ...this.#options.last];
  }

  #makeStep(entry: ResourceEntry): ResourceStep {
    const step = this.#options.makeStep(entry);
    this.#entryOf.set(step, entry);
    return step;
  }

  /** A note that cannot be written is no reason to leave users without their application. */
  async #saveNote(): Promise<void> {
    const entries = this.#begun.flatMap((step) => this.#entryOf.get(step) ?? []);
    await this.#options.note.write(entries).catch((error: unknown) => {
      this.#options.event('resources', `what runs could not be noted: ${messageOf(error)}`);
    });
  }

  #become(state: ResourcesState, problem: string | null): void {
    this.state = state;
    this.problem = problem;
  }
}
