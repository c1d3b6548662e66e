/**
 * The identity of this node as an SNMPv3 engine, which receivers know it by. A trap is sent under the sender's engine id,
 * boots and time, and a receiver refuses what is older than what it has seen (RFC 3414 §3.2 7b): the id must be the same
 * at every start, and boots must be one more (§2.2.2), or traps after a restart are dropped without a word.
 */
import { HoldfastError } from '../../base/errors.ts';
import type { Files } from '../../base/files.ts';
import type { Random } from '../../base/random.ts';

export interface SnmpEngine {
  readonly id: Uint8Array;
  readonly boots: number;
}

/** RFC 3411 SnmpEngineID: enterprise 32473 (see HOLDFAST-MIB) with the high bit, format 5 (octets), then chance. */
const idPrefix = '80007ed905';
const idRandomBytes = 12;
const bootsMax = 2 ** 31 - 1;

/** Counts this as a boot. Rejects where that cannot be kept. */
export async function openSnmpEngine(files: Files, random: Random, path: string): Promise<SnmpEngine> {
  const known = await files.read(path).catch((error: unknown) => {
    if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return null;
    throw error;
  });
  const { engineId, boots: before } = known === null ? fresh(random) : parse(known, random);
  // RFC 3414 §2.2.3: at the maximum the engine needs a new id.
  const { engineId: id, boots } = before >= bootsMax ? fresh(random) : { engineId, boots: before };
  const engine = { engineId: id, boots: boots + 1 };
  await files.write(`${path}.new`, Buffer.from(JSON.stringify(engine)), { sync: true });
  await files.rename(`${path}.new`, path);
  await files.syncFolder(path.slice(0, path.lastIndexOf('/')));
  return { id: Buffer.from(engine.engineId, 'hex'), boots: engine.boots };
}

interface Stored {
  readonly engineId: string;
  readonly boots: number;
}

const fresh = (random: Random): Stored => ({
  engineId: idPrefix + Buffer.from(random.bytes(idRandomBytes)).toString('hex'),
  boots: 0,
});

/** What is unreadable gives a new engine, as a lost file would. */
function parse(bytes: Uint8Array, random: Random): Stored {
  try {
    const stored = JSON.parse(Buffer.from(bytes).toString()) as Partial<Stored>;
    const { engineId, boots } = stored;
    const isId = typeof engineId === 'string' && /^([0-9a-f]{2}){5,32}$/.test(engineId);
    if (isId && typeof boots === 'number' && Number.isInteger(boots) && boots >= 0) return { engineId, boots };
  } catch {
    // Not JSON.
  }
  return fresh(random);
}
