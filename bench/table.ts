/** What the bench prints, in 80 columns. */
import type { ComparisonResult } from './comparisons.ts';

/** A figure of its own, without a baseline beside it. */
export interface Figure {
  readonly title: string;
  readonly target: string;
  readonly value: string;
  readonly note: string;
}

type Column = readonly [title: string, width: number];

export function formatComparisons(results: readonly ComparisonResult[]): string {
  if (results.length === 0) return '';
  const ratios = table(
    [
      ['ours against theirs', 46],
      ['target', -8],
      ['median', -9],
      ['min – max', -17],
    ],
    results.map(({ comparison, rounds }) => {
      const sorted = rounds.map(({ ratio }) => ratio).sort((a, b) => a - b);
      const title = `${comparison.title} : ${comparison.baseline}`;
      const target = comparison.target === null ? '' : `≥ ${comparison.target}`;
      const extremes = `${times(sorted[0])} – ${times(sorted.at(-1))}`;
      return [title.length > 45 ? comparison.name : title, target, times(median(sorted)), extremes];
    }),
  );
  const costs = table(
    [
      ['operations a second, CPU s per 1,000', 46],
      ['ours', -9],
      ['theirs', -8],
      ['CPU', -8],
      ['theirs', -8],
    ],
    results.map(({ comparison, rounds }) => {
      const middle = (pick: (round: ComparisonResult['rounds'][number]) => number) => median(rounds.map(pick));
      return [
        comparison.name,
        Math.round(middle((round) => round.ours.operationsPerSecond)).toString(),
        Math.round(middle((round) => round.baseline.operationsPerSecond)).toString(),
        middle((round) => round.ours.cpuSecondsPer1000).toFixed(3),
        middle((round) => round.baseline.cpuSecondsPer1000).toFixed(3),
      ];
    }),
  );
  return `${ratios}\n${costs}\n`;
}

export function formatFigures(figures: readonly Figure[]): string {
  if (figures.length === 0) return '';
  const rows = figures.map(({ title, target, value }) => [title, target, value]);
  const notes = [...new Set(figures.map(({ note, title }) => `${title}: ${note}`))].join('\n');
  return `${table(
    [
      ['figure', 46],
      ['target', -12],
      ['reached', -16],
    ],
    rows,
  )}${notes}\n`;
}

/** Columns of negative width are set to the right. */
function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    columns
      .map(([, width], index) =>
        width < 0 ? (cells[index] ?? '').padStart(-width) : (cells[index] ?? '').padEnd(width),
      )
      .join('')
      .trimEnd();
  const head = columns.map(([title]) => title);
  const rule = '─'.repeat(columns.reduce((sum, [, width]) => sum + Math.abs(width), 0));
  return [line(head), rule, ...rows.map(line)].map((text) => `${text}\n`).join('');
}

const times = (ratio: number | undefined) => (ratio === undefined ? '–' : `${ratio.toFixed(2)} ×`);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? NaN)) / 2;
}
