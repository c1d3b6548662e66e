/**
 * What the values of `holdfast.yaml` are made of: single values, sections and lists that say, in words, what would be
 * right. Which keys there are stands in `configuration-schema.ts` and, for each large section, in a file of its own.
 */
import { z } from 'zod';
import { parseAddress, type Address } from '../base/network.ts';
import { formatSize, parseDurationMs, parseSize } from '../base/units.ts';
import { didYouMean } from './configuration-positions.ts';

/** A value refused with a sentence of its own. */
export class Wrong {
  readonly sentence: string;
  constructor(sentence: string) {
    this.sentence = sentence;
  }
}

/** One value: `read` returns null for what is not `right`, or `Wrong` where more can be said. */
export function field<T>(right: string, read: (value: unknown) => T) {
  return z.unknown().transform((value, context): Exclude<T, null | Wrong> => {
    const absent = value === undefined || value === null;
    const result = absent ? null : read(value);
    if (isRight(result)) return result;
    const message = absent ? `is missing; it should be ${right}` : `${show(value)} is not ${right}`;
    context.addIssue({ code: 'custom', message: result instanceof Wrong ? result.sentence : message });
    return z.NEVER;
  });
}

const isRight = <T>(result: T | null): result is Exclude<T, null | Wrong> =>
  result !== null && !(result instanceof Wrong);

export function show(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** A mapping of exactly these keys. The messages for unknown keys stand one per line, in the order of the issue's keys. */
export function section<Shape extends z.core.$ZodLooseShape>(what: string, shape: Shape) {
  const keys = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys
            .map((key) => `no such key${didYouMean(key, keys) || `; ${what} has: ${keys.join(', ')}`}`)
            .join('\n')
        : issue.input === undefined || issue.input === null
          ? `is missing; it should be ${what} with the keys ${keys.join(', ')}`
          : `${show(issue.input)} is not ${what}; write the keys ${keys.join(', ')}`,
  });
}

export function list<Item extends z.ZodType>(item: Item, what: string, options: { min: number }) {
  return z
    .array(item, {
      error: (issue) =>
        issue.input === undefined || issue.input === null
          ? `is missing; it should be a list of ${what}`
          : `${show(issue.input)} is not a list; write each of the ${what} after a "- "`,
    })
    .min(options.min, { error: `is empty; there must be at least ${options.min} of the ${what}` });
}

/** Names stand in file names, addresses and export names, so they are plain. */
export const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export const name = field(
  'a name (letters, digits, ".", "_" and "-", first a letter or digit, up to 63)',
  (value) => {
    if (typeof value === 'number')
      return new Wrong(`${value} is a number; put it in quotes to make it a name: "${value}"`);
    return typeof value === 'string' && namePattern.test(value) ? value : null;
  },
);

export const path = field('the path of a file or folder', (value) =>
  typeof value === 'string' && value !== '' && !value.includes('\0') ? value : null,
);

export const size = field('a size such as 512MiB, 1GiB or 4TiB', (value) => {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  return typeof value === 'string' ? parseSize(value) : null;
});

/** A size in a range, such as `a volume has from 1MiB to 64TiB`. */
export const sizeFrom = (what: string, min: number, max: number) =>
  size.transform((bytes, context) => {
    if (bytes >= min && bytes <= max) return bytes;
    const range = `from ${formatSize(min)} to ${formatSize(max)}`.replaceAll(/(\d) /g, '$1');
    context.addIssue({ code: 'custom', message: `${bytes} bytes: ${what} ${range}` });
    return z.NEVER;
  });

export const duration = (minMs: number, maxMs: number, range: string) =>
  field(`a time such as 5s or 500ms, ${range}`, (value) => {
    const ms = typeof value === 'string' ? parseDurationMs(value) : null;
    if (typeof value === 'number')
      return new Wrong(`${value} has no unit; write for example ${value}s or ${value}ms`);
    return ms !== null && ms >= minMs && ms <= maxMs ? ms : null;
  });

export const whole = (min: number, max: number) =>
  field(`a whole number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : null,
  );

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

export const readTcp = (value: unknown): TcpAddress | null => {
  const address = typeof value === 'string' ? parseAddress(value) : null;
  return address?.kind === 'tcp' ? address : null;
};

export const oneOf = <Word extends string>(words: readonly Word[]) =>
  field(`one of ${words.join(', ')}`, (value): Word | null => words.find((word) => word === value) ?? null);

export const numberFrom = (what: string, min: number, max: number) =>
  field(`${what} from ${min} to ${max}`, (value) =>
    typeof value === 'number' && value >= min && value <= max ? value : null,
  );

/** Where others find this node: not at port 0. */
export const reachable = (what: string, example: string) =>
  field(`${what}, host:port, such as ${example}`, (value) => {
    const address = readTcp(value);
    if (address?.port === 0)
      return new Wrong('port 0 cannot be found by the other nodes; write a port from 1 to 65535');
    return address;
  });

export const yesNo = field('true or false', (value) => (typeof value === 'boolean' ? value : null));
