/** Application agents over a wire of memory: what is said, and what foreign bytes do. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AgentClient, type AgentHandlers } from '../../src/agent/agent-client.ts';
import {
  encodeLine,
  LineCutter,
  lineBytesMax,
  parseFromAgent,
  parseFromNode,
  type Acquired,
} from '../../src/agent/agent-messages.ts';
import { agentsMax, ApplicationAgents } from '../../src/agent/application-agents.ts';
import { ShellAgent } from '../../src/agent/shell-agent.ts';
import type { Address, ByteStream, Listener } from '../../src/base/network.ts';
import { World } from '../../src/sim/world/world.ts';
import { exits, FakeCommands, hangs } from './fake-commands.ts';

const at: Address = { kind: 'unix', path: '/data/agents.sock' };
const devices = {
  generation: 7,
  volumes: [{ name: 'vol1', wwid: '6'.repeat(32), sizeBytes: 4096, path: '/data/vol1.img', nbd: ['nbd://h/vol1'] }],
};

function scene(notConfigured: (group: string) => string | null = () => null) {
  const world = new World({ seed: 'agents' });
  const machine = world.machine('east');
  const node = machine.start('holdfast');
  const events: string[] = [];
  const agents = new ApplicationAgents({
    clock: node.environment.clock,
    node: 'east',
    notConfigured,
    releaseWithinMs: 2000,
    event: (_group, _kind, message) => events.push(message),
  });
  const listen = (): Promise<Listener> => node.environment.network.listen(at, agents.accept);
  /** A client, and what its handlers heard. */
  const connect = (handlers: Partial<AgentHandlers> = {}, groups = ['g1']) => {
    const process = machine.start('agent');
    const heard: string[] = [];
    const client = new AgentClient({
      clock: process.environment.clock,
      connect: (streamEvents) => process.environment.network.connect(at, streamEvents),
      agent: 'database',
      groups,
      retryMs: 500,
      handlers: {
        acquired: ({ type, group, cause, volumes }) =>
          heard.push(`${type} ${group} ${cause} ${volumes.map(({ path, nbd }) => `${path} ${nbd.join()}`).join()}`),
        release: async (group) => void heard.push(`release ${group}`),
        failoverNotConfigured: (group, reason) => heard.push(`not configured ${group}: ${reason}`),
        maintenance: (group, on) => heard.push(`maintenance ${group} ${on}`),
        settled: (acquired) => heard.push(`settled ${[...acquired].join()}`),
        disconnected: () => heard.push('disconnected'),
        ...handlers,
      },
    });
    client.start();
    return { client, heard, process };
  };
  /** Bytes on a connection, and what comes back as text. */
  const raw = (bytes: readonly Uint8Array[]) => {
    const process = machine.start('stranger');
    const answer = { text: '', closed: false };
    const stream: ByteStream = process.environment.network.connect(at, {
      opened: () => stream.send(bytes),
      received: (chunk) => (answer.text += Buffer.from(chunk).toString()),
      closed: () => (answer.closed = true),
    });
    return answer;
  };
  return { world, agents, listen, connect, raw, events };
}

describe('application agents', () => {
  it('AS-10: an agent tries until the node is there, and is told of what it has and of what it acquires', async () => {
    const { world, agents, listen, connect } = scene();
    const { heard } = connect();
    await world.run(3000);
    await world.settle(listen());
    agents.acquired('g1', 'takeOver', devices);
    await world.run(2000);
    expect(heard.filter((line) => line !== 'disconnected')).toEqual([
      'ACQUIRED g1 registered /data/vol1.img nbd://h/vol1',
      'settled g1',
    ]);
    agents.acquired('g1', 'takeOver', devices);
    await world.run(100);
    expect(heard.at(-1)).toBe('MACHINE_FAILED g1 takeOver /data/vol1.img nbd://h/vol1');
    expect(agents.rows).toMatchObject([{ agent: 'database', groups: ['g1'], unknown: 0 }]);
  });

  it('AS-10: devices go back only after every agent has acknowledged', async () => {
    const { world, agents, listen, connect } = scene();
    await world.settle(listen());
    let letGo: () => void = () => {};
    connect({ release: () => new Promise((resolve) => (letGo = resolve)) });
    connect();
    await world.run(1000);
    agents.acquired('g1', 'start', devices);
    await world.run(100);
    let released: string | null | undefined;
    void agents.release('g1', 'handOver', new AbortController().signal).then((problem) => (released = problem));
    await world.run(1000);
    expect(released).toBe(undefined);
    letGo();
    await world.run(100);
    expect(released).toBe(null);
  });

  it('AS-10: an agent that does not acknowledge in time, or goes away without, has not let go', async () => {
    const { world, agents, listen, connect } = scene();
    await world.settle(listen());
    const { process } = connect({ release: () => new Promise(() => {}) });
    await world.run(1000);
    const release = (): Promise<string | null> => agents.release('g1', 'handOver', new AbortController().signal);
    agents.acquired('g1', 'start', devices);
    expect(await world.settle(release())).toBe('agent database did not let go: no answer within 2 s');
    agents.acquired('g1', 'start', devices);
    const second = release();
    await world.run(10);
    process.finish('crash', 'killed');
    expect(await world.settle(second)).toMatch(/did not let go: it went away/);
  });

  it('AS-10, AS-14: agents hear that nothing takes over, and when that changes', async () => {
    const { world, agents, listen, connect } = scene((group) => (group === 'g2' ? 'there is no group g2' : null));
    await world.settle(listen());
    const { heard } = connect({}, ['g1', 'g2']);
    await world.run(1000);
    expect(heard).toEqual(['not configured g2: there is no group g2', 'settled ']);
    agents.maintenance('g1', true, 'switched off');
    agents.maintenance('g1', false, 'on again');
    await world.run(100);
    expect(heard.slice(2)).toEqual([
      'maintenance g1 true',
      'not configured g1: switched off',
      'maintenance g1 false',
    ]);
  });

  it('AS-10: an unknown message is counted, answered and survived; an answer to that is not answered', async () => {
    const { world, agents, listen, raw } = scene();
    await world.settle(listen());
    const register = encodeLine({ type: 'REGISTER', version: 1, agent: 'x', groups: ['g1'] });
    const line = (text: string): Uint8Array => Buffer.from(`${text}\n`);
    const answer = raw([
      register,
      line('{"type":"DANCE"}'),
      line('{"type":"RELEASED","id":"seven"}'),
      line('{"type":"UNKNOWN","what":"x"}'),
      line('{"type":"RELEASED","id":99}'),
    ]);
    await world.run(1000);
    expect(
      answer.text
        .trim()
        .split('\n')
        .map((text) => (JSON.parse(text) as { type: string }).type),
    ).toEqual(['REGISTERED', 'UNKNOWN', 'UNKNOWN']);
    expect([answer.closed, agents.rows[0]?.unknown]).toEqual([false, 3]);
  });

  it.each([
    ['not JSON', 'hello\n', 'a line is not JSON'],
    ['an array', '[1]\n', 'a line is not a JSON object'],
    ['no type', '{}\n', 'a message has no "type"'],
    ['a line without end', 'x'.repeat(lineBytesMax + 1), 'a line is too long'],
    ['a line too long', `${'x'.repeat(lineBytesMax + 1)}\n`, 'a line is too long'],
  ])('ends a connection with %s, with the reason', async (_what, bytes, reason) => {
    const { world, agents, listen, raw } = scene();
    await world.settle(listen());
    const answer = raw([Buffer.from(bytes)]);
    await world.run(1000);
    expect(answer).toEqual({ text: `${JSON.stringify({ type: 'REFUSED', reason })}\n`, closed: true });
    expect(agents.rows).toEqual([]);
  });

  it('one that never registers is sent away, and there are so many at once', async () => {
    const { world, agents, listen, raw } = scene();
    await world.settle(listen());
    const all = Array.from({ length: agentsMax + 1 }, () => raw([]));
    await world.run(1000);
    expect([all.filter(({ closed }) => closed).length, agents.refused]).toEqual([1, 1]);
    await world.run(10_000);
    expect(all.every(({ closed }) => closed)).toBe(true);
  });
});

describe('lines', () => {
  it('are the same however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme' })),
        fc.array(fc.integer({ min: 1, max: 9 })),
        (texts, cuts) => {
          const lines = texts.map((text) => text.replaceAll('\n', ''));
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const cutter = new LineCutter();
          const got: string[] = [];
          for (let from = 0, turn = 0; from < bytes.length; turn++) {
            const to = from + (cuts[turn % cuts.length] ?? 5);
            // The memory of a chunk is used again.
            const chunk = Buffer.from(bytes.subarray(from, to));
            got.push(...(cutter.push(chunk) ?? []));
            chunk.fill(0);
            from = to;
          }
          expect(got).toEqual(lines.map((line) => Buffer.from(line).toString()));
        },
      ),
    );
  });

  it('any JSON gives an answer in either direction', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((value) => JSON.stringify({ type: 'RELEASE', ...value })),
        ),
        (line) => {
          expect(['message', 'unknown', 'broken']).toContain(parseFromAgent(line).kind);
          expect(['message', 'unknown', 'broken']).toContain(parseFromNode(line).kind);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('any bytes leave the node with its other agents', async () => {
    const { world, agents, listen, raw, connect } = scene();
    await world.settle(listen());
    const { heard } = connect();
    await world.run(1000);
    for (const bytes of fc.sample(fc.uint8Array({ maxLength: 300 }), { numRuns: 50, seed: 1 }))
      raw([bytes, Buffer.from('\n')]);
    await world.run(1000);
    agents.acquired('g1', 'start', devices);
    await world.run(100);
    expect(heard.at(-1)).toMatch(/^ACQUIRED g1 start/);
  });
});

describe('the shell agent', () => {
  function shell(restart: 'always' | 'on-failure' | 'never' = 'on-failure') {
    const world = new World({ seed: 'shell' });
    const { environment: own } = world.machine('east').start('agent');
    const commands = new FakeCommands(own.clock);
    commands.usual.set('db run', hangs);
    const said: string[] = [];
    const agent = new ShellAgent({
      clock: own.clock,
      commands,
      group: 'g1',
      words: ['db', 'run'],
      restart,
      stopWithinMs: 1000,
      graceMs: 3000,
      output: () => {},
      say: (sentence) => said.push(sentence),
    });
    const acquired: Acquired = { type: 'MACHINE_FAILED', group: 'g1', node: 'east', cause: 'takeOver', ...devices };
    return { world, commands, agent, acquired, said };
  }

  it('AS-10: runs the program while the node has the group, and lets go when it has ended', async () => {
    const { world, commands, agent, acquired } = shell();
    agent.acquired(acquired);
    agent.acquired(acquired);
    await world.run(100);
    expect(commands.ran).toEqual(['db run']);
    expect(commands.requests[0]).toMatchObject({
      killAfterMs: 1000,
      environment: { HOLDFAST_GROUP: 'g1', HOLDFAST_REASON: 'takeOver', HOLDFAST_NBD_VOL1: 'nbd://h/vol1' },
    });
    await world.settle(agent.release('g1', 'handOver', 1000));
    expect([commands.log, agent.runs]).toEqual([['begin db run', 'end db run'], false]);
    await world.settle(agent.release('g1', 'handOver', 1000));
  });

  it.each([
    ['on-failure', 1, 2],
    ['on-failure', 0, 1],
    ['always', 0, 2],
    ['never', 1, 1],
  ] as const)('with restart %s, a program that ends with %d ran %d times', async (restart, status, times) => {
    const { world, commands, agent, acquired } = shell(restart);
    commands.next.set('db run', [exits(status)]);
    agent.acquired(acquired);
    await world.run(5000);
    expect(commands.ran).toHaveLength(times);
  });

  it('ends the program when the node stays away, or comes back without the group', async () => {
    const { world, commands, agent, acquired } = shell();
    agent.acquired(acquired);
    agent.disconnected('closed');
    await world.run(2000);
    agent.registered();
    agent.settled(new Set(['g1']));
    await world.run(5000);
    expect(commands.running).toBe(1);
    agent.disconnected('closed');
    await world.run(4000);
    expect(commands.running).toBe(0);
    agent.acquired(acquired);
    await world.run(10);
    agent.settled(new Set());
    await world.run(10);
    expect(commands.running).toBe(0);
  });
});
