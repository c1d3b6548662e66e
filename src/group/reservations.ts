/**
 * Persistent reservations of a volume (SPC-4 5.13): who is registered, who holds the reservation. Kept in the group's
 * record, so that they move with the group; changed by the owner alone, with compare-and-swap.
 */
import { z } from 'zod';

/** An initiator port through one target port (SAM-5 4.7): registrations belong to it. */
export interface RegistrantPort {
  /** iSCSI: `iqn…,i,0x` and 12 hex digits of the ISID (SPC-4 7.6.4.6). */
  readonly initiatorPort: string;
  /** Relative target port identifier, 1…65535. */
  readonly targetPort: number;
}

/** SPC-4 table 212: 1 write exclusive, 3 exclusive access, 5 and 6 the same, registrants only, 7 and 8 all registrants. */
export type ReservationType = 1 | 3 | 5 | 6 | 7 | 8;

const registrationSchema = z
  .object({
    initiatorPort: z.string(),
    targetPort: z.int().min(1).max(65535),
    /** 16 hex digits, not all zero. */
    key: z.string(),
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
        type: z.union([z.literal(1), z.literal(3), z.literal(5), z.literal(6), z.literal(7), z.literal(8)]),
        holder: registrationSchema.nullable(),
      })
      .readonly()
      .nullable(),
  })
  .readonly();

export type Reservations = z.infer<typeof reservationsSchema>;
export type Registration = z.infer<typeof registrationSchema>;

/** PERSISTENT RESERVE OUT without its encoding (SPC-4 6.16). Keys are 16 hex digits. */
export interface ReservationRequest {
  readonly action:
    | 'register'
    | 'registerIgnoring'
    | 'registerAndMove'
    | 'reserve'
    | 'release'
    | 'clear'
    | 'preempt'
    | 'preemptAndAbort';
  readonly from: RegistrantPort;
  /** RESERVATION KEY. */
  readonly key: string;
  /** SERVICE ACTION RESERVATION KEY. */
  readonly actionKey: string;
  /** As in the CDB; null where it is none of those that exist. */
  readonly type: ReservationType | null;
  readonly aptpl: boolean;
  /** SPEC_I_PT or ALL_TG_PT: further ports to register; REGISTER AND MOVE: the one it moves to, alone. */
  readonly others: readonly RegistrantPort[];
  /** REGISTER AND MOVE: unregister the sender. */
  readonly unregister: boolean;
}

export type ReservationOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'conflict' }
  /** INVALID RELEASE OF PERSISTENT RESERVATION (26h/04h). */
  | { readonly kind: 'invalidRelease' }
  /** A field of the parameter list is not allowed here (26h/00h); byte of the parameter list. */
  | { readonly kind: 'invalidField'; readonly byte: number }
  /** INSUFFICIENT REGISTRATION RESOURCES (55h/04h). */
  | { readonly kind: 'full' }
  /** The owner or the store cannot be reached. */
  | { readonly kind: 'unreachable'; readonly reason: string };

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
