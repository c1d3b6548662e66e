/**
 * What an NBD server must make of a client's bytes, said a second time and as simply as can be: the whole input at
 * once, one volume `vol1`, every request done when its turn comes. The fuzzer compares the server with it.
 */
export interface Outcome {
  /** The conversation has ended by what the client said. */
  readonly ended: boolean;
  /** Cookie and error of every reply, in any order. */
  readonly replies: readonly (readonly [cookie: number, error: number])[];
  /** Data bytes of successful reads by cookie; null when two of one cookie differ, so that replies cannot be told apart. */
  readonly readBytes: ReadonlyMap<number, number> | null;
  /** Of the answer to EXPORT_NAME; 0 when there was none. */
  readonly exportNameBytes: number;
  /** The volume afterwards. */
  readonly data: Buffer;
}

const blockBytes = 512;

export function outcomeOf(bytes: Buffer, before: Buffer): Outcome {
  const data = Buffer.from(before);
  const replies: [number, number][] = [];
  const readBytes = new Map<number, number>();
  let ambiguous = false;
  let exportNameBytes = 0;
  let structured = false;
  let allocation = false;
  let at = 4;

  const result = (ended: boolean): Outcome => ({
    ended,
    replies,
    readBytes: ambiguous ? null : readBytes,
    exportNameBytes,
    data,
  });
  if (bytes.length < 4) return result(false);
  const flags = bytes.readUInt32BE(0);
  if (flags !== 1 && flags !== 3) return result(true);

  for (let entered = false; !entered;) {
    if (bytes.length - at < 16) return result(false);
    if (bytes.subarray(at, at + 8).toString('latin1') !== 'IHAVEOPT') return result(true);
    const [option, length] = [bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12)];
    if (length > 65536 && option === 1) return result(true);
    if (bytes.length - at - 16 < length) return result(false);
    const content = bytes.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    if (length > 65536) continue;
    if (option === 1) {
      if (!isExport(content.toString())) return result(true);
      exportNameBytes = flags === 3 ? 10 : 134;
      entered = true;
    } else if (option === 2) {
      return result(true);
    } else if (option === 7) {
      entered = length >= 6 && isExport(exportOf(content, 2));
    } else if (option === 8) {
      structured ||= length === 0;
    } else if (option === 10) {
      allocation = structured && length >= 8 && isExport(exportOf(content, null)) && selectsAllocation(content);
    }
  }

  while (bytes.length - at >= 28) {
    if (bytes.readUInt32BE(at) !== 0x25609513) return result(true);
    const [requestFlags, type] = [bytes.readUInt16BE(at + 4), bytes.readUInt16BE(at + 6)];
    const cookie = Number(bytes.readBigUInt64BE(at + 8));
    const offset = bytes.readBigUInt64BE(at + 16);
    const length = bytes.readUInt32BE(at + 24);
    at += 28;
    if (type === 2) return result(true);
    const error = errorOf(type, requestFlags, offset, length);
    const payload = type === 1 ? length : 0;
    const whole = bytes.length - at >= payload;
    // A refused write is answered before its payload has come, an accepted one when it has.
    if (whole || error !== 0) replies.push([cookie, error]);
    if (!whole) break;
    const start = Number(offset);
    if (error === 0 && type === 1) data.set(bytes.subarray(at, at + length), start);
    if (error === 0 && (type === 4 || type === 6)) data.fill(0, start, start + length);
    if (error === 0) {
      const dataBytes = type === 0 ? length : 0;
      ambiguous ||= (readBytes.get(cookie) ?? dataBytes) !== dataBytes;
      readBytes.set(cookie, dataBytes);
    }
    at += payload;
  }
  return result(false);

  function errorOf(type: number, requestFlags: number, offset: bigint, length: number): number {
    const extraFlags: Record<number, number> = { 0: structured ? 4 : 0, 1: 0, 3: 0, 4: 0, 5: 0, 6: 2 | 16, 7: 8 };
    const extra = extraFlags[type];
    if (extra === undefined || (requestFlags & ~(1 | extra)) !== 0) return 22;
    if (type === 3) return offset === 0n && length === 0 ? 0 : 22;
    if (type <= 1 && length > 32 * 1024 * 1024) return (requestFlags & 4) !== 0 ? 75 : 22;
    // As a double: beyond 2^53 it may count as aligned, and is past the end then.
    if (Number(offset) % blockBytes !== 0 || length % blockBytes !== 0) return 22;
    if (offset + BigInt(length) > BigInt(data.length)) return type === 1 || type === 6 ? 28 : 22;
    if (type === 7 && (!allocation || length === 0)) return 22;
    return type === 6 && (requestFlags & 18) === 18 ? 95 : 0;
  }
}

function isExport(name: string | null): boolean {
  return name === '' || name === 'vol1';
}

/** The name at the beginning; with `itemBytes`, only if exactly as many 16-bit items follow as are announced. */
function exportOf(content: Buffer, itemBytes: number | null): string | null {
  const length = content.readUInt32BE(0);
  if (length > content.length - 4) return null;
  const name = content.subarray(4, 4 + length).toString();
  if (itemBytes === null) return name;
  const rest = content.subarray(4 + length);
  return rest.length >= 2 && rest.length === 2 + itemBytes * rest.readUInt16BE(0) ? name : null;
}

function selectsAllocation(content: Buffer): boolean {
  let at = 4 + content.readUInt32BE(0);
  if (content.length - at < 4) return false;
  let found = false;
  let left = content.readUInt32BE(at);
  for (at += 4; left > 0; left -= 1) {
    if (content.length - at < 4) return false;
    const length = content.readUInt32BE(at);
    at += 4;
    const query = content.subarray(at, at + length);
    if (length > 4096 || query.length < length || query.includes(0)) return false;
    found ||= query.toString() === 'base:allocation';
    at += length;
  }
  return found && at === content.length;
}
