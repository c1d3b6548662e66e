/** `holdfast dump`: what a file of ours holds. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { verb, writeJson, type Building } from './command.ts';
import { dumpFormats } from './dump-formats.ts';

/** Metadata is small; a volume's data is not for us to read. */
const readBytesMax = 64 * 1024 * 1024;

export function addDumpCommand(program: Command, { io }: Building): void {
  verb(
    program,
    'dump',
    'What a file of ours (metadata, change bits, store, log) holds',
    'holdfast dump holdfast-data/east/groups/g1/leg',
  )
    .argument('<file>')
    .action((path: string, options: { json?: boolean }) => {
      const file = readFront(path);
      const format = dumpFormats.find((candidate) => candidate.recognizes(file));
      if (!format) {
        const known = dumpFormats.map((candidate) => candidate.name).join(', ');
        throw new HoldfastError(
          'E_PROTOCOL',
          `${path} (${formatSize(file.length)} read) is no file of ours; known are: ${known}`,
        );
      }
      const contents = format.describe(file);
      if (options.json) writeJson(io, { file: path, format: format.name, contents });
      else io.out.write(`# ${path}: ${format.name}\n${stringify(contents)}`);
    });
}

function readFront(path: string): Uint8Array {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(path, 'r');
    const found = fstatSync(descriptor);
    // Of a block device the size is not told here; it gives what it has.
    const front = new Uint8Array(found.isBlockDevice() ? readBytesMax : Math.min(readBytesMax, found.size));
    const length = readSync(descriptor, front, 0, front.length, 0);
    return front.subarray(0, length);
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (missing) throw new HoldfastError('E_FILE_MISSING', `there is no file ${path}`, { cause: error });
    throw new HoldfastError('E_IO', `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
