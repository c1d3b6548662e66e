/** Where the thread of the pulse begins (`pulse-worker.ts` starts it). */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import type { PulseThreadData } from './pulse-messages.ts';
import { NodePulseMaker } from './pulse-maker.ts';
import { servePulse } from './pulse-port.ts';

assert(parentPort !== null, 'this module is a thread, not a program');
servePulse(parentPort, workerData as PulseThreadData, new NodePulseMaker());
