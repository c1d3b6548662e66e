/** The targets a node offers over iSCSI, and who may log in to them. */
import type { ScsiDevice } from '../scsi/task.ts';

export interface TargetDirectory {
  list(): readonly IscsiTarget[];
  find(name: string): IscsiTarget | null;
}

export interface IscsiTarget {
  /** `iqn.…`, the same at every node. */
  readonly name: string;
  readonly alias: string;
  /** Of every node that offers it; SendTargets tells them all (RFC 7143 appendix C). */
  readonly portals: readonly Portal[];
  readonly device: ScsiDevice;
  /** Who comes from that address (no port), and may log in or not. A sentence for the log where not. */
  admit(initiatorName: string, address: string): Admission | { readonly refused: string };
  /** Hosts that log in here are sent there, `host:port` (RFC 7143 11.13.5, status 0101h); null: they are served. */
  readonly redirect: string | null;
}

export interface Portal {
  /** `host:port`; a host of all zeroes stands for the address the initiator has used. */
  readonly address: string;
  /** Target portal group tag, and relative target port identifier: every portal is a group, and a port, of its own. */
  readonly tag: number;
}

export interface Admission {
  /** By volume index; null: all. */
  readonly visible: ReadonlySet<number> | null;
  /** Null: no authentication is asked for. */
  readonly chap: ChapCredentials | null;
}

/** CHAP (RFC 7143 12.1.3, RFC 1994). Secrets are 12…255 bytes. */
export interface ChapCredentials {
  readonly user: string;
  readonly secret: Uint8Array;
  /** What we answer with when the initiator challenges us; null: we do not. */
  readonly mutual: { readonly user: string; readonly secret: Uint8Array } | null;
}
