/**
 * Small outages, cut off everywhere: a few operations, then the owner's process dies, or its node loses power, after some
 * effect of the last one (an earlier cut is the end of a shorter sequence). Whatever was cut, the owner comes back with all
 * that hosts were told is done (I2, I3), the target is an image of some moment whenever it says that it is consistent (I1),
 * and both end equal (I6).
 *
 * Each operation begins when the one before it has ended. So every image that may be seen is what some number of the
 * writes, in their order, have made.
 */
import { describe, expect, it } from 'vitest';
import { plantedBugs } from '../../src/sim/planted.ts';
import { Prng } from '../../src/sim/world/prng.ts';
import type { OnLogFull } from '../../src/store/document.ts';
import { Nodes, type Node } from './nodes.ts';

type End = 'crash' | 'powerLoss';
type Operation = 'write' | 'overlap' | 'flush' | 'lost' | 'back' | 'full' | 'checkpoint';
const operations: readonly Operation[] = ['write', 'overlap', 'flush', 'lost', 'back', 'full', 'checkpoint'];

const placeBytes = 512;
const sizeBytes = 16 * 1024;
/** Of one operation, virtual. */
const operationMs = 60_000;

/** Only such as make sense: a target is lost once, and then comes back. A log that nobody needs does not fill. */
function sequences(length: number, isLost = false): Operation[][] {
  if (length === 0) return [[]];
  return operations
    .filter((one) => (one === 'back' || one === 'full' ? isLost : one !== 'lost' || !isLost))
    .flatMap((one) => {
      const next = one === 'lost' || (one !== 'back' && isLost);
      return sequences(length - 1, next).map((rest) => [one, ...rest]);
    });
}

/** Two nodes, a host of the owner's, and what it has written. */
class Scene {
  readonly nodes: Nodes;
  /** Place and contents of every write, in order. */
  readonly #writes: { readonly place: number; readonly fill: number }[] = [];
  /** So many of them, from the first, were acknowledged. */
  #acknowledged = 0;
  /** And so many were flushed. */
  #flushed = 0;

  private constructor(nodes: Nodes) {
    this.nodes = nodes;
  }

  static async begin(seed: string, onLogFull: OnLogFull): Promise<Scene> {
    const settings = { graceMs: 200, onLogFull };
    return new Scene(await Nodes.synced({ seed, sizeBytes, logBytes: 256 * 1024, settings }));
  }

  async perform(operation: Operation): Promise<void> {
    const { nodes } = this;
    switch (operation) {
      case 'write':
        return this.#write(1 + (this.#writes.length % 4));
      case 'overlap':
        await Promise.all([this.#write(0), this.#write(0)]);
        return;
      case 'flush':
        await this.#asked((done) => nodes.east.group.owner?.flush(0, done));
        this.#flushed = this.#acknowledged;
        return;
      case 'checkpoint':
        return this.#asked((done) => void nodes.east.group.owner?.checkpoint().then(() => done()));
      case 'lost':
        nodes.link(false);
        await this.#write(5);
        return this.#until(() => nodes.classOf('west') === 'behind');
      case 'back':
        nodes.link(true);
        return this.#until(() => nodes.whole());
      case 'full':
        nodes.east.process.machine.files.fail({ code: 'E_NO_SPACE', operation: 'write', path: '/log' }, 1);
        return this.#write(6);
    }
  }

  async #write(place: number): Promise<void> {
    const fill = this.#writes.push({ place, fill: this.#writes.length + 1 });
    const fault = await this.nodes.write(this.nodes.east, place * placeBytes, fill);
    if (fault === null) this.#acknowledged = Math.max(this.#acknowledged, fill);
  }

  #asked(ask: (done: () => void) => void): Promise<void> {
    return new Promise((resolve) => this.nodes.east.process.call(() => ask(resolve)));
  }

  #until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (holds()) resolve();
        else this.nodes.world.at(this.nodes.world.nowMs + 5, look);
      };
      look();
    });
  }

  /** How many of the writes have made what the node holds. */
  #momentOf(node: Node): number {
    const image = this.nodes.disk(node).cached;
    const expected = new Uint8Array(sizeBytes);
    let found = Buffer.compare(expected, image) === 0 ? 0 : -1;
    for (const [index, { place, fill }] of this.#writes.entries()) {
      expected.fill(fill, place * placeBytes, (place + 1) * placeBytes);
      if (Buffer.compare(expected, image) === 0) found = index + 1;
    }
    return found;
  }

  /** A place that does not hold what was flushed there, or something written later; -1 when there is none. */
  #unflushedPlace(node: Node): number {
    const image = this.nodes.disk(node).cached;
    return image.findIndex((found, at) => {
      const fills = this.#writes.flatMap(({ place, fill }) => (place === Math.floor(at / placeBytes) ? [fill] : []));
      const last = fills.findLast((fill) => fill <= this.#flushed) ?? 0;
      return found !== last && !(found > last && fills.includes(found));
    });
  }

  /** What is wrong with what the nodes hold now; null when nothing is. */
  wrong(): string | null {
    const { east, west } = this.nodes;
    if (east.group.missing !== null) {
      // It lost power, and says that what was not flushed may be lost: then it is no moment of the past either.
      const at = east.group.serving ? this.#unflushedPlace(east) : -1;
      return at < 0 ? null : `I2: the owner lacks what was flushed at ${at}`;
    }
    const atOwner = this.#momentOf(east);
    if (east.group.serving && atOwner < this.#acknowledged)
      return `I2: the owner holds ${atOwner} writes of ${this.#acknowledged} acknowledged`;
    if (west.group.leg?.state.condition === 'consistent' && this.#momentOf(west) < 0)
      return 'I1: the target is no image of any moment';
    return null;
  }

  isEqual(): boolean {
    const { east, west } = this.nodes;
    const isMoment = east.group.missing !== null || this.#momentOf(east) >= 0;
    return isMoment && Buffer.compare(this.nodes.disk(east).cached, this.nodes.disk(west).cached) === 0;
  }
}

/** Returns whether the cut came before the end of the last operation. */
async function play(
  sequence: readonly Operation[],
  how: End,
  cutAfter: number,
  onLogFull: OnLogFull,
): Promise<boolean> {
  const label = `${sequence.join(', ')}: ${how} after effect ${cutAfter}, on-log-full ${onLogFull}`;
  const scene = await Scene.begin(label, onLogFull);
  const { nodes } = scene;
  const { world } = nodes;
  for (const operation of sequence.slice(0, -1)) await world.settle(scene.perform(operation), operationMs);
  const { process } = nodes.east;
  if (how === 'crash') process.crashAfterEffects(cutAfter);
  const before = process.effects;
  let isDone = false;
  for (const last of sequence.slice(-1)) void scene.perform(last).then(() => (isDone = true));
  await world.runUntil(() => isDone || !process.alive || process.effects - before >= cutAfter, operationMs);
  const wasCut = !isDone;
  nodes.end('east', how);
  process.machine.files.heal();
  nodes.link(true);
  nodes.start('east');
  let wrong: string | null = null;
  const converged = await world.runUntil(() => {
    wrong ??= scene.wrong();
    return wrong !== null || (nodes.east.group.serving && nodes.whole());
  }, operationMs);
  wrong ??= converged ? scene.wrong() : 'I6: the nodes do not come together';
  if (wrong === null && !scene.isEqual()) wrong = 'I6: the copies differ';
  if (wrong !== null) throw new Error(`${label}: ${wrong}`);
  return wasCut;
}

/** Cut off after every effect. What power loss leaves of unsynced sectors is drawn, anew for each cut. */
async function playAll(sequence: readonly Operation[], how: End, onLogFull: OnLogFull): Promise<void> {
  for (let cutAfter = 1; await play(sequence, how, cutAfter, onLogFull); cutAfter++);
}

describe('TL-9, TL-11, TL-18: an outage cut off at any moment', () => {
  it.each([1, 2])('every sequence of %i operations, crash and power loss', { timeout: 120_000 }, async (length) => {
    for (const sequence of sequences(length)) {
      await playAll(sequence, 'crash', 'bitmap');
      await playAll(sequence, 'powerLoss', 'suspend');
    }
  });

  it('a log that fills while it is being promised', { timeout: 60_000 }, async () => {
    for (const between of ['write', 'overlap', 'flush'] as const) {
      await playAll(['lost', between, 'full'], 'crash', 'bitmap');
    }
  });

  const day = new Date().toISOString().slice(0, 10);
  it.each([3, 4])(`a sample of those of %i, another each day (${day})`, { timeout: 120_000 }, async (length) => {
    const prng = new Prng(`${day} ${length}`);
    const all = sequences(length);
    for (let left = 20; left > 0; left--) {
      const sequence = all[prng.below(all.length)] ?? [];
      await playAll(sequence, prng.pick(['crash', 'powerLoss']), prng.pick(['bitmap', 'suspend']));
    }
  });

  it('sees a log that answers before it has stored', { timeout: 60_000 }, async () => {
    const undo = plantedBugs['log-answers-early'].plant();
    const playSome = async (): Promise<void> => {
      for (const rest of sequences(2, true)) await playAll(['lost', 'checkpoint', ...rest], 'powerLoss', 'bitmap');
    };
    try {
      await expect(playSome()).rejects.toThrow('I2');
    } finally {
      for (const put of undo) put();
    }
  });
});
