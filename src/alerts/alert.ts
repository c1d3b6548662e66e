/** An alert as a node keeps it, and what is said of it to people. */
import type { AlertCode, AlertLevel, Component } from '../pulse/indication.ts';

/** One condition from its beginning to its end, however often it flapped in between; or one event. */
export interface Alert {
  /** From 1, given by this node and by it alone; never given twice. */
  readonly number: number;
  readonly component: Component;
  readonly id: string;
  readonly code: AlertCode;
  /** As last raised. */
  readonly level: AlertLevel;
  /** Who saw it first. */
  readonly node: string;
  readonly group: string | null;
  /** As last said, be it of the failure or of its end. */
  readonly text: string;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** How often it was raised. */
  readonly count: number;
  /** Nodes that see it now; empty exactly when it has ended. */
  readonly seenBy: readonly string[];
  readonly endedAtMs: number | null;
  readonly acknowledged: { readonly by: string; readonly atMs: number } | null;
}

export type Occasion =
  /** It begins. */
  | 'new'
  /** It goes on, or has come back. */
  | 'again'
  /** It goes on, at a higher level. */
  | 'worse'
  | 'over'
  /** It happened, and has no end to be told. */
  | 'event'
  /** What the sink's limit held back. */
  | 'summary';

/** What a sink tells: the alert as it was when the message was made. Also the JSON of webhooks and commands. */
export interface AlertMessage {
  readonly schema: 1;
  /** Unique; the same at each try, so that a receiver can drop what it has. */
  readonly messageId: string;
  readonly occasion: Occasion;
  readonly cluster: string;
  /** The node that tells it. */
  readonly sender: string;
  /** The node that saw it. */
  readonly node: string;
  /** At `sender`; 0 for a summary. */
  readonly number: number;
  readonly component: Component;
  readonly id: string;
  readonly code: AlertCode | 'held-back';
  readonly level: AlertLevel;
  readonly group: string | null;
  /** Wall clock, milliseconds: when it was first seen, and when this message was made. */
  readonly atMs: number;
  readonly saidAtMs: number;
  readonly count: number;
  readonly over: boolean;
  readonly text: string;
}

/** `SERIOUS link-down: link east-west (group g1, node east): …`; of an end `OVER SERIOUS …`. For subjects and logs. */
export function headlineOf(message: Pick<AlertMessage, 'level' | 'code' | 'component' | 'id' | 'over'>): string {
  const { level, code, id, over } = message;
  return `${over ? 'OVER: ' : ''}${level} ${code}: ${nameOf(message.component, id)}`;
}

/** Ids often begin with the component's name, which need not be said twice. */
export const nameOf = (component: Component, id: string): string =>
  id === component || id.startsWith(`${component} `) ? id : `${component} ${id}`;
