/** What is shown of a group with three legs. */
import { describe, expect, test } from 'vitest';
import { describeGroup } from '../../src/group/describe.ts';
import type { GroupStatus } from '../../src/group/status.ts';
import { Nodes, type Node } from './nodes.ts';

const legs = ['east', 'west', 'south'];

function shown(node: Node, up = false): GroupStatus {
  return describeGroup(node.group, {
    node: node.name,
    leaseValid: true,
    leaseReason: null,
    storeProblem: null,
    exportsOf: () => [],
    throughput: { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 },
    reachable: () => ({ up, reason: null }),
  });
}

describe('BY-7: of three legs is shown', () => {
  test('each one that is not as it should be, and why', async () => {
    const nodes = await Nodes.synced({ seed: 'shown', legs });
    expect(shown(nodes.east)).toMatchObject({ reason: null, nextStep: null });
    nodes.link(false, 'west');
    nodes.end('south', 'crash');
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    const { reason, nextStep, legs: all } = shown(nodes.east);
    expect(reason).toMatch(/^west: .+; south: .+/);
    expect(nextStep).toContain('holdfast why g1');
    expect(all.map(({ disk, replication }) => [disk, replication])).toEqual([
      ['UpToDate', null],
      ['Outdated', 'Off'],
      ['Outdated', 'Off'],
    ]);
  });

  test('HG-7: who should take over: who lacks least, of those the first in succession', async () => {
    const nodes = await Nodes.synced({ seed: 'heir', legs });
    nodes.link(false, 'west');
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('east', 'crash');
    await nodes.world.run(2000);
    // West lacks something, and has read the record.
    for (const node of ['west', 'south']) {
      expect(shown(nodes.node(node)).nextStep).toContain('take-over g1 --node south');
    }

    const same = await Nodes.synced({ seed: 'first', legs });
    same.end('east', 'crash');
    await same.world.run(2000);
    expect(shown(same.node('south')).nextStep).toContain('take-over g1 --node west');
  });
});
