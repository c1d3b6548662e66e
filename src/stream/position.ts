/**
 * Where in a group's history something is. A position is (generation, seq); `seq` is gapless within its generation and
 * starts at 1, so seq 0 is the generation's very beginning. Positions are comparable only along one lineage: past the
 * point where a generation was left, it is a fork, never "ahead" (R12).
 */
export interface Position {
  readonly generation: number;
  readonly seq: number;
}

/** Before anything: what a leg without history holds. */
export const origin: Position = { generation: 0, seq: 0 };

/** Negative, zero, positive as `a` is before, at, after `b`. Meaningful only when one lineage contains both. */
export function comparePositions(a: Position, b: Position): number {
  return a.generation - b.generation || a.seq - b.seq;
}

/** On one lineage. */
export function furtherOf(a: Position, b: Position): Position {
  return comparePositions(a, b) > 0 ? a : b;
}

/** On one lineage. */
export function nearerOf(a: Position, b: Position): Position {
  return comparePositions(a, b) < 0 ? a : b;
}

export function formatPosition(position: Position): string {
  return `${position.generation}:${position.seq}`;
}

/** An ancestor of the current generation, and the last seq of it that the lineage contains. */
export interface Ancestor {
  readonly generation: number;
  /** 32 hex digits, drawn when the generation was made: tells two generations of the same number apart. */
  readonly id: string;
  readonly leftAtSeq: number;
}

/** The line of generations that leads to one's present. Ancestors are oldest first; very old ones are forgotten. */
export interface Lineage {
  readonly generation: number;
  readonly id: string;
  readonly ancestors: readonly Ancestor[];
}

/** How many ancestors are kept: a leg that was away for more tenures than this is copied in full. */
export const ancestorsMax = 32;

/** The lineage of a new generation that leaves `parent` at `leftAtSeq`. */
export function childOf(parent: Lineage, leftAtSeq: number, generation: number, id: string): Lineage {
  const ancestors = [...parent.ancestors, { generation: parent.generation, id: parent.id, leftAtSeq }];
  return { generation, id, ancestors: ancestors.slice(-ancestorsMax) };
}

/** The id of a generation of the lineage; empty for what it does not know. */
export function idOfGeneration(lineage: Lineage, generation: number): string {
  if (generation === lineage.generation) return lineage.id;
  return lineage.ancestors.find((ancestor) => ancestor.generation === generation)?.id ?? '';
}

/**
 * Whether a history on the lineage has lost a position that it, or the one it stems from, once held. Never, as far as is
 * known, for generations older than the lineage remembers, and for those whose id is not known.
 */
export function lineageLacks(lineage: Lineage, position: Position, generationId: string): boolean {
  const oldest = lineage.ancestors[0]?.generation ?? lineage.generation;
  if (position.generation < oldest || generationId === '') return false;
  return !lineageContains(lineage, position, generationId);
}

/**
 * Whether a leg at `position`, reached by the generation with this id, is on the lineage: then all it holds is part of
 * that history and it merely lacks what came later.
 */
export function lineageContains(lineage: Lineage, position: Position, generationId: string): boolean {
  if (position.generation === lineage.generation) return generationId === lineage.id;
  for (const ancestor of lineage.ancestors) {
    if (ancestor.generation === position.generation) {
      return ancestor.id === generationId && position.seq <= ancestor.leftAtSeq;
    }
  }
  return false;
}
