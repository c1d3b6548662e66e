/**
 * The other end of the line: an application agent's connection to its node (AS-10). It tries again until the node is
 * there, registers, and says RELEASED only after its owner has let go. The world is bound in `node/application-agent.ts`.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { ByteStream, StreamEvents } from '../base/network.ts';
import {
  agentProtocolVersion,
  encodeLine,
  LineCutter,
  parseFromNode,
  type Acquired,
  type FromAgent,
  type FromNode,
} from './agent-messages.ts';

export interface AgentHandlers {
  /** The node serves the group's devices now. Said again after each reconnection. */
  acquired(devices: Acquired): void;
  /** Let go of the group's devices; the node is told when the promise resolves, or what it rejects with. */
  release(group: string, reason: string, withinMs: number): Promise<void>;
  /**
   * The node is there and knows of this agent. Groups for which no `acquired` follows before `settled` are not served by it.
   */
  registered?(node: string): void;
  /** All that follows a registration has been heard, as far as the node says it at once. */
  settled?(acquired: ReadonlySet<string>): void;
  failoverNotConfigured?(group: string, reason: string): void;
  /** AS-14: automatic take-over is off (`on`), or on again. */
  maintenance?(group: string, on: boolean, reason: string): void;
  /** The connection is lost, and is tried again. */
  disconnected?(reason: string): void;
}

export interface AgentClientOptions {
  readonly clock: Clock;
  readonly connect: (events: StreamEvents) => ByteStream;
  readonly agent: string;
  readonly groups: readonly string[];
  readonly handlers: AgentHandlers;
  /** Between two attempts; default 1000. Milliseconds. */
  readonly retryMs?: number;
}

/** A node says at once, behind REGISTERED, what it serves; the turn of the line is over after so long. */
const settleMs = 200;

export class AgentClient {
  readonly #options: AgentClientOptions;
  #stream: ByteStream | null = null;
  #timer: Timer | null = null;
  #closed = false;
  #acquired = new Set<string>();
  /** Messages that were not understood. */
  unknown = 0;

  constructor(options: AgentClientOptions) {
    this.#options = options;
  }

  start(): void {
    this.#connect();
  }

  /** Nothing is said any more, and no handler called. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#stream?.end();
    this.#stream = null;
  }

  #connect(): void {
    if (this.#closed) return;
    const cutter = new LineCutter();
    const stream: ByteStream = this.#options.connect({
      opened: () => {
        const { agent, groups } = this.#options;
        this.#say(stream, { type: 'REGISTER', version: agentProtocolVersion, agent, groups });
      },
      received: (chunk) => {
        if (this.#stream !== stream) return;
        const lines = cutter.push(chunk);
        if (lines === null) stream.destroy();
        else for (const line of lines) if (this.#stream === stream) this.#line(stream, line);
      },
      closed: (reason) => {
        if (this.#stream !== stream) return;
        this.#stream = null;
        this.#timer?.cancel();
        this.#options.handlers.disconnected?.(reason);
        this.#timer = this.#options.clock.after(this.#options.retryMs ?? 1000, () => this.#connect());
      },
    });
    this.#stream = stream;
  }

  #line(stream: ByteStream, line: string): void {
    const parsed = parseFromNode(line);
    switch (parsed.kind) {
      case 'broken':
        stream.destroy();
        return;
      case 'unknown':
        this.unknown++;
        this.#say(stream, { type: 'UNKNOWN', what: parsed.what });
        return;
      case 'message':
        this.#message(stream, parsed.message);
    }
  }

  #message(stream: ByteStream, message: FromNode): void {
    const { handlers, clock } = this.#options;
    switch (message.type) {
      case 'REGISTERED':
        this.#acquired = new Set();
        handlers.registered?.(message.node);
        this.#timer?.cancel();
        this.#timer = clock.after(settleMs, () => handlers.settled?.(this.#acquired));
        return;
      case 'MACHINE_FAILED':
      case 'ACQUIRED':
        this.#acquired.add(message.group);
        handlers.acquired(message);
        return;
      case 'FAILOVER_NOT_CONFIGURED':
        handlers.failoverNotConfigured?.(message.group, message.reason);
        return;
      case 'MAINTENANCE':
        handlers.maintenance?.(message.group, message.on, message.reason);
        return;
      case 'RELEASE': {
        const { id, group, reason, withinMs } = message;
        this.#acquired.delete(group);
        handlers.release(group, reason, withinMs).then(
          () => this.#say(stream, { type: 'RELEASED', id, problem: null }),
          (error: unknown) => this.#say(stream, { type: 'RELEASED', id, problem: messageOf(error).slice(0, 1024) }),
        );
        return;
      }
      case 'REFUSED':
        stream.end();
        return;
      case 'UNKNOWN':
        this.unknown++;
    }
  }

  /** On the connection the question came from: a later one is another conversation. */
  #say(stream: ByteStream, message: FromAgent): void {
    if (!this.#closed) stream.send([encodeLine(message)]);
  }
}
