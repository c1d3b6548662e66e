import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { createNodeEnvironment } from '../../../src/base/node/node-environment.ts';
import { createNodeLog } from '../../../src/base/node/node-log.ts';

it('writes its reason to the log before it aborts with status 70', () => {
  const folder = mkdtempSync(join(tmpdir(), 'environment-'));
  const path = join(folder, 'logs/east.log');
  const exit = vi.spyOn(process, 'exit').mockImplementation((status) => {
    throw new Error(`exit ${status}`);
  });
  const environment = createNodeEnvironment(createNodeLog({ name: 'east', path }));
  environment.log.info('started', { port: 10_809 });
  expect(() => environment.abort('cursor went back')).toThrow('exit 70');
  exit.mockRestore();
  const lines = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  expect(lines).toMatchObject([
    { level: 30, msg: 'started', node: 'east', port: 10_809 },
    { level: 50, msg: 'cursor went back', node: 'east' },
  ]);
  rmSync(folder, { recursive: true });
});

it('R6: keeps its boot id as long as the kernel runs', () => {
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  expect(createNodeEnvironment(log).bootId).toMatch(/^[0-9a-f-]{36}$/);
  expect(createNodeEnvironment(log).bootId).toBe(createNodeEnvironment(log).bootId);
});
