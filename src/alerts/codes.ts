/**
 * What each alert code is: a condition, which lasts until its `over`, or an event, which is over as it happens; and which
 * notification of HOLDFAST-MIB tells it (AS-11). Numbers and names are for ever: management systems keep them.
 */
import { alertCodes, type AlertCode, type AlertLevel } from '../pulse/indication.ts';

export type AlertNature = 'condition' | 'event';

interface CodeTraits {
  readonly nature: AlertNature;
  /** Last arc of the notification's object identifier, and its descriptor in docs/HOLDFAST-MIB.txt. */
  readonly notification: number;
  readonly descriptor: string;
}

export const codeTraits: Readonly<Record<AlertCode, CodeTraits>> = {
  'node-silent': { nature: 'condition', notification: 1, descriptor: 'holdfastNodeSilent' },
  'node-stuck': { nature: 'condition', notification: 2, descriptor: 'holdfastNodeStuck' },
  'network-path-failed': { nature: 'condition', notification: 3, descriptor: 'holdfastNetworkPathFailed' },
  'mirror-failed': { nature: 'condition', notification: 4, descriptor: 'holdfastMirrorFailed' },
  'mirror-refused': { nature: 'condition', notification: 5, descriptor: 'holdfastMirrorRefused' },
  'interconnect-failed': { nature: 'condition', notification: 6, descriptor: 'holdfastInterconnectFailed' },
  'heartbeat-only-network': { nature: 'condition', notification: 7, descriptor: 'holdfastHeartbeatOnlyNetwork' },
  'no-heartbeat-path': { nature: 'condition', notification: 8, descriptor: 'holdfastNoHeartbeatPath' },
  'link-down': { nature: 'condition', notification: 9, descriptor: 'holdfastLinkDown' },
  'volume-failed': { nature: 'condition', notification: 10, descriptor: 'holdfastVolumeFailed' },
  'disk-failed': { nature: 'condition', notification: 11, descriptor: 'holdfastDiskFailed' },
  'disk-full': { nature: 'condition', notification: 12, descriptor: 'holdfastDiskFull' },
  'application-failed': { nature: 'condition', notification: 13, descriptor: 'holdfastApplicationFailed' },
  'integrity-check-failed': { nature: 'condition', notification: 14, descriptor: 'holdfastIntegrityCheckFailed' },
  'store-unreachable': { nature: 'condition', notification: 15, descriptor: 'holdfastStoreUnreachable' },
  'lease-lost': { nature: 'condition', notification: 16, descriptor: 'holdfastLeaseLost' },
  'switch-over-succeeded': { nature: 'event', notification: 17, descriptor: 'holdfastSwitchOverSucceeded' },
  'switch-over-failed': { nature: 'condition', notification: 18, descriptor: 'holdfastSwitchOverFailed' },
  'take-over-succeeded': { nature: 'event', notification: 19, descriptor: 'holdfastTakeOverSucceeded' },
  'take-over-failed': { nature: 'condition', notification: 20, descriptor: 'holdfastTakeOverFailed' },
  'take-over-withheld': { nature: 'condition', notification: 21, descriptor: 'holdfastTakeOverWithheld' },
  'split-brain': { nature: 'condition', notification: 22, descriptor: 'holdfastSplitBrain' },
  'copy-behind': { nature: 'condition', notification: 23, descriptor: 'holdfastCopyBehind' },
  'log-filling': { nature: 'condition', notification: 24, descriptor: 'holdfastLogFilling' },
  'clock-step': { nature: 'event', notification: 25, descriptor: 'holdfastClockStep' },
  'loss-stated': { nature: 'condition', notification: 28, descriptor: 'holdfastLossStated' },
  test: { nature: 'event', notification: 26, descriptor: 'holdfastTest' },
};

/** Of a sink's summary of what it held back: not a failure, but it travels as one. */
export const heldBackNotification = { notification: 27, descriptor: 'holdfastHeldBack' };

/** The worst first. */
export const alertLevels = [
  'SYSTEM DOWN',
  'SERIOUS',
  'MODERATE',
  'TEMPORARY',
] as const satisfies readonly AlertLevel[];

/** 0 is the worst. */
export const rankOf = (level: AlertLevel): number => alertLevels.indexOf(level);

/** HM-16: pages at any hour. */
export const pages = (level: AlertLevel): boolean => level === 'SYSTEM DOWN' || level === 'SERIOUS';

export const isAlertCode = (text: string): text is AlertCode => alertCodes.some((code) => code === text);
