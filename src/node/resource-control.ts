/**
 * What moves with the groups of a node: it makes each group's resources, check and agents follow the group's ownership, and
 * answers for them. Decides nothing itself: whom to hand a group to that gave up here is the agent's business.
 *
 * Order of a planned move: agents let go, applications stop, addresses leave, all while hosts are still served (an application
 * that stops writes); then the group is handed over. What does not stop keeps the group here. Order of a take-over: the
 * volumes are open, the integrity check passes, hosts are let in, then addresses, applications, agents.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { MovingAddress, type NetworkDevices } from '../agent/addresses.ts';
import { ApplicationAgents, type AcquiredDevices } from '../agent/application-agents.ts';
import { Application } from '../agent/applications.ts';
import { groupVariables, type Commands, type VolumeAccess } from '../agent/commands.ts';
import { IntegrityCheck } from '../agent/integrity-check.ts';
import { GroupResources, type StopReason } from '../agent/resources.ts';
import type { ResourceStep } from '../agent/resource-step.ts';
import { RunNote } from '../agent/run-note.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, type Listener } from '../base/network.ts';
import type { Group } from '../group/group.ts';
import type { GroupService, OpenedBy } from '../group/service.ts';
import type { AlertCode, Indication } from '../pulse/indication.ts';
import type { ClusterDocument, GroupEntry, ResourceEntry, VolumeEntry } from '../store/document.ts';
import type { AgentsConfiguration } from './configuration-agents.ts';
import type {
  AgentList,
  CheckRequest,
  CheckStatus,
  ResourceControlMethods,
  ResourcesStatus,
} from './resource-status.ts';
import { listenTls } from './tls-streams.ts';

/** The world that resources need, bound in `run.ts`. */
export interface ResourceWorld {
  readonly commands: Commands;
  readonly networkDevices: NetworkDevices;
  readonly agents: AgentsConfiguration;
}

export interface ResourceControlContext {
  readonly environment: Environment;
  readonly node: string;
  readonly dataFolder: string;
  readonly world: ResourceWorld;
  readonly document: () => ClusterDocument;
  readonly group: (name: string) => Group | undefined;
  readonly ownerOf: (group: string) => string;
  readonly pathOf: (volume: VolumeEntry) => string;
  /** How hosts reach a volume on this node. */
  readonly exportsOf: (volume: string) => readonly string[];
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  /** AS-14: whether this node takes anything over by itself. */
  readonly nodeAutomatic: () => boolean;
  /** HM-20: an application will not stay up here; null: it does again. */
  readonly gaveUp: (group: string, reason: string | null) => void;
  readonly indicate: (indication: Indication) => void;
  readonly event: (group: string | null, kind: string, message: string) => void;
}

interface Part {
  readonly resources: GroupResources;
  readonly check: IntegrityCheck;
  /** What runs from before this start is stopped before anything else is done. */
  recovered: Promise<unknown>;
}

type Failure = Omit<Indication, 'node' | 'atMs' | 'over'>;

const failureKey = ({ group, code, id }: Pick<Failure, 'group' | 'code' | 'id'>): string =>
  JSON.stringify([group, code, id]);

const requestTimeoutMs = 5000;
/** All output of one answer: between nodes it is a mebibyte of JSON at most, and a control character takes six of it. */
const answerCharactersMax = 128 * 1024;

const groupRequest = z.object({ group: z.string() });
const checkRequest = z.object({ group: z.string(), again: z.boolean(), serve: z.boolean() });

export class ResourceControl implements GroupService, ResourceControlMethods {
  readonly agents: ApplicationAgents;
  readonly #context: ResourceControlContext;
  readonly #parts = new Map<string, Part>();
  readonly #listeners: Listener[] = [];
  /** Groups for which automatic take-over is switched off, as agents were last told. */
  #withoutTakeOver = new Map<string, string | null>();
  /** Told, and not over. */
  readonly #failures = new Map<string, Failure>();

  constructor(context: ResourceControlContext) {
    this.#context = context;
    this.agents = new ApplicationAgents({
      clock: context.environment.clock,
      node: context.node,
      notConfigured: (group) => this.#notConfigured(group),
      releaseWithinMs: context.world.agents.releaseMs,
      event: context.event,
    });
  }

  /**
   * Stops what still runs from before, and listens for agents. Rejects when it cannot listen where agents come from other
   * machines; without its own socket the node starts all the same.
   */
  async start(): Promise<void> {
    const { environment, dataFolder, world, document } = this.#context;
    const noted = await environment.files.list(`${dataFolder}/resources`).catch(() => []);
    for (const name of new Set([...noted, ...document().groups.map((group) => group.name)])) this.#part(name);
    this.tick();
    for (const at of world.agents.listen) {
      if (at.kind === 'tcp') {
        const { tls } = world.agents;
        if (tls === null)
          throw new HoldfastError('E_CONFIG', `agents at ${formatAddress(at)}: no certificate is named`);
        const [cert, key, ca] = await Promise.all([tls.cert, tls.key, tls.ca].map((path) => this.#pem(path)));
        this.#listeners.push(
          await listenTls(at, { cert: cert ?? '', key: key ?? '', ca: ca ?? '' }, this.agents.accept),
        );
        continue;
      }
      try {
        this.#listeners.push(await environment.network.listen(at, this.agents.accept));
      } catch (error) {
        environment.log.warn(`application agents cannot reach this node: ${messageOf(error)}`);
      }
    }
  }

  /** The node stops: nothing runs on it afterwards. */
  async close(): Promise<void> {
    await Promise.all([...this.#parts.values()].map((part) => this.#stop(part, 'nodeStops')));
    for (const listener of this.#listeners) await listener.close();
    this.agents.close();
  }

  /** About once a second. AS-14: agents are told when automatic take-over of a group is switched off or on. */
  tick(): void {
    const before = this.#withoutTakeOver;
    this.#withoutTakeOver = new Map(
      this.#context.document().groups.map(({ name }) => [name, this.#notConfigured(name)]),
    );
    for (const [group, reason] of this.#withoutTakeOver) {
      const was = before.get(group);
      if (was === undefined || (was === null) === (reason === null)) continue;
      this.agents.maintenance(group, reason !== null, reason ?? 'automatic take-over is on again');
    }
  }

  // ---- following the groups ----

  beforeServing(group: string, by: OpenedBy): Promise<string | null> | null {
    return this.#entry(group).takeOver.check === null ? null : this.#part(group).check.beforeServing(by);
  }

  serving(group: string, by: OpenedBy): void {
    const { resources, recovered } = this.#part(group);
    void recovered.then(() => (this.#served(group) ? resources.start(by) : null));
  }

  async beforeHandOver(group: string, _to: string): Promise<string | null> {
    const { resources, recovered } = this.#part(group);
    await recovered;
    const outcome = await resources.beforeHandOver();
    if (outcome.kind === 'failed') return outcome.reason;
    return outcome.kind === 'ok' ? null : 'something else was asked for meanwhile';
  }

  handOverFailed(group: string): void {
    if (this.#served(group)) void this.#part(group).resources.afterHandOverFailed();
  }

  left(group: string, _reason: string): void {
    const part = this.#part(group);
    part.check.cancel();
    this.#context.gaveUp(group, null);
    // What failed here may do well where the group is now; if not, that node tells.
    for (const failure of [...this.#failures.values()])
      if (failure.group === group) this.#end(group, failure.code, failure.id);
    void this.#stop(part, 'lost');
  }

  async #stop({ resources, recovered }: Part, reason: StopReason): Promise<void> {
    await recovered;
    await resources.stop(reason);
  }

  #served(name: string): boolean {
    const group = this.#context.group(name);
    return group?.role === 'primary' && group.withheld === null;
  }

  // ---- what an administrator asks ----

  groupResources(request: { group: string }): Promise<ResourcesStatus> {
    return this.#atOwner(request.group, 'resources.status', request, requestTimeoutMs, () =>
      this.#status(request.group),
    );
  }

  startResources(request: { group: string }): Promise<ResourcesStatus> {
    const entry = this.#entry(request.group);
    return this.#atOwner(request.group, 'resources.start', request, longestMs(entry), async () => {
      if (!this.#served(request.group))
        throw new HoldfastError('E_REFUSED', `group ${request.group}: it is not served by ${this.#context.node} now`);
      await this.#part(request.group).resources.start('asked');
      return this.#status(request.group);
    });
  }

  groupCheck(request: CheckRequest): Promise<CheckStatus> {
    const { check } = this.#entry(request.group).takeOver;
    const timeoutMs = requestTimeoutMs + (request.again ? (check?.timeoutMs ?? 0) : 0);
    return this.#atOwner(request.group, 'check.look', request, timeoutMs, () => this.#check(request));
  }

  async listAgents(): Promise<AgentList> {
    const { node, document, request } = this.#context;
    const notes: string[] = [];
    const others = document().nodes.filter(({ name }) => name !== node);
    const answers = await Promise.all(
      others.map(async ({ name }) => {
        try {
          return (await request(name, 'agents.list', {}, requestTimeoutMs)) as AgentList['agents'];
        } catch (error) {
          notes.push(`${name} could not be asked: ${messageOf(error)}`);
          return [];
        }
      }),
    );
    return { agents: [...this.#ownAgents(), ...answers.flat()], notes };
  }

  /** What other nodes ask of this one. */
  async called(method: ResourceCall, params: unknown): Promise<unknown> {
    switch (method) {
      case 'resources.status':
        return this.#status(groupRequest.parse(params).group);
      case 'resources.start':
        return this.startResources(groupRequest.parse(params));
      case 'check.look':
        return this.#check(checkRequest.parse(params));
      case 'agents.list':
        return this.#ownAgents();
    }
  }

  async #atOwner<Answer>(
    group: string,
    method: ResourceCall,
    params: unknown,
    timeoutMs: number,
    here: () => Promise<Answer>,
  ): Promise<Answer> {
    this.#entry(group);
    const owner = this.#context.ownerOf(group);
    if (owner === this.#context.node) return here();
    return (await this.#context.request(owner, method, params, timeoutMs)) as Answer;
  }

  async #status(group: string): Promise<ResourcesStatus> {
    const { state, problem, rows } = this.#part(group).resources;
    const share = Math.floor(answerCharactersMax / Math.max(1, rows.length));
    const shown = rows.filter(({ kind }) => kind !== 'agents');
    return {
      group,
      node: this.#context.node,
      state,
      problem,
      resources: shown.map((row) => ({ ...row, output: row.output.slice(-share) })),
    };
  }

  async #check({ group: name, again, serve }: CheckRequest): Promise<CheckStatus> {
    const { node } = this.#context;
    const group = this.#context.group(name);
    const { check } = this.#part(name);
    if ((again || serve) && (group === undefined || group.withheld === null))
      throw new HoldfastError(
        'E_REFUSED',
        `group ${name}: hosts are not kept out at ${node}, so there is nothing to decide`,
      );
    if (serve) await group?.letIn(() => check.forgo().then(() => null));
    else if (again) await group?.letIn(() => check.again());
    const { atMs = null, state = 'none', problem = null, output = '' } = check.last ?? {};
    const withheld = group?.withheld ?? null;
    return { group: name, node, atMs, state, problem, output: output.slice(-answerCharactersMax), withheld };
  }

  #ownAgents(): AgentList['agents'] {
    return this.agents.rows.map((row) => ({ node: this.#context.node, ...row }));
  }

  // ---- parts ----

  #part(name: string): Part {
    let part = this.#parts.get(name);
    if (part === undefined) {
      part = this.#makePart(name);
      this.#parts.set(name, part);
      part.recovered = part.resources.recover();
    }
    return part;
  }

  #makePart(group: string): Part {
    const { environment, dataFolder, world, event } = this.#context;
    const { clock, files } = environment;
    const folder = `${dataFolder}/resources/${group}`;
    const entry = (): GroupEntry | undefined => this.#context.document().groups.find(({ name }) => name === group);
    const variables = (reason: string): Record<string, string> =>
      groupVariables({ group, node: this.#context.node, reason, volumes: this.#volumes(entry()) });
    const resources = new GroupResources({
      group,
      clock,
      note: new RunNote(files, folder),
      entries: () => entry()?.resources ?? [],
      makeStep: (resource) => this.#makeStep(group, resource),
      last: [this.agents.step(group, () => this.#devices(group, entry()))],
      variables,
      event: (kind, message) => event(group, kind, message),
      startFailed: (reason) => this.#gaveUp(group, group, reason),
      started: () => this.#end(group, 'application-failed', group),
    });
    const check = new IntegrityCheck({
      clock,
      files,
      commands: world.commands,
      folder,
      settings: () => {
        const settings = entry()?.takeOver;
        if (settings === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${group}`);
        return settings;
      },
      variables,
      event: (kind, message) => event(group, kind, message),
      failed: (reason) =>
        this.#begin({
          component: 'group',
          id: group,
          code: 'integrity-check-failed',
          level: 'SYSTEM DOWN',
          group,
          text: `group ${group}: ${reason}`,
        }),
      settled: () => this.#end(group, 'integrity-check-failed', group),
    });
    return { resources, check, recovered: Promise.resolve() };
  }

  #makeStep(group: string, resource: ResourceEntry): ResourceStep {
    const { environment, world, node, event } = this.#context;
    const { clock } = environment;
    if (resource.kind === 'address') {
      return new MovingAddress(resource, node, { clock, networkDevices: world.networkDevices });
    }
    return new Application(
      resource,
      { clock, commands: world.commands },
      {
        giveUp: (application, reason) => this.#gaveUp(group, application, reason),
        recovered: (application) => {
          this.#context.gaveUp(group, null);
          this.#end(group, 'application-failed', application);
        },
        event: (kind, message) => event(group, kind, message),
      },
    );
  }

  #gaveUp(group: string, application: string, reason: string): void {
    this.#begin({
      component: 'application',
      id: application,
      code: 'application-failed',
      level: 'SERIOUS',
      group,
      text: `group ${group}: ${reason}`,
    });
    this.#context.gaveUp(group, reason);
  }

  /** HM-16. */
  #begin(failure: Failure): void {
    this.#failures.set(failureKey(failure), failure);
    this.#context.indicate({ ...failure, ...this.#seen, over: false });
  }

  #end(group: string, code: AlertCode, id: string): void {
    const key = failureKey({ group, code, id });
    const failure = this.#failures.get(key);
    if (failure === undefined) return;
    this.#failures.delete(key);
    this.#context.indicate({ ...failure, ...this.#seen, text: `over: ${failure.text}`, over: true });
  }

  get #seen(): { node: string; atMs: number } {
    return { node: this.#context.node, atMs: this.#context.environment.clock.wallMs() };
  }

  #volumes(entry: GroupEntry | undefined): VolumeAccess[] {
    return (entry?.volumes ?? []).map((volume) => ({
      name: volume.name,
      path: this.#context.pathOf(volume),
      nbd: this.#context.exportsOf(volume.name)[0] ?? null,
    }));
  }

  #devices(group: string, entry: GroupEntry | undefined): AcquiredDevices {
    return {
      generation: this.#context.group(group)?.record?.generation ?? 0,
      volumes: (entry?.volumes ?? []).map((volume) => ({
        name: volume.name,
        wwid: volume.wwid,
        sizeBytes: volume.sizeBytes,
        path: this.#context.pathOf(volume),
        nbd: this.#context.exportsOf(volume.name),
      })),
    };
  }

  #notConfigured(name: string): string | null {
    const { node, document, nodeAutomatic } = this.#context;
    const entry = document().groups.find((group) => group.name === name);
    if (entry === undefined) return `there is no group ${name}`;
    if (!entry.legs.some((leg) => leg.node === node)) return `${node} has no copy of ${name}`;
    if (entry.takeOver.automatic === 'off') return `automatic take-over of ${name} is switched off`;
    return nodeAutomatic() ? null : `automatic take-over by ${node} is switched off`;
  }

  #entry(name: string): GroupEntry {
    const entry = this.#context.document().groups.find((group) => group.name === name);
    if (entry === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
    return entry;
  }

  async #pem(path: string): Promise<Uint8Array> {
    try {
      return await readFile(path);
    } catch (error) {
      throw new HoldfastError('E_FILE_MISSING', `certificate of application agents: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
}

/** What one node may ask another of its resources. */
export type ResourceCall = 'resources.status' | 'resources.start' | 'check.look' | 'agents.list';

/** Everything started once, and stopped once because the last would not. */
function longestMs({ resources }: GroupEntry): number {
  let sumMs = requestTimeoutMs;
  for (const resource of resources) {
    const starts = resource.kind === 'application' ? 1 + (resource.health?.restarts ?? 0) : 1;
    sumMs += resource.kind === 'application' ? starts * (resource.start.timeoutMs + resource.stop.timeoutMs) : 20_000;
  }
  return sumMs;
}
