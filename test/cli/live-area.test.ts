import { expect, it } from 'vitest';
import { LiveArea } from '../../src/cli/live-area.ts';
import { fakeIo } from './fake-io.ts';

it('a live area goes back over exactly the lines it drew, and leaves what stands above', () => {
  const io = fakeIo({ isTerminal: true });
  const area = new LiveArea(io.out);
  area.draw('one\ntwo\n');
  area.draw('three');
  area.clear();
  area.draw('four');
  expect(io.outText()).toBe('one\ntwo\n\x1b[2A\x1b[0Jthree\n\x1b[1A\x1b[0Jfour\n');
});

it('a live area breaks lines that the terminal would wrap, between words, and counts them', () => {
  const io = fakeIo({ isTerminal: true });
  const area = new LiveArea(io.out);
  const words = Array.from({ length: 40 }, (_, index) => `word${index}`).join(' ');
  area.draw(words);
  area.clear();
  const lines = io.outText().split('\n').slice(0, -1);
  for (const line of lines) expect(line.length).toBeLessThan(80);
  expect(lines.join(' ').replace(/ +/g, ' ')).toBe(words);
  expect(io.outText()).toContain(`\x1b[${lines.length}A`);
  area.draw('x'.repeat(200));
  expect(
    io
      .outText()
      .split('\n')
      .slice(-4)
      .every((line) => line.length < 90),
  ).toBe(true);
});

it('a live area is never higher than the terminal', () => {
  const io = fakeIo({ isTerminal: true });
  new LiveArea(io.out).draw('line\n'.repeat(200));
  expect(io.outText().split('\n')).toHaveLength(50);
});
