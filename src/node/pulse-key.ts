/** The key that heartbeats are sealed with (BY-6): one per cluster, in a file or the environment, never in the document. */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

export const pulseKeyVariable = 'HOLDFAST_PULSE_KEY';
const keyBytes = 32;

/** A new key as text: 64 hex digits. */
export const newPulseKey = (): string => randomBytes(keyBytes).toString('hex');

/**
 * The file's key, else the environment's. Throws `E_CONFIG` where there is none, or it is none. A file that others may read
 * is warned of.
 */
export function readPulseKey(
  keyFile: string | null,
  environment: Readonly<Record<string, string | undefined>>,
  log: Log,
): Uint8Array {
  if (keyFile !== null) return parseKey(readKeyFile(keyFile, log), keyFile);
  const text = environment[pulseKeyVariable];
  if (text !== undefined && text !== '') return parseKey(text, pulseKeyVariable);
  throw new HoldfastError(
    'E_CONFIG',
    `the pulse has no key: name a file by key-file, or set ${pulseKeyVariable}; holdfast pulse key makes one`,
  );
}

function readKeyFile(path: string, log: Log): string {
  try {
    const others = statSync(path).mode & 0o077;
    if (others !== 0) log.warn(`${path} can be read by others, who could forge heartbeats: chmod 600 ${path}`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const how = isMissing
      ? `is not there; holdfast pulse key > ${path} makes one`
      : `cannot be read: ${messageOf(error)}`;
    throw new HoldfastError('E_CONFIG', `the key file of the pulse, ${path}, ${how}`, { cause: error });
  }
}

function parseKey(text: string, where: string): Uint8Array {
  const digits = text.trim();
  if (!/^[0-9a-fA-F]*$/.test(digits) || digits === '') {
    throw new HoldfastError('E_CONFIG', `${where} holds no key: it should be ${2 * keyBytes} hex digits`);
  }
  if (digits.length !== 2 * keyBytes) {
    const found = `${digits.length} hex digits, ${digits.length < 2 * keyBytes ? 'too few' : 'too many'}`;
    throw new HoldfastError('E_CONFIG', `${where} holds ${found}: a key has ${2 * keyBytes}`);
  }
  return Buffer.from(digits, 'hex');
}
