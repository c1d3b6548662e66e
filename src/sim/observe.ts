/**
 * Looks into the product without a line for it in the product: while a scene runs, methods of its classes are wrapped.
 * Everything is put back afterwards. One scene at a time in a process.
 */
import type { Change } from '../stream/change.ts';
import { History } from '../stream/history.ts';

/** Undoes what was wrapped. */
export type Undo = () => void;

/** Replaces a method of a class; `wrap` gets the original. */
export function replaceMethod<Target extends object, Name extends keyof Target>(
  prototype: Target,
  name: Name,
  wrap: (original: Target[Name]) => Target[Name],
): Undo {
  const original = prototype[name];
  prototype[name] = wrap(original);
  return () => {
    prototype[name] = original;
  };
}

/** Has a getter of a class say `value`. */
export function replaceGetter<Target extends object, Name extends keyof Target>(
  prototype: Target,
  name: Name,
  value: Target[Name],
): Undo {
  const original = Object.getOwnPropertyDescriptor(prototype, name);
  if (original === undefined) throw new Error(`${String(name)} is no getter`);
  Object.defineProperty(prototype, name, { ...original, get: () => value });
  return () => {
    Object.defineProperty(prototype, name, original);
  };
}

/** Tells of every change that an owner has stamped, right after. */
export function observeStamps(stamped: (history: History<Change>, change: Change) => void): Undo {
  return replaceMethod(
    History.prototype as History<Change>,
    'append',
    (original) =>
      function (this: History<Change>, change) {
        const ordinal = original.call(this, change);
        stamped(this, change);
        return ordinal;
      },
  );
}
