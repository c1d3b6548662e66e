/**
 * A failure, or its end, as it is told to people and to the other site (HM-16). Rooms of all layers raise them; the pulse
 * carries them, `alerts/` tells them.
 */
export interface Indication {
  /** `component` and `code` together name a condition: the same again is a repetition, `over` ends it. */
  readonly component: Component;
  /** Its id, address or serial number: `node west`, `network east:10815`, `volume vol1`, `/dev/sdb`. */
  readonly id: string;
  readonly code: AlertCode;
  readonly level: AlertLevel;
  /** Where it was seen. */
  readonly node: string;
  /** Null where it concerns no group. */
  readonly group: string | null;
  /** Wall clock, when it was first seen. */
  readonly atMs: number;
  /** The node without which this cannot be well, such as the other end of a link: while it is silent, this is no news. */
  readonly about?: string | undefined;
  /** A sentence for people: what, since when, and which numbers. */
  readonly text: string;
  /** The condition has ended. */
  readonly over: boolean;
}

export type Component =
  | 'node'
  | 'network'
  | 'mirror'
  | 'interconnect'
  | 'link'
  | 'volume'
  | 'disk'
  | 'application'
  | 'store'
  | 'group'
  | 'log';

/** The two highest page at any hour, MODERATE notifies in service hours, TEMPORARY is logged. */
export type AlertLevel = 'SYSTEM DOWN' | 'SERIOUS' | 'MODERATE' | 'TEMPORARY';

/** Each has a runbook: `docs/manual/alerts/<code>.md`. */
export const alertCodes = [
  'node-silent',
  'node-stuck',
  'network-path-failed',
  'mirror-failed',
  'mirror-refused',
  'interconnect-failed',
  'heartbeat-only-network',
  'no-heartbeat-path',
  'link-down',
  'volume-failed',
  'disk-failed',
  'disk-full',
  'application-failed',
  'integrity-check-failed',
  'store-unreachable',
  'lease-lost',
  'switch-over-succeeded',
  'switch-over-failed',
  'take-over-succeeded',
  'take-over-failed',
  'take-over-withheld',
  'split-brain',
  'copy-behind',
  'log-filling',
  'clock-step',
  'loss-stated',
  'test',
] as const;

export type AlertCode = (typeof alertCodes)[number];
