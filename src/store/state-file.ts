/**
 * One version file of the `file` store, JSON with a checksum: a whole state, or only what has changed since the newest
 * whole one, so that a lease renewal costs the same in a cluster of any size. Layout: docs/formats/store-file.md.
 */
import { crc32c } from '../base/crc32c.ts';
import type { StoreState } from './state.ts';
import type { Entry } from './store.ts';

export interface StateVersion {
  /** `state.revision` is the number in the file's name. */
  readonly state: StoreState;
  /** That of the newest revision at or below this one whose file was synced before it got its name. */
  readonly synced: StoreState;
  /** Ids of the commits that led here, this one last; at most `lineageMax`. */
  readonly lineage: readonly string[];
}

/** As it stands in the file; its JSON text is what is checksummed. */
export interface StoredVersion {
  readonly revision: number;
  readonly syncedRevision: number;
  readonly lineage: readonly string[];
  /** The whole state; where `removed` is given, what was written after `syncedRevision`. */
  readonly entries: readonly Entry[];
  /** Keys of the state of `syncedRevision` that are gone. */
  readonly removed?: readonly string[];
}

export const lineageMax = 64;

/** Schema 1 had whole states only. */
const schemas: readonly unknown[] = [1, 2];
const schema = 2;
const bodyKey = '"body":';
const brace = Buffer.from('}');

export type ReadVersion =
  | { readonly kind: 'version'; readonly version: StoredVersion }
  | { readonly kind: 'newer'; readonly schema: number }
  | { readonly kind: 'damaged'; readonly reason: string };

/** A version that is synced is written as a whole: the others rest on it. */
export function encodeVersion({ state, synced, lineage }: StateVersion): Uint8Array {
  const revisions = { revision: state.revision, syncedRevision: synced.revision, lineage };
  const entries = [...state.entries.values()];
  const body: StoredVersion =
    synced.revision === state.revision
      ? { ...revisions, entries }
      : {
          ...revisions,
          entries: entries.filter(({ revision }) => revision > synced.revision),
          removed: [...synced.entries.keys()].filter((key) => !state.entries.has(key)),
        };
  const text = Buffer.from(JSON.stringify(body));
  return Buffer.concat([Buffer.from(`{"schema":${schema},"checksum":"${checksumOf(text)}",${bodyKey}`), text, brace]);
}

export function decodeVersion(bytes: Uint8Array, revision: number): ReadVersion {
  const file = parse(bytes);
  if (file === null) return { kind: 'damaged', reason: 'is not JSON' };
  if (typeof file.schema === 'number' && file.schema > schema) return { kind: 'newer', schema: file.schema };
  const { body } = file;
  if (!schemas.includes(file.schema) || !body || checksumOf(bodyText(bytes)) !== file.checksum) {
    return { kind: 'damaged', reason: 'does not match its checksum' };
  }
  if (![body.entries, body.lineage, body.removed ?? []].every((list) => Array.isArray(list)))
    return { kind: 'damaged', reason: 'is no state' };
  if (body.revision !== revision) return { kind: 'damaged', reason: `holds revision ${body.revision}` };
  return { kind: 'version', version: body };
}

/** @param synced the state of `syncedRevision`; null where that is the version itself. */
export function versionOf(stored: StoredVersion, synced: StoreState | null): StateVersion {
  const { revision, lineage, removed } = stored;
  const entries = new Map(removed === undefined ? [] : synced?.entries);
  for (const key of removed ?? []) entries.delete(key);
  for (const entry of stored.entries) entries.set(entry.key, entry);
  const state = { revision, entries };
  return { state, synced: synced ?? state, lineage };
}

/** A matching checksum says that we wrote it, hence what the fields of its body are. */
function parse(bytes: Uint8Array): { schema?: unknown; checksum?: unknown; body?: StoredVersion } | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

/** The body is the last field, as text: encoded once more, a whole state would cost as much as to read it. */
function bodyText(bytes: Uint8Array): Uint8Array {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(bodyKey);
  return bytes.subarray(at + bodyKey.length, bytes.length - brace.length);
}

function checksumOf(text: Uint8Array): string {
  return crc32c(text).toString(16).padStart(8, '0');
}
