/**
 * What is kept and shown of a drill (BY-11): plain data, from its first step on. Times are of the wall clock of the node that
 * runs it; spans are milliseconds.
 */
import { z } from 'zod';

export const drillKinds = ['kill', 'pause', 'partition', 'switch-over'] as const;
export type DrillKind = (typeof drillKinds)[number];

export const drillSteps = ['measuring', 'fault', 'take-over', 'healing', 'give-back', 'end'] as const;
export type DrillStep = (typeof drillSteps)[number];

const spanMs = z.number().nullable();

export const drillReportSchema = z.object({
  id: z.string(),
  group: z.string(),
  kind: z.enum(drillKinds),
  /** Who runs it. */
  node: z.string(),
  /** Who owned the group before, and shall own it afterwards. */
  owner: z.string(),
  /** `interrupted`: the node that ran it ended meanwhile. */
  state: z.enum(['running', 'passed', 'failed', 'interrupted']),
  startedAtMs: z.number(),
  endedAtMs: spanMs,
  steps: z.array(z.object({ atMs: z.number(), step: z.enum(drillSteps), text: z.string() })).readonly(),
  /** Who served while the owner could not. */
  servedBy: z.string().nullable(),
  /** The longest time between two answers that the measuring client got. */
  pauseMs: spanMs,
  /** Each since the fault; null: not known, or not a part of this kind of drill. */
  phases: z.object({
    /** Until an agent first noticed. */
    detectedMs: spanMs,
    /** Until the owner's lease was known to have lapsed. */
    lapsedMs: spanMs,
    /** Until another node said that it serves. */
    servingMs: spanMs,
    /** Until the answer that ended the pause. */
    answeredMs: spanMs,
  }),
  generations: z.object({ before: z.number(), after: z.number().nullable() }),
  /** BY-7: what the move said may be lost. */
  loss: z.string().nullable(),
  /** The pause when the group was given back. */
  giveBackPauseMs: spanMs,
  verdict: z.string(),
  /** What a person has to do; null: nothing. */
  nextStep: z.string().nullable(),
});

export type DrillReport = z.infer<typeof drillReportSchema>;

/** One line of the history; null when it is none. */
export function parseDrill(line: string): DrillReport | null {
  try {
    const parsed = drillReportSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
