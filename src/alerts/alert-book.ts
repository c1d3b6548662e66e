/**
 * What is wrong, as one node knows it: every condition from its beginning to its end, and which of it has been told to
 * people by whom. Pure: indications and the time go in, what is to be told comes out; keeping it on disk and telling it
 * is left to `Alerts`.
 *
 * A condition is component, id, code and group. Several nodes may see the same one; it lasts until none of them does.
 *
 * Who tells it, where nodes hear each other: the first by name of the living nodes that see it; where none of those
 * lives, the first by name of all that live. So that two nodes that see the same come to the same answer, a beginning
 * waits for `gatherMs`. What another node should have told for `patienceMs` counts as told by it: should that node die
 * later, its alerts are not told anew.
 *
 * One dead node is one alert told. What may have come of a node's death — its links, its copies, the ways by which it was
 * heard: `about` names it — waits until that node would be known to be silent, is kept and not told while it is, and is
 * told when `returnMs` after its return it still is so.
 *
 * What is told of one condition: its beginning and its end; then, while it is open or flaps, no more than one beginning
 * each `repeatMs`, and none while it is acknowledged. A rise of its level is told at once.
 */
import type { Indication } from '../pulse/indication.ts';
import type { Alert, Occasion } from './alert.ts';
import { codeTraits, rankOf } from './codes.ts';

export interface BookOptions {
  readonly node: string;
  readonly repeatMs: number;
  /** A node that has died is known to be silent after so long; 0: never, there is no pulse. */
  readonly silenceMs?: number;
  /** Open and lately ended alerts that are kept; beyond, the least of them go to the history. */
  readonly alertsMax?: number;
}

/** A beginning waits so long for other nodes to see the same; not at all where no other node is heard. */
export const gatherMs = 2000;
/** So long a node that was silent has to be well again: its links come up, its copies catch up. */
export const returnMs = 30_000;
/** So long it is looked at whether who should tell an alert lives. */
export const patienceMs = 60_000;
/** An event stays in sight for so long, unless acknowledged. */
export const eventShownMs = 24 * 3_600_000;
/** The same event of two nodes within this is one. */
const sameEventMs = 10_000;
const alertsMaxDefault = 1000;

/** Of an alert, beside what is shown: what people were told of it, as far as this node knows. */
export interface Telling {
  readonly by: string;
  /** When its beginning was told last. */
  readonly atMs: number;
  readonly rank: number;
  /** `count` at that time. */
  readonly count: number;
  /** The last told was that it is so; false: that it is over. */
  readonly open: boolean;
}

export interface BookEntry extends Alert {
  /** Of the present spell; a condition that flaps has several. */
  readonly openedAtMs: number;
  /** Nodes without which it cannot be well, as those that see it say. */
  readonly about: readonly string[];
  /** When this node raised it last; 0: never. */
  readonly raisedHereAtMs: number;
  readonly told: Telling | null;
}

export interface BookState {
  readonly nextNumber: number;
  readonly entries: readonly BookEntry[];
}

/** What became of an indication. */
export type BookChange = 'opened' | 'reopened' | 'worse' | 'repeated' | 'ended' | 'event' | 'none';

export interface ToTell {
  readonly occasion: Exclude<Occasion, 'summary'>;
  readonly alert: Alert;
}

interface Raised {
  readonly change: BookChange;
  readonly entry: BookEntry | null;
}

/** A beginning that people are to hear of, and from when on. */
interface Owed {
  readonly occasion: ToTell['occasion'];
  readonly atMs: number;
}

export class AlertBook {
  readonly #node: string;
  readonly #repeatMs: number;
  readonly #silenceMs: number;
  readonly #alertsMax: number;
  /** By number, which is the order of their beginning. */
  readonly #entries = new Map<number, BookEntry>();
  #nextNumber = 1;

  constructor(options: BookOptions, state: BookState | null = null) {
    this.#node = options.node;
    this.#repeatMs = options.repeatMs;
    this.#silenceMs = options.silenceMs ?? 0;
    this.#alertsMax = options.alertsMax ?? alertsMaxDefault;
    for (const entry of state?.entries ?? []) this.#entries.set(entry.number, entry);
    this.#nextNumber = Math.max(state?.nextNumber ?? 1, ...[...this.#entries.keys()].map((number) => number + 1));
  }

  /** Oldest first. */
  get alerts(): readonly Alert[] {
    return [...this.#entries.values()].map(alertOf);
  }

  get state(): BookState {
    return { nextNumber: this.#nextNumber, entries: [...this.#entries.values()] };
  }

  /**
   * `indication.node` is who saw it. Said again by another node with the same time is the same word once more, as a
   * heartbeat repeats it. An `over` of what is not open is no news.
   */
  raise(indication: Indication, nowMs: number): { change: BookChange; alert: Alert | null } {
    const { change, entry } = this.#raised(indication, nowMs);
    return { change, alert: entry && alertOf(entry) };
  }

  #raised(indication: Indication, nowMs: number): Raised {
    const { nature } = codeTraits[indication.code];
    const entry = this.#find(indication);
    if (nature === 'event') return this.#event(indication, entry, nowMs);
    if (indication.over) return this.#over(indication, entry, nowMs);
    if (entry === null) return { change: 'opened', entry: this.#open(indication, nowMs) };
    return this.#again(indication, entry, nowMs);
  }

  /** What this node has to tell now; it counts as told. `others` are the nodes it hears. */
  due(nowMs: number, others: readonly string[]): ToTell[] {
    const living = [this.#node, ...others];
    return [...this.#entries.values()].flatMap((entry) => {
      const occasion = this.#dueOf(entry, nowMs, living);
      return occasion === null ? [] : [{ occasion, alert: alertOf(entry) }];
    });
  }

  /** When `due` or `retire` may next have something to do if nothing is raised until then; null: never. */
  nextDueMs(nowMs: number, others: readonly string[]): number | null {
    const living = [this.#node, ...others];
    const moments = [...this.#entries.values()].flatMap((entry) => {
      const owed = this.#owed(entry, nowMs, living);
      // What is owed already is another node's to tell, as long as it lives.
      const tellAtMs = owed && (owed.atMs > nowMs ? owed.atMs : after(entry.openedAtMs, patienceMs, nowMs));
      return [tellAtMs, this.#retireAtMs(entry)].filter((atMs) => atMs !== null);
    });
    return moments.length === 0 ? null : Math.min(...moments);
  }

  /** Takes out what is over and need not be remembered any more. */
  retire(nowMs: number): Alert[] {
    const gone = [...this.#entries.values()].filter((entry) => {
      const atMs = this.#retireAtMs(entry);
      return atMs !== null && atMs <= nowMs;
    });
    for (const { number } of gone) this.#entries.delete(number);
    // Those that have ended first, then the least; of equals the oldest.
    const excess = this.#entries.size - this.#alertsMax;
    if (excess > 0) {
      const least = [...this.#entries.values()].sort(
        (a, b) =>
          Number(a.endedAtMs === null) - Number(b.endedAtMs === null) ||
          rankOf(b.level) - rankOf(a.level) ||
          a.number - b.number,
      );
      for (const entry of least.slice(0, excess)) {
        this.#entries.delete(entry.number);
        gone.push(entry);
      }
    }
    return gone.map(alertOf);
  }

  /**
   * Somebody sees to it: it is not told again before it has ended. `end`: it is over, though no node will say so, such
   * as for what has been taken out of the cluster. Null: there is no such alert in the book.
   */
  acknowledge(number: number, by: string, nowMs: number, options: { readonly end: boolean }): Alert | null {
    const entry = this.#entries.get(number);
    if (entry === undefined) return null;
    const ended = options.end && entry.endedAtMs === null;
    return alertOf(
      this.#set({
        ...entry,
        acknowledged: { by, atMs: nowMs },
        ...(ended ? { endedAtMs: nowMs, seenBy: [], text: `declared over by ${by}; it was: ${entry.text}` } : {}),
      }),
    );
  }

  /**
   * Of conditions that this node saw before it was restarted and has not raised again since: whoever raised them would
   * have done so, were it still so. Gives their ends, for other nodes.
   */
  endUnconfirmed(startedAtMs: number, nowMs: number): Indication[] {
    return this.seenHere().flatMap((indication) => {
      const entry = this.#find(indication);
      if (entry === null || entry.raisedHereAtMs >= startedAtMs) return [];
      const end = {
        ...indication,
        atMs: nowMs,
        text: `not seen again since a restart; it was: ${entry.text}`,
        over: true,
      };
      this.raise(end, nowMs);
      return [end];
    });
  }

  /** What this node itself sees: to be told to nodes that may not have heard it. */
  seenHere(): Indication[] {
    return [...this.#entries.values()]
      .filter(({ seenBy }) => seenBy.includes(this.#node))
      .map(({ component, id, code, level, group, openedAtMs, text }) => {
        return { component, id, code, level, node: this.#node, group, atMs: openedAtMs, text, over: false };
      });
  }

  #find({ component, id, code, group }: Indication): BookEntry | null {
    let found: BookEntry | null = null;
    for (const entry of this.#entries.values()) {
      const same = entry.code === code && entry.id === id && entry.component === component && entry.group === group;
      if (same) found = entry;
    }
    return found;
  }

  #open(indication: Indication, nowMs: number): BookEntry {
    const { component, id, code, level, node, group, about, atMs, text } = indication;
    return this.#set({
      number: this.#nextNumber++,
      component,
      id,
      code,
      level,
      node,
      group,
      text,
      firstAtMs: atMs,
      lastAtMs: atMs,
      count: 1,
      seenBy: [node],
      endedAtMs: null,
      acknowledged: null,
      about: about === undefined ? [] : [about],
      openedAtMs: nowMs,
      raisedHereAtMs: node === this.#node ? nowMs : 0,
      told: null,
    });
  }

  #again(indication: Indication, entry: BookEntry, nowMs: number): Raised {
    const { node, level, text, atMs, about } = indication;
    const isOpen = entry.endedAtMs === null;
    const saysTheSame = isOpen && entry.seenBy.includes(node) && level === entry.level;
    if (saysTheSame && node !== this.#node && atMs <= entry.lastAtMs) return { change: 'none', entry };
    const isWorse = rankOf(level) < rankOf(entry.level);
    const changed = this.#set({
      ...entry,
      level,
      text,
      lastAtMs: Math.max(atMs, entry.lastAtMs),
      count: entry.count + 1,
      seenBy: [...new Set([...entry.seenBy, node])].sort(),
      endedAtMs: null,
      acknowledged: isOpen && !isWorse ? entry.acknowledged : null,
      about: about === undefined ? entry.about : [...new Set([...entry.about, about])],
      openedAtMs: isOpen ? entry.openedAtMs : nowMs,
      raisedHereAtMs: node === this.#node ? nowMs : entry.raisedHereAtMs,
    });
    return { change: !isOpen ? 'reopened' : isWorse ? 'worse' : 'repeated', entry: changed };
  }

  #over(indication: Indication, entry: BookEntry | null, nowMs: number): Raised {
    if (entry === null || !entry.seenBy.includes(indication.node)) return { change: 'none', entry };
    const seenBy = entry.seenBy.filter((node) => node !== indication.node);
    if (seenBy.length > 0) return { change: 'none', entry: this.#set({ ...entry, seenBy }) };
    return { change: 'ended', entry: this.#set({ ...entry, seenBy, endedAtMs: nowMs, text: indication.text }) };
  }

  #event(indication: Indication, last: BookEntry | null, nowMs: number): Raised {
    // An end of what has none.
    if (indication.over) return { change: 'none', entry: last };
    const isRepeatedWord = last !== null && last.node === indication.node && last.firstAtMs === indication.atMs;
    const isOthersWord =
      last !== null && last.node !== indication.node && Math.abs(last.firstAtMs - indication.atMs) < sameEventMs;
    if (isRepeatedWord || isOthersWord) return { change: 'none', entry: last };
    const entry = this.#open(indication, nowMs);
    return { change: 'event', entry: this.#set({ ...entry, seenBy: [], endedAtMs: indication.atMs }) };
  }

  #owed(entry: BookEntry, nowMs: number, living: readonly string[]): Owed | null {
    const { told } = entry;
    const isEvent = codeTraits[entry.code].nature === 'event';
    if (entry.endedAtMs !== null && !isEvent) return null;
    const gatheredAtMs = this.#newsAtMs(entry, nowMs, living);
    if (gatheredAtMs === null) return null;
    if (told === null) return { occasion: isEvent ? 'event' : 'new', atMs: gatheredAtMs };
    if (isEvent) return null;
    const isWorse = rankOf(entry.level) < told.rank;
    if (told.open && isWorse) return { occasion: 'worse', atMs: entry.about.length === 0 ? nowMs : gatheredAtMs };
    if (told.open && (entry.count === told.count || entry.acknowledged !== null)) return null;
    const repeatedAtMs = isWorse ? gatheredAtMs : after(told.atMs, this.#repeatMs, nowMs);
    return { occasion: 'again', atMs: Math.max(gatheredAtMs, repeatedAtMs) };
  }

  /** From when on a beginning is news; null: not before a node returns that it is about. */
  #newsAtMs({ node, about, openedAtMs }: BookEntry, nowMs: number, living: readonly string[]): number | null {
    // Another's word comes before it is known that its node is heard, such as after a start: that one may have told it.
    const isAlone = living.length === 1 && node === this.#node;
    const gatheredAtMs = !isAlone ? after(openedAtMs, gatherMs, nowMs) : nowMs;
    if (about.length === 0 || this.#silenceMs === 0) return gatheredAtMs;
    const silences = [...this.#entries.values()].filter(
      ({ code, id }) => code === 'node-silent' && about.includes(id),
    );
    if (silences.some(({ endedAtMs }) => endedAtMs === null)) return null;
    const returnedAtMs = silences.map(({ endedAtMs }) => after(endedAtMs ?? 0, returnMs, nowMs));
    return Math.max(gatheredAtMs, after(openedAtMs, this.#silenceMs + gatherMs, nowMs), ...returnedAtMs);
  }

  #dueOf(entry: BookEntry, nowMs: number, living: readonly string[]): ToTell['occasion'] | null {
    const { told } = entry;
    const hasEnded = entry.endedAtMs !== null && codeTraits[entry.code].nature === 'condition';
    if (hasEnded) {
      if (told?.open !== true) return null;
      this.#set({ ...entry, told: { ...told, open: false } });
      return (living.includes(told.by) ? told.by : first(living)) === this.#node ? 'over' : null;
    }
    const owed = this.#owed(entry, nowMs, living);
    if (owed === null || owed.atMs > nowMs) return null;
    const goesOn = told?.open === true;
    const seers = entry.seenBy.length > 0 ? entry.seenBy : [entry.node];
    const nearest =
      goesOn && living.includes(told.by) ? told.by : first(seers.filter((node) => living.includes(node)));
    const teller = nearest ?? first(living) ?? this.#node;
    const isHere = teller === this.#node;
    if (isHere || goesOn || nowMs >= after(entry.openedAtMs, patienceMs, nowMs)) {
      const { count, level } = entry;
      this.#set({ ...entry, told: { by: teller, atMs: nowMs, rank: rankOf(level), count, open: true } });
    }
    return isHere ? owed.occasion : null;
  }

  #retireAtMs({ code, acknowledged, firstAtMs, endedAtMs, told }: BookEntry): number | null {
    if (endedAtMs === null) return null;
    if (codeTraits[code].nature === 'event') {
      if (told === null) return null;
      return acknowledged === null ? firstAtMs + eventShownMs : acknowledged.atMs;
    }
    return told?.open === true ? null : Math.max(endedAtMs, told?.atMs ?? 0) + this.#repeatMs;
  }

  #set(entry: BookEntry): BookEntry {
    this.#entries.set(entry.number, entry);
    return entry;
  }
}

/** A wall clock that was set back must not keep anything waiting: a moment in the future has passed. */
const after = (sinceMs: number, waitMs: number, nowMs: number): number =>
  nowMs < sinceMs ? nowMs : sinceMs + waitMs;

function first(names: readonly string[]): string | undefined {
  return [...names].sort()[0];
}

function alertOf({ about: _, openedAtMs: __, raisedHereAtMs: ___, told: ____, ...alert }: BookEntry): Alert {
  return alert;
}
