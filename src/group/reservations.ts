/**
 * Persistent reservations of a volume (SPC-4 5.13): who is registered, who holds the reservation. Kept in the group's
 * record, so that they move with the group; changed by the owner alone, with compare-and-swap.
 *
 * Pure: state and request in, state and effects out. A request that is refused changes nothing, the generation included.
 */
import { z } from 'zod';
import { assert, assertNever } from '../base/assert.ts';

const portSchema = z
  .object({
    /** iSCSI: `iqn…,i,0x` and 12 hex digits of the ISID (SPC-4 7.6.4.6). */
    initiatorPort: z.string(),
    /** Relative target port identifier, 1…65535. */
    targetPort: z.int().min(1).max(65535),
  })
  .readonly();

/** An initiator port through one target port (SAM-5 4.7): registrations belong to it. */
export type RegistrantPort = z.infer<typeof portSchema>;

/** SPC-4 table 212: 1 write exclusive, 3 exclusive access, 5 and 6 the same, registrants only, 7 and 8 all registrants. */
const typeSchema = z.union([z.literal(1), z.literal(3), z.literal(5), z.literal(6), z.literal(7), z.literal(8)]);
export type ReservationType = z.infer<typeof typeSchema>;

export const isAllRegistrants = (type: ReservationType): boolean => type === 7 || type === 8;
const isRegistrants = (type: ReservationType): boolean => type >= 5;

/** Registrations a volume has at most. */
export const registrationsMax = 128;

const keySchema = z.string().regex(/^[0-9a-f]{16}$/);
export const noKey = '0'.repeat(16);

const registrationSchema = z
  .object({
    initiatorPort: z.string(),
    targetPort: z.int().min(1).max(65535),
    /** 16 hex digits, not all zero. */
    key: keySchema,
  })
  .readonly();

export const reservationsSchema = z
  .object({
    /** PRGENERATION: +1 with every registration and preemption, modulo 2³². */
    generation: z.int().min(0),
    /** Activate persist through power loss. They survive here in any case; this is what the host asked for. */
    aptpl: z.boolean(),
    registrations: z.array(registrationSchema).readonly(),
    /** Null: none. `holder` null: all registrants hold it (types 7 and 8). */
    reservation: z
      .object({
        type: typeSchema,
        holder: registrationSchema.nullable(),
      })
      .readonly()
      .nullable(),
  })
  .readonly();

export type Reservations = z.infer<typeof reservationsSchema>;
export type Registration = z.infer<typeof registrationSchema>;

/** PERSISTENT RESERVE OUT without its encoding (SPC-4 6.16). Keys are 16 hex digits. */
export const reservationRequestSchema = z
  .object({
    action: z.enum([
      'register',
      'registerIgnoring',
      'registerAndMove',
      'reserve',
      'release',
      'clear',
      'preempt',
      'preemptAndAbort',
    ]),
    from: portSchema,
    /** RESERVATION KEY. */
    key: keySchema,
    /** SERVICE ACTION RESERVATION KEY. */
    actionKey: keySchema,
    /** As in the CDB; null where it is none of those that exist, which is allowed where it does not matter. */
    type: typeSchema.nullable(),
    aptpl: z.boolean(),
    /**
     * ALL_TG_PT: the sender's initiator port through the other target ports, for which the same is done; SPEC_I_PT: other
     * initiator ports, registered if they are not yet; REGISTER AND MOVE: the one it moves to, alone.
     */
    others: z.array(portSchema).max(4096).readonly(),
    /** REGISTER AND MOVE: unregister the sender. */
    unregister: z.boolean(),
  })
  .readonly();
export type ReservationRequest = z.infer<typeof reservationRequestSchema>;

export const reservationOutcomeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('done') }),
  z.object({ kind: z.literal('conflict') }),
  /** INVALID RELEASE OF PERSISTENT RESERVATION (26h/04h). */
  z.object({ kind: z.literal('invalidRelease') }),
  /** A field of the parameter list is not allowed here (26h/00h); byte of the parameter list. */
  z.object({ kind: z.literal('invalidField'), byte: z.int() }),
  /** INSUFFICIENT REGISTRATION RESOURCES (55h/04h). */
  z.object({ kind: z.literal('full') }),
  /** The owner or the store cannot be reached. */
  z.object({ kind: z.literal('unreachable'), reason: z.string() }),
]);
export type ReservationOutcome = Readonly<z.infer<typeof reservationOutcomeSchema>>;

/** Whom a change concerns besides the sender: they get unit attentions (SPC-4 5.13.…), or lose their commands. */
export interface ReservationEffects {
  /** REGISTRATIONS PREEMPTED (2Ah/05h). */
  readonly registrationsPreempted: readonly RegistrantPort[];
  /** RESERVATIONS PREEMPTED (2Ah/03h). */
  readonly reservationsPreempted: readonly RegistrantPort[];
  /** RESERVATIONS RELEASED (2Ah/04h). */
  readonly reservationsReleased: readonly RegistrantPort[];
  /** PREEMPT AND ABORT: commands of these ports are aborted. */
  readonly aborted: readonly RegistrantPort[];
}

export interface Applied {
  readonly outcome: ReservationOutcome;
  /** The same object where nothing was changed. */
  readonly state: Reservations | null;
  readonly effects: ReservationEffects;
}

export const noEffects: ReservationEffects = {
  registrationsPreempted: [],
  reservationsPreempted: [],
  reservationsReleased: [],
  aborted: [],
};

export const isNothing = (effects: ReservationEffects): boolean =>
  effects.registrationsPreempted.length +
    effects.reservationsPreempted.length +
    effects.reservationsReleased.length +
    effects.aborted.length ===
  0;

export const noReservations: Reservations = { generation: 0, aptpl: false, registrations: [], reservation: null };

export const samePort = (one: RegistrantPort, other: RegistrantPort): boolean =>
  one.initiatorPort === other.initiatorPort && one.targetPort === other.targetPort;

/** Of a registered port: whether it holds the reservation (SPC-4 5.13.10). */
export function holds(state: Reservations, port: RegistrantPort): boolean {
  const { reservation, registrations } = state;
  if (reservation === null) return false;
  if (reservation.holder !== null) return samePort(reservation.holder, port);
  return registrations.some((registration) => samePort(registration, port));
}

/** Bytes of the parameter list that requests are refused for (SPC-4 tables 241 and 243). */
const actionKeyByte = 8;
const specifyByte = 20;
const transportIdByte = 24;

export function applyReservation(before: Reservations | null, request: ReservationRequest): Applied {
  const state = before ?? noReservations;
  const change = (now: Reservations, effects: Partial<ReservationEffects> = {}): Applied => ({
    outcome: { kind: 'done' },
    state: now,
    effects: { ...noEffects, ...effects },
  });
  const unchanged = (outcome: ReservationOutcome): Applied => ({ outcome, state: before, effects: noEffects });
  const { action, from, key } = request;
  const own = state.registrations.find((registration) => samePort(registration, from));
  // REGISTER of an unregistered port has the key zero (5.13.7), everything else the registered key.
  const keyRight = action === 'registerIgnoring' || (own?.key ?? (action === 'register' ? noKey : null)) === key;
  if (!keyRight) return unchanged({ kind: 'conflict' });
  switch (action) {
    case 'register':
    case 'registerIgnoring':
      return register(state, own, request, change, unchanged);
    case 'registerAndMove':
      return registerAndMove(state, request, change, unchanged);
    case 'reserve':
      return reserve(state, request, change, unchanged);
    case 'release':
      return release(state, request, change, unchanged);
    case 'clear': {
      // 5.13.11.2.6
      const reservationsPreempted = portsOf(state.registrations).filter((port) => !samePort(port, from));
      return change({ ...next(state), registrations: [], reservation: null }, { reservationsPreempted });
    }
    case 'preempt':
    case 'preemptAndAbort':
      return preempt(state, request, change, unchanged);
    default:
      return assertNever(action);
  }
}

type Change = (now: Reservations, effects?: Partial<ReservationEffects>) => Applied;
type Unchanged = (outcome: ReservationOutcome) => Applied;

/** 5.13.7, and with the key zero 5.13.11.2.3. */
function register(
  state: Reservations,
  own: Registration | undefined,
  { from, others, actionKey, aptpl }: ReservationRequest,
  change: Change,
  unchanged: Unchanged,
): Applied {
  const siblings = others.filter(({ initiatorPort }) => initiatorPort === from.initiatorPort);
  const specified = others.filter(({ initiatorPort }) => initiatorPort !== from.initiatorPort);
  if (own !== undefined && specified.length > 0) return unchanged({ kind: 'invalidField', byte: specifyByte });
  const ports = [from, ...siblings];
  const isOurs = (port: RegistrantPort): boolean => ports.some((each) => samePort(each, port));
  if (actionKey === noKey) {
    if (!state.registrations.some(isOurs)) return unchanged({ kind: 'done' });
    const left = without({ ...next(state), aptpl }, isOurs);
    // Only registrants' reservations concern others than their holder.
    const released = state.reservation !== null && left.reservation === null && isRegistrants(state.reservation.type);
    return change(left, { reservationsReleased: released ? portsOf(left.registrations) : [] });
  }
  const keyed = (registration: Registration): Registration =>
    isOurs(registration) ? { ...registration, key: actionKey } : registration;
  const registrations = state.registrations.map(keyed);
  for (const { initiatorPort, targetPort } of [...ports, ...specified]) {
    const port = { initiatorPort, targetPort };
    if (!registrations.some((each) => samePort(each, port))) registrations.push({ ...port, key: actionKey });
  }
  if (registrations.length > registrationsMax) return unchanged({ kind: 'full' });
  return change(withHolder({ ...next(state), aptpl, registrations }, keyed));
}

/** 5.13.8 */
function registerAndMove(
  state: Reservations,
  { from, others, actionKey, aptpl, unregister }: ReservationRequest,
  change: Change,
  unchanged: Unchanged,
): Applied {
  const { reservation } = state;
  if (reservation === null || !holds(state, from) || isAllRegistrants(reservation.type))
    return unchanged({ kind: 'conflict' });
  if (actionKey === noKey) return unchanged({ kind: 'invalidField', byte: actionKeyByte });
  const [to] = others;
  if (to === undefined || others.length > 1 || samePort(to, from))
    return unchanged({ kind: 'invalidField', byte: transportIdByte });
  const holder = { initiatorPort: to.initiatorPort, targetPort: to.targetPort, key: actionKey };
  const rest = state.registrations.filter((each) => !samePort(each, to) && !(unregister && samePort(each, from)));
  if (rest.length >= registrationsMax) return unchanged({ kind: 'full' });
  return change({
    ...next(state),
    aptpl,
    registrations: [...rest, holder],
    reservation: { type: reservation.type, holder },
  });
}

/** 5.13.9 */
function reserve(
  state: Reservations,
  { from, type }: ReservationRequest,
  change: Change,
  unchanged: Unchanged,
): Applied {
  const { reservation } = state;
  if (reservation !== null)
    return unchanged({ kind: holds(state, from) && reservation.type === type ? 'done' : 'conflict' });
  if (type === null) return unchanged({ kind: 'conflict' });
  return change({ ...state, reservation: held(state, from, type) });
}

/** 5.13.11.2.2 */
function release(
  state: Reservations,
  { from, type }: ReservationRequest,
  change: Change,
  unchanged: Unchanged,
): Applied {
  const { reservation } = state;
  if (reservation === null || !holds(state, from)) return unchanged({ kind: 'done' });
  if (reservation.type !== type) return unchanged({ kind: 'invalidRelease' });
  const others = portsOf(state.registrations).filter((port) => !samePort(port, from));
  return change(
    { ...state, reservation: null },
    { reservationsReleased: isRegistrants(reservation.type) ? others : [] },
  );
}

/** 5.13.11.2.4 and 5.13.11.2.5 */
function preempt(
  state: Reservations,
  { action, from, actionKey, type }: ReservationRequest,
  change: Change,
  unchanged: Unchanged,
): Applied {
  const { reservation } = state;
  const everybody = reservation?.holder === null && actionKey === noKey;
  const ofHolder = everybody || (reservation?.holder?.key === actionKey && actionKey !== noKey);
  if (actionKey === noKey && !everybody) return unchanged({ kind: 'invalidField', byte: actionKeyByte });
  if (ofHolder && type === null) return unchanged({ kind: 'conflict' });
  const isMine = (port: RegistrantPort): boolean => samePort(port, from);
  const isMeant = (each: Registration): boolean => everybody || each.key === actionKey;
  // The one that takes the reservation keeps its registration, whatever its key.
  const isGone = (each: Registration): boolean => isMeant(each) && !(ofHolder && isMine(each));
  const gone = portsOf(state.registrations.filter(isGone));
  if (gone.length === 0 && !ofHolder) return unchanged({ kind: 'conflict' });
  const registrations = state.registrations.filter((each) => !isGone(each));
  const preempted = gone.filter((port) => !isMine(port));
  const effects = { registrationsPreempted: preempted, aborted: action === 'preemptAndAbort' ? preempted : [] };
  if (!ofHolder) return change(without(next(state), isGone), effects);
  const changed = type !== reservation?.type;
  const now = { ...next(state), registrations };
  return change(
    { ...now, reservation: type === null ? null : held(now, from, type) },
    { ...effects, reservationsReleased: changed ? portsOf(registrations).filter((port) => !isMine(port)) : [] },
  );
}

/**
 * What a node that has not changed them itself can tell of two states in a row: who has lost a registration or a
 * reservation but by a request of its own.
 * @param own ports whose requests were passed on from here since `before`
 */
export function effectsBetween(
  before: Reservations | null,
  now: Reservations | null,
  own: readonly RegistrantPort[],
): ReservationEffects {
  if (before === null || before === now) return noEffects;
  const { registrations, reservation } = now ?? noReservations;
  const isOwn = (port: RegistrantPort): boolean => own.some((each) => samePort(each, port));
  const isLeft = (port: RegistrantPort): boolean => registrations.some((each) => samePort(each, port));
  const others = portsOf(before.registrations).filter((port) => !isOwn(port));
  const gone = others.filter((port) => !isLeft(port));
  const cleared = registrations.length === 0;
  const was = before.reservation?.type;
  const released = was !== undefined && (reservation === null ? isRegistrants(was) : reservation.type !== was);
  return {
    ...noEffects,
    registrationsPreempted: cleared ? [] : gone,
    reservationsPreempted: cleared ? gone : [],
    reservationsReleased: released ? others.filter(isLeft) : [],
  };
}

/** PRGENERATION counts modulo 2³² (SPC-4 6.15.2). */
const next = (state: Reservations): Reservations => ({ ...state, generation: (state.generation + 1) % 2 ** 32 });

/** These registrations end; a reservation ends with its holder, or with the last of all registrants. */
function without(state: Reservations, isGone: (each: Registration) => boolean): Reservations {
  const registrations = state.registrations.filter((each) => !isGone(each));
  const { reservation } = state;
  if (reservation === null) return { ...state, registrations };
  const ends = reservation.holder === null ? registrations.length === 0 : isGone(reservation.holder);
  return { ...state, registrations, reservation: ends ? null : reservation };
}

function withHolder(state: Reservations, keyed: (registration: Registration) => Registration): Reservations {
  const { reservation } = state;
  if (reservation === null || reservation.holder === null) return state;
  return { ...state, reservation: { ...reservation, holder: keyed(reservation.holder) } };
}

function held(state: Reservations, from: RegistrantPort, type: ReservationType): Reservations['reservation'] {
  const own = state.registrations.find((each) => samePort(each, from));
  assert(own !== undefined, 'a reservation of a port that is not registered');
  return { type, holder: isAllRegistrants(type) ? null : own };
}

function portsOf(registrations: readonly Registration[]): RegistrantPort[] {
  return registrations.map(({ initiatorPort, targetPort }) => ({ initiatorPort, targetPort }));
}
