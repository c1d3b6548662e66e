import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HoldfastError } from '../../../src/base/errors.ts';
import { controlBytesMax, encodeFrame } from '../../../src/link/frame.ts';
import {
  decodeAnswer,
  decodeFault,
  encodeAnswer,
  encodeFault,
  type LegFault,
} from '../../../src/link/messages/answer.ts';
import {
  decodeCall,
  decodeReply,
  encodeCall,
  encodeFailure,
  encodeResult,
  errorOf,
} from '../../../src/link/messages/call.ts';
import { decodeFetch, decodeFetched, encodeFetch, encodeFetched } from '../../../src/link/messages/fetch.ts';
import { decodeHello, decodeWelcome, encodeHello, encodeWelcome } from '../../../src/link/messages/handshake.ts';
import {
  decodeAskPromise,
  decodePromise,
  encodeAskPromise,
  encodePromise,
} from '../../../src/link/messages/promise.ts';
import { decodeJson, encodeJson } from '../../../src/link/messages/json.ts';
import { MessageType } from '../../../src/link/messages/types.ts';
import { anyPosition, frameOf, sampleAnswer, sampleHello, sampleWelcome } from '../samples.ts';

describe('answer', () => {
  it('comes back as it was given', () => {
    const number = fc.nat(0xffff_ffff);
    const answers = fc.record({
      attachId: number,
      flags: number,
      received: anyPosition,
      applied: anyPosition,
      durable: anyPosition,
    });
    fc.assert(
      fc.property(answers, (answer) => {
        expect(decodeAnswer(frameOf(encodeAnswer(answer)))).toEqual({ ok: true, value: answer });
      }),
    );
  });

  it('is refused with another length, pieces, or a number above 2^53 - 1', () => {
    const frame = frameOf(encodeAnswer(sampleAnswer));
    expect(decodeAnswer({ ...frame, control: frame.control.subarray(1) })).toMatchObject({ ok: false });
    expect(decodeAnswer({ ...frame, pieces: [new Uint8Array(1)] })).toMatchObject({ ok: false });
    const control = Uint8Array.from(frame.control).fill(0xff, 48, 56);
    expect(decodeAnswer({ ...frame, control })).toEqual({ ok: false, reason: 'a position above 2^53 - 1' });
  });
});

describe('fault', () => {
  const fault: LegFault = {
    attachId: 1,
    position: { generation: 2, seq: 3 },
    kind: 'noSpace',
    detail: 'ENOSPC: no space left, write /srv/vol1.img',
    volume: 4,
    offset: 4096,
    length: 512,
  };

  it('comes back as it was given, its detail shortened where it is too long', () => {
    expect(decodeFault(frameOf(encodeFault(fault)))).toEqual({ ok: true, value: fault });
    const long = decodeFault(frameOf(encodeFault({ ...fault, detail: 'x'.repeat(100_000) })));
    expect(long.ok && long.value.detail.length).toBe(4096);
  });

  it('is refused when it is of no known kind', () => {
    const frame = frameOf(encodeJson(MessageType.fault, { ...fault, kind: 'melted' }));
    expect(decodeFault(frame)).toMatchObject({ ok: false, reason: expect.stringContaining('kind') as string });
  });
});

describe('fetch and fetched', () => {
  it('come back as they were sent', () => {
    const fetch = { attachId: 1, requestId: 0xffff_ffff, volume: 3, offset: 2 ** 45, length: 2 ** 25 };
    expect(decodeFetch(frameOf(encodeFetch(fetch)))).toEqual({ ok: true, value: fetch });
    for (const fetched of [
      { requestId: 1, status: 'data', data: Uint8Array.of(1, 2) },
      { requestId: 2, status: 'zeroes', data: null },
      { requestId: 3, status: 'fault', data: null },
    ] as const) {
      expect(decodeFetched(frameOf(encodeFetched(fetched)))).toEqual({ ok: true, value: fetched });
    }
  });

  it('are refused with data that has changed, is missing or too much', () => {
    const frame = frameOf(encodeFetched({ requestId: 1, status: 'data', data: Uint8Array.of(1, 2) }));
    const reason = (pieces: Uint8Array[]) => decodeFetched({ ...frame, pieces });
    expect(reason([Uint8Array.of(1, 3)])).toMatchObject({ reason: expect.stringContaining('checksum') as string });
    expect(reason([])).toMatchObject({ reason: expect.stringContaining('0 pieces with data') as string });
    const zeroes = frameOf(encodeFetched({ requestId: 1, status: 'zeroes', data: null }));
    expect(decodeFetched({ ...zeroes, pieces: frame.pieces })).toMatchObject({ ok: false });
    const unknown = Uint8Array.from(frame.control);
    unknown[4] = 3;
    expect(decodeFetched({ ...frame, control: unknown })).toMatchObject({ reason: 'status 3 at byte 9' });
  });

  it('are refused with a range of nothing or past the end of numbers', () => {
    const fetch = { attachId: 1, requestId: 1, volume: 3, offset: 0, length: 1 };
    for (const changes of [{ length: 0 }, { length: 2 ** 25 + 1 }, { offset: Number.MAX_SAFE_INTEGER }]) {
      expect(decodeFetch(frameOf(encodeFetch({ ...fetch, ...changes })))).toMatchObject({ ok: false });
    }
  });
});

describe('call and reply', () => {
  it('come back as they were sent, absent values as null', () => {
    const call = { id: 1, method: 'status', params: { a: [1, null, 'ü'] } };
    expect(decodeCall(frameOf(encodeCall(call) ?? []))).toEqual({ ok: true, value: call });
    expect(decodeReply(frameOf(encodeResult(1, undefined)))).toEqual({
      ok: true,
      value: { id: 1, ok: true, result: null },
    });
  });

  it('carry an error with its code; a code that is not known here is internal', () => {
    const reply = decodeReply(frameOf(encodeFailure(1, new HoldfastError('E_BUSY', 'busy'))));
    expect(reply).toEqual({ ok: true, value: { id: 1, ok: false, error: { code: 'E_BUSY', message: 'busy' } } });
    expect(errorOf({ code: 'E_BUSY', message: 'busy' })).toMatchObject({ code: 'E_BUSY', message: 'busy' });
    for (const code of ['E_FUTURE', 'toString', '__proto__']) {
      expect(errorOf({ code, message: '' })).toMatchObject({ code: 'E_INTERNAL' });
    }
  });

  it('are not sent when longer than 1 MiB', () => {
    const huge = 'x'.repeat(controlBytesMax);
    expect(encodeCall({ id: 1, method: 'x', params: huge })).toBe(null);
    expect(decodeReply(frameOf(encodeResult(1, huge)))).toMatchObject({ value: { ok: false } });
  });
});

describe('handshake messages', () => {
  it('come back as they were sent', () => {
    expect(decodeHello(frameOf(encodeHello(sampleHello)))).toEqual({ ok: true, value: sampleHello });
    expect(decodeWelcome(frameOf(encodeWelcome(sampleWelcome)))).toEqual({ ok: true, value: sampleWelcome });
  });

  it.each([
    ['protocols', { protocols: [] }],
    ['index', { index: 2 }],
    ['index', { index: -1 }],
    ['count', { count: 17 }],
    ['incarnation', { incarnation: 'F'.repeat(32) }],
    ['node', { node: '' }],
    ['features', { features: Array(65).fill('x') }],
    ['to', { to: 7 }],
  ])('are refused with a wrong %s', (field, changes) => {
    const decoded = decodeHello(frameOf(encodeJson(MessageType.hello, { ...sampleHello, ...changes })));
    expect(decoded).toMatchObject({ ok: false, reason: expect.stringMatching(new RegExp(`^${field}`)) as string });
  });

  it('of a newer version may say more', () => {
    const frame = frameOf(encodeJson(MessageType.hello, { ...sampleHello, shards: 4 }));
    expect(decodeHello(frame)).toEqual({ ok: true, value: sampleHello });
  });
});

describe('JSON messages', () => {
  it('are refused when they are too long, no UTF-8 or no JSON', () => {
    const reason = (control: Uint8Array) => decodeJson(frameOf(encodeFrame(MessageType.attach, control)));
    expect(reason(new Uint8Array(65_537).fill(0x20))).toEqual({
      ok: false,
      reason: '65537 bytes of JSON, at most 65536 allowed',
    });
    expect(reason(Uint8Array.of(0x22, 0xff, 0x22))).toMatchObject({ ok: false });
    expect(reason(new Uint8Array(60_000).fill(0x5b))).toMatchObject({ ok: false });
    expect(reason(new Uint8Array(0))).toMatchObject({ ok: false });
  });

  it('may carry pieces', () => {
    const frame = frameOf(encodeJson(MessageType.description, [1], [Uint8Array.of(9)]));
    expect(decodeJson(frame)).toEqual({ ok: true, value: [1] });
    expect(frame.pieces).toEqual([Uint8Array.of(9)]);
  });
});

describe('askPromise and promise', () => {
  const number = fc.nat(0xffff_ffff);

  it('come back as they were given', () => {
    fc.assert(
      fc.property(number, number, fc.integer({ min: 1, max: 0xffff_ffff }), (attachId, token, durationMs) => {
        const ask = { attachId, token };
        expect(decodeAskPromise(frameOf(encodeAskPromise(ask)))).toEqual({ ok: true, value: ask });
        const promise = { attachId, token, durationMs };
        expect(decodePromise(frameOf(encodePromise(promise)))).toEqual({ ok: true, value: promise });
      }),
    );
  });

  it('are refused with another length; a promise, when it promises no time', () => {
    const frame = frameOf(encodeAskPromise({ attachId: 1, token: 2 }));
    expect(decodeAskPromise({ ...frame, control: frame.control.subarray(1) })).toMatchObject({ ok: false });
    expect(decodePromise(frame)).toMatchObject({ ok: false });
    expect(decodePromise(frameOf(encodePromise({ attachId: 1, token: 2, durationMs: 0 })))).toEqual({
      ok: false,
      reason: 'a promise of no time',
    });
  });
});
