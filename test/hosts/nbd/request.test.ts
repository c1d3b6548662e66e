import { expect, test } from 'vitest';
import { RequestDecoder } from '../../../src/hosts/nbd/request.ts';
import { receiveLent } from '../../base/lent-chunk.ts';

function write(content: number): Buffer {
  const request = Buffer.alloc(28 + 512, content);
  request.writeUInt32BE(0x25609513, 0);
  request.writeUInt32BE(1, 4);
  request.writeUInt32BE(512, 24);
  return request;
}

test('what arrives while the sink is full stays what it is, whatever is read meanwhile', () => {
  const payloads: Uint8Array[] = [];
  const sink = {
    full: false,
    request: () => true,
    payload: (data: Uint8Array) => {
      payloads.push(data);
      sink.full = true;
    },
    garbage: (reason: string) => expect.unreachable(reason),
  };
  const decoder = new RequestDecoder(sink);
  receiveLent(Buffer.concat([write(1), write(2)]), (chunk) => decoder.received(chunk));
  receiveLent(write(3), (chunk) => decoder.received(chunk));
  receiveLent(Buffer.alloc(2000), () => {});
  for (let proceeded = 0; proceeded < 2; proceeded++) {
    sink.full = false;
    decoder.proceed();
  }
  expect(payloads.map((payload) => [...new Set(payload)])).toEqual([[1], [2], [3]]);
});
