/**
 * What a node remembers of heartbeat mirrors over a restart: which are created, installed, on their way to either, and of those
 * fed from elsewhere the last word it was given. One JSON file, written aside and renamed.
 */
import { z } from 'zod';
import { crc32c } from '../base/crc32c.ts';
import { HoldfastError } from '../base/errors.ts';
import type { Files } from '../base/files.ts';

/**
 * `created`: known here, used by nobody (at the target: NULL in its table, HM-9). `installing`: in use here, the target has not
 * confirmed yet. `installed`. `removing`: NULL here, the target has not confirmed yet that it is NULL there.
 */
export const mirrorStates = ['created', 'installing', 'installed', 'removing'] as const;
export type MirrorState = (typeof mirrorStates)[number];

export interface MirrorRecord {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Backing store at `from` and at `to`; empty: the default of that node. */
  readonly primary: string;
  readonly secondary: string;
  readonly state: MirrorState;
  /** Rises with every install and de-install: a message that was overtaken is known by it. */
  readonly revision: number;
}

export interface MirrorRecords {
  readonly mirrors: readonly MirrorRecord[];
  /** Names in the cluster document that were created once: one that was deleted does not come back. */
  readonly adopted: readonly string[];
}

const text = z.string().max(4096);
const recordsSchema = z.object({
  mirrors: z.array(
    z.object({
      name: text,
      from: text,
      to: text,
      primary: text,
      secondary: text,
      state: z.enum(mirrorStates),
      revision: z.int().nonnegative(),
    }),
  ),
  adopted: z.array(text),
});
const fileSchema = z.object({ schema: z.literal(1), checksum: z.int(), records: recordsSchema });

/** Null when there is no file. Rejects with `E_METADATA` for one that cannot be read. */
export async function readMirrorRecords(files: Files, path: string): Promise<MirrorRecords | null> {
  let bytes: Uint8Array;
  try {
    bytes = await files.read(path);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return null;
    throw error;
  }
  const read = fileSchema.safeParse(parsed(bytes));
  if (!read.success || checksumOf(read.data.records) !== read.data.checksum) {
    throw new HoldfastError('E_METADATA', `${path} is damaged, or of a newer version`);
  }
  return read.data.records;
}

export async function writeMirrorRecords(files: Files, path: string, records: MirrorRecords): Promise<void> {
  const folder = path.slice(0, path.lastIndexOf('/'));
  const aside = `${path}.new`;
  const file = { schema: 1, checksum: checksumOf(records), records };
  await files.makeFolder(folder);
  await files.write(aside, Buffer.from(`${JSON.stringify(file, null, 2)}\n`), { sync: true });
  await files.rename(aside, path);
  await files.syncFolder(folder);
}

const checksumOf = (records: MirrorRecords): number =>
  crc32c(Buffer.from(JSON.stringify(recordsSchema.parse(records))));

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return null;
  }
}
