/**
 * Golden transcripts: what owner and target say to each other, and in which order. `UPDATE_GOLDEN=1` writes them anew;
 * a difference is a change of the conversation.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Frame } from '../../src/link/frame.ts';
import { decodeAnswer } from '../../src/link/messages/answer.ts';
import { decodeJson } from '../../src/link/messages/json.ts';
import { decodeRecords } from '../../src/link/messages/records.ts';
import { messageNames, MessageType } from '../../src/link/messages/types.ts';
import { formatPosition } from '../../src/stream/position.ts';
import { MiB } from '../volume/legs.ts';
import { Pair } from './pair.ts';

class Transcript {
  readonly lines: string[] = [];
  readonly pair: Pair;
  /** Attachments are numbered in the order of their appearance. */
  readonly #attachments: number[] = [];

  constructor(pair: Pair) {
    this.pair = pair;
    pair.tap = (from, frame) => this.#add(from, frame);
  }

  async step(title: string, act: () => Promise<unknown>): Promise<void> {
    this.lines.push('', `# ${title}`);
    await act();
    await this.pair.world.run(50);
  }

  #add(from: string, frame: Frame): void {
    const to = from === 'east' ? 'west' : 'east';
    const said = this.#said(frame);
    if (said !== null) this.lines.push(`${from} → ${to}: ${messageNames.get(frame.type)} ${said}`);
  }

  #said(frame: Frame): string | null {
    if (frame.type === MessageType.records) {
      const decoded = decodeRecords(frame);
      if (!decoded.ok) return decoded.reason;
      const { attachId, stamped, stable, records } = decoded.value;
      const list = records.map(
        ({ kind, generation, seq, epoch, offset, length }) =>
          `\n    ${generation}:${seq} epoch ${epoch} ${kind}${length > 0 ? ` ${offset} + ${length}` : ''}`,
      );
      return `[${this.#attachment(attachId)}] stamped ${formatPosition(stamped)}, stable ${formatPosition(stable)}${list.join('')}`;
    }
    if (frame.type === MessageType.answer) {
      const decoded = decodeAnswer(frame);
      if (!decoded.ok) return decoded.reason;
      const { attachId, flags, received, applied, durable } = decoded.value;
      const cursors = [received, applied, durable].map(formatPosition).join(', ');
      return `[${this.#attachment(attachId)}] received, applied, durable: ${cursors}${flags === 1 ? ', consistent' : ''}`;
    }
    const decoded = decodeJson(frame);
    if (!decoded.ok) return decoded.reason;
    const { attachId, ...body } = decoded.value as { attachId: number };
    const pieces = frame.pieces.length > 0 ? `, ${frame.pieces.length} pieces` : '';
    return `[${this.#attachment(attachId)}]${pieces} ${JSON.stringify(body)}`;
  }

  #attachment(id: number): number {
    const at = this.#attachments.indexOf(id);
    return at >= 0 ? at + 1 : this.#attachments.push(id);
  }
}

function expectGolden(name: string, lines: readonly string[]): void {
  const path = new URL(`transcripts/${name}.txt`, import.meta.url);
  const text = `${lines.join('\n').trim()}\n`;
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, 'utf8'));
}

describe('transcript', () => {
  it('of a full copy, writes, an interruption, and going on', async () => {
    const pair = await Pair.make({ seed: 'golden' });
    const transcript = new Transcript(pair);
    await pair.settle(pair.write(MiB, 1));
    await transcript.step('connected: a full copy, which skips holes', async () => {
      pair.connect();
      await pair.until(() => pair.source.complete);
    });
    pair.joined('inSync');
    await transcript.step('a write', () => pair.settle(pair.write(0, 2)));
    await transcript.step('two writes at once are one epoch; what follows their completion is another', async () => {
      await pair.settle(Promise.all([pair.write(4096, 3), pair.write(8192, 4)]));
      await pair.settle(pair.write(4096, 5));
    });
    await transcript.step('a flush, a hole', async () => {
      await pair.settle(pair.flush());
      await pair.settle(pair.zero(4096, 8192));
    });
    await transcript.step('connected anew with one write lost on the way', async () => {
      const ends = pair.connect();
      await pair.until(() => pair.source.flowing);
      ends.west.heldBack = [];
      const write = pair.write(0, 6);
      await pair.world.run(10);
      ends.west.close('cut');
      await pair.world.run(10);
      pair.connect();
      await pair.settle(write);
    });
    expectGolden('copy', transcript.lines);
  });

  it('of an outage and a resync from bits', async () => {
    const pair = await Pair.make({ seed: 'golden' });
    const ends = await pair.sync();
    await pair.settle(pair.write(MiB, 1));
    const transcript = new Transcript(pair);
    await transcript.step('west is away; its class changes; a write to its bits', async () => {
      ends.east.close('cut');
      await pair.world.run(10);
      pair.joined('behind');
      await pair.settle(pair.write(2 * MiB, 2));
    });
    await transcript.step('west is back, having kept all it had', async () => {
      pair.connect();
      await pair.until(() => pair.source.complete);
    });
    await transcript.step('west has lost power meanwhile', async () => {
      pair.joined('behind');
      await pair.settle(pair.write(MiB, 3));
      await pair.restartTarget('powerLoss');
      pair.connect();
      await pair.until(() => pair.source.complete);
    });
    expectGolden('resync', transcript.lines);
  });
});
