/** Tables for people: columns side by side without lines, wide enough for their longest cell and no wider. */
import Table from 'cli-table3';
import type { Colours } from './io.ts';

/** Longer cells are cut: a table that wraps is not read. */
const cellLengthMax = 34;

export function renderTable(head: readonly string[], rows: readonly (readonly string[])[], colours: Colours): string {
  const nothing = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'];
  const inner = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'];
  const table = new Table({
    chars: { ...Object.fromEntries([...nothing, ...inner].map((name) => [name, ''])), middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
  });
  table.push(
    head.map((cell) => colours.dim(cell)),
    ...rows.map((row) => row.map(cut)),
  );
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

function cut(cell: string): string {
  // Escape sequences of colours do not count, and coloured cells are short words of ours.
  return cell.length <= cellLengthMax || cell.includes('\x1b') ? cell : `${cell.slice(0, cellLengthMax - 1)}…`;
}
