/**
 * One version file of the `file` store: the whole state as JSON, with a checksum. Layout: docs/formats/store-file.md.
 */
import { crc32c } from '../base/crc32c.ts';
import type { StoreState } from './state.ts';
import type { Entry } from './store.ts';

export interface StateVersion {
  /** `state.revision` is the number in the file's name. */
  readonly state: StoreState;
  /** The newest revision at or below this one whose file was synced before it got its name. */
  readonly syncedRevision: number;
  /** Ids of the commits that led here, this one last; at most `lineageMax`. */
  readonly lineage: readonly string[];
}

export const lineageMax = 64;

const schema = 1;

export type ReadVersion =
  | { readonly kind: 'whole'; readonly version: StateVersion }
  | { readonly kind: 'newer'; readonly schema: number }
  | { readonly kind: 'damaged'; readonly reason: string };

/** What is checksummed: its JSON text, as it stands in the file. */
interface Body {
  readonly revision: number;
  readonly syncedRevision: number;
  readonly lineage: readonly string[];
  readonly entries: readonly Entry[];
}

export function encodeVersion({ state, syncedRevision, lineage }: StateVersion): Uint8Array {
  const body: Body = { revision: state.revision, syncedRevision, lineage, entries: [...state.entries.values()] };
  return Buffer.from(JSON.stringify({ schema, checksum: checksumOf(body), body }));
}

export function decodeVersion(bytes: Uint8Array, revision: number): ReadVersion {
  const file = parse(bytes);
  if (file === null) return { kind: 'damaged', reason: 'is not JSON' };
  if (typeof file.schema === 'number' && file.schema > schema) return { kind: 'newer', schema: file.schema };
  const { body } = file;
  if (file.schema !== schema || !body || checksumOf(body) !== file.checksum) {
    return { kind: 'damaged', reason: 'does not match its checksum' };
  }
  if (![body.entries, body.lineage].every((list) => Array.isArray(list)))
    return { kind: 'damaged', reason: 'is no state' };
  if (body.revision !== revision) return { kind: 'damaged', reason: `holds revision ${body.revision}` };
  const entries = new Map(body.entries.map((entry) => [entry.key, entry]));
  return {
    kind: 'whole',
    version: { state: { revision, entries }, syncedRevision: body.syncedRevision, lineage: body.lineage },
  };
}

/** A matching checksum says that we wrote it, hence what the fields of its body are. */
function parse(bytes: Uint8Array): { schema?: unknown; checksum?: unknown; body?: Body } | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

function checksumOf(body: Body): string {
  return crc32c(Buffer.from(JSON.stringify(body)))
    .toString(16)
    .padStart(8, '0');
}
