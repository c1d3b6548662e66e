// The thread of the pulse with a pulse that remembers.
import { parentPort, workerData } from 'node:worker_threads';
import { servePulse } from '../../dist/node/pulse-port.js';
import { maker } from './fake-pulse.mjs';

servePulse(parentPort, workerData, maker);
