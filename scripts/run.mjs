/**
 * `npm run sim|bench|fuzz|false-alarms [-- options]`: installs and compiles what is missing, then runs the program in this process.
 * `fuzz` is the fuzz tests with more inputs: `npm run fuzz -- --inputs 1000000 nbd`.
 */
import './node-version.mjs';
import { join } from 'node:path';
import { ensureCompiled, ensurePackages, root } from './prepare.mjs';

const programs = {
  sim: { compiled: ['product'], path: 'dist/sim/main.js', before: [] },
  bench: { compiled: ['product', 'bench'], path: 'dist/bench/bench/main.js', before: [] },
  'false-alarms': {
    compiled: ['product', 'bench'],
    path: 'dist/bench/test/clients/false-alarms.js',
    before: [],
  },
  fuzz: {
    compiled: [],
    path: 'node_modules/vitest/vitest.mjs',
    before: ['run', '--testTimeout=0', '--testNamePattern=fuzz'],
  },
};

const [name, ...options] = process.argv.slice(2);
if (!Object.hasOwn(programs, name ?? '')) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(programs).join('|')} [options]`);
  process.exit(2);
}
const program = programs[name];
if (name === 'fuzz') {
  const at = options.indexOf('--inputs');
  process.env.FUZZ_INPUTS = at < 0 ? '500000' : options.splice(at, 2)[1];
}
ensurePackages();
program.compiled.forEach(ensureCompiled);
process.chdir(root);
const path = join(root, program.path);
process.argv.splice(1, Infinity, path, ...program.before, ...options);
await import(path);
