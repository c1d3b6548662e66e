/**
 * What the product says of itself, held against the truth that only the simulator can see (I8, I10).
 *
 * A copy is judged where its word can be taken: the node runs and knows the record as it is in the store, so that a
 * take-over there would be decided by just what is shown.
 */
import { describeGroup } from '../group/describe.ts';
import type { Group } from '../group/group.ts';
import type { Owner } from '../group/owner.ts';
import type { LegStatus } from '../group/status.ts';

/** The leg of `node`, as the node `at` describes it when nothing keeps it from being at its best. */
export function shownLeg(group: Group, at: string, node: string): LegStatus | undefined {
  const status = describeGroup(group, {
    node: at,
    leaseValid: true,
    leaseReason: null,
    storeProblem: null,
    exportsOf: () => [],
    throughput: { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 },
    reachable: () => ({ up: true, reason: null }),
  });
  return status.legs.find((leg) => leg.node === node);
}

/** Copies a target's copier may have under way at once. */
const copiesMax = 8;

/**
 * I8: what an owner holds in memory, against its limits. Null when it is within them.
 * @param outstanding requests the owner's process was asked and has not completed; each may be two records (FUA).
 */
export function overLimit(
  { history, requestsHeld, changesInFlight }: Owner,
  group: Group,
  outstanding: number,
): string | null {
  const { lagWritesMax, lagBytesMax } = group.entry.settings;
  const volumes = group.entry.volumes.length;
  const copies = copiesMax * (group.entry.legs.length - 1);
  // What is stored behind a change that a hanging disk keeps back stays as long as the disk hangs: not judged here.
  let records = 0;
  while (history.first + records < history.next && history.at(history.first + records).stored) records++;
  if (history.first + records < history.next) return null;
  const recordsMax = lagWritesMax + 2 * outstanding + volumes + copies;
  if (records > recordsMax) return `${records} records are kept, at most ${recordsMax} may be`;
  const bytesMax = lagBytesMax + (outstanding + copies) * 256 * 1024;
  if (history.bytes > bytesMax) return `${history.bytes} bytes are kept, at most ${bytesMax} may be`;
  const requests = requestsHeld + changesInFlight;
  // Its own flushes: of a hand-over, and of a stop that comes in between.
  const requestsMax = 2 * outstanding + 2 * volumes;
  if (requests > requestsMax) return `${requests} requests are held or under way, ${outstanding} were made`;
  return null;
}
