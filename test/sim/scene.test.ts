import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { drawScriptFor, plantedBugs, type PlantedBug } from '../../src/sim/planted.ts';
import { playScript } from '../../src/sim/scene.ts';
import { drawScript, type DrawOptions, type Script } from '../../src/sim/script.ts';

const scenes = new URL('scenes/', import.meta.url);

describe('BY-9, TL-12, TL-13: whole clusters in the simulated world', () => {
  it('I1–I6, I8–I14: hold for a handful of seeds with every class of fault', { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { violation } = await playScript(drawScript(`suite ${seed}`));
      expect(violation, `npm run sim -- --replay "suite ${seed}"`).toBeNull();
    }
  });

  it('I12–I14: hold with the numbers of the presets wan and classic', { timeout: 120_000 }, async () => {
    for (const [seed, preset] of (['wan', 'wan', 'classic'] as const).entries()) {
      const { violation } = await playScript(drawScript(`preset ${seed}`, { pulse: { preset } }));
      expect(violation, `preset ${seed}: ${preset}`).toBeNull();
    }
  });

  it('gives the same run for the same seed, event for event', { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const script = drawScript(`twice ${seed}`);
      const first = await playScript(script);
      const second = await playScript(script);
      expect(second).toEqual(first);
      expect(first.events).toBeGreaterThan(500);
    }
  });

  it('gives the same run for a script that was written down and read again', async () => {
    const script = drawScript('written down');
    const read = JSON.parse(JSON.stringify(script)) as Script;
    expect((await playScript(read)).traceHash).toBe((await playScript(script)).traceHash);
  });

  it('reaches rare places', { timeout: 60_000 }, async () => {
    const marks = await marksOf(30, { only: ['crash', 'power', 'pause', 'move'], nodes: 2, logs: false });
    expect(marks).toEqual(
      expect.arrayContaining([
        'switch-over done',
        'take-over done',
        'take-over E_REFUSED',
        'taken over by a leg inSync',
        'opened with flushed promised',
        'event lease',
      ]),
    );
  });

  it(
    'R12, I3: where the store was restored from a backup, a group is frozen rather than served twice',
    { timeout: 60_000 },
    async () => {
      const options: DrawOptions = { only: ['restored'], nodes: 2, logs: false };
      const marks = await marksOf(12, options);
      expect(marks).toEqual(
        expect.arrayContaining([
          'the store forgot a generation',
          'an older store froze a group',
          'served from an older store',
        ]),
      );
    },
  );

  it('reaches those of logs', { timeout: 60_000 }, async () => {
    const marks = await marksOf(40, { only: ['outage', 'crash', 'log'], logs: true });
    expect(marks).toEqual(
      expect.arrayContaining([
        'logged',
        'merged',
        'in-merge done',
        'log full',
        'fell back to bits',
        'opened with what its log held',
      ]),
    );
  });

  it('AS-1, TL-15, I12–I14: reaches moves that agents make by themselves', { timeout: 120_000 }, async () => {
    const marks = await marksOf(25, { pulse: true, nodes: 2, logs: false });
    expect(marks).toEqual(
      expect.arrayContaining([
        'an agent decides on takeOver',
        'an agent decides on giveBack',
        'served again after a death',
        'taken over by a leg withinBound',
      ]),
    );
  });
});

describe('a planted bug is seen', () => {
  const seedsMax = 250;
  for (const [name, { breaks, violates }] of Object.entries(plantedBugs)) {
    it(`${name} (${breaks}), as ${violates.join(' or ')}`, { timeout: 120_000 }, async () => {
      const planted = name as PlantedBug;
      for (let seed = 1; seed <= seedsMax; seed++) {
        const script = drawScriptFor(planted, `planted ${seed}`);
        const { violation } = await playScript(script, { planted });
        if (violation === null) continue;
        expect(violates, violation.message).toContain(violation.invariant);
        expect((await playScript(script)).violation, 'the same scene without the bug').toBeNull();
        return;
      }
      expect.fail(`not seen in ${seedsMax} scenes`);
    });
  }

  it('and taken out again when its scene is over', async () => {
    const script = drawScript('1', { only: ['crash'] });
    const before = await playScript(script);
    await playScript(script, { planted: 'epoch-never-closed' });
    expect(await playScript(script)).toEqual(before);
  });
});

/** What once failed, cut down to what matters. */
describe('scenes kept', () => {
  for (const file of readdirSync(scenes).filter((name) => name.endsWith('.json'))) {
    it(file.replace(/\.json$/, '').replaceAll('-', ' '), async () => {
      const script = JSON.parse(readFileSync(new URL(file, scenes), 'utf8')) as Script;
      expect((await playScript(script)).violation).toBeNull();
    });
  }
});

async function marksOf(seeds: number, options: DrawOptions): Promise<string[]> {
  const marks = new Set<string>();
  for (let seed = 1; seed <= seeds; seed++) {
    const { marks: reached, violation } = await playScript(drawScript(`rare ${seed}`, options));
    expect(violation, `rare ${seed} ${JSON.stringify(options)}`).toBeNull();
    for (const mark of reached) marks.add(mark);
  }
  return [...marks];
}
