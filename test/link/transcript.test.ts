/**
 * Golden transcripts: what travels in a conversation, to the byte. `UPDATE_GOLDEN=1` writes them anew; a difference is
 * a change of the protocol and needs a new version or a feature.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Address } from '../../src/base/network.ts';
import { FrameDecoder } from '../../src/link/frame.ts';
import { LinkTable } from '../../src/link/link-table.ts';
import type { LinkConnection, LinkHandler } from '../../src/link/link.ts';
import { decodeAnswer, encodeAnswer } from '../../src/link/messages/answer.ts';
import { decodeJson } from '../../src/link/messages/json.ts';
import { decodeRecords, encodeRecords } from '../../src/link/messages/records.ts';
import { decodeFetch, decodeFetched, encodeFetch, encodeFetched } from '../../src/link/messages/fetch.ts';
import { decodeToken } from '../../src/link/messages/liveness.ts';
import { messageNames, MessageType } from '../../src/link/messages/types.ts';
import { sampleAnswer, sampleHeader, sampleHello, sampleRecords } from './samples.ts';
import { World } from './world.ts';

const address = (host: string): Address => ({ kind: 'tcp', host, port: 7000 });

/** east dials west with one connection; west does not dial. */
class Conversation {
  readonly world = new World();
  readonly lines: string[] = [];
  readonly connections = new Map<string, LinkConnection>();
  readonly tables = new Map<string, LinkTable>();

  async start(east: { cluster?: string; to?: string } = {}): Promise<void> {
    this.world.tap = (from, to, bytes) => this.#write(from, to, bytes);
    await this.#node('west', 'c'.repeat(32), [{ name: 'east', address: address('nowhere') }]);
    await this.#node('east', east.cluster ?? 'c'.repeat(32), [{ name: east.to ?? 'west', address: address('west') }]);
    await this.world.run(30);
  }

  async step(title: string, act: () => void): Promise<void> {
    this.lines.push('', `# ${title}`);
    act();
    await this.world.run(30);
  }

  async #node(node: string, clusterId: string, peers: readonly { name: string; address: Address }[]): Promise<void> {
    const handler: LinkHandler = {
      connectionUp: (connection) => {
        this.connections.set(node, connection);
        this.lines.push(`${node}: up, peer ${connection.peer}`);
      },
      connectionDown: (_, reason) => this.lines.push(`${node}: down, ${reason}`),
      frame() {},
      drained() {},
      call: async (_, method) => ({ asked: method }),
    };
    const identity = {
      clusterId,
      node,
      incarnation: (node === 'east' ? '1' : '2').repeat(32),
      softwareVersion: '0.1.0',
      features: sampleHello.features,
    };
    const options = { listen: address(node), peers, connectionsPerLink: 1 };
    const table = new LinkTable(this.world.environment(node, `boot-${node}`), identity, options, handler);
    this.tables.set(node, table);
    await table.start();
  }

  #write(from: string, to: string, bytes: Uint8Array): void {
    const decoder = new FrameDecoder();
    decoder.push(new Uint8Array(bytes));
    const frame = decoder.next();
    if (frame === null || 'breach' in frame) throw new Error('the transcript holds whole frames only');
    const values: Record<number, unknown> = {
      [MessageType.records]: decodeRecords(frame),
      [MessageType.answer]: decodeAnswer(frame),
      [MessageType.fetch]: decodeFetch(frame),
      [MessageType.fetched]: decodeFetched(frame),
      [MessageType.ping]: decodeToken(frame),
      [MessageType.pong]: decodeToken(frame),
    };
    const decoded = (values[frame.type] ?? decodeJson(frame)) as { value: unknown };
    this.lines.push(`${from} → ${to}: ${messageNames.get(frame.type)}`, ...pretty(decoded.value));
    const header = bytes.length - frame.control.length - 4 * frame.pieces.length - total(frame.pieces);
    this.#hex('header', bytes.subarray(0, header));
    this.#hex('pieces', bytes.subarray(header, header + 4 * frame.pieces.length));
    this.#hex('control', frame.control);
    for (const piece of frame.pieces) this.#hex('piece', piece);
  }

  #hex(label: string, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 32) {
      const words =
        Buffer.from(bytes.subarray(at, at + 32))
          .toString('hex')
          .match(/.{1,8}/g) ?? [];
      this.lines.push(`  ${(at === 0 ? label : '').padEnd(8)} ${String(at).padStart(4)}  ${words.join(' ')}`);
    }
  }
}

function pretty(value: unknown): string[] {
  const bytes = (_: string, item: unknown) => (item instanceof Uint8Array ? Buffer.from(item).toString('hex') : item);
  if (typeof value !== 'object' || value === null) return [`  = ${JSON.stringify(value)}`];
  return Object.entries(value).flatMap(([name, item]) =>
    name === 'records' && Array.isArray(item)
      ? item.map((record) => `  record ${JSON.stringify(record, bytes)}`)
      : [`  ${name} = ${JSON.stringify(item, bytes)}`],
  );
}

const total = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, { length }) => sum + length, 0);

function expectGolden(name: string, lines: readonly string[]): void {
  const path = new URL(`transcripts/${name}.txt`, import.meta.url);
  const text = `${lines.join('\n')}\n`;
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, text);
  expect(text).toBe(readFileSync(path, 'utf8'));
}

describe('transcript', () => {
  it('of a handshake, pings, a request and a breach', async () => {
    const conversation = new Conversation();
    await conversation.start();
    await conversation.step('nothing to say for a while', () => {
      conversation.world.at(conversation.world.nowMs, () => {});
    });
    await conversation.world.run(1000);
    await conversation.step('east asks west', () => {
      void conversation.tables.get('east')?.request('west', 'status', { full: true }, 1000);
    });
    await conversation.step('west breaks off', () => {
      conversation.connections.get('west')?.breach('badMessage', 'records: 5 records in a control part of 56 bytes');
      conversation.world.turn(() => {});
    });
    expectGolden('handshake', conversation.lines);
  });

  it('of handshakes that are refused', async () => {
    const wrongNode = new Conversation();
    await wrongNode.start({ to: 'north' });
    const wrongCluster = new Conversation();
    await wrongCluster.start({ cluster: 'd'.repeat(32) });
    expectGolden('refused', [...wrongNode.lines, '', '# another cluster', ...wrongCluster.lines]);
  });

  it('of records, answers and a fetch', async () => {
    const conversation = new Conversation();
    await conversation.start();
    conversation.lines.length = 0;
    await conversation.step('one record of each kind', () => {
      conversation.connections.get('east')?.send(encodeRecords(sampleHeader, sampleRecords));
    });
    await conversation.step('how far the leg has come', () => {
      conversation.connections.get('west')?.send(encodeAnswer(sampleAnswer));
    });
    await conversation.step('reading the leg', () => {
      const fetch = { attachId: 7, requestId: 1, volume: 2, offset: 4096, length: 4 };
      conversation.connections.get('east')?.send(encodeFetch(fetch));
    });
    await conversation.step('what it holds', () => {
      conversation.connections
        .get('west')
        ?.send(encodeFetched({ requestId: 1, status: 'data', data: Uint8Array.of(1, 2, 3, 4) }));
    });
    expectGolden('records', conversation.lines);
  });
});
