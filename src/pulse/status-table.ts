/**
 * The heartbeat status table of a node (HM-5): which ways of heartbeats are used, and how the remote group is seen by
 * them. Plain data and pure transitions: what happened goes in, the next table comes out. Who carries a table from one
 * place to another is not its business.
 *
 *     event        network                    mirror of the list          mirrors together
 *     network      ALIVE: ENABLE; FAILED:     -                           -
 *                  FAILED (HM-12)
 *     written      -                          failed: FAILED (HM-11)      FAILED when none that is sent on, or
 *     read         -                          invalid: FAILED (HM-12)     none that is read, is left ENABLE
 *     returned     ENABLE, ALIVE (HM-19)      ENABLE (HM-19)              ENABLE with the first
 *     use          ENABLE or DISABLE (HM-14)  ENABLE or DISABLE           ENABLE or DISABLE
 *     install      -                          a vacant entry is filled    ENABLE when it was FAILED
 *     remove       -                          NULL (HM-9)                 FAILED when none is left, DISABLE stays
 *
 * What the user has set to DISABLE stays so whatever is heard; only the user enables it again.
 */
import { z } from 'zod';
import { assertNever } from '../base/assert.ts';
import type { Enable } from './snapshot.ts';

export type Remote = 'ALIVE' | 'FAILED';

export interface StatusTable {
  readonly node: string;
  readonly site: string;
  /** +1 with each change. */
  readonly version: number;
  readonly network: { readonly enable: Enable; readonly remote: Remote | null };
  readonly mirrors: { readonly enable: Enable; readonly remote: Remote | null };
  /** Always `mirrorEntriesMax` of them; vacant ones are null (HM-5). */
  readonly list: readonly (MirrorRow | null)[];
}

export interface MirrorRow {
  /** As in the cluster document. */
  readonly name: string;
  /** Whether this node writes it or reads it. */
  readonly direction: 'send' | 'receive';
  /** Its backing file or device at this node. */
  readonly device: string;
  readonly status: Enable;
}

export const mirrorEntriesMax = 16;

export type TableEvent =
  /** The remote group as heard by the network: at least one of its nodes, or none. */
  | { readonly kind: 'network'; readonly remote: Remote }
  | { readonly kind: 'written'; readonly mirror: string; readonly done: boolean }
  | { readonly kind: 'read'; readonly mirror: string; readonly valid: boolean }
  /** The probation is over, or the user enabled it (HM-19). */
  | { readonly kind: 'returned'; readonly path: 'network' | { readonly mirror: string } }
  | { readonly kind: 'use'; readonly path: 'network' | 'mirrors' | { readonly mirror: string }; readonly enable: boolean }
  | { readonly kind: 'install'; readonly row: Omit<MirrorRow, 'status'> }
  | { readonly kind: 'remove'; readonly mirror: string };
