/**
 * The manual's examples that need a running pair — fences marked `sh pair` — do what they say: each page's run in order,
 * in one shell, on a pair of its own. Ports and the node's name for `holdfast` are put in place of those in the text.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { runCommand } from './command.ts';
import { Pair } from './pair.ts';

const pages = [
  'README.md',
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name)),
]
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, examples: examplesOf(path) }))
  .filter(({ examples }) => examples.length > 0);

function examplesOf(path: string): string[] {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return [...text.matchAll(/^```sh pair\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '');
}

describe.runIf(pages.length > 0)('examples in the manual run on a pair', () => {
  let pair: Pair | undefined;
  afterEach(() => pair?.stop());

  test.each(pages)('$path', async ({ examples }) => {
    pair = await Pair.start({ pulse: true });
    const programs = join(pair.folder, 'bin');
    await mkdir(programs);
    const wrapper = join(programs, 'holdfast');
    await writeFile(wrapper, `#!/bin/sh\nexec "${process.execPath}" "${resolve('bin/holdfast.js')}" "$@"\n`);
    await chmod(wrapper, 0o755);
    const ports = new Map([
      ['10809', pair.nbdPort('east')],
      ['10810', pair.nbdPort('west')],
      ['8009', pair.apiPort('east')],
      ['8010', pair.apiPort('west')],
    ]);
    const adapted = examples
      .join('\n')
      .replace(/\b(10809|10810|8009|8010)\b/g, (port) => String(ports.get(port)))
      .replace(/\bnpx holdfast\b/g, 'holdfast');
    const result = await runCommand('bash', ['-euxo', 'pipefail', '-c', `cd '${pair.folder}'\n${adapted}`], {
      environment: {
        PATH: `${programs}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
        HOLDFAST_API: `http://127.0.0.1:${pair.apiPort('east')}`,
      },
    });
    expect(result, result.stdout + result.stderr).toMatchObject({ status: 0 });
  });
});
