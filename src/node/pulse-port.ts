/**
 * The pulse as the rest of the node sees it: what it knows of the others, and what it is to say of this node. Behind it is a
 * thread of its own in production, and the same classes in the same thread in the simulator.
 */
import type { Indication } from '../pulse/indication.ts';
import type { NodeWord, PulseSnapshot } from '../pulse/snapshot.ts';

export interface PulsePort {
  /** The newest there is; at most a second old while the pulse runs. Null: nothing yet. */
  readonly snapshot: PulseSnapshot | null;
  /** Something in the snapshot has changed, or a second has passed. */
  onSnapshot(listener: () => void): void;
  /** Failures the pulse itself has seen, and those other nodes have told of. */
  onIndication(listener: (indication: Indication) => void): void;
  /** What heartbeats say of this node from now on. */
  say(word: Omit<NodeWord, 'hears' | 'leaving'>): void;
  /** Tells the other nodes of a failure (HM-16). */
  indicate(indication: Indication): void;
  /** Says nothing any more, because of that; null: speaks again. */
  mute(reason: string | null): void;
  /** AS-7: announces that this node stops. Resolves when all that are heard have taken note, or after a short time. */
  leave(): Promise<void>;
}
