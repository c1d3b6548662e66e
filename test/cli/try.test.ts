import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runTry, type TryOptions } from '../../src/cli/command-try.ts';
import { fakeIo, type FakeIo } from './fake-io.ts';

const program = fileURLToPath(new URL('./fake-node.mjs', import.meta.url));
let folder: string;
let options: TryOptions & { portBase: number };

beforeEach(async () => {
  folder = join(mkdtempSync(join(tmpdir(), 'holdfast-try-')), 'pair');
  options = { dir: folder, portBase: await freePortBase(), live: false };
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true, maxRetries: 5 }));

/** Eight ports in a row that were free a moment ago. */
async function freePortBase(): Promise<number> {
  for (;;) {
    const first = await listen(0);
    const base = portOf(first);
    await close(first);
    if (base + 7 > 65535) continue;
    const servers: Server[] = [];
    let free = true;
    for (let offset = 0; offset < 8 && free; offset++) {
      await listen(base + offset).then(
        (server) => servers.push(server),
        () => (free = false),
      );
    }
    await Promise.all(servers.map(close));
    if (free) return base;
  }
}

const listen = (port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject).listen(port, '127.0.0.1', () => resolve(server));
  });
const close = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
const portOf = (server: Server): number => {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
};

/** Like a person: looks at the output now and then, and does what is due. Its pauses are short but real. */
function watchedIo(act: (text: string, io: FakeIo) => void, isTerminal = false): FakeIo {
  const io = fakeIo({ isTerminal });
  io.onPause = () => act(io.outText(), io);
  const pause = io.pause.bind(io);
  return Object.assign(io, {
    pause: async (ms: number) => {
      await pause(ms);
      await new Promise((resolve) => setTimeout(resolve, 5));
    },
  });
}

const stoppedHow = (name: string): string => readFileSync(join(folder, `${name}.stopped`), 'utf8');
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};
const pidOf = (text: string, name: string): number => Number(new RegExp(`${name} \\(pid (\\d+)`).exec(text)?.[1]);

describe('try', () => {
  it('starts both nodes, says what to try with the ports chosen, and stops both when interrupted', async () => {
    const io = watchedIo((text, self) => text.includes('What to try next') && self.interrupt());
    expect(await runTry(options, io, program)).toBe(0);
    const base = options.portBase;
    const text = io.outText();
    expect(text).toContain('g1: Serving, owner east, generation 1; west UpToDate Established\n');
    expect(text).toContain(`qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' nbd://127.0.0.1:${base}/vol1\n`);
    expect(text).toContain(`nbd-client 127.0.0.1 ${base} -N vol1 /dev/nbd0\n`);
    expect(text).toContain(`npx holdfast status --api 127.0.0.1:${base + 2}\n`);
    expect(text).toContain(`kill -9 ${pidOf(text, 'east')}\n`);
    expect(text).toContain(`npx holdfast why g1 --api 127.0.0.1:${base + 3}\n`);
    expect(text).toContain(`npx holdfast group give-back g1 --api 127.0.0.1:${base + 3}\n`);
    expect(text).toContain(`npm start -- --only east --dir ${folder}\n`);
    expect([stoppedHow('east'), stoppedHow('west')]).toEqual(['told', 'told']);
    expect([isAlive(pidOf(text, 'east')), isAlive(pidOf(text, 'west'))]).toEqual([false, false]);
  });

  it('keeps the configuration for a second start, which needs no port base', async () => {
    const stopAtOnce = () => watchedIo((text, self) => text.includes('What to try next') && self.interrupt());
    await runTry(options, stopAtOnce(), program);
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(file, `${readFileSync(file, 'utf8')}# mine\n`);
    const { portBase, ...withoutBase } = options;
    const io = stopAtOnce();
    expect(await runTry(withoutBase, io, program)).toBe(0);
    expect(io.outText()).toContain(`nbd://127.0.0.1:${portBase}/vol1`);
    expect(readFileSync(file, 'utf8')).toContain('# mine');
    await expect(runTry({ ...options, portBase: portBase + 10 }, stopAtOnce(), program)).rejects.toMatchObject({
      code: 'E_REFUSED',
    });
  });

  it('refuses a port that is taken, by its use, and leaves nothing behind', async () => {
    const blocker = await listen(options.portBase + 3);
    const error = runTry(options, fakeIo(), program);
    await expect(error).rejects.toMatchObject({
      code: 'E_PORT_TAKEN',
      message: `127.0.0.1:${options.portBase + 3}, api of west: another program listens there; choose other ports with --port-base`,
    });
    expect(existsSync(folder)).toBe(false);
    await close(blocker);
  });

  it.runIf(existsSync('/proc'))(
    'says so when the folder cannot be made, also where the system never allows any',
    async () => {
      await expect(runTry({ ...options, dir: '/proc/x' }, fakeIo(), program)).rejects.toThrow("mkdir '/proc/x'");
    },
  );

  it('shows the log of a node that fails to start, and stops the other', async () => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'behaviour'), 'fail west');
    const io = watchedIo(() => {});
    expect(await runTry(options, io, program)).toBe(1);
    expect(io.errText()).toMatch(
      /node west ended with status 1 before it was ready; its log says\n.*the disk of west is on fire/,
    );
    expect(isAlive(pidOf(io.outText(), 'east'))).toBe(false);
  });

  it.each([true, false])('tells how to start a killed node again, and goes on (terminal: %s)', async (isTerminal) => {
    let killed = false;
    const io = watchedIo((text, self) => {
      if (text.includes('What to try next') && !killed) {
        process.kill(pidOf(text, 'east'), 'SIGKILL');
        killed = true;
      }
      if (text.includes('east was killed by SIGKILL')) self.interrupt();
    }, isTerminal);
    expect(await runTry({ ...options, live: isTerminal }, io, program)).toBe(0);
    expect(io.outText()).toContain('east was killed by SIGKILL. To start it again, in another terminal:\n');
    expect(io.outText()).toContain(`\n  npm start -- --only east --dir ${folder}\n`);
    expect(io.outText().includes('\x1b[0J')).toBe(isTerminal);
    expect(stoppedHow('west')).toBe('told');
  });

  it('--only starts one node, and needs no answer of the other', async () => {
    const io = watchedIo((text, self) => text.includes('What to try next') && self.interrupt());
    expect(await runTry({ ...options, only: 'west' }, io, program)).toBe(0);
    expect(stoppedHow('west')).toBe('told');
    expect(existsSync(join(folder, 'east.stopped'))).toBe(false);
  });

  it('ends with status 1 when no node is left', async () => {
    const io = watchedIo((text) => {
      const pid = pidOf(text, 'east');
      if (text.includes('What to try next') && isAlive(pid)) process.kill(pid, 'SIGKILL');
    });
    expect(await runTry({ ...options, only: 'east' }, io, program)).toBe(1);
    expect(io.errText()).toContain('no node started here is left');
  });

  it('a node ends by itself when the program that started it is gone', async () => {
    mkdirSync(folder);
    const file = join(folder, 'holdfast.yaml');
    const api = `127.0.0.1:${options.portBase}`;
    writeFileSync(file, `nodes: [{ name: east, api: '${api}', nbd: ['127.0.0.1:1'] }]\n`);
    const words = [program, 'node', 'run', '--config', file, '--name', 'east', '--while-input-open'];
    const child = spawn(process.execPath, words, { stdio: ['pipe', 'ignore', 'ignore'] });
    child.stdin.end();
    await new Promise((resolve) => child.on('exit', resolve));
    expect(stoppedHow('east')).toBe('input ended');
  });
});
