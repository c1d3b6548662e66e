/** Raised when the code contradicts itself. Nothing catches it to go on: the process stops, the other side lives. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the end of a `switch` over a union: a new member does not compile until it is handled. */
export function assertNever(value: never): never {
  throw new AssertionError(`unexpected value ${JSON.stringify(value)}`);
}
