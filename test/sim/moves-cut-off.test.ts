/**
 * Moves that agents make by themselves, cut off everywhere: a node that takes part is killed after its n-th effect from the
 * moment of the decision, for every n until the move is over, and comes back after a while. At the end one node owns the
 * group, all copies are equal, and nothing that hosts were told is lost (I2, I3, I6, I12).
 *
 * A move is some 20 effects long, heartbeats among them: the suite plays every second of those, and
 * `HOLDFAST_EVERY_STEP=1` all, far into the time in which the new owner serves.
 */
import { describe, expect, it } from 'vitest';
import { playScript, type SceneResult } from '../../src/sim/scene.ts';
import type { Action, AgentMove, Script } from '../../src/sim/script.ts';

const isWhole = process.env['HOLDFAST_EVERY_STEP'] === '1';
const every = isWhole ? 1 : 2;
const stepsMax = isWhole ? 130 : 20;

interface Cut {
  readonly move: AgentMove;
  readonly node: string;
  /** Absent: it is not cut off. */
  readonly afterEffects?: number;
}

/** The owner is killed; west takes over, and gives back when the owner has been there again for a while. */
function scene({ move, node, afterEffects }: Cut): Script {
  const deed: Action[] =
    afterEffects === undefined
      ? []
      : [
          {
            atMs: 0,
            kind: 'onDecision',
            group: 'g1',
            move,
            deed: { kind: 'crash', node, afterEffects, downMs: 4000 },
          },
        ];
  return {
    seed: 'moves cut off',
    nodes: ['east', 'west'],
    leaseTtlMs: 1200,
    connectionsPerLink: 1,
    groups: [
      {
        name: 'g1',
        owner: 'east',
        mode: 'sync',
        volumes: [{ sizeBytes: 128 * 1024, blockSizeBytes: 512 }],
        graceMs: 500,
        lagWritesMax: 16,
        resyncShare: 1,
      },
    ],
    hosts: [{ group: 'g1', lanes: 2, thinkMs: 40, places: 16, patienceMs: 500 }],
    slowness: {},
    durationMs: 20_000,
    actions: [...deed, { atMs: 1000, kind: 'crash', node: 'east', afterEffects: 0, downMs: 7000 }],
    pulse: {
      timeoutMs: 1000,
      startUpMs: 3000,
      presence: true,
      mirrors: false,
      interconnect: false,
      lifeline: false,
      giveBack: 'auto',
      settleMs: 1000,
      calm: false,
      finalDeath: false,
    },
  };
}

async function play(cut: Cut): Promise<SceneResult> {
  const result = await playScript(scene(cut));
  expect(result.violation, JSON.stringify(cut)).toBeNull();
  return result;
}

describe('AS-1, TL-15: moves by themselves', () => {
  it('are made where nothing cuts them off', async () => {
    const { marks } = await play({ move: 'takeOver', node: 'west' });
    expect(marks).toEqual(
      expect.arrayContaining(['an agent decides on takeOver', 'an agent decides on giveBack', 'event switchOver']),
    );
  });

  const cuts: readonly [string, AgentMove, string][] = [
    ['a take-over, at the node that takes over', 'takeOver', 'west'],
    ['a give-back, at the node that gives', 'giveBack', 'west'],
    ['a give-back, at the node that it is given to', 'giveBack', 'east'],
  ];
  for (const [what, move, node] of cuts) {
    it(`I2, I3, I6, I12: ${what}, is cut off after every effect`, { timeout: 600_000 }, async () => {
      let cutOff = 0;
      for (let afterEffects = 1; afterEffects <= stepsMax; afterEffects += every) {
        const { marks } = await play({ move, node, afterEffects });
        if (marks.includes('on-decision done')) cutOff++;
      }
      expect(cutOff).toBe(Math.ceil(stepsMax / every));
    });
  }
});
