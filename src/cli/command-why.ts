/** `holdfast why`: why a group or volume is as it is, and what to do. */
import type { Command } from 'commander';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import { renderDecision } from './decision-text.ts';
import { completed } from './status-text.ts';

export function addWhyCommand(program: Command, { io }: Building): void {
  nodeVerb(program, 'why', 'Why a group or volume is in the state it is in, and what to do', 'holdfast why vol1')
    .argument('<subject>', 'name of a group or volume')
    .action(async (subject: string, options: NodeVerbOptions) => {
      const explanation = await clientOf(options, io).why(subject);
      if (options.json) return writeJson(io, explanation);
      const asking = { program: 'holdfast', api: options.api };
      const { bold, dim, yellow } = io.out.colours;
      const found = explanation.findings.map(
        (finding) =>
          `\n${yellow(finding.subject)}: ${bold(finding.state)}\n  ${finding.reason}\n  ${dim('→')} ${completed(finding.nextStep, asking)}\n`,
      );
      const decided = explanation.decisions.map((decision) => `\n${renderDecision(decision, io.out.colours)}\n`);
      const heading = decided.length > 0 ? '\nWhat was decided, oldest first:\n' : '';
      io.out.write(`${explanation.summary}\n${found.join('')}${heading}${decided.join('')}`);
    });
}
