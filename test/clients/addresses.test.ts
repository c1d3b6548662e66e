/** Addresses that move (BY-12), on a real network: three namespaces on a bridge, a neighbour that remembers who had it. */
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';
import { resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { endCommand, mustRun, runCommand, startCommand, until } from './command.ts';

const tag = `hf${process.pid % 100_000}`;
const spaces = { client: `${tag}c`, east: `${tag}e`, west: `${tag}w` };
type Space = keyof typeof spaces;
const holderProgram = resolve('test/clients/address-holder.mjs');

const within = (space: Space, ...words: string[]): [string, string[]] => [
  'ip',
  ['netns', 'exec', spaces[space], ...words],
];
const privileged = (await runCommand('ip', ['netns', 'add', `${tag}t`])).status === 0;
if (privileged) await runCommand('ip', ['netns', 'del', `${tag}t`]);

/** A process of a namespace that holds an address. */
class Holder {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #told: unknown[] = [];

  constructor(space: Space, address: string) {
    this.#child = startCommand(...within(space, process.execPath, holderProgram, 'eth0', address));
    if (this.#child.stdout === null) throw new Error('no output');
    this.#lines = createInterface(this.#child.stdout);
    this.#lines.on('line', (line) => this.#told.push(JSON.parse(line)));
  }

  async told(): Promise<unknown> {
    await until('the holder says something', 40_000, () => (this.#told.length > 0 ? true : null));
    return this.#told.shift();
  }

  async letGo(): Promise<unknown> {
    this.#child.stdin?.end();
    const last = await this.told();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    return last;
  }

  kill(): Promise<void> {
    return endCommand(this.#child, 'SIGKILL');
  }
}

describe.skipIf(!privileged)('an address that moves between machines', () => {
  const holders: Holder[] = [];
  const hold = (space: Space, address: string): Holder => {
    const holder = new Holder(space, address);
    holders.push(holder);
    return holder;
  };

  beforeEach(async () => {
    for (const space of Object.values(spaces)) await mustRun('ip', ['netns', 'add', space]);
    // The bridge stands in the client's namespace; the client is the bridge's own end.
    await mustRun(...within('client', 'ip', 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0'));
    await mustRun(...within('client', 'sysctl', '-qw', 'net.ipv6.conf.br0.accept_dad=0'));
    await mustRun(...within('client', 'ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'br0'));
    await mustRun(...within('client', 'ip', 'addr', 'add', 'fd77::1/64', 'dev', 'br0', 'nodad'));
    await mustRun(...within('client', 'ip', 'link', 'set', 'br0', 'up'));
    for (const [number, space] of (['east', 'west'] as const).entries()) {
      const port = `${tag}p${number}`;
      await mustRun('ip', [
        'link',
        'add',
        port,
        'netns',
        spaces.client,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        spaces[space],
      ]);
      await mustRun(...within('client', 'ip', 'link', 'set', port, 'master', 'br0', 'up'));
      await mustRun(...within(space, 'sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=0'));
      await mustRun(...within(space, 'ip', 'addr', 'add', `10.77.0.${2 + number}/24`, 'dev', 'eth0'));
      await mustRun(...within(space, 'ip', 'addr', 'add', `fd77::${2 + number}/64`, 'dev', 'eth0', 'nodad'));
      await mustRun(...within(space, 'ip', 'link', 'set', 'eth0', 'up'));
    }
  });

  afterEach(async () => {
    for (const holder of holders.splice(0)) await holder.kill();
    for (const space of Object.values(spaces)) await runCommand('ip', ['netns', 'del', space]);
  });

  const macOf = async (space: Space): Promise<string> => {
    const { stdout } = await mustRun(...within(space, 'ip', '-o', 'link', 'show', 'eth0'));
    return /link\/ether (\S+)/.exec(stdout)?.[1] ?? '';
  };
  /** Whom the client takes for the holder, without asking. */
  const remembered = async (address: string): Promise<string> => {
    const { stdout } = await mustRun(...within('client', 'ip', 'neigh', 'show', address));
    return /lladdr (\S+)/.exec(stdout)?.[1] ?? '';
  };
  const connects = async (address: string): Promise<boolean> => {
    const script = `require('net').connect(1,${JSON.stringify(address)}).on('error',(e)=>process.exit(e.code==='ECONNREFUSED'?0:1))`;
    return (await runCommand(...within('client', process.execPath, '-e', script), { timeoutMs: 5000 })).status === 0;
  };

  test.each(['10.77.0.9', 'fd77::9'])('BY-12: neighbours find %s at its new holder at once', async (bare) => {
    const address = `${bare}/${bare.includes(':') ? 64 : 24}`;
    const east = hold('east', address);
    expect(await east.told()).toEqual({ started: null, problem: null });
    expect(await connects(bare)).toBe(true);
    expect(await remembered(bare)).toBe(await macOf('east'));
    expect(await east.letGo()).toEqual({ stopped: null });
    expect(await remembered(bare)).toBe(await macOf('east'));
    const west = hold('west', address);
    expect(await west.told()).toEqual({ started: null, problem: null });
    expect(await remembered(bare)).toBe(await macOf('west'));
    expect(await connects(bare)).toBe(true);
    expect(await west.letGo()).toEqual({ stopped: null });
    expect((await mustRun(...within('west', 'ip', '-o', 'addr'))).stdout).not.toContain(`${bare}/`);
  });

  test.each(['10.77.0.9', 'fd77::9'])('BY-12: %s is not put on while another has it', async (bare) => {
    const address = `${bare}/${bare.includes(':') ? 64 : 24}`;
    const east = hold('east', address);
    await east.told();
    const west = hold('west', address);
    expect(await west.told()).toMatchObject({
      started: `${await macOf('east')} on the network of eth0 has ${address}`,
    });
    expect(await remembered(bare)).not.toBe(await macOf('west'));
  });

  test('BY-12: one that waits gets it as soon as the last holder has let go', async () => {
    const east = hold('east', '10.77.0.9/24');
    await east.told();
    const west = hold('west', '10.77.0.9/24');
    await east.letGo();
    expect(await west.told()).toEqual({ started: null, problem: null });
  });
});
