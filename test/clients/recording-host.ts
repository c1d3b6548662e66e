/**
 * A host that remembers: it writes numbered blocks through NBD, many at once, and knows of each block the last number
 * acknowledged and the numbers still in doubt. Afterwards an image may hold, in each block, the one or one of the others —
 * anything else is a write lost, or one that came back. It shares no code with the product.
 *
 * Block layout: the number (u64, little-endian) repeated over the whole block; 0 is a block never written.
 */
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';

const blockBytes = 4096;
const requestMagic = 0x25609513;
const simpleReplyMagic = 0x67446698;
const optionReplyMagic = 0x3e889045565a9n;
const optionGo = 7;
const replyInfo = 3;
const commandWrite = 1;

export interface RecordingHostOptions {
  /** Of loopback; or `path`, of a Unix socket. */
  readonly port?: number;
  readonly path?: string;
  readonly volume: string;
  readonly blocks: number;
  readonly depth: number;
  readonly random: () => number;
  /** Milliseconds from an answer to the next write. Default: 0, as fast as it gets. */
  readonly gapMs?: number;
  /** How long the handshake may take: a process that stands still accepts and says nothing. Default: for ever. */
  readonly handshakeMs?: number;
}

/** What the numbers of all sessions of one volume amount to; outlives the sessions. */
export class WriteRecord {
  /** Per block: the last number acknowledged. */
  readonly acknowledged: Float64Array;
  /** Per block: numbers sent later than that whose fate is not known; any of them may be there, or none. */
  readonly inDoubt = new Map<number, number[]>();
  acknowledgedCount = 0;
  private lastNumber = 0;

  constructor(blocks: number) {
    this.acknowledged = new Float64Array(blocks);
  }

  sent(block: number): number {
    const number = ++this.lastNumber;
    const doubted = this.inDoubt.get(block);
    if (doubted === undefined) this.inDoubt.set(block, [number]);
    else doubted.push(number);
    return number;
  }

  acknowledge(block: number, number: number): void {
    this.acknowledged[block] = number;
    this.acknowledgedCount += 1;
    // Whatever was sent to the block before is overwritten now, on every leg and for good.
    this.inDoubt.delete(block);
  }

  /** Sentences about blocks of the image that hold what they must not; empty when all is right. */
  async faultsIn(imagePath: string): Promise<string[]> {
    const faults: string[] = [];
    const file = await open(imagePath, 'r');
    try {
      const image = Buffer.alloc(this.acknowledged.length * blockBytes);
      const { bytesRead } = await file.read(image, 0, image.length, 0);
      if (bytesRead < image.length) faults.push(`${imagePath} has only ${bytesRead} bytes`);
      for (const [block, acknowledged] of this.acknowledged.entries()) {
        const found = Number(image.readBigUInt64LE(block * blockBytes));
        const allowed = [acknowledged, ...(this.inDoubt.get(block) ?? [])];
        if (!allowed.includes(found)) {
          faults.push(
            `block ${block} holds write ${found}; acknowledged ${acknowledged}, allowed ${allowed.join(' ')}`,
          );
        } else if (!image.subarray(block * blockBytes, (block + 1) * blockBytes).equals(content(found))) {
          faults.push(`block ${block} is torn inside write ${found}`);
        }
      }
    } finally {
      await file.close();
    }
    return faults;
  }
}

/** One NBD session that keeps `depth` writes going until told to stop or until the session ends. */
export class RecordingHost {
  /** Resolves, with why, when the session has ended for whatever reason. */
  readonly ended: Promise<string>;
  /** Longest time between two acknowledgements, as long as it writes. */
  longestPauseMs = 0;
  /** Answers that were errors. */
  errorCount = 0;
  private readonly socket: Socket;
  private readonly options: RecordingHostOptions;
  private readonly record: WriteRecord;
  private readonly busy = new Map<number, number>();
  private stopping = false;
  lastAnswerMs = performance.now();
  private pending: Buffer<ArrayBufferLike> = Buffer.alloc(0);

  private constructor(socket: Socket, options: RecordingHostOptions, record: WriteRecord) {
    this.socket = socket;
    this.options = options;
    this.record = record;
    this.ended = new Promise((resolve) => {
      let reason = 'closed by the server';
      socket.on('error', (error) => (reason = error.message));
      socket.on('close', () => resolve(reason));
    });
  }

  /** Rejects with the server's words when the export is refused. */
  static async start(options: RecordingHostOptions, record: WriteRecord): Promise<RecordingHost> {
    const { port = 0, path } = options;
    const socket = path === undefined ? connect(port, '127.0.0.1') : connect(path);
    await once(socket, 'connect');
    const host = new RecordingHost(socket, options, record);
    const tooLong = setTimeout(() => socket.destroy(), options.handshakeMs ?? 2 ** 31 - 1);
    await handshake(socket, options.volume).finally(() => clearTimeout(tooLong));
    socket.on('data', (chunk) => host.received(chunk));
    host.fill();
    return host;
  }

  /** Sends nothing more; resolves when all that was sent is answered, or the session has ended. */
  async stop(): Promise<void> {
    this.stopping = true;
    if (this.busy.size === 0) this.socket.destroy();
    await this.ended;
  }

  /** Ends the session; what it owed stays in doubt. */
  giveUp(): void {
    this.socket.destroy();
  }

  private fill(): void {
    while (!this.stopping && this.busy.size < this.options.depth) {
      const block = Math.floor(this.options.random() * this.options.blocks);
      // One at a time for each block: what it may hold stays simple.
      if (this.busy.has(block)) continue;
      const number = this.record.sent(block);
      this.busy.set(block, number);
      const header = Buffer.alloc(28);
      header.writeUInt32BE(requestMagic, 0);
      header.writeUInt16BE(commandWrite, 6);
      header.writeBigUInt64BE(BigInt(block), 8);
      header.writeBigUInt64BE(BigInt(block * blockBytes), 16);
      header.writeUInt32BE(blockBytes, 24);
      this.socket.cork();
      this.socket.write(header);
      this.socket.write(content(number));
      this.socket.uncork();
    }
  }

  private received(chunk: Buffer): void {
    this.pending = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    for (; this.pending.length >= 16; this.pending = this.pending.subarray(16)) {
      if (this.pending.readUInt32BE(0) !== simpleReplyMagic) {
        this.socket.destroy(new Error('a reply of another form than asked for'));
        return;
      }
      const block = Number(this.pending.readBigUInt64BE(8));
      const number = this.busy.get(block);
      this.busy.delete(block);
      if (this.pending.readUInt32BE(4) !== 0 || number === undefined) {
        // The write stays in doubt.
        this.errorCount += 1;
        continue;
      }
      this.record.acknowledge(block, number);
      const nowMs = performance.now();
      this.longestPauseMs = Math.max(this.longestPauseMs, nowMs - this.lastAnswerMs);
      this.lastAnswerMs = nowMs;
    }
    if (this.stopping && this.busy.size === 0) this.socket.destroy();
    else if (this.options.gapMs === undefined) this.fill();
    else setTimeout(() => this.fill(), this.options.gapMs);
  }
}

/** One NBD session that reads the same block again and again, `depth` times at once, until the session ends. */
export class ReadingHost {
  readonly ended: Promise<void>;
  /** First number of each answer that came. */
  readonly answers: number[] = [];
  private readonly socket: Socket;
  private readonly block: number;
  private pending: Buffer<ArrayBufferLike> = Buffer.alloc(0);

  private constructor(socket: Socket, block: number) {
    this.socket = socket;
    this.block = block;
    socket.on('error', () => {});
    this.ended = new Promise((resolve) => void socket.on('close', () => resolve()));
  }

  static async start(options: { port: number; volume: string; block: number; depth: number }): Promise<ReadingHost> {
    const socket = connect(options.port, '127.0.0.1');
    await once(socket, 'connect');
    const host = new ReadingHost(socket, options.block);
    await handshake(socket, options.volume);
    socket.on('data', (chunk) => host.received(chunk));
    for (let count = 0; count < options.depth; count++) host.ask();
    return host;
  }

  stop(): void {
    this.socket.destroy();
  }

  private ask(): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(requestMagic, 0);
    header.writeBigUInt64BE(BigInt(this.block * blockBytes), 16);
    header.writeUInt32BE(blockBytes, 24);
    this.socket.write(header);
  }

  private received(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    while (this.pending.length >= 16) {
      const failed = this.pending.readUInt32BE(4) !== 0;
      const length = failed ? 16 : 16 + blockBytes;
      if (this.pending.length < length) return;
      if (!failed) this.answers.push(Number(this.pending.readBigUInt64LE(16)));
      this.pending = this.pending.subarray(length);
      this.ask();
    }
  }
}

function content(number: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.writeBigUInt64LE(BigInt(number), 0);
  return block.fill(block.subarray(0, 8), 8);
}

/** Fixed newstyle, without structured replies, straight to GO. */
async function handshake(socket: Socket, volume: string): Promise<void> {
  await take(socket, 18);
  const name = Buffer.from(volume);
  const options = Buffer.alloc(26 + name.length);
  options.writeUInt32BE(3, 0); // fixed newstyle, no zeroes
  options.write('IHAVEOPT', 4, 'latin1');
  options.writeUInt32BE(optionGo, 12);
  options.writeUInt32BE(name.length + 6, 16);
  options.writeUInt32BE(name.length, 20);
  name.copy(options, 24); // followed by a count of zero information requests
  socket.write(options);
  for (;;) {
    const header = await take(socket, 20);
    if (header.readBigUInt64BE(0) !== optionReplyMagic) throw new Error('not an NBD server');
    const type = header.readUInt32BE(12);
    const length = header.readUInt32BE(16);
    const words = length > 0 ? await take(socket, length) : Buffer.alloc(0);
    if (type === 1) return;
    if (type === replyInfo) continue;
    socket.destroy();
    throw new Error(`refused: ${words.toString()}`);
  }
}

async function take(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const chunk = socket.read(length) as Buffer | null;
    if (chunk !== null && chunk.length === length) return chunk;
    if (socket.readableEnded || socket.destroyed) throw new Error('the server closed during the handshake');
    await Promise.race([once(socket, 'readable'), once(socket, 'close')]);
  }
}

/** A small seeded generator, so that a run can be repeated. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
