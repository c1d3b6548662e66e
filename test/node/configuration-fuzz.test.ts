/**
 * Hostile configuration files: a right one cut, spliced, with characters and words changed. Whatever the text is, the
 * answer is a configuration or problems that name a line of the text; never an exception, never more than so many.
 */
import { expect, it } from 'vitest';
import { parseConfiguration } from '../../src/node/configuration.ts';

const inputCount = Number(process.env['FUZZ_INPUTS'] ?? 20_000);

const base = `cluster: c
store: { kind: file, path: s }
sites: [a, b]
nodes:
  - { name: east, site: a, data: e, replication: 'h:1', api: '127.0.0.1:2', nbd: ['h:3'] }
  - { name: west, site: b, data: w, replication: 'h:4', api: '127.0.0.1:5', nbd: ['unix:w'] }
groups:
  - name: g
    owner: east
    volumes: [{ name: v, size: 1GiB, paths: { west: /dev/null } }]
    mirrors: [{ to: west, mode: async }]
    settings: { grace: 2s, resync-share: 0.5 }
    log: { size: 8GiB, places: { west: [/a, /b] }, retention: 1h }
`;

const words = [
  'null',
  '[]',
  '{}',
  '-',
  ':',
  '\n',
  '\t',
  '  ',
  '&a',
  '*a',
  '<<',
  '!!int',
  '"',
  "'",
  '|',
  '1e999',
  '-1',
  '0x10',
  'west',
  '\u0000',
  '\u{1f4a5}',
  '#',
  '---\n',
  '%YAML 9\n',
  '? ',
];

/** A small generator of whole numbers below a bound (xorshift32), so that a seed replays. */
function generator(seed: number): (bound: number) => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

function hostileText(seed: number): string {
  const below = generator(seed);
  let text = base;
  for (let change = below(4); change >= 0; change--) {
    const at = below(text.length + 1);
    const length = below(12);
    const word = words[below(words.length)] ?? '';
    const kind = below(5);
    if (kind === 0) text = text.slice(0, at);
    else if (kind === 1) text = text.slice(0, at) + text.slice(at + length);
    else if (kind === 2) text = text.slice(0, at) + word + text.slice(at + length);
    else if (kind === 3) text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    else text = text.slice(0, at) + text.slice(below(text.length + 1)).slice(0, 200) + text.slice(at);
  }
  return text;
}

it(`fuzz: the configuration reader answers to ${inputCount} hostile files with a configuration or named problems`, () => {
  let right = 0;
  for (let seed = 0; seed < inputCount; seed++) {
    const text = hostileText(seed);
    const parsed = parseConfiguration(text, 'x.yaml');
    if (parsed.kind === 'right') {
      right++;
      continue;
    }
    const lineCount = text.split('\n').length;
    const good =
      parsed.problems.length > 0 &&
      parsed.problems.length <= 100 &&
      parsed.problems.every(
        ({ line, column, message }) => line >= 1 && line <= lineCount && column >= 1 && message !== '',
      );
    // Said only when it fails: an assertion for each of them would take longer than the reading.
    if (!good) expect.fail(`seed ${seed}: ${JSON.stringify(text)}: ${JSON.stringify(parsed.problems)}`);
  }
  expect(right).toBeGreaterThan(inputCount / 200);
  expect(right).toBeLessThan(inputCount);
}, 600_000);
