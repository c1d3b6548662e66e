/**
 * `fetch` and `fetched`: reading a leg from the other end (R7, R14). Any number may be under way; answers come in any
 * order. What is fetched is not part of the group's order: who asks sees to it that nothing changes meanwhile.
 *
 *   fetch     attachment 4 │ request 4 │ volume 2 │ offset in bytes 8 │ length in bytes 4, 1…32 MiB
 *   fetched   request 4 │ status 1: 0 data, 1 reads as zeroes, 2 the leg could not read it │ CRC-32C of the data 4
 *
 * `fetched` has one piece with status 0, none otherwise; the checksum is 0 then.
 */
import { crc32c } from '../../base/crc32c.ts';
import { decode, Writer, type Decoded } from '../../base/codec.ts';
import { encodeFrame, pieceBytesMax, type Frame } from '../frame.ts';
import { MessageType } from './types.ts';

export interface Fetch {
  readonly attachId: number;
  readonly requestId: number;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}

export type FetchStatus = 'data' | 'zeroes' | 'fault';

export interface Fetched {
  readonly requestId: number;
  readonly status: FetchStatus;
  /** Null unless `status` is `data`. */
  readonly data: Uint8Array | null;
}

const statuses: readonly FetchStatus[] = ['data', 'zeroes', 'fault'];

export function encodeFetch({ attachId, requestId, volume, offset, length }: Fetch): Uint8Array[] {
  const control = new Writer(22, 22).u32(attachId).u32(requestId).u16(volume).u64(offset).u32(length).finish();
  return encodeFrame(MessageType.fetch, control);
}

export function decodeFetch(frame: Frame): Decoded<Fetch> {
  return decode(frame.control, (reader) => {
    const fetch: Fetch = {
      attachId: reader.u32(),
      requestId: reader.u32(),
      volume: reader.u16(),
      offset: reader.u64(),
      length: reader.u32(),
    };
    if (frame.pieces.length !== 0) reader.fail(`${frame.pieces.length} pieces`);
    if (fetch.length === 0 || fetch.length > pieceBytesMax) reader.fail(`length ${fetch.length}`);
    if (!Number.isSafeInteger(fetch.offset + fetch.length)) reader.fail(`range ${fetch.offset} + ${fetch.length}`);
    return fetch;
  });
}

/** Takes the checksum of the data. */
export function encodeFetched({ requestId, status, data }: Fetched): Uint8Array[] {
  const checksum = data === null ? 0 : crc32c(data);
  const control = new Writer(9, 9).u32(requestId).u8(statuses.indexOf(status)).u32(checksum).finish();
  return encodeFrame(MessageType.fetched, control, data === null ? [] : [data]);
}

/** Refuses data that does not match its checksum. */
export function decodeFetched(frame: Frame): Decoded<Fetched> {
  return decode(frame.control, (reader) => {
    const requestId = reader.u32();
    const number = reader.u8();
    const checksum = reader.u32();
    const status = statuses[number] ?? reader.fail(`status ${number}`);
    const data = frame.pieces[0] ?? null;
    if (frame.pieces.length !== (status === 'data' ? 1 : 0))
      reader.fail(`${frame.pieces.length} pieces with ${status}`);
    if (checksum !== (data === null ? 0 : crc32c(data))) reader.fail('the checksum of the data is wrong');
    return { requestId, status, data };
  });
}
