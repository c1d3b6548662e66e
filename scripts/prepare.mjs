/**
 * Brings a clone into the state that running it needs: packages installed, sources compiled. Does nothing, and needs
 * no network, when both are as the lock file and the sources say. Says one line for each thing it does; what npm and
 * the compiler print is shown only when they fail. Plain Node: there may be no packages yet.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const compilations = {
  product: { project: 'tsconfig.build.json', stamp: 'dist/.compiled', sources: ['src'] },
  bench: { project: 'tsconfig.bench.json', stamp: 'dist/bench/.compiled', sources: ['bench', 'test/clients', 'src'] },
};

export function ensurePackages() {
  const lock = readJson('package-lock.json');
  const lockFits = lock !== null && sameDependencies(lock.packages[''], readJson('package.json'));
  if (lockFits && installedMatches(lock)) return;
  console.log('Installing packages (npm, once)…');
  // `--ignore-scripts`: none of our packages needs one, and nothing downloaded runs before it is used.
  const command = [lockFits ? 'ci' : 'install', '--ignore-scripts', '--include=dev', '--include=optional'];
  const npm = process.env.npm_execpath
    ? [process.execPath, process.env.npm_execpath]
    : [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
  runQuietly([...npm, ...command, '--no-audit', '--no-fund'], 'Packages could not be installed.');
}

/** @param {keyof typeof compilations} name */
export function ensureCompiled(name) {
  const { project, stamp, sources } = compilations[name];
  const inputs = [...sources, project, 'tsconfig.json', 'package-lock.json'];
  if (newestMs(inputs) < modifiedMs(stamp)) return;
  console.log(`Compiling (${project})…`);
  const startedMs = Date.now();
  runQuietly([process.execPath, 'node_modules/typescript/bin/tsc', '-p', project], 'The sources do not compile.');
  // Dated to the start: a source saved while the compiler ran counts as newer.
  writeFileSync(join(root, stamp), `${new Date(startedMs).toISOString()}\n`);
}

/** Compares with the list npm itself leaves at the very end of an installation, so that one cut short is repeated. */
function installedMatches(lock) {
  const installed = readJson('node_modules/.package-lock.json');
  if (installed === null) return false;
  return Object.entries(lock.packages).every(([path, wanted]) => {
    const found = installed.packages[path];
    if (path === '' || (found === undefined && wanted.optional)) return true;
    return found?.version === wanted.version;
  });
}

function sameDependencies(locked, declared) {
  return ['dependencies', 'devDependencies', 'optionalDependencies'].every((kind) => {
    const sorted = (object) => JSON.stringify(Object.entries(object?.[kind] ?? {}).sort());
    return sorted(locked) === sorted(declared);
  });
}

function runQuietly([program, ...args], sentence) {
  const result = spawnSync(program, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${sentence}\n`);
  if (result.error) console.error(result.error.message);
  process.exit(1);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'));
  } catch {
    return null;
  }
}

function modifiedMs(path) {
  return statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Folders count too: deleting a file changes the folder's time. */
function newestMs(paths) {
  return paths.reduce((newest, path) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (stat === undefined) return newest;
    const inside = stat.isDirectory() ? newestMs(readdirSync(join(root, path)).map((name) => join(path, name))) : 0;
    return Math.max(newest, stat.mtimeMs, inside);
  }, 0);
}
