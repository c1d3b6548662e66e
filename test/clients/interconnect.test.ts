/** Interconnects over what the operating system really has: pseudo-terminals joined by socat, Unix sockets, TCP. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readdir, readlink, rm, stat } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import { InterconnectChannel } from '../../src/pulse/interconnect-channel.ts';
import { endCommand, freePorts, startCommand, until } from './command.ts';

const environment = createNodeEnvironment(silentLog);
const timeoutMs = 1000;
let folder: string;
const ends: End[] = [];
const programs: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-interconnect-'));
});

afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end.close()));
  for (const program of programs.splice(0)) await endCommand(program, 'SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

/** A node's end, with a heartbeat every 50 ms. */
class End {
  readonly received: string[] = [];
  readonly faults: (string | null)[] = [];
  readonly channel: InterconnectChannel;
  readonly #timer: NodeJS.Timeout;
  #sent = 0;

  constructor(node: 'east' | 'west', at: Readonly<Record<string, string>>) {
    this.channel = new InterconnectChannel(environment, {
      interconnect: { name: 'ic1', at, baudRate: 115_200 },
      node,
      peer: node === 'east' ? 'west' : 'east',
      role: node === 'east' ? 'listen' : 'dial',
      timeoutMs,
    });
    this.channel.start({
      received: (message) => void this.received.push(Buffer.from(message).toString('latin1')),
      fault: (problem) => void this.faults.push(problem),
    });
    // All byte values: whatever the line discipline would change or swallow shows.
    const allBytes = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte));
    this.#timer = setInterval(() => {
      this.channel.send('', Buffer.from(`${node} ${++this.#sent} ${allBytes}`, 'latin1'));
    }, 50);
    ends.push(this);
  }

  get fault(): string | null {
    return this.faults.at(-1) ?? null;
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    return this.channel.close();
  }
}

function pair(at: Readonly<Record<string, string>>): { east: End; west: End } {
  return { east: new End('east', at), west: new End('west', at) };
}

/** Both hear the other again. */
async function talking({ east, west }: { east: End; west: End }, messages = 5): Promise<void> {
  const before = [east.received.length, west.received.length] as const;
  await until('both ends hear each other', 15_000, () =>
    east.received.length >= before[0] + messages && west.received.length >= before[1] + messages ? true : null,
  );
}

const device = (name: string): string => join(folder, name);
const devices = (): Record<string, string> => ({ east: device('east'), west: device('west') });

/** A null modem cable: two pseudo-terminals, each of which gets what is written to the other. */
async function startCable(): Promise<ChildProcess> {
  const pty = (name: string): string => `pty,raw,echo=0,link=${device(name)}`;
  const cable = startCommand('socat', [pty('east'), pty('west')]);
  programs.push(cable);
  await devicesThere();
  return cable;
}

async function devicesThere(): Promise<void> {
  for (const name of ['east', 'west']) {
    await until(`${name}'s device`, 5000, () =>
      stat(device(name)).then(
        () => true,
        () => null,
      ),
    );
  }
}

/** Files of this process that lie in /dev/pts: what a channel has open. */
async function openTerminals(): Promise<number> {
  const fds = await readdir('/proc/self/fd');
  const names = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return names.filter((name) => name.startsWith('/dev/pts/')).length;
}

describe('AS-3: an interconnect over a serial device', () => {
  test('carries every byte value, both ways, and leaves nothing open when it is closed', async () => {
    const before = await openTerminals();
    await startCable();
    const both = pair(devices());
    await talking(both);
    for (const text of both.west.received) expect(text).toMatch(/^east \d+ /);
    expect(both.west.received[0]?.length).toBeGreaterThan(256);
    expect([both.east.faults, both.west.faults]).toEqual([[], []]);
    expect(await openTerminals()).toBe(before + 2);
    await Promise.all([both.east.close(), both.west.close()]);
    await until('the devices are closed', 5000, async () => ((await openTerminals()) === before ? true : null));
    expect(process.getActiveResourcesInfo().filter((name) => name.startsWith('TTY'))).toEqual([]);
  });

  test('AS-6: the cable fails, which is a fault at both ends, and comes back', async () => {
    const cable = await startCable();
    const both = pair(devices());
    await talking(both);
    await endCommand(cable, 'SIGKILL');
    await until('both see the fault', 5000, () =>
      both.east.fault !== null && both.west.fault !== null ? true : null,
    );
    expect(both.east.fault).toMatch(/^interconnect ic1: .*east: /);
    for (const name of ['east', 'west']) await rm(device(name), { force: true });
    // Long enough to try a device that is not there at all.
    await until('the device is missed', 5000, () => (both.east.fault?.includes('No such file') ? true : null));
    await startCable();
    await talking(both);
    expect([both.east.fault, both.west.fault]).toEqual([null, null]);
  });

  test('goes on while a third party writes noise to the line', async () => {
    await startCable();
    const both = pair(devices());
    await talking(both);
    const line = await open(device('east'), 'r+');
    const noise = setInterval(() => {
      void line.write(Buffer.from(Array.from({ length: 20 }, () => Math.floor(Math.random() * 256)))).catch(() => {});
    }, 70);
    try {
      await talking(both, 30);
    } finally {
      clearInterval(noise);
      await line.close();
    }
    for (const text of both.west.received) expect(text).toMatch(/^east \d+ /);
    expect(both.west.channel.noise.damagedFrames).toBeGreaterThan(5);
  });

  test('goes on over a line that changes, drops and invents bytes', async () => {
    const line = await NoisyLine.open(join(folder, 'line.sock'));
    try {
      for (const name of ['east', 'west']) {
        programs.push(startCommand('socat', [`pty,raw,echo=0,link=${device(name)}`, `unix-connect:${line.path}`]));
      }
      await devicesThere();
      const both = pair(devices());
      await talking(both);
      line.noisyShare = 1 / 1000;
      await talking(both, 40);
      for (const [end, other] of [
        [both.east, 'west'],
        [both.west, 'east'],
      ] as const) {
        const sample = end.received[0]?.replace(/^\w+ \d+ /, '');
        for (const text of end.received) expect(text.replace(/^\w+ \d+ /, '')).toBe(sample);
        for (const text of end.received) expect(text.startsWith(`${other} `)).toBe(true);
        expect(end.channel.noise.damagedFrames).toBeGreaterThan(0);
      }
    } finally {
      line.close();
    }
  });
});

describe('AS-3: an interconnect over sockets', () => {
  test('Unix: works, is silent and without fault while the partner is gone, and works again', async () => {
    const at = { east: `unix:${folder}/ic.sock`, west: `unix:${folder}/ic.sock` };
    const both = pair(at);
    await talking(both);
    await both.east.close();
    const heard = both.west.received.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    // One may have been under way.
    expect(both.west.received.length).toBeLessThanOrEqual(heard + 1);
    expect(both.west.faults).toEqual([]);
    await talking({ east: new End('east', at), west: both.west });
    expect(both.west.faults).toEqual([]);
  });

  test('TCP: works; an address that is taken is a fault until it is free', async () => {
    const [port = 0] = await freePorts(1);
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    const both = pair({ east: `127.0.0.1:${port}`, west: '127.0.0.1:1' });
    await until('the fault is told', 5000, () => (both.east.fault?.includes('another program does') ? true : null));
    // The partner dialled it meanwhile, and found somebody who says nothing.
    squatter.close();
    await talking(both);
    expect(both.east.fault).toBeNull();
  });
});

/** Joins the first two that connect, and spoils a share of the bytes between them. */
class NoisyLine {
  noisyShare = 0;
  readonly path: string;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => {
      const index = this.#sockets.push(socket) - 1;
      socket.on('error', () => {});
      socket.on('data', (data: Buffer) => this.#sockets[1 - index]?.write(this.#spoiled(data)));
    }).listen(path);
  }

  static async open(path: string): Promise<NoisyLine> {
    const line = new NoisyLine(path);
    await once(line.#server, 'listening');
    return line;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #spoiled(data: Buffer): Buffer {
    const bytes: number[] = [];
    for (const byte of data) {
      const dice = Math.random() / this.noisyShare;
      if (dice >= 1) bytes.push(byte);
      else if (dice < 0.4) bytes.push(byte ^ (1 << Math.floor(Math.random() * 8)));
      else if (dice < 0.7) bytes.push(byte, Math.floor(Math.random() * 256));
    }
    return Buffer.from(bytes);
  }
}
