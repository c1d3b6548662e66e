/**
 * The first import of every script: refuses an older Node with a sentence instead of a stack trace from deep inside.
 * Written so that old versions can read it.
 */
var needed = [20, 19];
var found = process.versions.node.split('.').map(Number);
if (found[0] < needed[0] || (found[0] === needed[0] && found[1] < needed[1])) {
  console.error('Holdfast needs Node.js ' + needed.join('.') + ' or newer; this is ' + process.versions.node + '.');
  process.exit(1);
}
