import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { ruleTable } from '../../src/pulse/judge.ts';

const chapter = fileURLToPath(new URL('../../docs/manual/who-decides.md', import.meta.url));

it('the decision table of the manual is the judge’s own, in its order (BY-7)', () => {
  const rows = [
    ...readFileSync(chapter, 'utf8').matchAll(/^\| `([a-z-]+)` +\| (takeOver|verify|wait|no) +\| (.*?) +\|$/gm),
  ];
  expect(rows.map(([, name, decision, means]) => ({ name, decision, means }))).toEqual(ruleTable);
});
