// Holds an address of a device as a node would, until its standard input ends: `node address-holder.mjs DEVICE ADDRESS`.
import { MovingAddress } from '../../dist/agent/addresses.js';
import { NodeClock } from '../../dist/base/node/node-clock.js';
import { NodeAddresses } from '../../dist/node/node-addresses.js';
import { NodeCommands } from '../../dist/node/node-commands.js';

const [, , device, address] = process.argv;
const world = { clock: new NodeClock(), networkDevices: new NodeAddresses(new NodeCommands()) };
const step = new MovingAddress({ kind: 'address', name: address, address, device: { here: device } }, 'here', world);
const context = { variables: {}, reason: 'test', signal: new AbortController().signal };

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const fault = await step.start(context);
say({ started: fault, problem: step.problem });
if (fault === null) step.watch(context);
process.stdin.resume().on('end', () => {
  void step.stop(context).then((stopFault) => {
    say({ stopped: stopFault });
    process.exit(0);
  });
});
