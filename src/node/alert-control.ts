/**
 * What an administrator asks of alerts (HM-16, BY-7). Each node keeps its own list, with numbers of its own; what is
 * acknowledged at one node is acknowledged at all that can be asked, so that none of them goes on telling it.
 */
import { z } from 'zod';
import type { Alert } from '../alerts/alert.ts';
import { componentNames } from '../alerts/alert-files.ts';
import type { Alerts, AlertSummary, TestResult } from '../alerts/alerts.ts';
import type { SinkStatus } from '../alerts/sink.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { alertCodes, type AlertLevel } from '../pulse/indication.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';

export interface AlertControl {
  /** What the node asked knows: in sight, or all that is kept. Oldest first. */
  listAlerts(request: { all: boolean }): Promise<AlertList>;
  /** Of the node asked; `E_NOT_FOUND` for a sink it does not have. */
  testAlerts(request: TestAlertsRequest): Promise<readonly TestResult[]>;
  /** `E_NOT_FOUND` for a number that is not in sight; then nothing is acknowledged. */
  acknowledgeAlerts(request: AcknowledgeAlertsRequest): Promise<Acknowledged>;
}

export interface AlertList {
  readonly node: string;
  readonly alerts: readonly Alert[];
  readonly sinks: readonly SinkStatus[];
}

export interface TestAlertsRequest {
  readonly sink?: string;
  /** Default: the worst that a sink takes. */
  readonly level?: AlertLevel;
  readonly by: string;
}

export interface AcknowledgeAlertsRequest {
  readonly numbers: readonly number[] | 'all';
  readonly by: string;
  /** Declares them over, too. */
  readonly end: boolean;
}

export interface Acknowledged {
  readonly alerts: readonly Alert[];
  /** Nodes that could not be told, and why. */
  readonly notes: readonly string[];
}

export interface AlertControlContext {
  readonly node: string;
  readonly otherNodes: () => readonly string[];
  /** Null: this node keeps none. */
  readonly alerts: () => Alerts | null;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

const requestTimeoutMs = 3000;
export const acknowledgeMethod = 'alerts.acknowledge';

const conditionsRequest = z.object({
  conditions: z.array(
    z.object({
      component: z.enum(componentNames),
      id: z.string(),
      code: z.enum(alertCodes),
      group: z.string().nullable(),
    }),
  ),
  by: z.string(),
  end: z.boolean(),
});

export class AlertControlPart implements AlertControl {
  readonly #context: AlertControlContext;

  constructor(context: AlertControlContext) {
    this.#context = context;
  }

  async listAlerts({ all }: { all: boolean }): Promise<AlertList> {
    const alerts = this.#alerts();
    return { node: this.#context.node, alerts: all ? await alerts.all() : alerts.current, sinks: alerts.sinks };
  }

  async testAlerts(request: TestAlertsRequest): Promise<readonly TestResult[]> {
    return this.#alerts().test(request);
  }

  async acknowledgeAlerts({ numbers, by, end }: AcknowledgeAlertsRequest): Promise<Acknowledged> {
    const { otherNodes, request } = this.#context;
    const alerts = this.#alerts().acknowledge(numbers, by, { end });
    const conditions = alerts.map(({ component, id, code, group }) => ({ component, id, code, group }));
    const notes = await Promise.all(
      (alerts.length === 0 ? [] : otherNodes()).map((node) =>
        request(node, acknowledgeMethod, { conditions, by, end }, requestTimeoutMs).then(
          () => null,
          (error: unknown) => `${node} was not told: ${messageOf(error)}`,
        ),
      ),
    );
    return { alerts, notes: notes.filter((note) => note !== null) };
  }

  /** Another node's administrator has acknowledged them. */
  called(params: unknown): null {
    const { conditions, by, end } = conditionsRequest.parse(params);
    const alerts = this.#context.alerts();
    const numbers = (alerts?.current ?? []).flatMap((alert) => {
      const { component, id, code, group, number } = alert;
      const isMeant = conditions.some(
        (one) => one.component === component && one.id === id && one.code === code && one.group === group,
      );
      return isMeant ? [number] : [];
    });
    alerts?.acknowledge(numbers, by, { end });
    return null;
  }

  #alerts(): Alerts {
    const alerts = this.#context.alerts();
    if (alerts !== null) return alerts;
    throw new HoldfastError('E_REFUSED', `node ${this.#context.node} keeps no alerts yet; try again in a moment`);
  }
}

/** For `ClusterStatus.notes`; empty where nothing is wrong. */
export function alertNotes(node: string, { open, unacknowledged, worst, failingSinks }: AlertSummary): string[] {
  const what = open === 1 ? '1 alert is open' : `${open} alerts are open`;
  const pending = unacknowledged === open ? '' : `, ${unacknowledged} of them not acknowledged`;
  return [
    ...(worst === null ? [] : [`${what} at ${node}, the worst is ${worst}${pending}: holdfast alerts list`]),
    ...failingSinks.map((sink) => `alerts of ${node} cannot go out by ${sink}: holdfast alerts list`),
  ];
}

/** Nodes that are heard now, by whatever channel (HM-16: who tells an alert). */
export function heardNodes(snapshot: PulseSnapshot | null): string[] {
  const peers = snapshot?.peers ?? [];
  return peers.filter(({ heard }) => heard.some(({ hearing }) => hearing === 'alive')).map(({ node }) => node);
}
