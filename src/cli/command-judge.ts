/** `holdfast judge`: decisions about take-over, with what they were made from; and made again from a file. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseDecision } from '../agent/decision-book.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { judge, ruleTable } from '../pulse/judge.ts';
import {
  clientOf,
  nodeVerb,
  noun,
  readWhole,
  verb,
  writeJson,
  type Building,
  type NodeVerbOptions,
} from './command.ts';
import { renderDecision } from './decision-text.ts';
import { renderTable } from './table.ts';

const countMax = 200;
const linesMax = 1_000_000;

export function addJudgeCommands(program: Command, { io, finish }: Building): void {
  const judgeCommand = noun(program, 'judge', 'Decisions about take-over: which, why, and again').addHelpText(
    'after',
    '\nExample:\n  $ holdfast judge list g1',
  );

  nodeVerb(judgeCommand, 'list', 'The last decisions about a group, also those not to act', 'holdfast judge list g1')
    .argument('<group>')
    .option('--count <number>', 'how many, up to 200', readWhole(1, countMax), 20)
    .action(async (group: string, options: NodeVerbOptions & { count: number }) => {
      const { decisions, notes } = await clientOf(options, io).decisions({ group, count: options.count });
      if (options.json) return writeJson(io, { decisions, notes });
      const lines = decisions.map((decision) => renderDecision(decision, io.out.colours));
      if (lines.length === 0)
        lines.push(`Nothing was decided about ${group}: its owner has been heard all the time.`);
      io.out.write(`${[...lines, ...notes].join('\n')}\n`);
    });

  verb(judgeCommand, 'rules', 'The rules, in the order in which they are asked', 'holdfast judge rules').action(
    (options: { json?: boolean }) => {
      if (options.json) return writeJson(io, ruleTable);
      const rows = ruleTable.map(({ name, decision, means }) => [name, decision, means]);
      io.out.write(`${renderTable(['RULE', 'DECISION', 'APPLIES WHEN'], rows, io.out.colours)}\n`);
    },
  );

  verb(
    judgeCommand,
    'replay',
    'Make the decisions of a file again, from the evidence recorded in it; fails when one differs',
    'holdfast judge replay test/agent/decisions.jsonl',
  )
    .argument('<file>', 'a `decisions.jsonl` of a data folder’s `agent`, or what `judge list --json` wrote')
    .action((file: string, options: { json?: boolean }) => {
      const read = readDecisions(file);
      const again = read.map(({ decision, line }) => ({ line, decision, now: judge(decision.evidence) }));
      const differing = again.filter(
        ({ decision, now }) => now.decision !== decision.verdict.decision || now.rule !== decision.verdict.rule,
      );
      if (options.json) {
        writeJson(io, { decisions: again.length, differing });
      } else {
        for (const { decision } of again) io.out.write(`${renderDecision(decision, io.out.colours)}\n`);
        for (const { line, decision, now } of differing) {
          io.out.write(
            `${file}:${line}: decided ${decision.verdict.decision} [${decision.verdict.rule}], now ${now.decision} [${now.rule}]: ${now.text}\n`,
          );
        }
        io.out.write(
          `${again.length} decisions, ${differing.length === 0 ? 'each made again the same' : `${differing.length} made differently`}\n`,
        );
      }
      finish(differing.length === 0 ? 0 : 1);
    });
}

function readDecisions(file: string): { decision: NonNullable<ReturnType<typeof parseDecision>>; line: number }[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new HoldfastError('E_FILE_MISSING', `${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const lines = linesOf(text).slice(0, linesMax);
  return lines.map((line, index) => {
    const decision = parseDecision(line);
    if (decision === null) throw new HoldfastError('E_USAGE', `${file}:${index + 1}: this is no recorded decision`);
    return { decision, line: index + 1 };
  });
}

/** One decision a line, or the answer of `judge list --json`. */
function linesOf(text: string): string[] {
  try {
    const whole: unknown = JSON.parse(text);
    if (typeof whole === 'object' && whole !== null && 'decisions' in whole && Array.isArray(whole.decisions)) {
      return whole.decisions.map((decision: unknown) => JSON.stringify(decision));
    }
  } catch {
    // Several lines.
  }
  return text.split('\n').filter((line) => line.trim() !== '');
}
