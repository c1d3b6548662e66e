import { readFile } from 'node:fs/promises';
import { HoldfastError } from '../../base/errors.ts';
import type { SecretSource } from './sink-settings.ts';

/** Read when it is needed, so that a secret can be changed while the node runs. The line break at its end is not part of it. */
export async function readSecret(source: SecretSource): Promise<string> {
  const text = source.kind === 'file' ? await readFile(source.path, 'utf8') : process.env[source.name];
  const secret = text?.replace(/\r?\n$/, '') ?? '';
  if (secret !== '') return secret;
  const where = source.kind === 'file' ? source.path : `the environment variable ${source.name}`;
  throw new HoldfastError('E_CONFIG', `no secret is in ${where}`);
}
