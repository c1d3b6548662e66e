/** JSON that has been read, held against what its message must look like. */
import type { z } from 'zod';
import type { Decoded } from '../../base/codec.ts';

export function parsed<Value>(schema: z.ZodType<Value>, decoded: Decoded<unknown>): Decoded<Value> {
  if (!decoded.ok) return decoded;
  const result = schema.safeParse(decoded.value);
  if (result.success) return { ok: true, value: result.data };
  const issue = result.error.issues[0];
  return { ok: false, reason: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}` };
}
