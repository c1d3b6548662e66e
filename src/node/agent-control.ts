/**
 * What an administrator asks of the agents (AS-14, TL-15, BY-7), at whichever node: decisions with their evidence, automatic
 * take-over on and off, giving a group back.
 */
import { z } from 'zod';
import type { Agent } from '../agent/agent.ts';
import { parseDecision, type ReadDecision } from '../agent/decision-book.ts';
import { HoldfastError } from '../base/errors.ts';
import type { AutomaticTakeOver, ClusterDocument } from '../store/document.ts';
import type { MoveResult } from './control.ts';
import { askEach } from './ask-nodes.ts';

export interface AgentControl {
  /** Kept by all nodes that can be asked, oldest first; `E_NOT_FOUND`. */
  decisions(request: { group: string; count: number }): Promise<Decisions>;
  /** Of a group, wherever it is; lasting. */
  setGroupAutomatic(request: { group: string; automatic: AutomaticTakeOver }): Promise<void>;
  /** Of one node, for all groups, remembered by that node (maintenance). */
  setNodeAutomatic(request: { node: string; on: boolean }): Promise<void>;
  /** A switch-over to the group's preferred owner; `E_REFUSED` where it is there already. */
  giveBack(request: { group: string }): Promise<MoveResult>;
}

export interface Decisions {
  readonly decisions: readonly ReadDecision[];
  /** Nodes that could not be asked, and why. */
  readonly notes: readonly string[];
}

export interface AgentControlContext {
  readonly node: string;
  readonly document: () => ClusterDocument;
  readonly changeDocument: (change: (document: ClusterDocument) => ClusterDocument) => Promise<void>;
  readonly agent: () => Agent;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  readonly switchOver: (request: { group: string; to: string }) => Promise<MoveResult>;
}

const requestTimeoutMs = 3000;
/** Fits what one answer between nodes may be, with all its evidence. */
const countMax = 200;

const decisionsRequest = z.object({ group: z.string(), count: z.number().int() });
const automaticRequest = z.object({ on: z.boolean() });

export class AgentControlPart implements AgentControl {
  readonly #context: AgentControlContext;

  constructor(context: AgentControlContext) {
    this.#context = context;
  }

  async decisions({ group, count }: { group: string; count: number }): Promise<Decisions> {
    const { node, request, document } = this.#context;
    this.#mustKnow(group);
    const wanted = Math.min(countMax, count);
    const others = document().nodes.flatMap(({ name }) => (name === node ? [] : [name]));
    const { answers, notes } = await askEach(others, async (name) => {
      const answer = await request(name, 'agent.decisions', { group, count: wanted }, requestTimeoutMs);
      return z.array(z.unknown()).parse(answer);
    });
    const read = answers.flat().map((line) => parseDecision(JSON.stringify(line)));
    const found: ReadDecision[] = [...this.#own(group, wanted), ...read.filter((decision) => decision !== null)];
    found.sort((one, two) => one.evidence.atMs - two.evidence.atMs);
    return { decisions: found.slice(-wanted), notes };
  }

  setGroupAutomatic({ group: name, automatic }: { group: string; automatic: AutomaticTakeOver }): Promise<void> {
    const { pulse } = this.#context.document();
    this.#mustKnow(name);
    if (automatic !== 'off' && pulse === null) {
      throw new HoldfastError(
        'E_REFUSED',
        `group ${name}: there is no pulse, so nobody can tell whether its owner lives; give the configuration a pulse section first`,
      );
    }
    return this.#context.changeDocument((document) => ({
      ...document,
      groups: document.groups.map((group) =>
        group.name === name ? { ...group, takeOver: { ...group.takeOver, automatic } } : group,
      ),
    }));
  }

  async setNodeAutomatic({ node, on }: { node: string; on: boolean }): Promise<void> {
    if (!this.#context.document().nodes.some(({ name }) => name === node)) {
      throw new HoldfastError('E_NOT_FOUND', `there is no node ${node}`);
    }
    if (node === this.#context.node) await this.#context.agent().setAutomatic(on);
    else await this.#context.request(node, 'agent.automatic', { on }, requestTimeoutMs);
  }

  giveBack({ group }: { group: string }): Promise<MoveResult> {
    const entry = this.#mustKnow(group);
    return this.#context.switchOver({ group, to: entry.preferredOwner });
  }

  /** What other nodes ask of this one. */
  async called(
    method: 'agent.decisions' | 'agent.automatic' | 'agent.leaving',
    peer: string,
    params: unknown,
  ): Promise<unknown> {
    switch (method) {
      case 'agent.decisions': {
        const { group, count } = decisionsRequest.parse(params);
        return this.#own(group, Math.min(countMax, count));
      }
      case 'agent.automatic':
        await this.#context.agent().setAutomatic(automaticRequest.parse(params).on);
        return null;
      case 'agent.leaving':
        await this.#context.agent().announced(peer);
        return null;
    }
  }

  #own(group: string, count: number): readonly ReadDecision[] {
    return this.#context.agent().decisions(group, count);
  }

  #mustKnow(name: string): ClusterDocument['groups'][number] {
    const entry = this.#context.document().groups.find((group) => group.name === name);
    if (entry === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
    return entry;
  }
}
