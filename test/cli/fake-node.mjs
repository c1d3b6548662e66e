// Stands in for the program as `holdfast try` calls it: answers status for its node, stops when its input ends or it is
// told to. What it does wrong, if anything, stands in the file `behaviour` beside the configuration.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';

const [, , , , , file, , name] = process.argv;
const folder = dirname(file);
const behaviour = existsSync(join(folder, 'behaviour')) ? readFileSync(join(folder, 'behaviour'), 'utf8') : '';
const { nodes } = parse(readFileSync(file, 'utf8'));
const own = nodes.find((node) => node.name === name);

if (behaviour === `fail ${name}`) {
  console.error(`holdfast: the disk of ${name} is on fire`);
  process.exit(1);
}

const leg = (node, isOwner) => ({
  node,
  role: isOwner ? 'Primary' : 'Secondary',
  disk: 'UpToDate',
  mode: 'sync',
  class: 'inSync',
  connection: isOwner ? null : 'Connected',
  replication: isOwner ? null : 'Established',
  lag: { writes: 0, bytes: 0, seconds: 0 },
  outOfSyncBytes: 0,
  progress: null,
  reason: null,
  nextStep: null,
});

writeFileSync(join(folder, `${name}.pid`), String(process.pid));

/** Of the other node, if it lives. */
const pidOf = (node) => {
  try {
    const pid = Number(readFileSync(join(folder, `${node}.pid`), 'utf8'));
    process.kill(pid, 0);
    return pid;
  } catch {
    return null;
  }
};

const status = () => ({
  schema: 1,
  cluster: 'try',
  answeredBy: name,
  nodes: nodes.map((node) => ({
    name: node.name,
    site: node.site,
    state: pidOf(node.name) === null ? 'unreachable' : 'up',
    pid: pidOf(node.name),
    version: '0',
    lease: 'valid',
    connections: [],
    reason: null,
    nextStep: null,
  })),
  groups: [
    {
      name: 'g1',
      owner: 'east',
      generation: 1,
      service: 'Serving',
      throughput: { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 },
      volumes: [
        {
          name: 'vol1',
          wwid: '6',
          sizeBytes: 2 ** 30,
          blockSizeBytes: 512,
          exports: [`nbd://${nodes[0].nbd[0]}/vol1`],
        },
      ],
      legs: [leg('east', true), leg('west', false)],
      reason: null,
      nextStep: null,
      log: null,
      forks: [],
    },
  ],
  notes: [],
});

const [host, port] = own.api.split(':');
const server = createServer((request, response) => response.end(JSON.stringify(status())));
server.listen(Number(port), host);

const stop = (why) => {
  writeFileSync(join(folder, `${name}.stopped`), why);
  process.exit(0);
};
process.on('SIGTERM', () => stop('told'));
process.stdin.on('end', () => stop('input ended')).resume();
