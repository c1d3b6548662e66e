import { beforeEach, describe, expect, it } from 'vitest';
import type { AlertMessage } from '../../src/alerts/alert.ts';
import { AlertFiles } from '../../src/alerts/alert-files.ts';
import { Alerts, defaultAlertSettings, type AlertSettings } from '../../src/alerts/alerts.ts';
import { parseHourSpans } from '../../src/alerts/service-hours.ts';
import type { AlertSink } from '../../src/alerts/sink.ts';
import { queueLengthMax } from '../../src/alerts/sink-queue.ts';
import type { AlertLevel, Indication } from '../../src/pulse/indication.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';

const hourMs = 3_600_000;
const folder = '/data/alerts';

class FakeSink implements AlertSink {
  readonly kind = 'fake';
  readonly name: string;
  readonly levels: readonly AlertLevel[];
  readonly messages: AlertMessage[] = [];
  /** What it answers: `silence` is no answer, null a good one. */
  problem: string | null = null;
  tries = 0;

  constructor(name: string, levels: readonly AlertLevel[] = ['SYSTEM DOWN', 'SERIOUS', 'MODERATE']) {
    this.name = name;
    this.levels = levels;
  }

  async send(message: AlertMessage): Promise<void> {
    this.tries++;
    if (this.problem === 'silence') return new Promise(() => {});
    if (this.problem !== null) throw new Error(this.problem);
    this.messages.push(message);
  }

  async close(): Promise<void> {}

  /** Occasion and id of each message. */
  get told(): string[] {
    return this.messages.map(({ occasion, id }) => `${occasion} ${id}`);
  }
}

let world: World;
let process: SimProcess;
let lines: string[];
let sink: FakeSink;
let alerts: Alerts;
let spread: Indication[];

const open = (sinks: readonly AlertSink[], settings: Partial<AlertSettings> = {}, heard: string[] = []) =>
  world.settle(
    Alerts.open({
      environment: process.environment,
      node: 'east',
      cluster: 'demo',
      folder,
      settings: { ...defaultAlertSettings, ...settings },
      sinks,
      heardNodes: () => heard,
      spread: (indication) => spread.push(indication),
    }),
  );

beforeEach(async () => {
  lines = [];
  spread = [];
  world = new World({ seed: 'alerts', log: ({ level, message }) => lines.push(`${level} ${message}`) });
  process = world.machine('east').start('a');
  sink = new FakeSink('ops');
  alerts = await open([sink]);
});

const raise = (id: string, more: Partial<Indication> = {}): void =>
  alerts.raise({
    component: 'disk',
    id,
    code: 'disk-failed',
    level: 'SERIOUS',
    node: 'east',
    group: 'g1',
    atMs: process.environment.clock.wallMs(),
    text: 'it failed',
    over: false,
    ...more,
  });

/** To this moment of the wall clock. */
const setClock = (text: string): void => {
  const { machine } = process;
  machine.stepWallClock(Date.parse(text) - machine.wallMs());
};

describe('levels (HM-16)', () => {
  it('each sink tells those it takes; all are in the log, TEMPORARY there alone', async () => {
    const pager = new FakeSink('pager', ['SYSTEM DOWN']);
    alerts = await open([sink, pager]);
    const levels: AlertLevel[] = ['SYSTEM DOWN', 'SERIOUS', 'MODERATE', 'TEMPORARY'];
    for (const level of levels) raise(level, { level });
    await world.run(1000);
    expect(sink.told).toEqual(['new SYSTEM DOWN', 'new SERIOUS', 'new MODERATE']);
    expect(pager.told).toEqual(['new SYSTEM DOWN']);
    expect(lines).toEqual([
      'error alert 1: SYSTEM DOWN disk-failed: disk SYSTEM DOWN: it failed',
      'error alert 2: SERIOUS disk-failed: disk SERIOUS: it failed',
      'warn alert 3: MODERATE disk-failed: disk MODERATE: it failed',
      'info alert 4: TEMPORARY disk-failed: disk TEMPORARY: it failed',
    ]);
  });

  it('the two highest go out at any hour, MODERATE when service hours begin', async () => {
    setClock('2026-11-28T12:00Z');
    const serviceHours = parseHourSpans('mon-fri 08:00-18:00') ?? [];
    alerts = await open([sink], { serviceHours, timeZone: 'Europe/Berlin' });
    raise('a', { level: 'MODERATE' });
    raise('b', { level: 'SERIOUS' });
    await world.run(1000);
    expect(sink.told).toEqual(['new b']);
    expect(alerts.sinks).toMatchObject([{ state: 'ok', queued: 1, nextTryAtMs: Date.parse('2026-11-30T07:00Z') }]);
    await world.run(43 * hourMs - 3000);
    expect(sink.told).toEqual(['new b']);
    await world.run(5000);
    expect(sink.told).toEqual(['new b', 'new a']);
  });

  it('of what came and went outside of service hours only the end is told', async () => {
    setClock('2026-11-28T12:00Z');
    alerts = await open([sink], { serviceHours: parseHourSpans('mon 08:00-18:00') ?? [] });
    raise('a', { level: 'MODERATE' });
    await world.run(1000);
    raise('a', { level: 'MODERATE', over: true });
    await world.run(48 * hourMs);
    expect(sink.told).toEqual(['over a']);
  });
});

describe('limits', () => {
  it('a sink tells so many an hour and sums the rest up; SYSTEM DOWN is always told', async () => {
    alerts = await open([sink], { perHour: 3 });
    for (let index = 1; index <= 8; index++) raise(`d${index}`);
    raise('down', { level: 'SYSTEM DOWN' });
    await world.run(1000);
    expect(sink.told).toEqual(['new d1', 'new down', 'new d2']);
    expect(alerts.sinks).toMatchObject([{ heldBack: 6 }]);
    await world.run(hourMs);
    expect(sink.messages.slice(3)).toMatchObject([
      {
        occasion: 'summary',
        code: 'held-back',
        level: 'SERIOUS',
        text: expect.stringMatching(/^6 more alerts were held back.*disk d3;.*; …$/),
      },
    ]);
    raise('later');
    await world.run(1000);
    expect(sink.told.at(-1)).toBe('new later');
  });

  it('a queue has a maximum, and lets the least go', async () => {
    sink.problem = 'no route';
    alerts = await open([sink], { perHour: 1000 });
    raise('moderate', { level: 'MODERATE' });
    for (let index = 0; index < queueLengthMax + 1; index++) raise(`d${index}`);
    await world.run(500);
    expect(alerts.sinks).toMatchObject([{ queued: queueLengthMax, heldBack: 2 }]);
    sink.problem = null;
    await world.run(5000);
    expect(sink.told).toHaveLength(queueLengthMax + 1);
    expect(sink.messages.find(({ occasion }) => occasion === 'summary')?.text).toMatch(/^2 more alerts.*moderate/);
  });
});

describe('a sink that fails', () => {
  it('is tried again with growing pauses, is shown as failing, and holds up no other', async () => {
    const other = new FakeSink('other');
    alerts = await open([sink, other]);
    sink.problem = 'no route';
    raise('a');
    await world.run(500);
    expect(other.told).toEqual(['new a']);
    expect(alerts.sinks).toMatchObject([
      { name: 'ops', state: 'failing', problem: 'no route', queued: 1 },
      { name: 'other', state: 'ok', sent: 1, queued: 0 },
    ]);
    expect(alerts.summary.failingSinks).toEqual(['ops']);
    await world.run(62_500);
    expect(sink.tries).toBe(6);
    sink.problem = null;
    await world.run(65_000);
    expect(sink.told).toEqual(['new a']);
    expect(alerts.sinks[0]).toMatchObject({ state: 'ok', problem: null, queued: 0 });
    expect(lines.filter((line) => line.includes('by ops'))).toEqual([
      'error alerts cannot go out by ops: no route',
      'info alerts go out by ops again',
    ]);
  });

  it('by never answering, fails', async () => {
    sink.problem = 'silence';
    raise('a');
    await world.run(60_500);
    expect(alerts.sinks).toMatchObject([{ state: 'failing', problem: 'no answer after 1 min' }]);
  });
});

describe('after a restart', () => {
  it('what was open is open and not told anew, and its end is told', async () => {
    raise('a');
    await world.run(5000);
    process.crash();
    process = world.machine('east').start('a');
    const next = new FakeSink('ops');
    alerts = await open([next]);
    expect(alerts.current).toMatchObject([{ number: 1, id: 'a', endedAtMs: null }]);
    raise('a');
    raise('b');
    raise('a', { over: true });
    await world.run(1000);
    expect(next.told).toEqual(['new b', 'over a']);
    expect(alerts.current.map(({ number }) => number)).toEqual([1, 2]);
  });

  it('what is not seen again is over, which other nodes are told, too', async () => {
    raise('a');
    raise('b');
    await world.run(5000);
    process.crash();
    process = world.machine('east').start('a');
    const next = new FakeSink('ops');
    alerts = await open([next]);
    await world.run(300_000);
    raise('b');
    await world.run(299_000);
    expect(next.told).toEqual([]);
    await world.run(2000);
    expect(next.told).toEqual(['over a']);
    expect(spread).toMatchObject([{ id: 'a', over: true, node: 'east' }]);
  });

  it('what waited is told, once, even of a machine that lost power', async () => {
    sink.problem = 'no route';
    raise('a');
    await world.run(5000);
    await world.settle(alerts.close());
    process.machine.powerLoss();
    process.machine.powerOn();
    process = world.machine('east').start('a');
    const next = new FakeSink('ops');
    alerts = await open([next]);
    await world.run(1000);
    expect(next.told).toEqual(['new a']);
  });

  it('what cannot be read is put aside, said, and begun anew', async () => {
    await world.settle(process.environment.files.makeFolder(folder));
    await world.settle(
      process.environment.files.write(`${folder}/state.json`, Buffer.from('{"schema":1}'), { sync: true }),
    );
    alerts = await open([sink]);
    expect(lines).toEqual([expect.stringContaining('error alerts of the last run are not known')]);
    raise('a');
    await world.run(1000);
    expect(await world.settle(process.environment.files.list(folder))).toContain('state.json.unreadable');
    expect(sink.told).toEqual(['new a']);
  });
});

describe('the history', () => {
  it('has what is over when its interval has passed; --all shows both', async () => {
    raise('a');
    await world.run(1000);
    raise('a', { over: true });
    await world.run(2 * hourMs);
    raise('b');
    expect(alerts.current.map(({ id }) => id)).toEqual(['b']);
    const all = await world.settle(alerts.all());
    expect(all).toMatchObject([
      { number: 1, id: 'a', endedAtMs: expect.any(Number) },
      { number: 2, id: 'b' },
    ]);
  });

  it('is bounded, survives a torn line, and gives the newer of two lines of one number', async () => {
    const { files } = process.environment;
    const history = new AlertFiles(files, folder, { historyFileBytesMax: 1000, historyFilesMax: 3 });
    raise('a');
    const [alert] = alerts.current;
    if (alert === undefined) throw new Error('no alert');
    for (let number = 1; number <= 40; number++) {
      await world.settle(history.append([{ ...alert, number }]));
    }
    const names = (await world.settle(files.list(folder))).filter((name) => name.startsWith('history-')).sort();
    expect(names).toHaveLength(3);
    const last = `${folder}/${names[2]}`;
    const whole = await world.settle(files.read(last));
    const handle = await world.settle(files.open(last));
    await world.settle(handle.writeAt(whole.length, Buffer.from('{"number":41,"comp')));
    await world.settle(history.append([{ ...alert, number: 40, text: 'newer' }]));
    const kept = await world.settle(history.history(3));
    expect(kept.map(({ number, text }) => [number, text])).toEqual([
      [38, 'it failed'],
      [39, 'it failed'],
      [40, 'newer'],
    ]);
  });
});

describe('people', () => {
  it('acknowledge by number or all at once', async () => {
    raise('a');
    raise('b');
    expect(() => alerts.acknowledge([1, 7], 'ada')).toThrow('there is no alert 7');
    expect(alerts.summary).toEqual({ open: 2, unacknowledged: 2, worst: 'SERIOUS', failingSinks: [] });
    expect(alerts.acknowledge([2], 'ada')).toMatchObject([{ number: 2, acknowledged: { by: 'ada' } }]);
    expect(alerts.acknowledge('all', 'bob')).toMatchObject([{ number: 1, acknowledged: { by: 'bob' } }]);
    expect(alerts.summary).toMatchObject({ open: 2, unacknowledged: 0 });
    alerts.acknowledge([1], 'bob', { end: true });
    expect(alerts.summary).toMatchObject({ open: 1 });
    expect(spread).toMatchObject([{ id: 'a', over: true, text: 'declared over by bob' }]);
  });

  it('test the sinks: past limit and hours, at the worst level each takes, failures named', async () => {
    const moderate = new FakeSink('desk', ['MODERATE']);
    const broken = new FakeSink('broken');
    broken.problem = 'no route';
    alerts = await open([sink, moderate, broken], {
      perHour: 1,
      serviceHours: parseHourSpans('mon 00:00-00:01') ?? [],
    });
    expect(await world.settle(alerts.test({ by: 'ada' }))).toEqual([
      { sink: 'ops', outcome: 'sent', detail: 'at level SYSTEM DOWN' },
      { sink: 'desk', outcome: 'sent', detail: 'at level MODERATE' },
      { sink: 'broken', outcome: 'failed', detail: 'no route' },
    ]);
    expect(moderate.messages).toMatchObject([{ code: 'test', level: 'MODERATE', sender: 'east', cluster: 'demo' }]);
    expect(await world.settle(alerts.test({ by: 'ada', sink: 'desk', level: 'SERIOUS' }))).toEqual([
      { sink: 'desk', outcome: 'refused', detail: 'it takes MODERATE only' },
    ]);
    await expect(alerts.test({ by: 'ada', sink: 'pager' })).rejects.toThrow('there are: ops, desk, broken');
  });
});

it("another node's alert is shown, and told when that node falls silent at once", async () => {
  const heard = ['west'];
  alerts = await open([sink], {}, heard);
  const { clock } = process.environment;
  alerts.heard({
    component: 'node',
    id: 'node west',
    code: 'node-stuck',
    level: 'SYSTEM DOWN',
    node: 'west',
    group: null,
    atMs: clock.wallMs(),
    text: 'its engine does not move',
    over: false,
  });
  await world.run(10_000);
  expect([alerts.current.length, sink.told]).toEqual([1, []]);
  heard.length = 0;
  alerts.heardNodesChanged();
  await world.run(1000);
  expect(sink.told).toEqual(['new node west']);
});
