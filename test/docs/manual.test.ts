/**
 * The manual, held against the program. Its examples are in fences of a kind:
 * - `sh`: run here as they stand;
 * - `sh pair`: need a running pair; here they are asked of an invented one, which proves their form. The end-to-end
 *   tests run them against a real one;
 * - `sh try`: run until stopped, or depend on a folder; here only their options are checked.
 * - `text`: what is given to other programs; those of hosts are tried by a host of their own (`clients/guest`).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { startApi } from '../../src/api/api.ts';
import { createProgram, main } from '../../src/cli/main.ts';
import { parseConfiguration } from '../../src/node/configuration.ts';
import { alertCodes } from '../../src/pulse/indication.ts';
import { fakeControl } from '../api/fake-control.ts';
import { fakeIo } from '../cli/fake-io.ts';
import { errorsReference } from './errors-reference.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const manual = join(root, 'docs/manual');
const pages = readdirSync(manual, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md'));

interface Example {
  readonly page: string;
  readonly kind: string;
  readonly text: string;
}

const fences: Example[] = pages.flatMap((page) =>
  [...readFileSync(join(manual, page), 'utf8').matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(
    ([, kind = '', text = '']) => ({ page, kind, text }),
  ),
);
const linesOf = (kind: string): Example[] =>
  fences
    .filter((fence) => fence.kind === kind)
    .flatMap(({ page, text }) =>
      text
        .trim()
        .split('\n')
        .map((line) => ({ page, kind, text: line })),
    );
const wordsOf = (line: string): string[] => line.split(' ').slice(1);

const program = createProgram({ io: fakeIo(), asJson: false, finish: () => {} });

describe('examples of the manual', () => {
  it('are of a kind that a test runs', () => {
    expect(new Set(fences.map((fence) => fence.kind))).toEqual(new Set(['sh', 'sh pair', 'sh try', 'text', 'yaml']));
  });

  it.each(linesOf('sh').map(({ page, text }) => [page, text]))('%s: %s', async (_page, line) => {
    expect(process.cwd() + '/').toBe(root);
    const io = fakeIo();
    expect([await main(wordsOf(line), io), io.errText()]).toEqual([0, '']);
    expect(io.outText()).not.toBe('');
  });

  it.each(linesOf('sh pair').map(({ page, text }) => [page, text]))(
    '%s, of an invented pair: %s',
    async (_page, line) => {
      const api = await startApi(fakeControl(), { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1');
      const io = fakeIo();
      io.onPause = () => io.interrupt();
      const status = await main([...wordsOf(line), '--api', `127.0.0.1:${api.address.port}`], io);
      await api.close();
      expect([status, io.errText()]).toEqual([0, '']);
    },
  );

  it.each(linesOf('sh try').map(({ page, text }) => [page, text]))('%s, its options: %s', (_page, line) => {
    let command: Command = program;
    const words = line.startsWith('npm start -- ') ? ['try', ...line.split(' ').slice(3)] : wordsOf(line);
    for (const word of words) command = command.commands.find((candidate) => candidate.name() === word) ?? command;
    // Behind "--" are the words of another program.
    const own = words.includes('--') ? words.slice(0, words.indexOf('--')) : words;
    const options = own.filter((word) => word.startsWith('--'));
    const known = command.options.map((option) => option.long);
    expect(command).not.toBe(program);
    for (const option of options) expect(known).toContain(option);
  });

  it.each(fences.filter((fence) => fence.kind === 'yaml'))('configurations are right: $page', ({ text }) => {
    expect(parseConfiguration(text, 'x.yaml')).toMatchObject({ kind: 'right' });
  });
});

describe('the manual', () => {
  it('has a page for every command, and the page names every option of its own', () => {
    const leaves = (command: Command): Command[] =>
      command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
    for (const command of program.commands) {
      expect(pages).toContain(`${command.name()}.md`);
      const text = readFileSync(join(manual, `${command.name()}.md`), 'utf8');
      for (const leaf of leaves(command)) {
        expect(text).toContain(leaf.name());
        const own = leaf.options.filter(
          (option) => !option.hidden && !['--json', '--api'].includes(option.long ?? ''),
        );
        for (const option of own)
          expect([command.name(), text]).toEqual([command.name(), expect.stringContaining(option.long ?? '')]);
      }
    }
  });

  it('has a page for every alert code, which says what the reader needs, and no other (HM-16)', () => {
    const runbooks = pages.flatMap((page) => /^alerts\/(.*)\.md$/.exec(page)?.[1] ?? []);
    expect(runbooks.sort()).toEqual([...alertCodes].sort());
    const chapter = readFileSync(join(manual, 'alerts.md'), 'utf8');
    for (const code of alertCodes) {
      const text = readFileSync(join(manual, 'alerts', `${code}.md`), 'utf8');
      const parts = ['What it means', 'What Holdfast does by itself', 'What to look at', 'What to do', 'How it ends'];
      expect(text).toMatch(new RegExp(`^# ${code}\n`));
      for (const part of parts) expect([code, text]).toEqual([code, expect.stringContaining(`**${part}.** `)]);
      expect(chapter).toContain(`[${code}](alerts/${code}.md)`);
    }
  });

  it('explains every key of the configuration', () => {
    const text = readFileSync(join(manual, 'configuration.md'), 'utf8');
    const example = readFileSync(join(root, 'holdfast.example.yaml'), 'utf8');
    const keys = [...example.matchAll(/^ *(?:- )?([a-z-]+):(?: |$)/gm)].map(([, key]) => key);
    for (const key of new Set(keys)) if (key !== 'west') expect(text).toContain(`| \`${key}\``);
  });

  it('has the errors reference of this registry of codes', async () => {
    await expect(errorsReference()).toMatchFileSnapshot('../../docs/reference/errors.md');
  });
});
