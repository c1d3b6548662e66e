/** The program as a process: what only a process can show. Needs the compiled program, as `npm test` makes it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi, type RunningApi } from '../../src/api/api.ts';
import { fakeControl, fakeGroup, fakeStatus, type FakeControl } from '../api/fake-control.ts';

const program = fileURLToPath(new URL('../../bin/holdfast.js', import.meta.url));
const compiled = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

let control: FakeControl;
let api: RunningApi;
beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1');
});
afterEach(() => api.close());

const start = (...words: string[]): ChildProcess =>
  spawn(process.execPath, [program, ...words, '--api', `127.0.0.1:${api.address.port}`]);
const ended = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => child.on('exit', resolve));
const firstOutput = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString())));

describe.runIf(existsSync(compiled))('the process', () => {
  it('writes without colour into a pipe, and ends', async () => {
    const child = start('status');
    const end = ended(child);
    expect(await firstOutput(child)).not.toContain('\x1b');
    expect(await end).toBe(0);
  });

  it('ends when told to (SIGTERM)', async () => {
    const child = start('status', '--watch');
    const end = ended(child);
    await firstOutput(child);
    child.kill('SIGTERM');
    expect(await end).toBe(0);
  });

  it('ends quietly when its reader has seen enough (EPIPE)', async () => {
    const child = start('status', '--watch');
    const end = ended(child);
    let errors = '';
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await firstOutput(child);
    child.stdout?.destroy();
    control.state = fakeStatus(fakeGroup({ disk: 'Outdated' }));
    expect([await end, errors]).toEqual([0, '']);
  });
});

it('the program says plainly that it is not compiled', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bare-'));
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  copyFileSync(program, join(folder, 'bin/holdfast.js'));
  const child = spawn(process.execPath, [join(folder, 'bin/holdfast.js'), 'status']);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  expect(await ended(child)).toBe(1);
  expect(errors).toBe('holdfast: it is not compiled yet\nRun `npm run build` in this folder, or `npm start`.\n');
  rmSync(folder, { recursive: true });
});
