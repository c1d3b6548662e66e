/** The course of a drill, its conditions and its history (BY-11), with a world that does what a test says. */
import { describe, expect, it } from 'vitest';
import { DrillBook } from '../../src/agent/drill-book.ts';
import { assertFit, type DrillFacts } from '../../src/agent/drill-conditions.ts';
import { Drill, type DrillContext, type DrillPlan, type DrillProbe } from '../../src/agent/drill.ts';
import { drillKinds, type DrillKind, type DrillReport } from '../../src/agent/drill-report.ts';
import type { ReadDecision } from '../../src/agent/decision-book.ts';
import { HoldfastError } from '../../src/base/errors.ts';
import { World } from '../../src/sim/world/world.ts';
import type { GroupEntry } from '../../src/store/document.ts';
import { fakeControl, fakeGroup } from '../api/fake-control.ts';
import { HandClock } from '../node/hand-clock.ts';

class FakeProbe implements DrillProbe {
  reading = false;
  answers = 0;
  longest: DrillProbe['longest'] = null;
  readonly #clock: HandClock;
  #lastMs = -Infinity;

  constructor(clock: HandClock) {
    this.#clock = clock;
  }

  get silentMs(): number {
    return this.#clock.nowMs - this.#lastMs;
  }

  start(): void {
    this.reading = true;
    this.#lastMs = -Infinity;
  }

  stop(): void {
    this.reading = false;
  }

  mark(): void {
    this.answers = 0;
    this.longest = null;
  }

  answered(): void {
    if (!this.reading) return;
    const lengthMs = this.silentMs;
    if (Number.isFinite(lengthMs) && lengthMs > (this.longest?.lengthMs ?? 0))
      this.longest = { lengthMs, endedAtMs: this.#clock.wallMs() };
    this.answers++;
    this.#lastMs = this.#clock.nowMs;
  }
}

/** A pair of which east serves until it is struck, and west from a given time after. */
class FakePair {
  readonly clock = new HandClock();
  readonly moves: string[] = [];
  readonly reports: DrillReport[] = [];
  server: string | null = 'east';
  generation = 7;
  /** How long after the fault west serves; null: never. */
  takeOverMs: number | null = 1800;
  unwellMs = 3000;
  clientReads = true;
  refusals = 0;
  struckAtMs: number | null = null;
  readonly probe = new FakeProbe(this.clock);

  context(): DrillContext {
    return {
      clock: this.clock,
      probe: this.probe,
      strike: async () => {
        this.struckAtMs = this.clock.nowMs;
        this.server = null;
        return 0;
      },
      serving: async () => (this.server === null ? null : { node: this.server, generation: this.generation }),
      unwell: async () =>
        this.struckAtMs !== null && this.clock.nowMs < this.struckAtMs + this.unwellMs ? 'east is away' : null,
      switchOver: async (group, to) => {
        if (this.refusals-- > 0) throw new HoldfastError('E_REFUSED', 'the copy at east is not complete');
        this.moves.push(`${group} to ${to}`);
        if (group === 'g1') this.server = to;
        this.generation++;
        return { generation: this.generation, loss: { text: 'No acknowledged write is lost.' } };
      },
      decisions: async () => this.decisions(),
      changed: (report) => this.reports.push(report),
    };
  }

  /** Until the drill has ended. Time passes in steps of the client's reads. */
  async run(plan: Partial<DrillPlan> & { kind: DrillKind }): Promise<DrillReport> {
    const drill = new Drill(
      { id: 'd1', group: 'g1', node: 'west', owner: 'east', generation: 7, others: [], faultMs: 10_000, ...plan },
      this.context(),
    );
    let report: DrillReport | null = null;
    void drill.run().then((ended) => (report = ended));
    for (let turn = 0; turn < 100_000 && report === null; turn++) {
      this.#pass();
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (report === null) throw new Error('the drill does not end');
    return report;
  }

  #pass(): void {
    if (this.struckAtMs !== null && this.server === null && this.takeOverMs !== null) {
      if (this.clock.nowMs >= this.struckAtMs + this.takeOverMs) {
        this.server = 'west';
        this.generation++;
      }
    }
    if (this.clientReads && this.server !== null) this.probe.answered();
    this.clock.pass(20);
  }

  decisions(): ReadDecision[] {
    const struck = (this.struckAtMs ?? 0) + this.clock.wallOffsetMs;
    const decision = (afterMs: number, what: 'wait' | 'takeOver', outcome: string | null): ReadDecision => {
      const base = seed;
      return {
        evidence: {
          ...base.evidence,
          owner: 'east',
          atMs: struck + afterMs,
          store: what === 'wait' ? 'held' : 'lapsed',
        },
        verdict: { decision: what, rule: what === 'wait' ? 'lease-held' : 'owner-lost', text: '' },
        outcome,
      };
    };
    return [
      decision(-5000, 'wait', null),
      decision(1100, 'wait', null),
      decision(1500, 'takeOver', 'generation 8. No acknowledged write is lost.'),
    ];
  }
}

const [seed] = (await fakeControl().decisions({ group: 'g1', count: 1 })).decisions as [ReadDecision];
const [entry] = (await fakeControl().document()).groups as [GroupEntry];

describe('a drill', () => {
  it.each<DrillKind>(['kill', 'pause', 'partition'])(
    'by %s measures the pause with its phases, waits for the copies, and gives back (BY-11)',
    async (kind) => {
      const pair = new FakePair();
      const report = await pair.run({ kind });
      expect(report).toMatchObject({
        state: 'passed',
        servedBy: 'west',
        generations: { before: 7, after: 8 },
        loss: 'No acknowledged write is lost.',
        nextStep: null,
      });
      expect(report.pauseMs).toBeGreaterThanOrEqual(1800);
      expect(report.pauseMs).toBeLessThan(1900);
      const { detectedMs, lapsedMs, servingMs, answeredMs } = report.phases;
      expect(detectedMs).toBeGreaterThanOrEqual(1100);
      expect(lapsedMs).toBe((detectedMs ?? 0) + 400);
      expect(servingMs).toBeGreaterThanOrEqual(lapsedMs ?? Infinity);
      // Phases count from the fault, the pause from the last answer before it.
      expect(Math.abs((answeredMs ?? 0) - (report.pauseMs ?? 0))).toBeLessThanOrEqual(40);
      expect(report.steps.map(({ step }) => step)).toEqual([
        'measuring',
        'fault',
        'take-over',
        'healing',
        'give-back',
        'end',
      ]);
      expect(pair.moves).toEqual(['g1 to east']);
      expect(pair.probe.reading).toBe(false);
    },
  );

  it('by switch-over is two planned moves, and strikes nobody', async () => {
    const pair = new FakePair();
    const report = await pair.run({ kind: 'switch-over' });
    expect(report).toMatchObject({ state: 'passed', servedBy: 'west', loss: 'No acknowledged write is lost.' });
    expect(report.phases).toMatchObject({ detectedMs: null, lapsedMs: null });
    expect(pair.moves).toEqual(['g1 to west', 'g1 to east']);
    expect(pair.struckAtMs).toBeNull();
  });

  it('gives the other groups of the owner back as well', async () => {
    const pair = new FakePair();
    await pair.run({ kind: 'kill', others: ['g2'] });
    // The fake has one server for all groups: g2 is where g1 is.
    expect(pair.moves[0]).toBe('g1 to east');
    expect(pair.server).toBe('east');
  });

  it('does nothing where the measuring client gets no answers', async () => {
    const pair = new FakePair();
    pair.clientReads = false;
    const report = await pair.run({ kind: 'kill' });
    expect(report.state).toBe('failed');
    expect(report.verdict).toMatch(/^Nothing was done: the measuring client got 0 answers/);
    expect([pair.struckAtMs, pair.moves]).toEqual([null, []]);
  });

  it('fails where nobody takes over, and says how the group was left and what to do', async () => {
    const pair = new FakePair();
    pair.takeOverMs = null;
    const report = await pair.run({ kind: 'pause' });
    expect(report.state).toBe('failed');
    expect(report.verdict).toContain('nobody took over from east within 70000 ms. It was left so: nobody serves it');
    expect(report.nextStep).toContain('holdfast group switch-over g1 --to east');
    expect([pair.moves, pair.probe.reading]).toEqual([[], false]);
  });

  it('fails where a copy does not become whole, and does not give back then', async () => {
    const pair = new FakePair();
    pair.unwellMs = Infinity;
    const report = await pair.run({ kind: 'kill' });
    expect(report.verdict).toContain('at the step healing');
    expect(report.verdict).toContain('west serves it in generation 8; east is away');
    expect(pair.moves).toEqual([]);
  });

  it('tries again where giving back is refused', async () => {
    const pair = new FakePair();
    pair.refusals = 2;
    expect((await pair.run({ kind: 'kill' })).state).toBe('passed');
    expect(pair.moves).toEqual(['g1 to east']);
  });
});

describe('a drill is refused', () => {
  const marked = (name: string, drills = true): GroupEntry => ({
    ...entry,
    name,
    takeOver: { ...entry.takeOver, automatic: 'on', drills },
  });
  const fit: DrillFacts = {
    kind: 'kill',
    entry: marked('g1'),
    owner: 'east',
    node: 'west',
    status: fakeGroup(),
    store: 'reachable',
    pulse: true,
    nodeAutomatic: true,
    leaseValid: true,
    ownerHeard: true,
    others: [],
    yes: false,
    busy: null,
  };

  it('for none of these reasons where all is well', () => {
    for (const kind of drillKinds) expect(() => assertFit({ ...fit, kind })).not.toThrow();
  });

  it.each<[string, Partial<DrillFacts>, string, RegExp]>([
    [
      'of a group not marked',
      { entry: marked('g1', false) },
      'E_REFUSED',
      /not marked for drills.*drill allow g1 on/,
    ],
    ['while another is under way', { busy: 'a drill is under way' }, 'E_BUSY', /a drill is under way/],
    [
      'of a group with one copy',
      { entry: { ...marked('g1'), legs: entry.legs.slice(0, 1) } },
      'E_REFUSED',
      /one copy/,
    ],
    ['without the store', { store: 'unreachable' }, 'E_STORE_UNREACHABLE', /without the store/],
    ['of a group nobody can tell of', { status: null }, 'E_REFUSED', /no node could be asked/],
    ['of a group not served', { status: fakeGroup({}, { service: 'Unserved' }) }, 'E_REFUSED', /it is Unserved/],
    [
      'while a copy is not in sync',
      { status: fakeGroup({ disk: 'Inconsistent', replication: 'SyncSource', reason: 'it is being copied' }) },
      'E_REFUSED',
      /the copy at west is not in sync \(Inconsistent \/ Connected \/ SyncSource: it is being copied\)/,
    ],
    ['without a pulse', { pulse: false }, 'E_REFUSED', /no pulse/],
    [
      'with automatic take-over off for the group',
      { entry: { ...marked('g1'), takeOver: { ...marked('g1').takeOver, automatic: 'off' } } },
      'E_REFUSED',
      /automatic take-over is off for it/,
    ],
    ['with automatic take-over off at the node', { nodeAutomatic: false }, 'E_REFUSED', /by west is off/],
    ['without a lease', { leaseValid: false }, 'E_REFUSED', /no valid lease/],
    ['while the owner is not heard', { ownerHeard: false }, 'E_REFUSED', /hears no heartbeats of east/],
    ['by pause without a store', { store: 'none', kind: 'pause' }, 'E_REFUSED', /go on serving beside the new one/],
    ['where it hits another group', { others: [marked('g2')] }, 'E_REFUSED', /east owns g2 as well.*--yes/],
    [
      'where it hits another group that is not marked, whatever is said',
      { others: [marked('g2'), marked('g3', false)], yes: true },
      'E_REFUSED',
      /east owns g3 as well, which no drill may hurt/,
    ],
  ])('%s (BY-11)', (_title, more, code, text) => {
    let error: unknown = null;
    try {
      assertFit({ ...fit, ...more });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error).toMatchObject({ code });
    expect(String(error)).toMatch(text);
  });

  it('not, where --yes was said and all groups are marked; a switch-over hits its own group only', () => {
    expect(() => assertFit({ ...fit, others: [marked('g2')], yes: true })).not.toThrow();
    expect(() =>
      assertFit({ ...fit, kind: 'switch-over', others: [marked('g3', false)], pulse: false }),
    ).not.toThrow();
  });
});

describe('the history of drills', () => {
  const report = async (id: string): Promise<DrillReport> => ({
    ...(await new FakePair().run({ kind: 'kill' })),
    id,
  });

  it('outlives the node, tells which drill it did not see the end of, and keeps a bounded number (BY-11)', async () => {
    const world = new World({ seed: 'drills' });
    const process = world.machine('west').start('holdfast');
    const { environment } = process;
    const book = new DrillBook(environment, '/data/agent');
    await world.settle(book.open());
    const ended = await report('first');
    await world.settle(book.keep({ ...ended, state: 'running' }));
    await world.settle(book.keep(ended));
    await world.settle(book.keep({ ...ended, id: 'second', state: 'running', verdict: 'under way' }));
    const again = new DrillBook(environment, '/data/agent');
    await world.settle(again.open());
    expect(again.of('g1').map(({ id, state }) => [id, state])).toEqual([
      ['first', 'passed'],
      ['second', 'interrupted'],
    ]);
    expect(again.of('g1')[1]?.nextStep).toContain('group switch-over g1 --to east');
    for (let number = 0; number < 250; number++) await world.settle(again.keep({ ...ended, id: `d${number}` }));
    const last = new DrillBook(environment, '/data/agent');
    await world.settle(last.open());
    expect([last.of('g1').length, last.of('g1').at(-1)?.id, last.of('g2')]).toEqual([200, 'd249', []]);
  });
});
