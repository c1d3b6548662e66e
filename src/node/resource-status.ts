/** What an administrator can ask about what moves with groups, and the answers; behind it is `resource-control.ts`. */
import type { AgentRow } from '../agent/application-agents.ts';
import type { ResourceRow, ResourcesState } from '../agent/resources.ts';

export interface ResourceControlMethods {
  /** As the group's owner has them. */
  groupResources(request: { group: string }): Promise<ResourcesStatus>;
  /** Starts what is not running, at the owner; `E_REFUSED` while it does not serve. Returns when that is done or has failed. */
  startResources(request: { group: string }): Promise<ResourcesStatus>;
  /** The last integrity check; `again` runs it, `serve` lets hosts in without: both only while hosts are kept out. */
  groupCheck(request: CheckRequest): Promise<CheckStatus>;
  /** Application agents of all nodes. */
  listAgents(): Promise<AgentList>;
}

export interface ResourcesStatus {
  readonly group: string;
  readonly node: string;
  readonly state: ResourcesState;
  readonly problem: string | null;
  /** In the order of their start. */
  readonly resources: readonly ResourceRow[];
}

export interface CheckRequest {
  readonly group: string;
  readonly again: boolean;
  readonly serve: boolean;
}

export interface CheckStatus {
  readonly group: string;
  readonly node: string;
  /** When it ended, or began if it runs. */
  readonly atMs: number | null;
  /** `none`: not since the node was started. */
  readonly state: 'none' | 'running' | 'ok' | 'failed';
  readonly problem: string | null;
  readonly output: string;
  /** Why hosts are kept out; null: they are not. */
  readonly withheld: string | null;
}

export interface AgentList {
  readonly agents: readonly (AgentRow & { readonly node: string })[];
  readonly notes: readonly string[];
}
