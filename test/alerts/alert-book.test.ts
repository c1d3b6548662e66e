import { beforeEach, describe, expect, it } from 'vitest';
import { AlertBook, eventShownMs, gatherMs, patienceMs, returnMs } from '../../src/alerts/alert-book.ts';
import type { Indication } from '../../src/pulse/indication.ts';

const hourMs = 3_600_000;
let book: AlertBook;
let nowMs: number;
/** Nodes that are heard, beside this one, which is `mid`. */
let heard: string[];

beforeEach(() => {
  nowMs = Date.UTC(2026, 10, 28);
  heard = [];
  book = new AlertBook({ node: 'mid', repeatMs: hourMs });
});

const about = (more: Partial<Indication> = {}): Indication => ({
  component: 'link',
  id: 'link east-west',
  code: 'link-down',
  level: 'SERIOUS',
  node: 'mid',
  group: null,
  atMs: nowMs,
  text: 'no connection is up',
  over: false,
  ...more,
});
const raise = (more: Partial<Indication> = {}) => book.raise(about(more), nowMs).change;
const told = () => book.due(nowMs, heard).map(({ occasion, alert }) => `${occasion} ${alert.number} x${alert.count}`);
const pass = (ms: number) => {
  nowMs += ms;
  return told();
};

describe('an alert', () => {
  it('begins, is counted while it lasts, and ends, and is told at its beginning and end (HM-16)', () => {
    expect([raise(), told()]).toEqual(['opened', ['new 1 x1']]);
    expect([raise(), raise(), told()]).toEqual(['repeated', 'repeated', []]);
    nowMs += 1000;
    expect([raise({ over: true, text: 'it is up' }), told()]).toEqual(['ended', ['over 1 x3']]);
    expect(book.alerts).toMatchObject([{ number: 1, text: 'it is up', endedAtMs: nowMs, seenBy: [], count: 3 }]);
    expect([raise({ over: true }), told()]).toEqual(['none', []]);
  });

  it('is one of its own for each component, id, code and group', () => {
    raise();
    raise({ id: 'link east-mid' });
    raise({ group: 'g1' });
    raise({ code: 'network-path-failed' });
    raise({ component: 'network' });
    expect(told()).toHaveLength(5);
    raise({ over: true });
    expect(told()).toEqual(['over 1 x1']);
  });

  it('that goes on is told again at most once in the interval, and only when it was raised again', () => {
    raise();
    expect(told()).toEqual(['new 1 x1']);
    expect(pass(2 * hourMs)).toEqual([]);
    raise();
    expect(told()).toEqual(['again 1 x2']);
    raise();
    expect([pass(hourMs - 1), pass(1), pass(2 * hourMs)]).toEqual([[], ['again 1 x3'], []]);
  });

  it('that comes and goes is one alert, told no more often than the interval allows, its ends told with its beginnings', () => {
    const heardOf: string[] = [];
    for (let minute = 0; minute < 120; minute++) {
      expect(raise()).toBe(minute === 0 ? 'opened' : 'reopened');
      heardOf.push(...told());
      nowMs += 30_000;
      raise({ over: true });
      heardOf.push(...told());
      nowMs += 30_000;
    }
    expect(heardOf).toEqual(['new 1 x1', 'over 1 x1', 'again 1 x61', 'over 1 x61']);
    expect([raise(), told()]).toEqual(['reopened', ['again 1 x121']]);
  });

  it('that stays after it came back within the interval is told when that has passed', () => {
    raise();
    told();
    raise({ over: true });
    told();
    nowMs += 1000;
    raise();
    expect(told()).toEqual([]);
    expect(book.nextDueMs(nowMs, heard)).toBe(nowMs - 1000 + hourMs);
    expect(pass(hourMs - 1000)).toEqual(['again 1 x2']);
  });

  it('that gets worse is told at once, and as acknowledged no more', () => {
    raise({ level: 'MODERATE' });
    told();
    book.acknowledge(1, 'ada', nowMs, { end: false });
    expect([raise(), told()]).toEqual(['worse', ['worse 1 x2']]);
    expect(book.alerts[0]?.acknowledged).toBeNull();
    expect([raise({ level: 'MODERATE' }), told()]).toEqual(['repeated', []]);
  });

  it('that is acknowledged is not told again, but its end is', () => {
    raise();
    told();
    expect(book.acknowledge(1, 'ada', nowMs, { end: false })).toMatchObject({ acknowledged: { by: 'ada' } });
    expect(book.acknowledge(2, 'ada', nowMs, { end: false })).toBeNull();
    raise();
    expect(pass(2 * hourMs)).toEqual([]);
    raise({ over: true });
    expect(told()).toEqual(['over 1 x2']);
  });

  it('may be declared over by hand', () => {
    raise();
    told();
    book.acknowledge(1, 'ada', nowMs, { end: true });
    expect(told()).toEqual(['over 1 x1']);
    expect(book.alerts[0]).toMatchObject({
      endedAtMs: nowMs,
      text: 'declared over by ada; it was: no connection is up',
    });
  });

  it('goes to the history when it is over and its interval has passed', () => {
    raise();
    told();
    raise({ over: true });
    expect(book.retire(nowMs + hourMs)).toEqual([]);
    told();
    expect(book.retire(nowMs + hourMs - 1)).toEqual([]);
    expect(book.retire(nowMs + hourMs)).toMatchObject([{ number: 1 }]);
    expect([book.alerts, book.nextDueMs(nowMs, heard)]).toEqual([[], null]);
  });

  it('is let go of when there are too many: the ended, then the least and oldest', () => {
    book = new AlertBook({ node: 'mid', repeatMs: hourMs, alertsMax: 2 });
    raise({ id: 'a', level: 'SYSTEM DOWN' });
    raise({ id: 'b', level: 'MODERATE' });
    raise({ id: 'c' });
    raise({ id: 'd' });
    raise({ id: 'd', over: true });
    expect(book.retire(nowMs).map(({ id }) => id)).toEqual(['d', 'b']);
  });

  it('is not kept waiting by a wall clock that was set back', () => {
    raise();
    told();
    raise();
    nowMs -= 365 * 24 * hourMs;
    expect(told()).toEqual(['again 1 x2']);
  });
});

describe('an event', () => {
  it('is over as it happens, told each time, and in sight for a day or until acknowledged (AS-11)', () => {
    const event = {
      component: 'group',
      id: 'group g1',
      group: 'g1',
      code: 'switch-over-succeeded',
      level: 'MODERATE',
    } as const;
    expect([raise(event), told()]).toEqual(['event', ['event 1 x1']]);
    nowMs += 60_000;
    expect([raise(event), told(), raise({ ...event, over: true }), told()]).toEqual([
      'event',
      ['event 2 x1'],
      'none',
      [],
    ]);
    expect(book.retire(nowMs)).toEqual([]);
    book.acknowledge(2, 'ada', nowMs, { end: false });
    expect(book.retire(nowMs)).toMatchObject([{ number: 2 }]);
    expect(book.retire(nowMs - 60_000 + eventShownMs)).toMatchObject([{ number: 1 }]);
  });

  it('of two nodes at the same time is one', () => {
    heard = ['east', 'west'];
    const event = { component: 'group', id: 'group g1', code: 'take-over-succeeded', level: 'SERIOUS' } as const;
    raise({ ...event, node: 'west' });
    nowMs += 500;
    expect(raise(event)).toBe('none');
    nowMs += 60_000;
    expect(raise(event)).toBe('event');
  });
});

describe('of nodes that hear each other', () => {
  it('the one that sees it tells it, after the others could say that they see it, too', () => {
    heard = ['east', 'west'];
    raise();
    expect([told(), book.nextDueMs(nowMs, heard)]).toEqual([[], nowMs + gatherMs]);
    expect(pass(gatherMs)).toEqual(['new 1 x1']);
    expect(raise({ node: 'west', atMs: nowMs })).toBe('repeated');
    expect(pass(2 * hourMs)).toEqual(['again 1 x2']);
  });

  it('the first by name of those that see it tells it', () => {
    heard = ['east', 'west'];
    raise({ node: 'west' });
    raise();
    expect(pass(gatherMs)).toEqual(['new 1 x2']);
    raise({ id: 'x' });
    raise({ id: 'x', node: 'east' });
    expect([pass(gatherMs), pass(patienceMs), pass(2 * hourMs)]).toEqual([[], [], []]);
  });

  it("another's is shown and not told, nor is its end", () => {
    heard = ['west'];
    raise({ node: 'west' });
    expect([told(), pass(gatherMs), pass(patienceMs)]).toEqual([[], [], []]);
    expect(book.alerts).toHaveLength(1);
    heard = [];
    expect(told()).toEqual([]);
    heard = ['west'];
    expect([raise({ node: 'west', over: true, atMs: nowMs }), told()]).toEqual(['ended', []]);
  });

  it("another's is told where it falls silent before it can have told it, by the first of all that live", () => {
    heard = ['west', 'zurich'];
    raise({ node: 'west' });
    expect(pass(gatherMs)).toEqual([]);
    heard = ['zurich'];
    expect(told()).toEqual(['new 1 x1']);
    raise({ id: 'x', node: 'west' });
    heard = ['east'];
    expect(pass(gatherMs)).toEqual([]);
  });

  it("another's first word is not told before it can be known that the other is heard", () => {
    raise({ node: 'west' });
    expect([told(), book.nextDueMs(nowMs, heard)]).toEqual([[], nowMs + gatherMs]);
    heard = ['west'];
    expect([pass(gatherMs), pass(patienceMs)]).toEqual([[], []]);
  });

  it('the end of what a dead node told is told by the first of those that live', () => {
    heard = ['west'];
    raise({ node: 'west' });
    pass(patienceMs);
    heard = [];
    book.acknowledge(1, 'ada', nowMs, { end: true });
    expect(told()).toEqual(['over 1 x1']);
  });

  it('it lasts until none sees it any more', () => {
    heard = ['west'];
    raise();
    raise({ node: 'west' });
    pass(gatherMs);
    expect([raise({ over: true }), told()]).toEqual(['none', []]);
    expect([raise({ node: 'west', over: true }), told()]).toEqual(['ended', ['over 1 x2']]);
  });

  it('the same word once more, as heartbeats repeat it, counts once', () => {
    raise({ node: 'west', atMs: 5 });
    expect([raise({ node: 'west', atMs: 5 }), raise({ node: 'west', atMs: 6 })]).toEqual(['none', 'repeated']);
  });

  it('what this node sees itself can be told to those that missed it', () => {
    raise();
    raise({ id: 'x', node: 'west' });
    raise({ id: 'y' });
    raise({ id: 'y', over: true });
    expect(book.seenHere()).toEqual([about()]);
  });
});

describe('of a dead node (HM-16)', () => {
  const silenceMs = 5000;
  const silent = {
    component: 'node',
    id: 'west',
    code: 'node-silent',
    level: 'SYSTEM DOWN',
  } as const;
  const behind = { component: 'volume', id: 'g1 at west', code: 'copy-behind', level: 'MODERATE' } as const;
  const codesTold = () => book.due(nowMs, heard).map(({ occasion, alert }) => `${occasion} ${alert.code}`);

  beforeEach(() => {
    book = new AlertBook({ node: 'mid', repeatMs: hourMs, silenceMs });
    heard = ['west'];
  });

  it('nothing is told but that it is silent, though its link is seen to be down before; what has mended by its return never is', () => {
    raise({ about: 'west' });
    nowMs += silenceMs + gatherMs - 1;
    expect(codesTold()).toEqual([]);
    heard = [];
    raise(silent);
    expect(codesTold()).toEqual(['new node-silent']);
    raise({ ...behind, about: 'west' });
    nowMs += 10 * hourMs;
    raise({ about: 'west', level: 'SYSTEM DOWN' });
    expect([codesTold(), book.alerts.length]).toEqual([[], 3]);
    heard = ['west'];
    raise({ ...silent, over: true });
    raise({ about: 'west', over: true });
    expect(codesTold()).toEqual(['over node-silent']);
    nowMs += returnMs - 1;
    expect([codesTold(), book.nextDueMs(nowMs, heard)]).toEqual([[], nowMs + 1]);
    nowMs += 1;
    expect(codesTold()).toEqual(['new copy-behind']);
  });

  it('what was told before is not told again before its return; its end is', () => {
    raise({ about: 'west' });
    nowMs += silenceMs + gatherMs;
    expect(codesTold()).toEqual(['new link-down']);
    raise(silent);
    nowMs += hourMs;
    expect(codesTold()).toEqual(['new node-silent']);
    raise({ about: 'west', level: 'SYSTEM DOWN' });
    expect(codesTold()).toEqual([]);
    raise({ about: 'west', over: true });
    expect(codesTold()).toEqual(['over link-down']);
  });

  it('what is about another node is told, as is what is about none', () => {
    raise(silent);
    raise({ about: 'north' });
    raise({ id: 'vol1', component: 'volume', code: 'volume-failed' });
    nowMs += silenceMs + gatherMs;
    expect(codesTold()).toEqual(['new node-silent', 'new link-down', 'new volume-failed']);
  });

  it('a link is about each of its ends, whoever said so first', () => {
    raise({ node: 'west', about: 'mid', atMs: nowMs - 1 });
    raise({ about: 'west' });
    raise(silent);
    nowMs += silenceMs + gatherMs;
    expect(codesTold()).toEqual(['new node-silent']);
  });

  it('without a pulse nobody would say that it is silent, and nothing waits for that', () => {
    book = new AlertBook({ node: 'mid', repeatMs: hourMs });
    raise({ about: 'west' });
    nowMs += gatherMs;
    expect(codesTold()).toEqual(['new link-down']);
  });
});

it('what was seen here before a restart, and is not seen again, is over', () => {
  raise();
  raise({ id: 'x' });
  raise({ id: 'y', node: 'west' });
  raise({ id: 'z' });
  raise({ id: 'z', node: 'west' });
  told();
  const startedAtMs = (nowMs += 1000);
  raise();
  expect(book.endUnconfirmed(startedAtMs, nowMs).map(({ id }) => id)).toEqual(['x', 'z']);
  expect(book.alerts.filter(({ endedAtMs }) => endedAtMs === null).map(({ id, seenBy }) => [id, seenBy])).toEqual([
    ['link east-west', ['mid']],
    ['y', ['west']],
    ['z', ['west']],
  ]);
  expect(told()).toEqual(['over 2 x1']);
});

it('a book restored goes on as if nothing had happened', () => {
  raise();
  told();
  raise({ id: 'x' });
  book = new AlertBook({ node: 'mid', repeatMs: hourMs }, book.state);
  expect(told()).toEqual(['new 2 x1']);
  expect([raise(), told(), raise({ over: true }), told()]).toEqual(['repeated', [], 'ended', ['over 1 x2']]);
  raise({ id: 'z' });
  expect(told()).toEqual(['new 3 x1']);
});
