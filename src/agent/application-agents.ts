/**
 * Application agents of a node (AS-10): programs, here or on another machine, that register for groups and are told when
 * the node has acquired their devices, when it must give them back, and when nothing takes over by itself.
 *
 * Invariants:
 * - Devices go back only when every agent that was told of them has said that it let go, or its time is over; an agent
 *   that goes away without saying so has not let go.
 * - Whatever an agent does harms its own connection alone: bounded lines, bounded queues, a bounded number of agents, and
 *   a limit to how long one may be silent before it registers.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { ByteStream, StreamEvents } from '../base/network.ts';
import {
  agentProtocolVersion,
  encodeLine,
  LineCutter,
  parseFromAgent,
  type Acquired,
  type AgentVolume,
  type FromNode,
} from './agent-messages.ts';
import type { ResourceState, ResourceStep, StepContext } from './resource-step.ts';

/** Agents at once, registered or about to. */
export const agentsMax = 64;
const registerWithinMs = 10_000;
/** Beyond so much that an agent does not read it is dropped. */
const unsentBytesMax = 1024 * 1024;

export interface ApplicationAgentsOptions {
  readonly clock: Clock;
  readonly node: string;
  /** Of the document, as it is now: why nothing takes over for the group by itself; null: something does. */
  readonly notConfigured: (group: string) => string | null;
  /** AS-13: how long agents have to let go. Milliseconds. */
  readonly releaseWithinMs: number;
  readonly event: (group: string | null, kind: string, message: string) => void;
}

export interface AgentRow {
  readonly agent: string;
  readonly remote: string;
  readonly groups: readonly string[];
  readonly sinceMs: number;
  /** Messages of it that were not understood. */
  readonly unknown: number;
}

/** What a node has acquired with a group. */
export interface AcquiredDevices {
  readonly generation: number;
  readonly volumes: readonly AgentVolume[];
}

interface Session {
  readonly stream: ByteStream;
  readonly sinceMs: number;
  name: string | null;
  groups: ReadonlySet<string>;
  unknown: number;
  /** RELEASEs under way: id → what to do with its answer. */
  readonly pending: Map<number, (problem: string | null) => void>;
}

export class ApplicationAgents {
  readonly #options: ApplicationAgentsOptions;
  readonly #sessions = new Set<Session>();
  readonly #acquired = new Map<string, AcquiredDevices>();
  #ids = 0;
  /** Agents that came when there were too many. */
  refused = 0;

  constructor(options: ApplicationAgentsOptions) {
    this.#options = options;
  }

  get rows(): readonly AgentRow[] {
    return [...this.#sessions].flatMap(({ name, stream, groups, sinceMs, unknown }) =>
      name === null ? [] : [{ agent: name, remote: stream.remote, groups: [...groups], sinceMs, unknown }],
    );
  }

  /** For whoever listens. */
  readonly accept = (stream: ByteStream): StreamEvents => {
    if (this.#sessions.size >= agentsMax) {
      this.refused++;
      stream.send([encodeLine({ type: 'REFUSED', reason: `${agentsMax} agents are connected already` })]);
      stream.end();
      return { received() {}, closed() {} };
    }
    const cutter = new LineCutter();
    const session: Session = {
      stream,
      sinceMs: this.#options.clock.wallMs(),
      name: null,
      groups: new Set(),
      unknown: 0,
      pending: new Map(),
    };
    this.#sessions.add(session);
    const patience = this.#options.clock.after(registerWithinMs, () => {
      if (session.name === null) this.#end(session, `no REGISTER within ${registerWithinMs / 1000} s`);
    });
    return {
      received: (chunk) => {
        const lines = this.#sessions.has(session) ? cutter.push(chunk) : [];
        if (lines === null) this.#end(session, 'a line is too long');
        else for (const line of lines) if (this.#sessions.has(session)) this.#line(session, line);
      },
      closed: (reason) => {
        patience.cancel();
        this.#gone(session, reason);
      },
    };
  };

  /** The group's devices are served here: its agents are told. */
  acquired(group: string, cause: Acquired['cause'], devices: AcquiredDevices): void {
    this.#acquired.set(group, devices);
    for (const session of this.#of(group)) this.#send(session, this.#acquiredMessage(group, cause, devices));
  }

  /**
   * Asks every agent of the group to let go. Resolves when all have: null, or who did not and why. Aborted by the signal,
   * it resolves at once.
   */
  async release(group: string, reason: string, signal: AbortSignal): Promise<string | null> {
    if (!this.#acquired.delete(group)) return null;
    const problems = await Promise.all(
      [...this.#of(group)].map((session) => this.#release(session, group, reason, signal)),
    );
    const told = problems.filter((problem) => problem !== null);
    return told.length === 0 ? null : told.join('; ');
  }

  /** AS-14. */
  maintenance(group: string, on: boolean, reason: string): void {
    for (const session of this.#of(group)) {
      this.#send(session, { type: 'MAINTENANCE', group, on, reason });
      if (on) this.#send(session, { type: 'FAILOVER_NOT_CONFIGURED', group, reason });
    }
  }

  close(): void {
    for (const session of this.#sessions) session.stream.end();
  }

  /** As the last resource of a group: agents are told when all else runs, and let go before anything stops. */
  step(group: string, devices: () => AcquiredDevices): ResourceStep {
    return new AgentsStep(this, group, devices);
  }

  #of(group: string): Session[] {
    return [...this.#sessions].filter(({ name, groups }) => name !== null && groups.has(group));
  }

  #line(session: Session, line: string): void {
    const parsed = parseFromAgent(line);
    if (parsed.kind === 'broken') return this.#end(session, parsed.reason);
    if (parsed.kind === 'unknown') {
      session.unknown++;
      this.#send(session, { type: 'UNKNOWN', what: parsed.what });
      return;
    }
    const { message } = parsed;
    switch (message.type) {
      case 'REGISTER':
        this.#register(session, message.agent, message.groups);
        return;
      case 'RELEASED': {
        const answer = session.pending.get(message.id);
        session.pending.delete(message.id);
        // One that comes too late, or twice, changes nothing any more.
        answer?.(message.problem);
        return;
      }
      case 'UNKNOWN':
        // Never answered: two that do not understand each other would not end.
        session.unknown++;
        return;
    }
  }

  /** Again on the same connection: the groups are others now. */
  #register(session: Session, agent: string, groups: readonly string[]): void {
    const first = session.name === null;
    session.name = agent;
    session.groups = new Set(groups);
    this.#send(session, {
      type: 'REGISTERED',
      version: agentProtocolVersion,
      node: this.#options.node,
      groups: [...session.groups],
    });
    if (first) this.#options.event(null, 'agent', `application agent ${agent} is there, for ${groups.join(', ')}`);
    for (const group of session.groups) {
      const reason = this.#options.notConfigured(group);
      if (reason !== null) this.#send(session, { type: 'FAILOVER_NOT_CONFIGURED', group, reason });
      const devices = this.#acquired.get(group);
      if (devices !== undefined) this.#send(session, this.#acquiredMessage(group, 'registered', devices));
    }
  }

  #acquiredMessage(group: string, cause: Acquired['cause'], devices: AcquiredDevices): Acquired {
    const type = cause === 'takeOver' ? 'MACHINE_FAILED' : 'ACQUIRED';
    return { type, group, node: this.#options.node, cause, ...devices };
  }

  #release(session: Session, group: string, reason: string, signal: AbortSignal): Promise<string | null> {
    const { releaseWithinMs, clock } = this.#options;
    const agent = session.name ?? '?';
    const id = ++this.#ids;
    return new Promise((resolve) => {
      let timer: Timer | null = null;
      const end = (problem: string | null): void => {
        timer?.cancel();
        signal.removeEventListener('abort', brokenOff);
        session.pending.delete(id);
        resolve(problem === null ? null : `agent ${agent} did not let go: ${problem}`);
      };
      const brokenOff = (): void => end('was broken off');
      signal.addEventListener('abort', brokenOff);
      timer = clock.after(releaseWithinMs, () => end(`no answer within ${releaseWithinMs / 1000} s`));
      session.pending.set(id, end);
      this.#send(session, { type: 'RELEASE', group, id, reason, withinMs: releaseWithinMs });
    });
  }

  #send(session: Session, message: FromNode): void {
    if (!this.#sessions.has(session)) return;
    session.stream.send([encodeLine(message)]);
    if (session.stream.unsentBytes > unsentBytesMax) {
      session.stream.destroy();
      this.#gone(session, 'it does not read what it is told');
    }
  }

  #end(session: Session, reason: string): void {
    this.#send(session, { type: 'REFUSED', reason });
    session.stream.end();
    this.#gone(session, reason);
  }

  #gone(session: Session, reason: string): void {
    if (!this.#sessions.delete(session)) return;
    if (session.name !== null)
      this.#options.event(null, 'agent', `application agent ${session.name} is gone: ${reason}`);
    for (const answer of [...session.pending.values()]) answer(`it went away: ${reason}`);
  }
}

class AgentsStep implements ResourceStep {
  readonly kind = 'agents';
  readonly name = 'application agents';
  readonly output = '';
  state: ResourceState = 'stopped';
  problem: string | null = null;
  readonly #agents: ApplicationAgents;
  readonly #group: string;
  readonly #devices: () => AcquiredDevices;

  constructor(agents: ApplicationAgents, group: string, devices: () => AcquiredDevices) {
    this.#agents = agents;
    this.#group = group;
    this.#devices = devices;
  }

  async start({ reason }: StepContext): Promise<string | null> {
    const causes = ['takeOver', 'handedOver', 'start', 'handOverFailed', 'asked'] as const;
    this.#agents.acquired(this.#group, causes.find((cause) => cause === reason) ?? 'start', this.#devices());
    return null;
  }

  stop({ reason, signal }: StepContext): Promise<string | null> {
    return this.#agents.release(this.#group, reason, signal);
  }

  watch(): void {}
  async unwatch(): Promise<void> {}
}
