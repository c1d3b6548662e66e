#!/usr/bin/env -S node --max-semi-space-size=4
// Runs the compiled command line (src/cli/main.ts). The flag is of use to `node run` (src/cli/node-flags.ts).
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const compiled = new URL('../dist/cli/main.js', import.meta.url);

if (existsSync(fileURLToPath(compiled))) {
  const { runProcess } = await import(compiled.href);
  await runProcess();
} else {
  process.stderr.write('holdfast: it is not compiled yet\nRun `npm run build` in this folder, or `npm start`.\n');
  process.exitCode = 1;
}
