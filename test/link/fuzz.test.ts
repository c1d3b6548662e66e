import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import type { Address } from '../../src/base/network.ts';
import { LinkTable } from '../../src/link/link-table.ts';
import type { LinkHandler } from '../../src/link/link.ts';
import { fuzzLink, generator, hostileInput } from './fuzz.ts';
import { sampleHello } from './samples.ts';
import { World } from './world.ts';

/** `npm run fuzz` asks for more, and for inputs nobody has seen yet; a failure names the seed. */
const inputs = Number(process.env['FUZZ_INPUTS'] ?? 20_000);
const seed = process.env['FUZZ_INPUTS'] === undefined ? 1 : Date.now();

describe('fuzz: hostile input', () => {
  it('to the decoders ends in a message or a named refusal', () => {
    const { messages, brokenMessages, breaches } = fuzzLink(seed, inputs);
    // That the chaos reaches everything there is to reach:
    expect(messages).toBeGreaterThan(5000);
    expect(brokenMessages).toBeGreaterThan(2000);
    expect([...breaches.keys()].sort()).toEqual([
      'badMagic',
      'badVersion',
      'controlChecksum',
      'controlTooLong',
      'headerChecksum',
      'payloadTooLong',
      'pieceLengths',
      'pieceTooLong',
      'tooManyPieces',
    ]);
  });

  it('from strangers disturbs no connection that is up', async () => {
    const world = new World();
    const changes: string[] = [];
    const handler: LinkHandler = {
      connectionUp: ({ peer, direction }) => changes.push(`up ${direction} ${peer}`),
      connectionDown: ({ peer }, reason) => changes.push(`down ${peer}: ${reason}`),
      frame() {},
      drained() {},
      call: async () => null,
    };
    const address = (host: string): Address => ({ kind: 'tcp', host, port: 7000 });
    const tables = ['north', 'south'].map((node) => {
      const other = node === 'north' ? 'south' : 'north';
      const options = { listen: address(node), peers: [{ name: other, address: address(other) }] };
      const identity = { ...sampleHello, node, softwareVersion: '0.1.0' };
      return new LinkTable({ ...world.environment(node), log: silentLog }, identity, options, handler);
    });
    await Promise.all(tables.map((table) => table.start()));
    await world.run(50);
    expect(changes.splice(0)).toHaveLength(8);
    for (let number = 0; number < 300; number++) {
      const stranger = world.dial(address('north'));
      stranger.send(hostileInput(generator(number)));
      await world.run(5);
      stranger.destroy();
    }
    expect(changes).toEqual([]);
    expect(tables[0]?.outgoing('south')).toHaveLength(2);
  });
});
