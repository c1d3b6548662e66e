/**
 * `npm start [-- options]`: installs and compiles what is missing, then is `holdfast try` — in this very process, so that
 * signals and exit status are its own.
 */
import './node-version.mjs';
import { join } from 'node:path';
import { ensureCompiled, ensurePackages, root } from './prepare.mjs';

ensurePackages();
ensureCompiled('product');
const program = join(root, 'bin/holdfast.js');
process.argv.splice(1, 1, program, 'try');
await import(program);
