import type { AlertLevel } from '../pulse/indication.ts';
import type { AlertMessage } from './alert.ts';

/** One way to reach people or their systems. Its bindings are in `node/alert-sinks/`. */
export interface AlertSink {
  /** Unique on the node. */
  readonly name: string;
  /** `snmp`, `webhook`, `email`, `command`. */
  readonly kind: string;
  /** What it tells; never TEMPORARY, which is for the log alone (HM-16). */
  readonly levels: readonly AlertLevel[];
  /** Resolves when it is delivered, as far as the way can tell; rejects with what is wrong, and is tried again. */
  send(message: AlertMessage): Promise<void>;
  close(): Promise<void>;
}

export type SinkState =
  /** The last message was delivered, or there was none. */
  | 'ok'
  /** The last try failed; tried again. */
  | 'failing';

export interface SinkStatus {
  readonly name: string;
  readonly kind: string;
  readonly levels: readonly AlertLevel[];
  readonly state: SinkState;
  /** Messages delivered since the node started. */
  readonly sent: number;
  /** To be delivered, those that wait for service hours included. */
  readonly queued: number;
  /** Not to be told one by one: the limit was reached. */
  readonly heldBack: number;
  readonly lastSentAtMs: number | null;
  /** Since when it fails, and with what; null while it does not. */
  readonly failingSinceMs: number | null;
  readonly problem: string | null;
  /** When queued messages are let out that wait for service hours, for the limit, or for the next try. */
  readonly nextTryAtMs: number | null;
}
