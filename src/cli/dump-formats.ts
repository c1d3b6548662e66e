/**
 * What `holdfast dump` can read: one entry per kind of file of ours, found by the bytes it begins with. Reads only, takes
 * no lock, and shows a damaged part as damaged instead of giving up: it is for looking into what does not start any more.
 */
import { crc32c } from '../base/crc32c.ts';
import { decode } from '../base/codec.ts';
import { describeLogDevice, isLogDevice } from '../journal/describe-device.ts';
import { describeSegment, isSegment } from '../journal/describe.ts';
import { decodeVersion } from '../store/state-file.ts';
import { ChangeBitmap } from '../volume/change-bitmap.ts';
import { readIntents } from '../volume/intent-map.ts';
import { decodeSector } from '../volume/leg-cursor.ts';
import { bitsMagic, decodeLegState, legFormat } from '../volume/leg-metadata.ts';
import { decodeSlotHeader, slotHeaderBytes } from '../volume/two-slot-file.ts';

export interface DumpFormat {
  readonly name: string;
  recognizes(file: Uint8Array): boolean;
  /** Plain data, fit for JSON. */
  describe(file: Uint8Array): unknown;
}

export const dumpFormats: readonly DumpFormat[] = [
  twoSlots('metadata of a leg', legFormat.magic, (payload) => {
    const decoded = decodeLegState(payload);
    return decoded.ok ? decoded.state : { damaged: decoded.reason };
  }),
  twoSlots('change bits of a leg', bitsMagic, describeBits),
  {
    name: 'cursor of a leg',
    recognizes: (file) => [0, 512].some((at) => textOf(file.subarray(at, at + 4)) === 'HFCR'),
    describe: (file) => ({
      sectors: [0, 512].map((at) => decodeSector(file.subarray(at, at + 512)) ?? 'never written, or damaged'),
    }),
  },
  {
    name: 'intent map of a leg',
    recognizes: (file) => textOf(file.subarray(0, 4)) === 'HFIM',
    describe: describeIntents,
  },
  {
    name: 'version of the file store',
    recognizes: (file) => textOf(file.subarray(0, 10)) === '{"schema":',
    describe: describeStoreVersion,
  },
  { name: 'segment of a log', recognizes: isSegment, describe: describeSegment },
  { name: 'device with a log', recognizes: isLogDevice, describe: describeLogDevice },
];

/** A file of two slots (docs/formats/metadata-slots.md): both are shown, and which one counts. */
function twoSlots(name: string, magic: string, describePayload: (payload: Uint8Array) => unknown): DumpFormat {
  return {
    name,
    recognizes: (file) => textOf(file.subarray(0, magic.length)) === magic,
    describe(file) {
      const slotBytes = decodeSlotHeader(file.subarray(0, slotHeaderBytes));
      const second = slotBytes.ok ? slotBytes.value.slotBytes : legFormat.slotBytes;
      const slots = [0, second].map((at) => describeSlot(file, at, describePayload));
      const newest = slots.reduce(
        (best, slot, index) => (slot.sequence > (slots[best]?.sequence ?? -1) ? index : best),
        0,
      );
      return { newestSlot: (slots[newest]?.sequence ?? 0) > 0 ? newest : null, slots };
    },
  };
}

function describeSlot(file: Uint8Array, at: number, describePayload: (payload: Uint8Array) => unknown) {
  if (at >= file.length) return { sequence: 0, state: 'never written' };
  const header = decodeSlotHeader(file.subarray(at, at + slotHeaderBytes));
  if (!header.ok) return { sequence: 0, state: `damaged: ${header.reason}` };
  const { version, sequence, payloadBytes, payloadChecksum } = header.value;
  const payload = file.subarray(at + slotHeaderBytes, at + slotHeaderBytes + payloadBytes);
  if (payload.length < payloadBytes || crc32c(payload) !== payloadChecksum) {
    return { sequence: 0, state: `damaged: the payload of sequence ${sequence} does not match its checksum` };
  }
  return { sequence, state: 'complete', version, payloadBytes, payload: describePayload(payload) };
}

function describeBits(payload: Uint8Array): unknown {
  const decoded = decode(payload, (reader) =>
    Array.from({ length: reader.u16() }, () => {
      const node = reader.string8();
      const volume = reader.u16();
      const bitmap = ChangeBitmap.read(reader);
      return { node, volume, changedBytes: bitmap.setBytes };
    }),
  );
  return decoded.ok ? decoded.value : { damaged: decoded.reason };
}

function describeIntents(file: Uint8Array): unknown {
  const { head, newest, intents, after } = readIntents(file);
  if (head === null) return { damaged: 'the head does not match its checksum' };
  const { generation, complete, places } = head;
  return { generation, complete, places, entriesMade: newest, after, named: intents ?? 'not known' };
}

/** The number that belongs into the file's name is taken from its body: a copy of the file may have any name. */
function describeStoreVersion(file: Uint8Array): unknown {
  const revision = Number(/"revision":(\d+)/.exec(textOf(file))?.[1] ?? 0);
  const read = decodeVersion(file, revision);
  if (read.kind === 'damaged') return { damaged: read.reason };
  if (read.kind === 'newer') return { damaged: `written by a newer version, schema ${read.schema}` };
  const { syncedRevision, entries, removed } = read.version;
  return {
    revision,
    syncedRevision,
    ...(removed === undefined ? {} : { removed }),
    entries: entries.map(({ key, revision: writtenAt, value }) => ({
      key,
      revision: writtenAt,
      value: parsed(value),
    })),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
