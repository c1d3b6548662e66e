/**
 * `npm test [-- filter]`: installs what is missing, compiles, and runs every test but the long ones, one part after
 * another — the last ones load the machine. Beside the first ones runs the watch for false alarms, which wants a busy
 * machine. With a filter only the test files whose path contains it run. The last
 * line is the sum over all parts: `N passed, N failed`, and `, N skipped` where some were, listed before it.
 */
import './node-version.mjs';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDebianPackages } from './debian-packages.mjs';
import { ensureCompiled, ensurePackages, root } from './prepare.mjs';

const filter = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: [] };
/** The parts that run now; nothing of them outlives us. */
const running = new Set();
const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => {
    for (const child of running) child.kill('SIGTERM');
    process.exit(status);
  });
}

ensurePackages();
const missing = ensureDebianPackages();
if (missing.length > 0) {
  console.log(`These Debian packages are missing; install them first: apt-get install ${missing.join(' ')}`);
  console.log('0 passed, 1 failed');
  process.exit(1);
}
ensureCompiled('product');

const watch = filter.length === 0 ? startWatch() : null;
if (filter.length === 0) {
  await check('types', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit']);
  await check('lint', ['node_modules/eslint/bin/eslint.js', '.']);
  await check('format', ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.']);
}
await suite('unit, property, contract, golden and fuzz tests', 'vitest.config.ts');
if (filter.length === 0) await check('simulator', ['scripts/run.mjs', 'sim', '--fresh', '500']);
await watch?.end();
await suite('real clients', 'vitest.clients.config.ts');

for (const { name, reason } of total.skipped) console.log(`skipped: ${name}: ${reason}`);
const skipped = total.skipped.length > 0 ? `, ${total.skipped.length} skipped` : '';
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
process.exit(total.failed > 0 ? 1 : 0);

/** A program that passes or fails as a whole. One whose own last line has our form is counted by that instead. */
async function check(title, command) {
  console.log(`\n== ${title}`);
  count(await run(title, command, 15).done);
}

function count({ status, tail }) {
  const counts = /^(\d+) passed, (\d+) failed(, \d+ skipped)?$/m.exec(tail.trimEnd().split('\n').at(-1) ?? '');
  const skipped = counts?.[3] === undefined ? [] : tail.matchAll(/^skipped: ([^:]+): (.*)$/gm);
  add(status, {
    passed: Number(counts?.[1] ?? (status === 0 ? 1 : 0)),
    failed: Number(counts?.[2] ?? 0),
    skipped: Array.from(skipped, ([, name, reason]) => ({ name, reason })),
  });
}

/** Shown and counted at its end; from then on, and until its time is over, it has to keep the machine busy itself. */
function startWatch() {
  const title = 'false alarms: nobody takes over while every core is busy';
  ensureCompiled('bench');
  const { child, done } = run(title, ['scripts/run.mjs', 'false-alarms'], 60, { aside: true });
  return {
    async end() {
      if (child.connected) child.send('alone');
      const ended = await done;
      console.log(`\n== ${title}\n${ended.tail.trimEnd()}`);
      count(ended);
    },
  };
}

async function suite(title, config) {
  console.log(`\n== ${title}`);
  const tallyFile = join(folder, config);
  const reporters = ['--reporter=default', '--reporter=./scripts/vitest-tally.mjs'];
  const command = ['node_modules/vitest/vitest.mjs', 'run', '--config', config, '--passWithNoTests', ...reporters];
  const { status } = await run(title, [...command, ...filter], 40, { environment: { TALLY_FILE: tallyFile } }).done;
  let tally = { passed: 0, failed: 0, skipped: [] };
  try {
    tally = JSON.parse(readFileSync(tallyFile, 'utf8'));
  } catch {
    // It ended before its report: the exit status below says so.
  }
  add(status, tally);
}

function add(status, tally) {
  total.passed += tally.passed;
  total.failed += status !== 0 ? Math.max(1, tally.failed) : tally.failed;
  total.skipped.push(...tally.skipped);
}

/**
 * Runs a script of Node's, showing its output — unless it runs `aside`, beside others; one that exceeds its time is ended,
 * which counts as failed.
 */
function run(title, command, limitMinutes, { environment = {}, aside = false } = {}) {
  const colour = process.stdout.isTTY && !aside ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' };
  const child = spawn(process.execPath, command, {
    cwd: root,
    stdio: aside ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...colour, ...environment },
  });
  running.add(child);
  let tail = '';
  const heard = (chunk) => {
    if (!aside) process.stdout.write(chunk);
    tail = (tail + chunk).slice(-8000);
  };
  child.stdout.on('data', heard);
  child.stderr?.on('data', heard);
  const end = (signal) => {
    console.log(`${title}: not done after ${limitMinutes} minutes, ended`);
    child.kill(signal);
  };
  const timers = [
    setTimeout(() => end('SIGTERM'), limitMinutes * 60_000),
    setTimeout(() => end('SIGKILL'), limitMinutes * 60_000 + 20_000),
  ];
  const done = new Promise((resolve) => {
    child.on('close', (status) => {
      timers.forEach(clearTimeout);
      running.delete(child);
      resolve({ status: status ?? 1, tail });
    });
  });
  return { child, done };
}
