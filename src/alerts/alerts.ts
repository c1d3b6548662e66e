/**
 * Failure indications to people (HM-16, AS-11, BY-7): what rooms of this node raise, and what other nodes say by the
 * pulse, is kept in the book, written to the log, and told through the sinks where it is this node's to tell.
 *
 * Raising costs no waiting and never fails: files are written and sinks are served behind. What a crash takes is at most
 * what was raised since the last write, a moment ago; nothing is told twice for having been restarted.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { AlertLevel, Indication } from '../pulse/indication.ts';
import { headlineOf, type Alert, type AlertMessage, type Occasion } from './alert.ts';
import { AlertBook, type BookChange } from './alert-book.ts';
import { AlertFiles, type AlertFilesOptions, type AlertState } from './alert-files.ts';
import { alertLevels } from './codes.ts';
import { ServiceHours, type HourSpan } from './service-hours.ts';
import type { AlertSink, SinkStatus } from './sink.ts';
import { SinkQueue } from './sink-queue.ts';

/** How alerts are told; each node has its own. */
export interface AlertSettings {
  /** Of what does not page; none: at any hour. */
  readonly serviceHours: readonly HourSpan[];
  /** Of the service hours: a name of the IANA time zone database. */
  readonly timeZone: string;
  /** No condition's failure is told twice within this. */
  readonly repeatMs: number;
  /** Messages of each sink, SYSTEM DOWN aside. */
  readonly perHour: number;
}

export const defaultAlertSettings: AlertSettings = {
  serviceHours: [],
  timeZone: 'UTC',
  repeatMs: 3_600_000,
  perHour: 30,
};

export interface AlertsOptions {
  readonly environment: Pick<Environment, 'clock' | 'files' | 'log'>;
  readonly node: string;
  readonly cluster: string;
  /** Of this node's alerts alone. */
  readonly folder: string;
  readonly settings: AlertSettings;
  readonly sinks: readonly AlertSink[];
  /** See `BookOptions`. */
  readonly silenceMs?: number;
  /** Other nodes that are heard now, by whatever channel. */
  heardNodes(): readonly string[];
  /** Tells other nodes of an end that is this node's own, and that no room has raised. */
  spread(indication: Indication): void;
  readonly files?: AlertFilesOptions;
}

/** For `status`. */
export interface AlertSummary {
  readonly open: number;
  readonly unacknowledged: number;
  /** Null while none is open. */
  readonly worst: AlertLevel | null;
  readonly failingSinks: readonly string[];
}

export interface TestResult {
  readonly sink: string;
  /** `refused`: the sink does not take the level. */
  readonly outcome: 'sent' | 'failed' | 'refused';
  readonly detail: string;
}

export const historyShownMax = 1000;

export class Alerts {
  readonly #options: AlertsOptions;
  readonly #book: AlertBook;
  readonly #files: AlertFiles;
  readonly #queues: readonly SinkQueue[];
  /** Sinks that the settings do not name any more: kept for when they do. */
  readonly #strangers: AlertState['sinks'];
  #timer: Timer | null = null;
  #confirmTimer: Timer | null = null;
  #messages = 0;
  /** Over, and not yet in the history. */
  #retired: Alert[] = [];
  #dirty = false;
  #saving: Promise<void> | null = null;
  #fileProblem: string | null = null;
  #closed = false;

  /** Never rejects for a folder that cannot be read: alerts are told all the same. */
  static async open(options: AlertsOptions): Promise<Alerts> {
    const files = new AlertFiles(options.environment.files, options.folder, options.files);
    let state: AlertState | null = null;
    try {
      state = await files.loadState();
    } catch (error) {
      options.environment.log.error(`alerts of the last run are not known: ${messageOf(error)}`);
      await files.setAside().catch(() => {});
    }
    const alerts = new Alerts(options, files, state);
    for (const queue of alerts.#queues) queue.start();
    alerts.#look();
    const startedAtMs = options.environment.clock.wallMs();
    alerts.#confirmTimer = options.environment.clock.after(confirmMs, () => alerts.#endUnconfirmed(startedAtMs));
    return alerts;
  }

  private constructor(options: AlertsOptions, files: AlertFiles, state: AlertState | null) {
    const { environment, node, settings, sinks, silenceMs = 0 } = options;
    this.#options = options;
    this.#files = files;
    this.#book = new AlertBook({ node, repeatMs: settings.repeatMs, silenceMs }, state?.book);
    const hours = new ServiceHours(settings.serviceHours, settings.timeZone);
    this.#queues = sinks.map((sink) => {
      const parts = {
        clock: environment.clock,
        log: environment.log,
        sink,
        hours,
        perHour: settings.perHour,
        summary: (level: AlertLevel, text: string) => this.#summaryMessage(level, text),
        changed: () => this.#save(),
      };
      return new SinkQueue(parts, state?.sinks[sink.name]);
    });
    const known = new Set(sinks.map(({ name }) => name));
    this.#strangers = Object.fromEntries(Object.entries(state?.sinks ?? {}).filter(([name]) => !known.has(name)));
  }

  /**
   * Of this node's own seeing. To be called again as often as one likes while a condition lasts, and with `over` when it
   * is known not to be so: also by rooms that do not remember having raised it, such as after a restart.
   */
  raise(indication: Indication): void {
    this.#take({ ...indication, node: this.#options.node });
  }

  /** Of another node's, as the pulse brought it; shown here, and told only where its node cannot (see `AlertBook`). */
  heard(indication: Indication): void {
    if (indication.node !== this.#options.node) this.#take(indication);
  }

  /** A node is heard again, or no more. */
  heardNodesChanged(): void {
    this.#look();
  }

  /** What this node sees now, for nodes that may have missed it. */
  seenHere(): readonly Indication[] {
    return this.#book.seenHere();
  }

  /** In sight: what is open, what ended or happened lately. Oldest first. */
  get current(): readonly Alert[] {
    return this.#book.alerts;
  }

  /** With all that is over, as far back as is kept, the newest `historyShownMax`; oldest first. */
  async all(): Promise<readonly Alert[]> {
    const past = await this.#files.history(historyShownMax);
    const merged = new Map([...past, ...this.#retired, ...this.#book.alerts].map((alert) => [alert.number, alert]));
    return [...merged.values()].sort((a, b) => a.number - b.number).slice(-historyShownMax);
  }

  get sinks(): readonly SinkStatus[] {
    return this.#queues.map(({ status }) => status);
  }

  get summary(): AlertSummary {
    const open = this.#book.alerts.filter(({ endedAtMs }) => endedAtMs === null);
    return {
      open: open.length,
      unacknowledged: open.filter(({ acknowledged }) => acknowledged === null).length,
      worst: alertLevels.find((level) => open.some((alert) => alert.level === level)) ?? null,
      failingSinks: this.sinks.filter(({ state }) => state === 'failing').map(({ name }) => name),
    };
  }

  /** @throws HoldfastError `E_NOT_FOUND` for a number that is not in sight; nothing is acknowledged then. */
  acknowledge(which: readonly number[] | 'all', by: string, { end = false } = {}): readonly Alert[] {
    const shown = this.#book.alerts;
    const pending = shown.filter(({ acknowledged }) => acknowledged === null).map(({ number }) => number);
    const numbers = which === 'all' ? pending : which;
    const unknown = numbers.find((number) => !shown.some((alert) => alert.number === number));
    if (unknown !== undefined) throw new HoldfastError('E_NOT_FOUND', `there is no alert ${unknown} to acknowledge`);
    const nowMs = this.#options.environment.clock.wallMs();
    const seenHere = this.#book.seenHere();
    const alerts = numbers.map((number) => this.#book.acknowledge(number, by, nowMs, { end }));
    const stillSeen = this.#book.seenHere();
    for (const one of seenHere) {
      const goesOn = stillSeen.some((other) => sameCondition(one, other));
      if (!goesOn) this.#options.spread({ ...one, atMs: nowMs, text: `declared over by ${by}`, over: true });
    }
    this.#look();
    this.#save();
    return alerts.filter((alert) => alert !== null);
  }

  /**
   * A test of each sink, or of one: at the level named, or the worst that the sink takes. Past limit and service hours.
   * @throws HoldfastError `E_NOT_FOUND` for a sink there is not.
   */
  async test(options: {
    readonly sink?: string;
    readonly level?: AlertLevel;
    readonly by: string;
  }): Promise<readonly TestResult[]> {
    const { sink: name, level: asked, by } = options;
    const queues = this.#queues.filter(({ status }) => name === undefined || status.name === name);
    if (name !== undefined && queues.length === 0) {
      const names = this.sinks.map((sink) => sink.name).join(', ');
      throw new HoldfastError('E_NOT_FOUND', `there is no sink ${name}; there are: ${names === '' ? 'none' : names}`);
    }
    const { log } = this.#options.environment;
    log.info(`a test of alerts was asked for by ${by}`);
    return Promise.all(
      queues.map(async (queue): Promise<TestResult> => {
        const { name: sink, levels } = queue.status;
        const level = asked ?? alertLevels.find((one) => levels.includes(one)) ?? 'TEMPORARY';
        if (!queue.takes(level)) return { sink, outcome: 'refused', detail: `it takes ${levels.join(', ')} only` };
        try {
          await queue.test(this.#testMessage(level, `this is a test, asked for by ${by}; nothing is wrong`));
          return { sink, outcome: 'sent', detail: `at level ${level}` };
        } catch (error) {
          return { sink, outcome: 'failed', detail: messageOf(error) };
        }
      }),
    );
  }

  /** Ends telling; what is not told yet is kept for the next run. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#confirmTimer?.cancel();
    await Promise.all(this.#queues.map((queue) => queue.close().catch(() => {})));
    this.#dirty = true;
    await this.#saving;
    await this.#saveAll();
  }

  #take(indication: Indication): void {
    if (this.#closed) return;
    const nowMs = this.#options.environment.clock.wallMs();
    const { change, alert } = this.#book.raise(indication, nowMs);
    if (alert === null || change === 'none') return;
    this.#logChange(change, alert);
    this.#look();
    this.#save();
  }

  #endUnconfirmed(startedAtMs: number): void {
    const ends = this.#book.endUnconfirmed(startedAtMs, this.#options.environment.clock.wallMs());
    for (const end of ends) this.#options.spread(end);
    this.#look();
    this.#save();
  }

  /** Tells what is due, files away what is over, and waits for the next of either. */
  #look(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    const { clock } = this.#options.environment;
    const nowMs = clock.wallMs();
    const others = this.#options.heardNodes();
    const toTell = this.#book.due(nowMs, others);
    for (const { occasion, alert } of toTell) {
      const message = this.#messageOf(occasion, alert);
      for (const queue of this.#queues) queue.offer(message);
    }
    const retired = this.#book.retire(nowMs);
    this.#retired.push(...retired);
    if (toTell.length > 0 || retired.length > 0) this.#save();
    const nextMs = this.#book.nextDueMs(nowMs, others);
    if (nextMs === null) return;
    const waitMs = Math.min(Math.max(nextMs - nowMs, waitMsMin), waitMsMax);
    this.#timer = clock.after(waitMs, () => this.#look());
  }

  #logChange(change: BookChange, alert: Alert): void {
    const { log } = this.#options.environment;
    if (change === 'repeated') return;
    const over = change === 'ended';
    const { number, node, group, code, level, count } = alert;
    const line = `alert ${number}: ${headlineOf({ ...alert, over })}: ${alert.text}`;
    const fields = { alert: number, code, level, node, group, count, over };
    if (over || level === 'TEMPORARY') log.info(line, fields);
    else if (level === 'MODERATE') log.warn(line, fields);
    else log.error(line, fields);
  }

  #messageOf(occasion: Exclude<Occasion, 'summary'>, alert: Alert): AlertMessage {
    const { node, number, component, id, code, level, group, firstAtMs, count, text } = alert;
    const told = { node, number, component, id, code, level, group, count, text, atMs: firstAtMs };
    return { ...this.#heading(), ...told, occasion, over: occasion === 'over' };
  }

  #summaryMessage(level: AlertLevel, text: string): AlertMessage {
    const heading = this.#heading();
    const { sender: node, saidAtMs: atMs } = heading;
    const about = { component: 'node', id: node, node, group: null, atMs } as const;
    return {
      ...heading,
      ...about,
      occasion: 'summary',
      code: 'held-back',
      number: 0,
      level,
      count: 1,
      over: false,
      text,
    };
  }

  #testMessage(level: AlertLevel, text: string): AlertMessage {
    return { ...this.#summaryMessage(level, text), occasion: 'event', code: 'test' };
  }

  #heading(): Pick<AlertMessage, 'schema' | 'messageId' | 'cluster' | 'sender' | 'saidAtMs'> {
    const saidAtMs = this.#options.environment.clock.wallMs();
    const { node: sender, cluster } = this.#options;
    return { schema: 1, messageId: `${sender}-${saidAtMs}-${++this.#messages}`, cluster, sender, saidAtMs };
  }

  /** Soon; changes that come together are written together. */
  #save(): void {
    this.#dirty = true;
    if (this.#closed) return;
    this.#saving ??= this.#saveAll().finally(() => (this.#saving = null));
  }

  async #saveAll(): Promise<void> {
    const { log } = this.#options.environment;
    // First the rest of the turn, which often changes more.
    await Promise.resolve();
    while (this.#dirty) {
      this.#dirty = false;
      const retired = [...this.#retired];
      try {
        await this.#files.append(retired);
        this.#retired = this.#retired.slice(retired.length);
        await this.#files.saveState({ book: this.#book.state, sinks: this.#backlogs() });
        if (this.#fileProblem !== null) log.info('alerts are kept on disk again');
        this.#fileProblem = null;
      } catch (error) {
        if (this.#fileProblem === null) log.error(`alerts are kept in memory only: ${messageOf(error)}`);
        this.#fileProblem = messageOf(error);
        this.#retired = this.#retired.slice(-retiredMax);
      }
    }
  }

  #backlogs(): AlertState['sinks'] {
    const entries = this.#queues.map(({ status, backlog }) => [status.name, backlog] as const);
    return { ...this.#strangers, ...Object.fromEntries(entries) };
  }
}

const sameCondition = (one: Indication, other: Indication): boolean =>
  one.component === other.component && one.id === other.id && one.code === other.code && one.group === other.group;

/** Time for rooms, after a start, to see again what they saw before. */
const confirmMs = 600_000;
/** Of a due moment that has just passed by the wall clock. */
const waitMsMin = 10;
/** The wall clock may be set: looked at anew after so long. */
const waitMsMax = 600_000;
/** While the disk does not take them. */
const retiredMax = 1000;
