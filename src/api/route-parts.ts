/** What the declarations of routes share. */
import { z } from '@hono/zod-openapi';
import * as schemas from './schemas.ts';

export const json = <Schema extends z.ZodType>(schema: Schema, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
export const body = <Schema extends z.ZodType>(schema: Schema) => ({
  required: true,
  content: { 'application/json': { schema } },
});
export const fails = json(schemas.failure, 'It was not done: why, and what to do about it.');
export const done = { 204: { description: 'Done.' }, default: fails };
export const groupPath = z.object({ group: z.string() });
