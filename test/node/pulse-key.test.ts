import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newPulseKey, readPulseKey } from '../../src/node/pulse-key.ts';

let folder: string;
let warnings: string[];
const log = { info: () => {}, warn: (message: string) => void warnings.push(message), error: () => {} };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-key-'));
  warnings = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function keyFile(text: string, mode = 0o600): string {
  const path = join(folder, 'pulse.key');
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('the key of the pulse (BY-6)', () => {
  it('is read from its file, or else from the environment', () => {
    const key = newPulseKey();
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(newPulseKey()).not.toBe(key);
    const bytes = Buffer.from(key, 'hex');
    expect(readPulseKey(keyFile(`${key}\n`), {}, log)).toEqual(bytes);
    expect(readPulseKey(null, { HOLDFAST_PULSE_KEY: key }, log)).toEqual(bytes);
    expect(warnings).toEqual([]);
  });

  it('in a file that others may read is warned of', () => {
    const path = keyFile(newPulseKey(), 0o644);
    readPulseKey(path, {}, log);
    expect(warnings).toEqual([`${path} can be read by others, who could forge heartbeats: chmod 600 ${path}`]);
  });

  it.each([
    ['ab', 'holds 2 hex digits, too few: a key has 64'],
    ['a'.repeat(65), 'holds 65 hex digits, too many: a key has 64'],
    ['secret', 'holds no key: it should be 64 hex digits'],
    ['', 'holds no key: it should be 64 hex digits'],
  ])('%j is refused (E_CONFIG)', (text, problem) => {
    const path = keyFile(text);
    const read = () => readPulseKey(path, {}, log);
    expect(read).toThrow(`${path} ${problem}`);
    expect(read).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
  });

  it('that is missing is told with what makes one', () => {
    const path = join(folder, 'none');
    expect(() => readPulseKey(path, {}, log)).toThrow(
      `the key file of the pulse, ${path}, is not there; holdfast pulse key > ${path} makes one`,
    );
    expect(() => readPulseKey(null, {}, log)).toThrow('the pulse has no key: name a file by key-file');
  });
});
