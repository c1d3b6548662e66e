/**
 * Work that keeps every core of this machine busy, by children that do nothing else, and how busy the cores were: the kernel's
 * own count (`/proc/stat`, proc(5)), so that "saturated" is measured, not supposed.
 *
 * `gaps`: one child a core at the lowest priority. It takes what other work leaves idle and hardly anything from it, so that
 * cores are saturated while tests run that must not be slowed down. `equals`: two a core at ordinary priority, which compete with
 * everything else; for when there is no other work.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, constants, setPriority } from 'node:os';
import { endCommand, startCommand } from './command.ts';

export type Pressure = 'gaps' | 'equals';

/** Jiffies of one core since the machine started. */
interface CoreTimes {
  readonly idle: number;
  /** Of processes at low priority. */
  readonly nice: number;
  readonly total: number;
}

/** Of one core, over the time looked at; shares from 0 to 1. */
export interface CoreLoad {
  readonly busy: number;
  /** By others than processes at low priority. */
  readonly ordinary: number;
}

/** Ends when whoever started it is gone, however that came to its end. */
const work = `const parent = process.ppid;
while (process.ppid === parent) for (let turn = 0; turn < 1e7; turn++) Math.sqrt(Math.random());`;

export class Saturation {
  #children: ChildProcess[] = [];
  readonly #since = coreTimes();

  async press(pressure: Pressure): Promise<void> {
    const before = this.#children;
    const count = availableParallelism() * (pressure === 'gaps' ? 1 : 2);
    this.#children = Array.from({ length: count }, () => {
      const child = startCommand(process.execPath, ['-e', work]);
      if (pressure === 'gaps' && child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
      return child;
    });
    await Promise.all(before.map((child) => endCommand(child, 'SIGKILL')));
  }

  /** Mean of each core since this was made. */
  get loads(): CoreLoad[] {
    return coreTimes().map((now, core) => {
      const then = this.#since[core] ?? { idle: 0, nice: 0, total: 0 };
      const total = Math.max(1, now.total - then.total);
      const busy = 1 - (now.idle - then.idle) / total;
      return { busy, ordinary: busy - (now.nice - then.nice) / total };
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => endCommand(child, 'SIGKILL')));
    this.#children = [];
  }
}

/** proc(5): `cpuN user nice system idle iowait irq softirq steal guest guest_nice`; user includes guest. */
function coreTimes(): CoreTimes[] {
  const lines = readFileSync('/proc/stat', 'latin1').matchAll(/^cpu\d+ (.*)$/gm);
  return [...lines].map(([, text = '']) => {
    const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softIrq = 0, steal = 0] = text
      .split(' ')
      .map(Number);
    return { idle: idle + wait, nice, total: user + nice + system + idle + wait + irq + softIrq + steal };
  });
}
