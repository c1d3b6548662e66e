import { expect, it } from 'vitest';
import { ProcessorWait } from '../../src/block/processor-wait.ts';

it('counts only the time since the mark, which it moves at most once a millisecond', () => {
  const wait = new ProcessorWait();
  wait.mark(1000);
  const first = wait.sinceMarkMs();
  expect(first).toBeGreaterThanOrEqual(0);
  wait.mark(1000.9);
  expect(wait.sinceMarkMs()).toBeGreaterThanOrEqual(first);
});
