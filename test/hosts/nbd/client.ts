/**
 * The client's half of the protocol, for tests, written apart from the server's on purpose: a mistake would have to be
 * made twice to go unnoticed.
 */
export const clientFlags = Buffer.from('00000003', 'hex');

export function option(type: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  return Buffer.concat([Buffer.from('IHAVEOPT'), u32(type), u32(data.length), data]);
}

export function exportRequest(type: 6 | 7, name: string, infos: readonly number[] = []): Buffer {
  return option(type, Buffer.concat([sized(name), u16(infos.length), ...infos.map(u16)]));
}

export function contextRequest(type: 9 | 10, name: string, queries: readonly string[]): Buffer {
  return option(type, Buffer.concat([sized(name), u32(queries.length), ...queries.map(sized)]));
}

export interface RequestFields {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: number;
  readonly offset?: number;
  readonly length?: number;
}

export function request(fields: RequestFields, payload: Uint8Array = new Uint8Array(0)): Buffer {
  return Buffer.concat([
    u32(0x25609513),
    u16(fields.flags ?? 0),
    u16(fields.type),
    u64(fields.cookie ?? 1),
    u64(fields.offset ?? 0),
    u32(fields.length ?? payload.length),
    payload,
  ]);
}

/** Client flags, structured replies and allocation if asked for, GO. */
export function opening(name: string, structured: boolean): Buffer {
  const agree = structured ? [option(8), contextRequest(10, name, ['base:allocation'])] : [];
  return Buffer.concat([clientFlags, ...agree, exportRequest(7, name)]);
}

/** One message of the server. */
export interface Message {
  readonly kind: 'greeting' | 'option' | 'exportName' | 'simple' | 'chunk';
  readonly bytes: Buffer;
  /** Option reply: option and reply type; chunk: its type. */
  readonly type: number;
  readonly option: number;
  readonly cookie: number;
  readonly error: number;
  /** Data of the reply, after all headers. */
  readonly data: Buffer;
  readonly text: string;
}

/**
 * Takes the server's bytes apart; throws at anything that is not a whole message. `readBytes` tells how much data
 * follows a successful simple reply: only the one who asked knows.
 */
export function parse(
  bytes: Buffer,
  readBytes: (cookie: number) => number = () => 0,
  /** Length of the answer to EXPORT_NAME, which has no mark of its own; null: all that is left. */
  exportNameBytes: number | null = null,
): Message[] {
  const messages: Message[] = [];
  let rest = bytes;
  while (rest.length > 0) {
    const message = parseOne(rest, readBytes, exportNameBytes ?? rest.length);
    if (message.bytes.length > rest.length) throw new Error(`message of ${message.kind} is cut short`);
    messages.push(message);
    rest = rest.subarray(message.bytes.length);
  }
  return messages;
}

function parseOne(rest: Buffer, readBytes: (cookie: number) => number, exportNameBytes: number): Message {
  const make = (kind: Message['kind'], head: number, length: number, fields: Partial<Message>): Message => {
    if (rest.length < head + length)
      throw new Error(`${kind} of ${head + length} bytes is cut short at ${rest.length}`);
    const all = rest.subarray(0, head + length);
    return {
      kind,
      bytes: all,
      type: 0,
      option: 0,
      cookie: 0,
      error: 0,
      data: all.subarray(head),
      text: kind,
      ...fields,
    };
  };
  if (rest.subarray(0, 8).toString('latin1') === 'NBDMAGIC') return make('greeting', 18, 0, {});
  const magic = rest.length >= 4 ? rest.readUInt32BE(0) : 0;
  if (magic === 0x0003e889) {
    const [of, type, length] = [rest.readUInt32BE(8), rest.readUInt32BE(12), rest.readUInt32BE(16)];
    const sentence = type > 0x80000000 ? `: ${rest.subarray(20, 20 + length).toString()}` : '';
    return make('option', 20, length, { option: of, type, text: `option ${of} ${replyName(type)}${sentence}` });
  }
  if (magic === 0x67446698) {
    const [error, cookie] = [rest.readUInt32BE(4), Number(rest.readBigUInt64BE(8))];
    const length = error === 0 ? readBytes(cookie) : 0;
    return make('simple', 16, length, { error, cookie, text: `simple reply ${cookie}: ${errorName(error)}` });
  }
  if (magic === 0x668e33ef) {
    const [flags, type] = [rest.readUInt16BE(4), rest.readUInt16BE(6)];
    const [cookie, length] = [Number(rest.readBigUInt64BE(8)), rest.readUInt32BE(16)];
    if (flags !== 1) throw new Error(`chunk with flags ${flags}`);
    if (type === 0x8001) {
      const error = rest.readUInt32BE(20);
      const sentence = rest.subarray(26, 26 + rest.readUInt16BE(24)).toString();
      if (sentence.length + 6 > length) throw new Error('error chunk too short for its sentence');
      return make('chunk', 20, length, {
        type,
        cookie,
        error,
        text: `chunk ${cookie}: ${errorName(error)}: ${sentence}`,
      });
    }
    const head = type === 1 ? 28 : 20;
    const name = type === 0 ? 'done' : type === 1 ? 'data' : type === 5 ? 'block status' : null;
    if (name === null) throw new Error(`chunk of type ${type}`);
    return make('chunk', head, length - (head - 20), { type, cookie, text: `chunk ${cookie}: ${name}` });
  }
  if (exportNameBytes === 10 || exportNameBytes === 134) {
    return make('exportName', exportNameBytes, 0, { text: 'export name answer' });
  }
  throw new Error(`no message begins with ${rest.subarray(0, 8).toString('hex')}`);
}

function replyName(type: number): string {
  const names: Record<number, string> = { 1: 'ACK', 2: 'SERVER', 3: 'INFO', 4: 'META_CONTEXT' };
  const errors: Record<number, string> = {
    1: 'UNSUP',
    2: 'POLICY',
    3: 'INVALID',
    6: 'UNKNOWN',
    7: 'SHUTDOWN',
    9: 'TOO_BIG',
  };
  const name = type < 0x80000000 ? names[type] : `ERR_${errors[type - 0x80000000] ?? '?'}`;
  if (name === undefined || name === 'ERR_?') throw new Error(`option reply of type ${type}`);
  return name;
}

export function errorName(error: number): string {
  const names: Record<number, string> = {
    0: 'success',
    5: 'EIO',
    22: 'EINVAL',
    28: 'ENOSPC',
    75: 'EOVERFLOW',
    95: 'ENOTSUP',
    108: 'ESHUTDOWN',
  };
  const name = names[error];
  if (name === undefined) throw new Error(`error ${error} is none of the protocol's`);
  return name;
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function sized(text: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
}
