/**
 * A Linux host of its own, as a guest of QEMU in software emulation: Debian's kernel, open-iscsi, multipath and ext4, told
 * what to do by a serial line. It reaches the network its process is in: `10.0.2.2` is that one's loopback.
 */
import type { ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endCommand, startCommand, until } from '../command.ts';
import type { Namespaces } from '../namespaces.ts';
import { guestImage } from './image.ts';

export interface GuestResult {
  /** Both streams. */
  readonly output: string;
  readonly status: number;
}

const bootMs = 180_000;

export class LinuxGuest {
  readonly #folder: string;
  readonly #process: ChildProcess;
  #line: Socket | null = null;
  #heard = '';
  #busy: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, process: ChildProcess) {
    this.#folder = folder;
    this.#process = process;
  }

  /** Resolves when it takes commands. @param at the host of ours it runs on; else this machine. */
  static async start(at?: { readonly namespaces: Namespaces; readonly name: string }): Promise<LinuxGuest> {
    const image = await guestImage();
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-guest-'));
    const args = [
      ...['-nodefaults', '-nographic', '-no-reboot', '-m', '512', '-accel', 'tcg'],
      ...['-kernel', image.kernel, '-initrd', image.initialRamDisk],
      ...['-append', 'console=ttyS0 quiet panic=-1 rdinit=/init'],
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
      ...['-serial', `file:${join(folder, 'console')}`],
      ...['-serial', `unix:${join(folder, 'line')},server=on,wait=off`],
    ];
    const program = 'qemu-system-x86_64';
    const child = at ? at.namespaces.start(at.name, program, args) : startCommand(program, args);
    child.stderr?.pipe(createWriteStream(join(folder, 'qemu')));
    const guest = new LinuxGuest(folder, child);
    try {
      await guest.#open();
      await guest.#answer(bootMs);
      return guest;
    } catch (error) {
      const said = await guest.said();
      await guest.stop();
      throw new Error(`the guest does not start: ${String(error)}\n${said}`, { cause: error });
    }
  }

  /** Runs a line of shell in the guest; lines run one after another. Rejects when it is not done in time. */
  run(command: string, timeoutMs = 60_000): Promise<GuestResult> {
    if (command.includes('\n')) throw new Error('a line at a time');
    const result = this.#busy.then(() => {
      this.#line?.write(`${command}\n`);
      return this.#answer(timeoutMs);
    });
    this.#busy = result.catch(() => {});
    return result.catch(async (error: unknown) => {
      throw new Error(`in the guest, ${command}: ${String(error)}\n${await this.said()}`, { cause: error });
    });
  }

  /** Like `run`, for what has to succeed; gives the output. */
  async must(command: string, timeoutMs?: number): Promise<string> {
    const { output, status } = await this.run(command, timeoutMs);
    if (status !== 0)
      throw new Error(`in the guest, ${command}: exit status ${status}\n${output}\n${await this.said()}`);
    return output;
  }

  /** The end of what its kernel and QEMU have said. */
  async said(): Promise<string> {
    const parts = ['console', 'qemu'].map((name) => readFile(join(this.#folder, name), 'utf8').catch(() => ''));
    return (await Promise.all(parts)).join('\n').slice(-4000);
  }

  async stop(): Promise<void> {
    this.#line?.destroy();
    await endCommand(this.#process, 'SIGKILL');
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #open(): Promise<void> {
    await until('the serial line', 10_000, async () => {
      if (this.#process.exitCode !== null) throw new Error('QEMU has ended');
      const line = connect(join(this.#folder, 'line'));
      const stands = await new Promise<boolean>((resolve) => {
        line.once('connect', () => resolve(true)).once('error', () => resolve(false));
      });
      if (!stands) return null;
      line.setEncoding('utf8').on('data', (text: string) => (this.#heard += text));
      line.on('error', () => {});
      this.#line = line;
      return true;
    });
  }

  async #answer(timeoutMs: number): Promise<GuestResult> {
    return until('an answer', timeoutMs, () => {
      const end = /(?:^|\n)@@END (\d+)\r?\n/.exec(this.#heard);
      if (end === null) {
        if (this.#process.exitCode !== null) throw new Error('QEMU has ended');
        return null;
      }
      const output = this.#heard.slice(0, end.index);
      this.#heard = this.#heard.slice(end.index + end[0].length);
      return { output, status: Number(end[1]) };
    });
  }
}
