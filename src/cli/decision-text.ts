/** Decisions of the agents as text: when, who, what, by which rule, and who was silent on which channel since when. */
import type { ReadDecision } from '../agent/decision-book.ts';
import { formatDuration } from '../base/units.ts';
import type { Colours } from './io.ts';

const words: Readonly<Record<ReadDecision['verdict']['decision'], string>> = {
  takeOver: 'takes over',
  verify: 'asks',
  wait: 'waits',
  no: 'does not take over',
};

export function renderDecision({ evidence, verdict, outcome }: ReadDecision, colours: Colours): string {
  const { node, group, owner, generation, atMs, store, presence } = evidence;
  const head = `${timeOf(atMs)}  ${colours.bold(`${node} ${words[verdict.decision]}`)}: ${verdict.text} ${colours.dim(`[${verdict.rule}]`)}`;
  const channels = evidence.heard.map((heard) => {
    const since =
      heard.silentMs === null ? 'never heard' : `last heard ${formatDuration(Math.round(heard.silentMs))} before`;
    const fault = heard.fault === null ? '' : `, broken: ${heard.fault}`;
    const unfit = heard.unfit === undefined ? '' : `, not believed: ${heard.unfit}`;
    const enable = heard.enable === 'ENABLE' ? '' : `, ${heard.enable}`;
    return `    ${heard.channel}: ${heard.hearing} (${since}${enable}${fault}${unfit})`;
  });
  const rest = `    of ${group}, owner ${owner} in generation ${generation}; lease of ${owner}: ${store}; asked over the network: ${presence}`;
  const result = outcome === null ? [] : [`    → ${outcome}`];
  return [head, ...channels, rest, ...result].join('\n');
}

/** To the millisecond: what happened within a second is what decisions are about. */
function timeOf(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('T', ' ').replace('Z', ' UTC');
}
