/** Schemas of what is asked about resources, checks and application agents; as in `schemas.ts`, of the same types as `node/`. */
import { z } from '@hono/zod-openapi';

const listOf = <Item extends z.ZodType>(item: Item) => z.array(item).readonly();

export const resourcesStatus = z
  .object({
    group: z.string(),
    node: z.string(),
    state: z.enum(['stopped', 'starting', 'running', 'stopping', 'failed']),
    problem: z.string().nullable(),
    resources: listOf(
      z.object({
        kind: z.enum(['address', 'application', 'agents']),
        name: z.string(),
        state: z.enum(['stopped', 'starting', 'running', 'restarting', 'stopping', 'failed']),
        problem: z.string().nullable(),
        output: z.string(),
      }),
    ),
  })
  .openapi('Resources');

export const checkRequest = z
  .strictObject({ again: z.boolean().default(false), serve: z.boolean().default(false) })
  .openapi('CheckRequest');

export const checkStatus = z
  .object({
    group: z.string(),
    node: z.string(),
    atMs: z.number().nullable(),
    state: z.enum(['none', 'running', 'ok', 'failed']),
    problem: z.string().nullable(),
    output: z.string(),
    withheld: z.string().nullable(),
  })
  .openapi('IntegrityCheck');

export const agentList = z
  .object({
    agents: listOf(
      z.object({
        node: z.string(),
        agent: z.string(),
        remote: z.string(),
        groups: listOf(z.string()),
        sinceMs: z.number(),
        unknown: z.number(),
      }),
    ),
    notes: listOf(z.string()),
  })
  .openapi('ApplicationAgents');
