/** `docs/reference/errors.md`, from the registry of codes. */
import { httpStatus } from '../../src/api/routes.ts';
import { errorKinds, type ErrorCode } from '../../src/base/errors.ts';

const exitWords = { 1: 'failed', 2: 'usage', 3: 'refused' } as const;

export function errorsReference(): string {
  const codes = Object.keys(errorKinds).sort() as ErrorCode[];
  const sections = codes.map((code) => {
    const { meaning, cure, exitStatus } = errorKinds[code];
    const statuses = `Exit status ${exitStatus} (${exitWords[exitStatus]}), HTTP status ${httpStatus[code] ?? 500}.`;
    return `## ${code}\n\n${meaning}\n\n**What to do**: ${cure}\n\n${statuses}\n`;
  });
  const beginning = [
    '# Errors',
    '',
    'Every error has a code, a message that names the object and the numbers, and a cure. The command line shows message and',
    'cure, and all three with `--json`; the control API answers all three. This page is made from `src/base/errors.ts`; `npx',
    'vitest run test/docs --update` makes it anew.',
    '',
  ];
  return `${beginning.join('\n')}\n${sections.join('\n')}`;
}
