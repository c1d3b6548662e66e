/**
 * Conversations as text: a script, and below each step everything that came of it. Lines of the script:
 *
 *   # words                       a comment
 *   volume NAME BYTES BLOCK       a volume of the node
 *   refuse NAME KIND SENTENCE     one that cannot be opened
 *   connect                       a client connects
 *   > TOKENS ; words              the client sends: hex, "text", u16:N u32:N u64:N, fill:COUNT:BYTE
 *   hold | release                completions of the volumes wait | go on
 *   fault KIND | fault none       what the volumes answer
 *   extents LENGTH:data LENGTH:hole …   what the volumes say of their allocation
 *   moved SENTENCE                the group takes the volume away
 *
 * What came of it: `<` a message of the server, `=` a call of a volume, `!` a line of the log, `.` the stream.
 */
import { parse, u16, u32, u64 } from './client.ts';
import { type TestStream, World } from './world.ts';
import type { HostFault } from '../../../src/group/host-access.ts';

export function replay(script: string): string {
  const world = new World();
  const output: string[] = [];
  const readLengths = new Map<number, number>();
  let stream: TestStream | null = null;
  let logged = 0;
  let ended = false;

  const report = (): void => {
    world.turn.run();
    for (const { calls } of world.catalogue.volumes) for (const call of calls.splice(0)) output.push(`= ${call}`);
    const sent = stream?.fetch() ?? Buffer.alloc(0);
    for (const { bytes, text } of parse(sent, (cookie) => readLengths.get(cookie) ?? 0)) {
      output.push(`< ${hex(bytes)} ; ${text}`);
    }
    for (const line of world.logged.slice(logged)) output.push(`! ${line}`);
    logged = world.logged.length;
    if (stream !== null && !ended && (stream.ended || stream.destroyed)) {
      ended = true;
      output.push(stream.ended ? '. ended' : '. destroyed');
    }
  };

  for (const line of script.split('\n')) {
    if (/^[<=!.] /.test(line)) continue;
    output.push(line);
    const [word = '', ...rest] = (line.startsWith('>') ? line : line.trim()).split(' ');
    switch (word) {
      case 'volume':
        world.volume(rest[0] ?? '', Number(rest[1]), Number(rest[2])).data.fill(0x5a);
        break;
      case 'refuse':
        world.catalogue.refusals.set(rest[0] ?? '', {
          refused: rest[1] === 'elsewhere' ? 'elsewhere' : 'unavailable',
          message: rest.slice(2).join(' '),
        });
        break;
      case 'connect':
        stream = world.connect();
        break;
      case '>': {
        const bytes = encode(line.slice(1));
        if (bytes.length >= 28 && bytes.readUInt32BE(0) === 0x25609513 && bytes.readUInt16BE(6) === 0) {
          readLengths.set(Number(bytes.readBigUInt64BE(8)), bytes.readUInt32BE(24));
        }
        stream?.deliver(bytes);
        break;
      }
      case 'hold':
        for (const volume of world.catalogue.volumes) volume.holding = true;
        break;
      case 'release':
        for (const volume of world.catalogue.volumes) volume.release();
        break;
      case 'fault': {
        const fault: HostFault | null =
          rest[0] === 'io' || rest[0] === 'noSpace' || rest[0] === 'moved' ? rest[0] : null;
        for (const volume of world.catalogue.volumes) volume.fault = fault;
        break;
      }
      case 'extents':
        for (const volume of world.catalogue.volumes) {
          volume.extents = rest.map((extent) => {
            const [length = '', kind] = extent.split(':');
            return { offset: 0, length: Number(length), data: kind === 'data' };
          });
        }
        break;
      case 'moved':
        for (const session of [...world.catalogue.openSessions]) session.moved(rest.join(' '));
        break;
      default:
        if (word !== '' && word !== '#') throw new Error(`no step of a transcript: ${line}`);
    }
    report();
  }
  return output.join('\n');
}

function encode(text: string): Buffer {
  const parts: Buffer[] = [];
  for (const [token] of text.replace(/ ;.*$/, '').matchAll(/"[^"]*"|\S+/g)) {
    const [kind = '', first = '', second = ''] = token.split(':');
    if (token.startsWith('"')) parts.push(Buffer.from(token.slice(1, -1)));
    else if (kind === 'u16') parts.push(u16(Number(first)));
    else if (kind === 'u32') parts.push(u32(Number(first)));
    else if (kind === 'u64') parts.push(u64(Number(first)));
    else if (kind === 'fill') parts.push(Buffer.alloc(Number(first), Number(second)));
    else parts.push(Buffer.from(token, 'hex'));
  }
  return Buffer.concat(parts);
}

/** Groups of four bytes; nine or more equal bytes as `BYTE*COUNT`. */
function hex(bytes: Buffer): string {
  const groups = bytes
    .toString('hex')
    .replace(/(?:([0-9a-f]{2}))(?:\1){8,}/g, (run, byte: string, at: number) =>
      at % 2 === 0 ? ` ${byte}*${run.length / 2} ` : run,
    );
  return groups
    .split(' ')
    .filter((group) => group !== '')
    .flatMap((group) => (group.includes('*') ? [group] : (group.match(/.{1,8}/g) ?? [])))
    .join(' ');
}
