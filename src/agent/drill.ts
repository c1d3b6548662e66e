/**
 * The course of one drill (BY-11), run by a node that does not own the group: measure, strike, watch another node take over,
 * wait until every copy is whole, give back, tell.
 *
 * Invariants:
 * - It moves nothing by itself but by planned moves; who takes over after a fault is decided as always.
 * - Every step has a limit. Where one passes, the drill has failed, and says in which state the group was left.
 * - The measuring client runs only while something is measured, and never writes.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { pause } from '../base/waiting.ts';
import type { ReadDecision } from './decision-book.ts';
import { leftOver } from './drill-book.ts';
import type { DrillKind, DrillReport, DrillStep } from './drill-report.ts';

/** A client that reads, again and again, through whichever node answers. */
export interface DrillProbe {
  start(): void;
  stop(): void;
  /** Forgets the pauses so far. */
  mark(): void;
  /** Since `mark`. */
  readonly answers: number;
  /** Since the last answer; Infinity before the first. */
  readonly silentMs: number;
  /** The longest time between two answers since `mark`, and the wall clock of the answer that ended it; null: less than two. */
  readonly longest: { readonly lengthMs: number; readonly endedAtMs: number } | null;
}

export interface DrillContext {
  readonly clock: Clock;
  readonly probe: DrillProbe;
  /** Has the owner do it to itself; resolves with how soon, milliseconds. */
  readonly strike: () => Promise<number>;
  /** Who serves the group now, by the record and its own word. */
  readonly serving: (group: string) => Promise<{ readonly node: string; readonly generation: number } | null>;
  /** Why not every copy of the groups is whole; null: it is. */
  readonly unwell: (groups: readonly string[]) => Promise<string | null>;
  readonly switchOver: (
    group: string,
    to: string,
  ) => Promise<{ readonly generation: number; readonly loss: { readonly text: string } }>;
  /** About the group, oldest first, of all nodes. */
  readonly decisions: (group: string) => Promise<readonly ReadDecision[]>;
  readonly changed: (report: DrillReport) => void;
}

export interface DrillPlan {
  readonly id: string;
  readonly group: string;
  readonly kind: DrillKind;
  readonly node: string;
  readonly owner: string;
  readonly generation: number;
  /** The owner's other groups, which the fault hits as well, and which are given back as well. */
  readonly others: readonly string[];
  /** How long a pause or a partition lasts. */
  readonly faultMs: number;
}

const lookMs = 20;
const slowLookMs = 500;
/** Answers before the fault, so that a slow client is not taken for a pause. */
const answersMin = 25;
const measuringMs = 10_000;
/** After the fault has ended. */
const takeOverMs = 60_000;
const healingMs = 600_000;
/** For an agent to write down what became of a take-over. */
const bookkeepingMs = 5000;
const giveBackTries = 5;
const retryMs = 2000;
const stepsMax = 60;

export class Drill {
  readonly #plan: DrillPlan;
  readonly #context: DrillContext;
  #report: DrillReport;
  #step: DrillStep = 'measuring';
  #servingAtMs: number | null = null;
  /** Wall clock; null: nothing was done yet. */
  #struckAtMs: number | null = null;
  #cancelled = false;

  constructor(plan: DrillPlan, context: DrillContext) {
    this.#plan = plan;
    this.#context = context;
    const { id, group, kind, node, owner, generation } = plan;
    this.#report = {
      id,
      group,
      kind,
      node,
      owner,
      state: 'running',
      startedAtMs: this.#wallMs,
      endedAtMs: null,
      steps: [],
      servedBy: null,
      pauseMs: null,
      phases: { detectedMs: null, lapsedMs: null, servingMs: null, answeredMs: null },
      generations: { before: generation, after: null },
      loss: null,
      giveBackPauseMs: null,
      verdict: 'under way',
      nextStep: null,
    };
  }

  get report(): DrillReport {
    return this.#report;
  }

  /** Its node stops: it ends at the next step, and is found interrupted by the next start. */
  cancel(): void {
    this.#cancelled = true;
  }

  /** Never rejects; the report has the outcome. */
  async run(): Promise<DrillReport> {
    const { probe } = this.#context;
    try {
      await this.#measure();
      await this.#strike();
      await this.#watch();
      probe.stop();
      await this.#heal();
      probe.start();
      await this.#giveBack();
      this.#end('passed', this.#praise(), null);
    } catch (error) {
      probe.stop();
      if (!this.#cancelled) await this.#failed(error);
    } finally {
      probe.stop();
    }
    return this.#report;
  }

  async #measure(): Promise<void> {
    const { probe } = this.#context;
    this.#enter('measuring', 'a client begins to read');
    probe.start();
    probe.mark();
    const enough = await this.#until(measuringMs, lookMs, async () => probe.answers >= answersMin);
    if (!enough)
      throw new Error(
        `the measuring client got ${probe.answers} answers in ${measuringMs} ms from ${this.#plan.owner}`,
      );
  }

  async #strike(): Promise<void> {
    const { kind, owner, group, node, faultMs } = this.#plan;
    const words: Readonly<Record<DrillKind, string>> = {
      kill: `${owner} is killed`,
      pause: `${owner} stands still for ${faultMs} ms`,
      partition: `${owner} is cut off from all others for ${faultMs} ms, and its lease is not renewed`,
      'switch-over': `${group} is handed over to ${node}`,
    };
    this.#enter('fault', words[kind]);
    this.#context.probe.mark();
    this.#struckAtMs = this.#wallMs;
    if (kind === 'switch-over') {
      const { loss } = await this.#context.switchOver(group, node);
      this.#change({ loss: loss.text });
    } else {
      const soonMs = await this.#context.strike();
      this.#struckAtMs = this.#wallMs + soonMs;
    }
  }

  /** Until another node serves, and the client has its answer. */
  async #watch(): Promise<void> {
    const { group, owner, kind, faultMs } = this.#plan;
    const { probe } = this.#context;
    this.#enter('take-over', 'waiting for another node to serve');
    const limitMs = takeOverMs + (kind === 'pause' || kind === 'partition' ? faultMs : 0);
    const moved = await this.#until(limitMs, lookMs, async () => {
      const serving = await this.#context.serving(group);
      if (serving === null || serving.node === owner) return false;
      this.#servingAtMs ??= this.#wallMs;
      const { before } = this.#report.generations;
      this.#change({ servedBy: serving.node, generations: { before, after: serving.generation } });
      // There was an answer since.
      return probe.silentMs < this.#wallMs - this.#servingAtMs;
    });
    if (!moved && this.#report.servedBy === null)
      throw new Error(`nobody took over from ${owner} within ${limitMs} ms`);
    this.#learnPhases(await this.#settledDecisions());
    if (!moved && probe.silentMs > slowLookMs)
      throw new Error(`${this.#report.servedBy ?? 'nobody'} serves, but the measuring client gets no answer`);
  }

  /** What the agents wrote down since the drill began; what became of a take-over they write when it is over. */
  async #settledDecisions(): Promise<readonly ReadDecision[]> {
    const { group, kind, owner } = this.#plan;
    if (kind === 'switch-over') return [];
    let found: readonly ReadDecision[] = [];
    await this.#until(bookkeepingMs, slowLookMs, async () => {
      found = (await this.#context.decisions(group)).filter(
        ({ evidence, verdict }) =>
          evidence.atMs >= this.#report.startedAtMs && evidence.owner === owner && verdict.rule !== 'owner-alive',
      );
      return found.some(({ verdict, outcome }) => verdict.decision === 'takeOver' && outcome !== null);
    });
    return found;
  }

  /** From the measurement and the decisions. */
  #learnPhases(decisions: readonly ReadDecision[]): void {
    const { longest } = this.#context.probe;
    const fromMs = this.#struckAtMs;
    const since = (atMs: number | null | undefined): number | null =>
      atMs == null || fromMs === null ? null : Math.max(0, Math.round(atMs - fromMs));
    const decided = decisions.filter(({ verdict }) => verdict.decision === 'takeOver');
    const lapsed = decided.find(({ evidence }) => evidence.store === 'lapsed');
    const outcome = decided.at(-1)?.outcome?.replace(/^generation \d+\. /, '');
    this.#change({
      pauseMs: longest === null ? null : Math.round(longest.lengthMs),
      phases: {
        detectedMs: since(decisions[0]?.evidence.atMs),
        lapsedMs: since(lapsed?.evidence.atMs),
        servingMs: since(this.#servingAtMs),
        answeredMs: since(longest?.endedAtMs),
      },
      loss: outcome ?? this.#report.loss,
    });
  }

  async #heal(): Promise<void> {
    const { group, others } = this.#plan;
    const { pauseMs, servedBy } = this.#report;
    this.#enter(
      'healing',
      `${servedBy ?? 'nobody'} serves, hosts waited ${pauseMs ?? '?'} ms; waiting until every copy is whole`,
    );
    await this.#whole([group, ...others]);
  }

  async #whole(groups: readonly string[]): Promise<void> {
    let last: string | null = null;
    const whole = await this.#until(healingMs, slowLookMs, async () => {
      last = await this.#context.unwell(groups);
      return last === null;
    });
    if (!whole) throw new Error(`not every copy was whole after ${healingMs / 1000} s: ${last ?? 'unknown'}`);
  }

  async #giveBack(): Promise<void> {
    const { group, owner, others } = this.#plan;
    const { probe } = this.#context;
    this.#enter('give-back', `every copy is whole; giving back to ${owner}`);
    probe.mark();
    await this.#until(measuringMs, lookMs, async () => probe.answers >= answersMin);
    probe.mark();
    await this.#moveBack(group);
    await this.#until(measuringMs, lookMs, async () => probe.silentMs < 10 * lookMs);
    const { longest } = probe;
    this.#change({ giveBackPauseMs: longest === null ? null : Math.round(longest.lengthMs) });
    probe.stop();
    for (const other of others) await this.#moveBack(other);
    await this.#whole([group, ...others]);
  }

  async #moveBack(group: string): Promise<void> {
    const { owner } = this.#plan;
    for (let attempt = 1; ; attempt++) {
      // It may have been given back by itself (TL-15).
      if ((await this.#context.serving(group))?.node === owner) return;
      try {
        await this.#context.switchOver(group, owner);
        return;
      } catch (error) {
        if (attempt === giveBackTries || this.#cancelled) throw error;
        await pause(this.#context.clock, retryMs);
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { group, owner, others } = this.#plan;
    const at = this.#step;
    const reason = messageOf(error);
    if (this.#struckAtMs === null) {
      this.#end('failed', `Nothing was done: ${reason}.`, `See \`holdfast why ${group}\`.`);
      return;
    }
    const serving = await this.#context.serving(group).catch(() => null);
    const unwell = await this.#context.unwell([group, ...others]).catch(messageOf);
    const left =
      serving === null ? 'nobody serves it' : `${serving.node} serves it in generation ${serving.generation}`;
    const copies = unwell === null ? 'every copy is whole' : unwell;
    const settled = serving?.node === owner && unwell === null;
    this.#end(
      'failed',
      `It failed at the step ${at}: ${reason}. It was left so: ${left}; ${copies}.`,
      settled ? `Look for the cause with \`holdfast judge list ${group}\`.` : leftOver(group, owner),
    );
  }

  #praise(): string {
    const { servedBy, pauseMs } = this.#report;
    const { owner } = this.#plan;
    return `${servedBy ?? 'nobody'} served instead of ${owner} after a pause of ${pauseMs ?? '?'} ms; every copy is whole, and ${owner} serves as before.`;
  }

  // ---- the report ----

  get #wallMs(): number {
    return Math.round(this.#context.clock.wallMs());
  }

  #enter(step: DrillStep, text: string): void {
    this.#step = step;
    const steps = [...this.#report.steps, { atMs: this.#wallMs, step, text }].slice(-stepsMax);
    this.#change({ steps });
  }

  #end(state: 'passed' | 'failed', verdict: string, nextStep: string | null): void {
    this.#change({ state, verdict, nextStep, endedAtMs: this.#wallMs });
    this.#enter('end', verdict);
  }

  #change(more: Partial<DrillReport>): void {
    this.#report = { ...this.#report, ...more };
    this.#context.changed(this.#report);
  }

  /** False when the limit has passed. A question that cannot be answered now is asked again. */
  async #until(limitMs: number, everyMs: number, ask: () => Promise<boolean>): Promise<boolean> {
    const { clock } = this.#context;
    const deadlineMs = clock.monotonicMs() + limitMs;
    for (;;) {
      if (this.#cancelled) throw new Error('the node stops');
      if (await ask().catch(() => false)) return true;
      if (clock.monotonicMs() >= deadlineMs) return false;
      await pause(clock, everyMs);
    }
  }
}
