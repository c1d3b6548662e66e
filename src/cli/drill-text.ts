/** Drills as text. */
import type { DrillReport } from '../agent/drill-report.ts';
import { formatTime } from '../base/units.ts';
import type { Colours } from './io.ts';
import { renderTable } from './table.ts';

export function renderStep({ atMs, step, text }: DrillReport['steps'][number], colours: Colours): string {
  return `${new Date(atMs).toISOString().slice(11, 23)}  ${colours.bold(step)}: ${text}`;
}

/** What it came to. */
export function renderDrill(report: DrillReport, colours: Colours): string {
  const { phases, pauseMs, giveBackPauseMs, generations, loss, state, verdict, nextStep } = report;
  const rows: [string, string][] = [
    ['pause a client saw', span(pauseMs)],
    ['  noticed after', span(phases.detectedMs)],
    ['  lease lapsed after', span(phases.lapsedMs)],
    ['  served after', span(phases.servingMs)],
    ['  answered after', span(phases.answeredMs)],
    ['pause of the way back', span(giveBackPauseMs)],
    ['generation', `${generations.before} → ${generations.after ?? '-'}`],
    ['loss', loss ?? '-'],
  ];
  const word = state === 'passed' ? colours.green(state) : colours.red(state);
  const lines = rows.map(([name, value]) => `${name.padEnd(22)} ${value}`);
  const next = nextStep === null ? [] : [`${colours.dim('→')} ${nextStep}`];
  return `${[...lines, `${colours.bold(word)}: ${verdict}`, ...next].join('\n')}\n`;
}

export function renderDrills(drills: readonly DrillReport[], colours: Colours): string {
  if (drills.length === 0) return 'no drills yet';
  const rows = drills.map((drill) => [
    formatTime(drill.startedAtMs),
    drill.kind,
    drill.owner,
    drill.servedBy ?? '-',
    span(drill.pauseMs),
    span(drill.giveBackPauseMs),
    drill.state,
  ]);
  return renderTable(['BEGAN', 'KIND', 'OWNER', 'SERVED BY', 'PAUSE', 'WAY BACK', 'OUTCOME'], rows, colours);
}

const span = (ms: number | null): string => (ms === null ? '-' : `${ms} ms`);
