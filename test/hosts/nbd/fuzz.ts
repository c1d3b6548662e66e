/**
 * Fuzzing of the NBD server: conversations, most of them spoilt — bytes changed, pieces cut, repeated, oversized, or
 * noise from the start — split at random places, against `outcomeOf`. Every input must give exactly the replies and
 * the volume content the model says, and end the session exactly when it says, with one named reason; memory offered
 * to the socket and requests in flight stay bounded. Throws with seed and number of the input that did not.
 */
import { isDeepStrictEqual } from 'node:util';
import { clientFlags, contextRequest, exportRequest, opening, option, parse, request } from './client.ts';
import { outcomeOf } from './model.ts';
import { type TestStream, World } from './world.ts';

const volumeBytes = 16 * 1024;
const requestsMax = 16;

export function fuzzNbd(seed: number, count: number): { inputs: number; ended: number; replies: number } {
  const totals = { inputs: 0, ended: 0, replies: 0 };
  for (let index = 0; index < count; index += 1) {
    const dice = new Dice((Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0);
    try {
      const { ended, replies } = fuzzOne(dice);
      totals.inputs += 1;
      totals.ended += ended ? 1 : 0;
      totals.replies += replies;
    } catch (error) {
      throw new Error(`fuzzNbd: seed ${seed}, input ${index}`, { cause: error });
    }
  }
  return totals;
}

function fuzzOne(dice: Dice): { ended: boolean; replies: number } {
  const input = spoil(dice, conversation(dice));
  const world = new World({ requestsMax });
  const volume = world.volume('vol1', volumeBytes, 512);
  volume.data.fill(0x5a);
  const expected = outcomeOf(input, volume.data);
  const stream = world.connect();
  volume.holding = dice.below(4) === 0;
  stream.slow = dice.below(4) === 0;

  const answers = [deliver(dice, world, stream, input)];
  volume.release();
  world.turn.run();
  answers.push(stream.fetch());
  const answer = Buffer.concat(answers);

  check(stream.ended === expected.ended, `session ${stream.ended ? 'ended' : 'goes on'}, and should not`);
  check(volume.data.equals(expected.data), 'the volume holds something else');
  check(world.logged.length <= 2, `logged ${world.logged.length} lines`);
  const readBytes = expected.readBytes;
  if (readBytes !== null) {
    const messages = parse(answer, (cookie) => readBytes.get(cookie) ?? 0, expected.exportNameBytes);
    const replies = messages
      .filter((message) => message.kind === 'simple' || message.kind === 'chunk')
      .map((message) => [message.cookie, message.error]);
    const [got, due] = [sorted(replies), sorted(expected.replies)];
    check(isDeepStrictEqual(got, due), `replies ${got.join(', ')} instead of ${due.join(', ')}`);
  }
  stream.close();
  check(world.catalogue.openSessions.size === 0, 'the volume is still open');
  return { ended: expected.ended, replies: expected.replies.length };
}

/** Delivers in pieces; what waits because the server does not read goes on when something was answered. */
function deliver(dice: Dice, world: World, stream: TestStream, input: Buffer): Buffer {
  const answers: Buffer[] = [];
  const single = input.length < 2048 && dice.below(20) === 0;
  const pieceMax = dice.below(2) === 0 ? Math.max(64, input.length >> 5) : 8192;
  for (let at = 0; at < input.length;) {
    const count = single ? 1 : Math.min(input.length - at, 1 + dice.below(pieceMax));
    const space = stream.events?.space?.()?.length ?? 0;
    check(space <= volumeBytes + 56 + 28, `${space} bytes offered for a volume of ${volumeBytes}`);
    if (stream.paused) {
      for (const volume of world.catalogue.volumes) volume.release();
      world.turn.run();
      answers.push(stream.fetch());
      check(!stream.paused, 'reading does not go on');
    }
    // Sometimes into the place offered, sometimes not: both are one read of a socket, and one read is not held back by
    // a pause: the decoder itself must stop at its bounds.
    const place = dice.below(2) === 0 ? (stream.events?.space?.() ?? null) : null;
    const piece = input.subarray(at, at + Math.min(count, place?.length ?? count));
    const chunk = place === null ? Uint8Array.from(piece) : place.subarray(0, piece.length);
    chunk.set(piece);
    stream.events?.received(chunk);
    at += piece.length;
    const inFlight = world.server.sessions()[0]?.requestsInFlight ?? 0;
    check(inFlight <= requestsMax, `${inFlight} requests in flight`);
    if (dice.below(3) === 0) {
      world.turn.run();
      answers.push(stream.fetch());
    }
  }
  return Buffer.concat(answers);
}

function conversation(dice: Dice): Buffer {
  const parts: Buffer[] = [];
  if (dice.below(3) === 0) {
    parts.push(clientFlags);
    for (let left = dice.below(5); left > 0; left -= 1) parts.push(randomOption(dice));
    parts.push(exportRequest(7, dice.below(2) === 0 ? '' : 'vol1'));
  } else {
    parts.push(opening('vol1', dice.below(2) === 0));
  }
  const requests = dice.below(24);
  for (let cookie = 1; cookie <= requests; cookie += 1) parts.push(randomRequest(dice, cookie));
  return Buffer.concat(parts);
}

function randomOption(dice: Dice): Buffer {
  switch (dice.below(7)) {
    case 0:
      return option(3);
    case 1:
      return option(8);
    case 2:
      return exportRequest(6, dice.below(2) === 0 ? 'vol1' : 'vol9', [3, 1]);
    case 3:
      return contextRequest(dice.below(2) === 0 ? 9 : 10, 'vol1', ['base:allocation', 'x:y']);
    case 4:
      return option(1, Buffer.from(dice.below(2) === 0 ? 'vol1' : 'nothing'));
    case 5:
      return option(dice.below(16), dice.bytes(dice.below(40)));
    default:
      return option(dice.below(16), Buffer.alloc(65_000 + dice.below(1500)));
  }
}

function randomRequest(dice: Dice, cookie: number): Buffer {
  const type = dice.below(20) === 0 ? dice.below(12) : ([0, 1, 3, 4, 5, 6, 7][dice.below(7)] ?? 0);
  const unit = dice.below(12) === 0 ? 100 : 512;
  const flags = dice.below(4) === 0 ? dice.below(64) : 0;
  const empty = type === 3 || type === 2;
  const offset = empty ? 0 : dice.below(volumeBytes / 512 + 1) * unit;
  const length = empty ? 0 : dice.below(dice.below(4) === 0 ? volumeBytes / 512 : 5) * unit;
  const fields = { type, flags, cookie, offset, length };
  return type === 1 ? request(fields, dice.bytes(length)) : request(fields);
}

function spoil(dice: Dice, bytes: Buffer): Buffer {
  const at = dice.below(bytes.length);
  const to = at + dice.below(bytes.length - at + 1);
  switch (dice.below(8)) {
    case 0: {
      const spoilt = Buffer.from(bytes);
      for (let left = 1 + dice.below(8); left > 0; left -= 1) spoilt[dice.below(spoilt.length)] = dice.below(256);
      return spoilt;
    }
    case 1:
      return bytes.subarray(0, at);
    case 2:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), dice.bytes(dice.below(200)), bytes.subarray(at)]);
    case 4: {
      // Oversized: some field is as large as fields get.
      const spoilt = Buffer.from(bytes);
      spoilt.fill(0xff, at, Math.min(at + 4, spoilt.length));
      return spoilt;
    }
    case 5:
      return Buffer.concat([bytes.subarray(0, dice.below(2) === 0 ? 4 : 0), dice.bytes(dice.below(300))]);
    default:
      return bytes;
  }
}

/** Small, fast and seeded (xorshift32). */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed === 0 ? 1 : seed;
  }

  below(bound: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % bound;
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.alloc(count);
    for (let index = 0; index < count; index += 1) bytes[index] = this.below(256);
    return bytes;
  }
}

function sorted(replies: readonly (readonly (number | undefined)[])[]): string[] {
  return replies.map((reply) => reply.join(' ')).sort();
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}
