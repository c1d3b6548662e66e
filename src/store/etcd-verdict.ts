/**
 * What an error of etcd says of the transaction it answers: whether it can have been applied. In doubt it can: an outcome
 * called unknown costs a read, one called nothing that happened after all costs data (R11).
 *
 * The rows are what etcd 3.4 to 3.6 has (`etcd-io/etcd`, `api/v3rpc/rpctypes/error.go`) and checks before it proposes a
 * transaction to the members, or before any of them applies it. What is not among them is `unsure`, above all:
 * - everything of gRPC code 14, unavailable (`no leader`, `request timed out`, `leader changed`): it is said of what was
 *   proposed already, too, and then the next leader may apply it;
 * - `mvcc: database space exceeded` (code 8): members say it *after* they have applied what overstepped the quota
 *   (`server/etcdserver/apply.go`, `quotaApplierV3.Txn`);
 * - answers that are none of etcd's, such as a proxy's.
 */

export type Verdict =
  /** Not applied: the token, or that there was none. With a new one it may be. */
  | 'token'
  /** Not applied, nor will it be elsewhere. */
  | 'refused'
  /** Not applied; another member may. */
  | 'busy'
  /** It may have been applied, or be so yet. */
  | 'unsure';

interface Row {
  /** Of gRPC (`google/rpc/code.proto`). */
  readonly code: number;
  readonly message: RegExp;
  readonly verdict: Verdict;
}

const rows: readonly Row[] = [
  { code: 16, message: /invalid auth token/, verdict: 'token' },
  // The token is from before users or roles were changed.
  { code: 3, message: /revision of auth store is old/, verdict: 'token' },
  { code: 3, message: /user name is empty/, verdict: 'token' },
  // Malformed, of too many operations, too large: checked where it arrives.
  { code: 3, message: /^etcdserver: /, verdict: 'refused' },
  { code: 7, message: /permission denied/, verdict: 'refused' },
  { code: 8, message: /larger than max/, verdict: 'refused' },
  // Counted before proposing: what was applied lags too far behind what was agreed on.
  { code: 8, message: /too many requests/, verdict: 'busy' },
];

export function verdictOn(error: { readonly code: number; readonly message: string } | null): Verdict {
  if (error === null) return 'unsure';
  return rows.find((row) => row.code === error.code && row.message.test(error.message))?.verdict ?? 'unsure';
}
