/**
 * `npm run sim`: plays scenes, on every core. Prints what fails with the line that replays it, cut down to a short
 * script, and which rare places were reached.
 *
 *   npm run sim -- --fresh 500            seeds nobody has seen; the base is printed
 *   npm run sim -- --from 1 --count 200   seeds 1 to 200
 *   npm run sim -- --minutes 10           as many fresh ones as there is time for
 *   npm run sim -- --replay 42            one scene, told; a script in a file as well: --replay scene.json
 *   npm run sim -- --planted own-leg-alone --count 50
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { PulsePlan } from './pulse-plan.ts';
import { drawScriptFor, plantedBugs, type PlantedBug } from './planted.ts';
import { drawScript, faultClasses, type FaultClass, type Script } from './script.ts';
import { playScript, type SceneOptions } from './scene.ts';
import { shrink } from './shrink.ts';

/** From a worker, for each of its seeds. */
interface Played {
  readonly seed: string;
  readonly violation: { readonly invariant: string; readonly message: string } | null;
  readonly shrunk: Script | null;
  readonly marks: readonly string[];
  readonly requests: number;
}

const usage = `usage: npm run sim -- [--fresh N | --from SEED --count N | --minutes M | --replay SEED|FILE] [options]
  --planted NAME   with a planted bug: ${Object.keys(plantedBugs).join(', ')}
  --nodes N        scenes of 2, of 3 or of 5 nodes only
  --pulse          scenes with a pulse only
  --preset NAME    scenes with a pulse of the preset wan or classic only
  --logs           groups with logs only
  --only CLASS,…   with these classes of fault: ${faultClasses.join(', ')}
  --marks          list the rare places that were reached
  --quiet          with --replay: no story`;

const { values } = parseArgs({
  options: {
    fresh: { type: 'string' },
    seed: { type: 'string' },
    from: { type: 'string' },
    count: { type: 'string' },
    minutes: { type: 'string' },
    replay: { type: 'string' },
    planted: { type: 'string' },
    nodes: { type: 'string' },
    only: { type: 'string' },
    logs: { type: 'boolean' },
    pulse: { type: 'boolean' },
    preset: { type: 'string' },
    marks: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const planted = plantedNamed(values.planted);
const options: SceneOptions = planted === undefined ? {} : { planted };
const nodes = nodesCounted(values.nodes);
const only = classesNamed(values.only);
const preset = presetNamed(values.preset);
const replay = values.replay ?? values.seed;
if (values.help) console.log(usage);
else if (process.send !== undefined) work();
else if (replay !== undefined) await tell(scriptNamed(replay));
else await playMany();

function plantedNamed(name: string | undefined): PlantedBug | undefined {
  if (name === undefined) return undefined;
  const found = (Object.keys(plantedBugs) as PlantedBug[]).find((known) => known === name);
  if (found !== undefined) return found;
  console.error(`there is no planted bug ${name}\n${usage}`);
  process.exit(2);
}

function nodesCounted(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (text === '2' || text === '3' || text === '5') return Number(text);
  console.error(`scenes have 2 nodes, 3 or 5, not ${text}\n${usage}`);
  process.exit(2);
}

function presetNamed(name: string | undefined): PulsePlan['preset'] {
  if (name === undefined || name === 'wan' || name === 'classic') return name;
  console.error(`a preset to draw is wan or classic, not ${name}\n${usage}`);
  process.exit(2);
}

function classesNamed(text: string | undefined): FaultClass[] | undefined {
  return text?.split(',').map((name) => {
    const found = faultClasses.find((known) => known === name);
    if (found !== undefined) return found;
    console.error(`there is no class of fault ${name}\n${usage}`);
    process.exit(2);
  });
}

function scriptNamed(name: string): Script {
  // Scripts are written by this program; what is edited by hand is at the editor's own risk.
  return name.endsWith('.json') ? (JSON.parse(readFileSync(name, 'utf8')) as Script) : drawn(name);
}

/** With a planted bug: among the faults that bring it out. */
function drawn(seed: string): Script {
  return planted === undefined
    ? drawScript(seed, { nodes, only, logs: values.logs, pulse: preset === undefined ? values.pulse : { preset } })
    : drawScriptFor(planted, seed, nodes);
}

async function tell(script: Script): Promise<void> {
  const story = values.quiet ? {} : { story: (line: string) => console.log(line) };
  const result = await playScript(script, { ...options, ...story });
  console.log(JSON.stringify(result, null, 2));
  console.log(result.violation === null ? '1 passed, 0 failed' : '0 passed, 1 failed');
  process.exitCode = result.violation === null ? 0 : 1;
}

/** Seeds are handed out one at a time, so that a long scene holds up nobody. */
async function playMany(): Promise<void> {
  const base = values.from === undefined ? `${randomBytes(4).toString('hex')}-` : '';
  const first = Number(values.from ?? 1);
  const limitMs = values.minutes === undefined ? Infinity : Number(values.minutes) * 60_000;
  const count = Number(values.fresh ?? values.count ?? (limitMs < Infinity ? 1e9 : 500));
  if (![first, count].every(Number.isSafeInteger) || Number.isNaN(limitMs)) {
    console.error(usage);
    process.exit(2);
  }
  console.log(`seeds ${base}${first}…${count < 1e9 ? `${base}${first + count - 1}` : ''}`);
  const startedMs = Date.now();
  const marks = new Map<string, number>();
  let [next, passed, failed, requests] = [0, 0, 0, 0];
  const drive = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = fork(fileURLToPath(import.meta.url), process.argv.slice(2));
      const hand = (to: ChildProcess): void => {
        if (next < count && Date.now() - startedMs < limitMs) to.send(`${base}${first + next++}`);
        else to.disconnect();
      };
      worker.on('message', (played: Played) => {
        requests += played.requests;
        for (const mark of played.marks) marks.set(mark, (marks.get(mark) ?? 0) + 1);
        if (played.violation === null) {
          passed++;
        } else {
          failed++;
          report(played);
        }
        hand(worker);
      });
      worker.on('error', reject);
      worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))));
      hand(worker);
    });
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), count) }, drive));
  if (values.marks)
    for (const [name, times] of [...marks].sort()) console.log(`${String(times).padStart(7)} ${name}`);
  const seconds = (Date.now() - startedMs) / 1000;
  console.log(`${requests} requests; ${((passed + failed) / seconds).toFixed(1)} scenes a second`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

function report({ seed, violation, shrunk }: Played): void {
  console.log(`\nFAILED ${violation?.message}`);
  const given = `${planted === undefined ? '' : ` --planted ${values.planted}`}${nodes === undefined ? '' : ` --nodes ${nodes}`}${only === undefined ? '' : ` --only ${values.only}`}${values.logs === true ? ' --logs' : ''}${values.pulse === true ? ' --pulse' : ''}${preset === undefined ? '' : ` --preset ${preset}`}`;
  console.log(`  npm run sim -- --replay ${seed}${given}`);
  if (shrunk !== null) console.log(`  shrunk, for a file: ${JSON.stringify(shrunk)}`);
}

function work(): void {
  process.on('message', (seed: string) => {
    const script = drawn(seed);
    playScript(script, options)
      .then(async ({ violation, marks, requests }) => {
        const shrunk =
          violation === null || planted !== undefined ? null : await shrink(script, violation.invariant, options);
        const played: Played = { seed, violation, shrunk, marks, requests };
        process.send?.(played);
      })
      .catch((error: unknown) => {
        console.error(seed, error);
        process.exit(1);
      });
  });
}
