/** What the pulse of a node is built from, what it is asked, and what it tells: `Pulse` in `pulse.ts` is one. */
import type { Channel } from './channel.ts';
import type { Indication } from './indication.ts';
import type { ControlMessage } from './message.ts';
import type { PulsePath } from './network-channel.ts';
import type { RefusalCounts } from './receiver.ts';
import type { PulseSettings } from './settings.ts';
import type { NodeWord, PulseSnapshot } from './snapshot.ts';
import type { StatusTable } from './status-table.ts';

export interface PulseOptions {
  readonly node: string;
  /** All nodes of the cluster, this one among them, in the order of the cluster document: it is the succession (HM-1). */
  readonly members: readonly PulseMember[];
  readonly clusterId: string;
  /** Of the cluster; at least 16 bytes. */
  readonly key: Uint8Array;
  readonly settings: PulseSettings;
  /** Of this process: 32 hex digits, the same that its links show. */
  readonly incarnation: string;
  readonly channels: readonly ChannelEntry[];
  /** As it was before the process ended, or with another master: what the user chose is kept. Null: a first one. */
  readonly table?: StatusTable | null;
}

export interface PulseMember {
  readonly name: string;
  readonly site: string;
}

export interface ChannelEntry {
  readonly channel: Channel;
  /** Of a mirror: backing file or device at this node; of others what people know them by. */
  readonly device: string;
}

export interface PulseEvents {
  /** What is heard, said or known of paths has become another; not called when only times went on. */
  changed(snapshot: PulseSnapshot): void;
  /** A failure or its end: of this node's own paths (`from` is this node), or told by another. */
  indicated(indication: Indication, from: string): void;
  /** The table has changed: what it says is worth keeping over a restart. */
  tableChanged(table: StatusTable): void;
  /**
   * Another node asks for something the pulse itself does not know (all kinds but `use`). Null: done; a sentence: refused.
   * May come again after this process or the other was restarted, so it must do no harm the second time.
   */
  control(from: string, message: ControlMessage): Promise<string | null>;
}

/** What this node says of itself; whom it hears is added by the pulse. */
export type SpokenWord = Omit<NodeWord, 'hears'>;

/** HM-14. With `select` exactly those kinds are used; `enable` and `disable` name single channels: `mirror:hb1`, `network`. */
export interface UseChange {
  readonly select?: 'network' | 'mirrors' | 'both';
  readonly enable?: readonly string[];
  readonly disable?: readonly string[];
  /** The user knows that no path may be left. */
  readonly confirmed: boolean;
}

export interface UseResult {
  readonly table: StatusTable;
  /** Whether each other node has applied it too; those that have not will, as soon as any path to them works. */
  readonly passedOn: readonly {
    readonly node: string;
    readonly confirmed: boolean;
    readonly problem: string | null;
  }[];
}

export interface PulseStatus {
  readonly snapshot: PulseSnapshot;
  readonly table: StatusTable;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly channels: readonly {
    readonly id: string;
    readonly kind: Channel['kind'];
    readonly device: string;
    readonly sent: number;
    readonly fault: string | null;
    readonly paths: readonly PulsePath[];
  }[];
  /** By sender: only a message with the right MAC names one; those without are under `?`. */
  readonly refused: Readonly<Record<string, RefusalCounts>>;
  /** Letters to each other node that are not confirmed yet. */
  readonly waiting: Readonly<Record<string, number>>;
}

export interface PulseService {
  start(): void;
  stop(): Promise<void>;
  say(word: SpokenWord): void;
  snapshot(): PulseSnapshot;
  status(): PulseStatus;
  table(): StatusTable;
  /** Null ends it. A muted pulse sends nothing and goes on listening. */
  mute(reason: string | null): void;
  /** By a channel that carries no messages of its own (TL-4): the link's connections. */
  heard(channel: string, peer: string, agoMs: number): void;
  /** The user's check of a node has ended (HM-7); `problem`: why nothing of it is to be believed, null: it has passed. */
  checked(peer: string, problem: string | null): void;
  /** Counts at once; the others are asked to do the same. Rejects with `E_REFUSED`, `E_NOT_FOUND`. */
  use(change: UseChange): Promise<UseResult>;
  addChannel(entry: ChannelEntry): void;
  removeChannel(id: string): Promise<void>;
  /**
   * Asked of the other node with every heartbeat, by every channel, until it answers. Resolves when it did it; rejects with
   * `E_REFUSED` (its words), `E_TIMEOUT` after `limitMs` (then it is not asked any more), `E_BUSY` when too many wait.
   */
  sendControl(to: string, message: ControlMessage, limitMs: number): Promise<void>;
  /** HM-16: told to every other node until it confirms. */
  indicate(indication: Indication): void;
  /** AS-7: says that it stops as planned; resolves when every node it hears has heard that, or after a time. */
  leave(): Promise<void>;
}
