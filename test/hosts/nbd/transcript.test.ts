import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { replay } from './transcript.ts';

const folder = new URL('transcripts/', import.meta.url);

/** `UPDATE_GOLDEN=1` writes what happened into the transcripts; read the difference before committing it. */
describe('NBD conversations go as their transcripts say', () => {
  for (const name of readdirSync(folder).sort()) {
    it(name, () => {
      const path = new URL(name, folder);
      const script = readFileSync(path, 'utf8');
      const happened = replay(script);
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, happened);
      else expect(happened).toBe(script);
    });
  }
});
