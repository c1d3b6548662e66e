/** A question to several nodes, of which some may be away. */
import { messageOf } from '../base/errors.ts';

export interface Answers<Answer> {
  /** In the order of the nodes. */
  readonly answers: readonly Answer[];
  /** Nodes that could not be asked, and why. */
  readonly notes: readonly string[];
}

/** Asks all of them at once. What `ask` rejects with is noted, and is no failure of the whole. */
export async function askEach<Answer>(
  nodes: readonly string[],
  ask: (node: string) => Promise<Answer>,
): Promise<Answers<Answer>> {
  const answers: Answer[] = [];
  const notes: string[] = [];
  for (const [index, outcome] of (await Promise.allSettled(nodes.map(ask))).entries()) {
    if (outcome.status === 'fulfilled') answers.push(outcome.value);
    else notes.push(`${nodes[index]} could not be asked: ${messageOf(outcome.reason)}`);
  }
  return { answers, notes };
}
