/** Persistent reservations against a model of SPC-4 5.13 that is written apart, in another way. */
import { describe, expect, test } from 'vitest';
import {
  applyReservation,
  effectsBetween,
  holds,
  noEffects,
  registrationsMax,
  reservationsSchema,
  type RegistrantPort,
  type ReservationEffects,
  type ReservationRequest,
  type Reservations,
  type ReservationType,
} from '../../src/group/reservations.ts';

const zero = '0'.repeat(16);
const [keyA, keyB] = ['a'.repeat(16), 'b'.repeat(16)];
const port = (name: string, targetPort = 1): RegistrantPort => ({ initiatorPort: name, targetPort });
const [p, q, r] = [port('p'), port('q'), port('r')];
const ports = [p, q, r];

const request = (
  action: ReservationRequest['action'],
  from: RegistrantPort,
  fields: Partial<ReservationRequest> = {},
): ReservationRequest => ({
  action,
  from,
  key: zero,
  actionKey: zero,
  type: null,
  aptpl: false,
  others: [],
  unregister: false,
  ...fields,
});

/** The standard told again: one mutable unit, what each port is told, by names of ports. */
class Model {
  keys = new Map<string, string>();
  type: ReservationType | null = null;
  /** Of the types that have one. */
  holder: string | null = null;
  generation = 0;
  told: Record<'preempted' | 'cleared' | 'released' | 'aborted', string[]> = this.#silence();

  #silence(): Model['told'] {
    return { preempted: [], cleared: [], released: [], aborted: [] };
  }

  #others(me: string): string[] {
    return [...this.keys.keys()].filter((name) => name !== me);
  }

  #all(): boolean {
    return this.type !== null && this.type > 6;
  }

  #isHolder(me: string): boolean {
    return this.type !== null && (this.#all() ? this.keys.has(me) : this.holder === me);
  }

  #end(): void {
    this.type = null;
    this.holder = null;
  }

  #unregister(name: string): void {
    const all = this.#all();
    this.keys.delete(name);
    if (all ? this.keys.size === 0 : this.holder === name) this.#end();
  }

  #take(me: string, type: ReservationType): void {
    this.type = type;
    this.holder = type > 6 ? null : me;
  }

  do({ action, from, key, actionKey, type, others, unregister }: ReservationRequest): string {
    this.told = this.#silence();
    const me = from.initiatorPort;
    const mine = this.keys.get(me);
    if (action === 'register' && (mine ?? zero) !== key) return 'conflict';
    if (action === 'register' || action === 'registerIgnoring') {
      if (actionKey !== zero) {
        this.keys.set(me, actionKey);
      } else {
        if (mine === undefined) return 'done';
        const before = this.type;
        this.#unregister(me);
        if (before !== null && before >= 5 && this.type === null) this.told.released = this.#others(me);
      }
      this.generation++;
      return 'done';
    }
    if (mine === undefined || mine !== key) return 'conflict';
    if (action === 'reserve') {
      if (this.type === null && type !== null) this.#take(me, type);
      else if (!this.#isHolder(me) || this.type !== type) return 'conflict';
      return 'done';
    }
    if (action === 'release') {
      if (!this.#isHolder(me)) return 'done';
      if (type === null || type !== this.type) return 'invalidRelease';
      if (type >= 5) this.told.released = this.#others(me);
      this.#end();
      return 'done';
    }
    if (action === 'clear') {
      this.told.cleared = this.#others(me);
      this.keys.clear();
      this.#end();
      this.generation++;
      return 'done';
    }
    if (action === 'registerAndMove') {
      const to = others[0]?.initiatorPort ?? '';
      if (!this.#isHolder(me) || this.#all()) return 'conflict';
      if (actionKey === zero || to === me) return 'invalidField';
      this.keys.set(to, actionKey);
      this.holder = to;
      if (unregister) this.keys.delete(me);
      this.generation++;
      return 'done';
    }
    return this.#preempt(me, actionKey, type, action === 'preemptAndAbort');
  }

  #preempt(me: string, victim: string, type: ReservationType | null, abort: boolean): string {
    if (victim === zero && !this.#all()) return 'invalidField';
    const takes = this.#all() ? victim === zero : this.holder !== null && this.keys.get(this.holder) === victim;
    const lost = [...this.keys].flatMap(([name, key]) => (victim === zero || key === victim ? [name] : []));
    if (lost.length === 0) return 'conflict';
    if (takes && type === null) return 'conflict';
    const before = this.type;
    for (const name of lost) if (!takes || name !== me) this.#unregister(name);
    if (takes && type !== null) {
      this.#take(me, type);
      if (type !== before) this.told.released = this.#others(me);
    }
    this.told.preempted = lost.filter((name) => name !== me);
    if (abort) this.told.aborted = this.told.preempted;
    this.generation++;
    return 'done';
  }

  state(): object {
    return {
      generation: this.generation,
      keys: Object.fromEntries([...this.keys].sort()),
      type: this.type,
      holders: [...this.keys.keys()].filter((name) => this.#isHolder(name)).sort(),
    };
  }
}

const stateOf = (state: Reservations | null): object => ({
  generation: state?.generation ?? 0,
  keys: Object.fromEntries(
    (state?.registrations ?? []).map(({ initiatorPort, key }) => [initiatorPort, key] as const).sort(),
  ),
  type: state?.reservation?.type ?? null,
  holders: ports.filter((each) => state !== null && holds(state, each)).map(({ initiatorPort }) => initiatorPort),
});

const names = (list: readonly RegistrantPort[]): string[] => list.map(({ initiatorPort }) => initiatorPort).sort();
const toldBy = (effects: ReservationEffects): object => ({
  preempted: names(effects.registrationsPreempted),
  cleared: names(effects.reservationsPreempted),
  released: names(effects.reservationsReleased),
  aborted: names(effects.aborted),
});

function check(state: Reservations | null, asked: ReservationRequest, model: Model): Reservations | null {
  const applied = applyReservation(state, asked);
  const outcome = model.do(asked);
  const wanted = { ...model.told };
  for (const list of Object.values(wanted)) list.sort();
  const found = { outcome: applied.outcome.kind, ...stateOf(applied.state), told: toldBy(applied.effects) };
  const right = { outcome, ...model.state(), told: wanted };
  if (JSON.stringify(found) !== JSON.stringify(right))
    expect({ state, asked, found }).toEqual({ state, asked, found: right });
  if (outcome !== 'done') expect(applied.state).toBe(state);
  return applied.state;
}

/** All that can be asked by a port, with few keys and types; `wide`: all types. */
function everyRequest(from: RegistrantPort, wide: boolean): ReservationRequest[] {
  const types: (ReservationType | null)[] = wide ? [1, 3, 5, 6, 7, 8, null] : [1, 6, 7];
  const to = from === q ? p : q;
  const list: ReservationRequest[] = [];
  for (const key of [zero, keyA, keyB]) {
    list.push(request('clear', from, { key }));
    for (const type of types) {
      list.push(request('reserve', from, { key, type }), request('release', from, { key, type }));
      for (const actionKey of [zero, keyA, keyB]) {
        list.push(request('preempt', from, { key, actionKey, type }));
        if (wide) list.push(request('preemptAndAbort', from, { key, actionKey, type }));
      }
    }
    for (const actionKey of [zero, keyA, keyB]) {
      list.push(request('register', from, { key, actionKey }));
      for (const unregister of [false, true])
        list.push(request('registerAndMove', from, { key, actionKey, unregister, others: [to] }));
    }
  }
  for (const actionKey of [zero, keyA, keyB]) list.push(request('registerIgnoring', from, { actionKey }));
  return list;
}

function copyOf(model: Model): Model {
  const copy = new Model();
  copy.keys = new Map(model.keys);
  copy.type = model.type;
  copy.holder = model.holder;
  copy.generation = model.generation;
  return copy;
}

describe('persistent reservations (SPC-4 5.13)', () => {
  test('do what the model does in every state that three ports and two keys can be in', () => {
    const asked = ports.flatMap((from) => everyRequest(from, false));
    const seen = new Set<string>();
    let reached: { state: Reservations | null; model: Model }[] = [{ state: null, model: new Model() }];
    for (let depth = 0; reached.length > 0; depth++) {
      expect(depth).toBeLessThan(20);
      const found: typeof reached = [];
      for (const { state, model } of reached) {
        for (const each of asked) {
          const after = copyOf(model);
          const now = check(state, each, after);
          const id = JSON.stringify({ ...after.state(), generation: 0 });
          if (seen.has(id)) continue;
          seen.add(id);
          found.push({ state: now, model: after });
        }
      }
      reached = found;
    }
    // 27 maps of keys, of which each that is not empty may have a reservation of one of three types.
    expect(seen.size).toBeGreaterThan(100);
  });

  test('do what the model does in long sequences with all types', () => {
    const asked = ports.flatMap((from) => everyRequest(from, true));
    let random = 12345;
    let state: Reservations | null = null;
    const model = new Model();
    for (let step = 0; step < 15_000; step++) {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0;
      const each = asked[(random >>> 8) % asked.length];
      if (each !== undefined) state = check(state, each, model);
      if (state !== null && step % 100 === 0) expect(reservationsSchema.parse(structuredClone(state))).toEqual(state);
    }
    expect(model.generation).toBeGreaterThan(500);
  });

  const registered = (...of: RegistrantPort[]): Reservations => ({
    generation: 7,
    aptpl: false,
    registrations: of.map((each) => ({ ...each, key: keyA })),
    reservation: null,
  });

  test('all target ports: the same is done for each of the sender’s ports', () => {
    const others = [port('p', 2), port('p', 17)];
    const { state } = applyReservation(null, request('register', p, { actionKey: keyA, others }));
    expect(state?.registrations.map(({ targetPort }) => targetPort)).toEqual([1, 2, 17]);
    const gone = applyReservation(state, request('register', p, { key: keyA, others }));
    expect(gone.state?.registrations).toEqual([]);
  });

  test('specified ports are registered by a port that was not yet, and keep the key they have', () => {
    const asked = request('register', p, { actionKey: keyB, others: [q, r] });
    const { state } = applyReservation(registered(q), asked);
    expect(state?.registrations).toEqual([
      { ...q, key: keyA },
      { ...p, key: keyB },
      { ...r, key: keyB },
    ]);
    const refused = applyReservation(registered(p), { ...asked, key: keyA });
    expect(refused.outcome).toEqual({ kind: 'invalidField', byte: 20 });
  });

  test('the limit: all or none of a request are registered', () => {
    const many = Array.from({ length: registrationsMax - 1 }, (_, index) => port(`i${index}`));
    const full = applyReservation(registered(...many), request('register', p, { actionKey: keyA, others: [q] }));
    expect(full.outcome).toEqual({ kind: 'full' });
    const fits = applyReservation(registered(...many), request('register', p, { actionKey: keyA }));
    expect(fits.state?.registrations).toHaveLength(registrationsMax);
    // One that is registered changes its key all the same.
    expect(applyReservation(fits.state, request('register', p, { key: keyA, actionKey: keyB })).outcome.kind).toBe(
      'done',
    );
  });

  test('APTPL is that of the last registration; the generation turns over', () => {
    const before = { ...registered(p), generation: 2 ** 32 - 1 };
    const { state } = applyReservation(before, request('register', p, { key: keyA, actionKey: keyB, aptpl: true }));
    expect(state).toMatchObject({ aptpl: true, generation: 0 });
  });
});

describe('what two states tell a node that sees no more', () => {
  const all = { ...noEffects };
  const two: Reservations = {
    generation: 1,
    aptpl: false,
    registrations: [
      { ...p, key: keyA },
      { ...q, key: keyB },
    ],
    reservation: { type: 5, holder: { ...p, key: keyA } },
  };

  test.each<[string, Partial<Reservations>, RegistrantPort[], Partial<ReservationEffects>]>([
    ['nothing', {}, [], {}],
    ['preempted', { registrations: [{ ...p, key: keyA }] }, [], { registrationsPreempted: [q] }],
    ['unregistered here', { registrations: [{ ...p, key: keyA }] }, [q], {}],
    ['cleared', { registrations: [], reservation: null }, [p], { reservationsPreempted: [q] }],
    ['released', { reservation: null }, [p], { reservationsReleased: [q] }],
    [
      'of another type',
      { reservation: { type: 1, holder: { ...p, key: keyA } } },
      [p],
      { reservationsReleased: [q] },
    ],
  ])('%s', (_name, change, own, effects) => {
    expect(effectsBetween(two, { ...two, ...change }, own)).toEqual({ ...all, ...effects });
  });
});
