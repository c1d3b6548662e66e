import { afterEach, describe, expect, it, vi } from 'vitest';
import { NodePulseMaker } from '../../src/node/pulse-maker.ts';
import { MirrorSourceChannel } from '../../src/pulse/mirror-channel.ts';
import { presets } from '../../src/pulse/presets.ts';
import { World } from '../../src/sim/world/world.ts';
import type { NodeEntry } from '../../src/store/document.ts';

const nodes = ['east', 'west'].map(
  (name) => ({ name, site: name, pulse: [], heartbeat: `${name}:7100` }) as unknown as NodeEntry,
);

describe('the maker of pulses', () => {
  afterEach(() => vi.restoreAllMocks());

  it('HM-5, HM-9: writes the status table to a heartbeat mirror for as long as it is there', async () => {
    const writeTable = vi.spyOn(MirrorSourceChannel.prototype, 'writeTable').mockResolvedValue();
    const world = new World({ seed: 'pulse-maker' });
    const process = world.machine('east').start('node');
    const { environment } = process;
    const making = {
      environment,
      configuration: {
        clusterId: 'c1'.repeat(16),
        nodes,
        settings: { ...presets.lan, network: false, mirrors: [], interconnects: [] },
        table: null,
      },
      local: { dataFolder: '/data', key: new Uint8Array(32).fill(7) },
    };
    const maker = new NodePulseMaker();
    const pulse = maker.pulse({
      ...making,
      start: { node: 'east', incarnation: 'e1'.repeat(16), leaseTtlMs: 1200, stallMs: 1000 },
      events: { changed: () => {}, indicated: () => {}, tableChanged: () => {}, control: async () => null },
    });
    process.call(() => pulse.start());
    const add = (name: string): void => {
      const mirror = { name, from: 'east', to: 'west', paths: {} };
      pulse.addChannel(maker.channel({ ...making, node: 'east', spec: { kind: 'mirror', mirror } }));
    };
    process.call(() => add('one'));
    await world.run(500);
    expect(writeTable).toHaveBeenCalled();

    process.call(() => void pulse.removeChannel('mirror:one'));
    await world.run(500);
    writeTable.mockClear();
    process.call(() => add('two'));
    await world.run(500);
    expect(writeTable.mock.contexts.map((channel) => (channel as MirrorSourceChannel).id)).toContain('mirror:two');
    expect(writeTable.mock.contexts.map((channel) => (channel as MirrorSourceChannel).id)).not.toContain(
      'mirror:one',
    );
  });
});
