/**
 * `kill -9` of the owner or the target at random moments under load, again and again on one pair: no acknowledged write
 * is lost, none comes back from the dead, and both legs end up equal. `KILL_COUNT` sets how often, `KILL_SEED` repeats a
 * run as far as real processes allow.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Pair, otherNode, type NodeName } from './pair.ts';
import { RecordingHost, WriteRecord, seededRandom } from './recording-host.ts';

const count = Number(process.env['KILL_COUNT'] ?? 100);
const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000);
const blocks = 2048;

const random = seededRandom(seed);
const between = (low: number, high: number) => low + random() * (high - low);

let pair: Pair;
const record = new WriteRecord(blocks);

beforeAll(async () => {
  pair = await Pair.start({
    groups: [
      {
        name: 'g1',
        owner: 'east',
        volumes: [{ name: 'vol1', size: '16MiB' }],
        mirrors: [{ to: 'west', mode: 'sync' }],
        settings: { grace: '300ms' },
      },
    ],
  });
});

afterAll(() => pair?.stop());

const writeAt = (node: NodeName) =>
  RecordingHost.start({ port: pair.nbdPort(node), volume: 'vol1', blocks, depth: 16, random }, record);

/** Back in order with the host still writing; then the host ends and both legs are looked at. */
async function settle(host: RecordingHost): Promise<void> {
  await delay(between(0, 200));
  await host.stop();
  await lookAtBothLegs();
}

async function lookAtBothLegs(): Promise<void> {
  await pair.untilEstablished(30_000);
  expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
  expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
  await pair.compareLegs();
}

async function killTarget(owner: NodeName): Promise<void> {
  const host = await writeAt(owner);
  await delay(between(20, 400));
  await pair.kill(otherNode(owner));
  // Back within the grace time, or after it, when changes have gone to the bitmap.
  await delay(between(0, 600));
  await pair.startNode(otherNode(owner));
  await settle(host);
}

async function killOwner(owner: NodeName): Promise<void> {
  const host = await writeAt(owner);
  await delay(between(20, 400));
  await pair.kill(owner);
  await host.ended;
  await pair.startNode(owner);
  // Before anything new is written, which would hide what was lost.
  await lookAtBothLegs();
  await settle(await writeAt(owner));
}

async function killOwnerAndTakeOver(owner: NodeName): Promise<NodeName> {
  const host = await writeAt(owner);
  await delay(between(20, 400));
  await pair.kill(owner);
  await host.ended;
  const next = otherNode(owner);
  const taken = await pair.cli(next, 'group', 'take-over', 'g1', '--node', next);
  expect(taken).toMatchObject({ status: 0 });
  expect(await record.faultsIn(pair.imagePath(next))).toEqual([]);
  const following = await writeAt(next);
  await delay(between(0, 200));
  await pair.startNode(owner);
  await settle(following);
  return next;
}

test(
  `TL-6, BY-1: ${count} × kill -9 of owner or target under load (seed ${seed})`,
  async () => {
    let owner: NodeName = 'east';
    for (let round = 1; round <= count; round++) {
      const draw = random();
      const scene =
        draw < 0.5 ? 'target killed' : draw < 0.85 ? 'owner killed, restarted' : 'owner killed, taken over';
      try {
        if (scene === 'target killed') await killTarget(owner);
        else if (scene === 'owner killed, restarted') await killOwner(owner);
        else owner = await killOwnerAndTakeOver(owner);
      } catch (error) {
        const logs = await Promise.all((['east', 'west'] as const).map((node) => pair.logTail(node)));
        throw new Error(`round ${round}, seed ${seed}, ${scene}: ${String(error)}\n${logs.join('\n---\n')}`, {
          cause: error,
        });
      }
    }
  },
  60_000 + count * 15_000,
);
