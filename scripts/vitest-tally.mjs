/**
 * A vitest reporter that leaves the counts for `scripts/test.mjs` in the file `TALLY_FILE`: passed, failed, and the
 * skipped tests with their reasons. A file that does not load, or an error outside of any test, counts as failed.
 */
import { writeFileSync } from 'node:fs';

export default class TallyReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const tally = { passed: 0, failed: unhandledErrors.length, skipped: [] };
    for (const module of modules) {
      if (module.errors().length > 0) tally.failed += 1;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') tally.passed += 1;
        else if (result.state === 'failed') tally.failed += 1;
        else tally.skipped.push({ name: test.fullName, reason: result.note ?? 'reason in the title' });
      }
    }
    if (process.env.TALLY_FILE) writeFileSync(process.env.TALLY_FILE, JSON.stringify(tally));
  }
}
