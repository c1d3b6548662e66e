import type { ReservationEffects, ReservationOutcome, ReservationRequest, Reservations } from './reservations.ts';

/**
 * What a group offers to the rooms that serve hosts (`hosts/nbd`, `hosts/scsi`): volumes with block commands. Knows nothing
 * of their protocols.
 *
 * Contract:
 * - Offsets and lengths are bytes. The caller has checked that they are inside the volume and multiples of its block
 *   size, and that length > 0.
 * - `done` is called exactly once, never inside the call. A completed write is stored as the acknowledgement rule (R16)
 *   demands. After `moved` every request not completed yet has been or will be completed with fault `moved`.
 * - Requests may be held for as long as ownership is in doubt; `cancel…` does not exist: a session that ends simply
 *   ignores what completes later.
 */
export interface HostVolume {
  readonly name: string;
  /** NAA 6 identifier, 32 hex digits, the same at every site. */
  readonly wwid: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  read(offset: number, into: Uint8Array, done: HostCompletion): void;
  /** `data` belongs to the group from now on: it is kept until every leg has it. `fua`: on the medium before `done`. */
  write(offset: number, data: Uint8Array, fua: boolean, done: HostCompletion): void;
  /** Makes the range read as zeroes. `keepAllocated`: space must stay reserved (NBD NO_HOLE). */
  zero(offset: number, length: number, options: { keepAllocated: boolean; fua: boolean }, done: HostCompletion): void;
  /** Covers every write of this volume completed before, on whatever connection (NBD CAN_MULTI_CONN). */
  flush(done: HostCompletion): void;
  allocation(offset: number, length: number, done: (fault: HostFault | null, extents: HostExtent[]) => void): void;
}

export type HostCompletion = (fault: HostFault | null) => void;

/**
 * `moved`: ownership is elsewhere now, nothing is said about the request. `noSpace`: the range holds what it held before,
 * what was written, or a mixture, the same at every site. `io`: the medium failed at every leg that could have served it.
 */
export type HostFault = 'io' | 'noSpace' | 'moved';

export interface HostExtent {
  readonly offset: number;
  readonly length: number;
  readonly data: boolean;
}

/** The volumes of a node, by the names hosts use. */
export interface ExportCatalogue {
  /** All volumes of the cluster document that have a leg on this node, sorted by name; one owned elsewhere too. */
  list(): readonly ExportEntry[];
  /**
   * Opens one for a host session. Refusals carry a sentence for the host's log:
   * `unknown` — no such volume; `elsewhere` — another node owns it (the sentence names it); `unavailable` — this node
   * owns it but cannot serve it now (the sentence says why).
   */
  open(name: string, session: HostSession): HostVolume | ExportRefusal;
  /** The session has ended. */
  close(session: HostSession): void;
}

export interface ExportEntry {
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
}

export interface ExportRefusal {
  readonly refused: 'unknown' | 'elsewhere' | 'unavailable';
  readonly message: string;
}

/** What the group calls back on a session that has a volume open. */
export interface HostSession {
  /** For status and logs: `nbd 127.0.0.1:51234`. */
  readonly label: string;
  /** Ownership has moved or the volume is gone: answer nothing more for it, tell the host, end the session. */
  moved(reason: string): void;
}

/**
 * A group as seen by hosts that stay connected while it moves (iSCSI): at the owner, and at every other node with a leg.
 * Contract: what it says is what it knew at the end of the last turn; changes are told after they hold, never inside a call.
 */
export interface HostGroup {
  readonly name: string;
  readonly access: AccessState;
  /** Why it is not `active`, in plain words; empty when it is. */
  readonly reason: string;
  /** Its volumes by ascending index. */
  readonly units: readonly HostUnit[];
  /** For block commands; null unless `access` is `active`. Valid until `accessChanged`. */
  volume(index: number): HostVolume | null;
  /** Every node with a leg, in the order of the cluster document, this one among them. */
  readonly nodes: readonly HostGroupNode[];
  /** As the group's record holds them; null: nobody was ever registered. */
  reservations(index: number): Reservations | null;
  /**
   * Changes registrations and reservation by compare-and-swap in the group's record, through the owner; `done` is called
   * once, when the outcome is certain, or after it has been looked for in vain (`unreachable`: nothing may have changed).
   */
  reserve(index: number, request: ReservationRequest, done: (outcome: ReservationOutcome) => void): void;
  /**
   * A host's session begins to use these volumes, null: all; who deletes one, or gives up what was written here, is told of
   * it. The function returned ends that.
   */
  join(volumes: ReadonlySet<number> | null): () => void;
  /** One watcher a call; the function returned ends it. */
  watch(watcher: HostGroupWatcher): () => void;
}

/**
 * `active`: block commands are served here. `standby`: another node serves. `transitioning`: it is being opened here, or
 * ownership is on its way. `unavailable`: this node cannot serve, and knows of nobody who does.
 */
export type AccessState = 'active' | 'standby' | 'transitioning' | 'unavailable';

export interface HostUnit {
  /** Of the volume within its group; stable, and never used again. */
  readonly index: number;
  readonly name: string;
  /** NAA 6: 32 hex digits. */
  readonly wwid: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
  /** Whether a completed write may be in a cache only until a flush. */
  readonly writeCache: boolean;
}

export interface HostGroupNode {
  readonly node: string;
  /** 1…: place of the node in the cluster document. The target port group of its iSCSI portals. */
  readonly number: number;
  readonly access: AccessState;
  /** `host:port` of its iSCSI portals. */
  readonly portals: readonly string[];
}

export interface HostGroupWatcher {
  /** `access` of this node, or of another (`nodes`). In-flight requests of a volume no longer active end with `moved`. */
  accessChanged?(): void;
  /** A volume came or went, or grew. */
  unitsChanged?(): void;
  /**
   * What became of registrations and reservation of a volume, by a request made anywhere. At the owner once the record has
   * it, before the request is done; elsewhere when the record is next seen, without `aborted`, and as far as two states tell.
   */
  reservationsChanged?(index: number, effects: ReservationEffects): void;
}
