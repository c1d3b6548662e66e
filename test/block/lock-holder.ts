/** A child process that holds a lock until it is killed: Node cannot run the sources, so they are translated first. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';

const program = `
import { lockPath } from './src/block/lock.js';
await lockPath(process.argv[2]);
process.send('locked');
setInterval(() => {}, 1000);
`;

/** Returns when the lock is held. Kill it. */
export async function startLockHolder(path: string, folder: string): Promise<ChildProcess> {
  translate(resolve('src/block/lock.ts'), folder);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(folder, 'holder.js'), program);
  const child = fork(join(folder, 'holder.js'), [path], { execArgv: [] });
  await new Promise<void>((locked, failed) => {
    child.once('message', () => locked());
    child.once('exit', (code) => failed(new Error(`the holder has exited with ${code}`)));
  });
  return child;
}

/** Writes a source and what it imports as JavaScript to the same place below `folder`. */
function translate(source: string, folder: string): void {
  const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
  });
  const target = join(folder, source.slice(resolve('.').length).replace(/\.ts$/, '.js'));
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, outputText);
  for (const [, imported] of outputText.matchAll(/from ['"](\.[^'"]*)\.js['"]/g)) {
    if (imported !== undefined) translate(resolve(dirname(source), `${imported}.ts`), folder);
  }
}
