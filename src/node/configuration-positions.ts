/** Where in a YAML text something stands, and which word its author may have meant. Knows nothing of what the words say. */
import { isMap, isNode, isScalar, isSeq, type Document } from 'yaml';
import type { Finding } from './configuration-schema.ts';

/**
 * The offset of what a finding is about: the value at its path, the key itself for a key that should not be there, and
 * for what is missing the nearest thing around it that exists.
 */
export function positionOf(document: Document, finding: Finding): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [depth, part] of finding.path.entries()) {
    let key: unknown;
    let value: unknown;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      key = pair?.key;
      value = pair?.value;
    } else if (isSeq(node) && typeof part === 'number') value = node.items[part];
    const last = depth === finding.path.length - 1;
    const best = last && finding.onKey ? key : isNode(value) && value.range ? value : key;
    if (!isNode(best)) break;
    offset = best.range?.[0] ?? offset;
    node = value;
  }
  return offset;
}

/** ` (did you mean "…"?)` when one of the words is near enough, else nothing. */
export function didYouMean(wrong: string, words: readonly string[]): string {
  let nearest: string | null = null;
  let least = Math.max(1, Math.floor(wrong.length / 3)) + 1;
  for (const word of words) {
    const distance = editDistance(wrong.toLowerCase().replaceAll('_', '-'), word.toLowerCase());
    if (distance < least) {
      least = distance;
      nearest = word;
    }
  }
  return nearest === null ? '' : ` (did you mean "${nearest}"?)`;
}

/** Levenshtein's distance, neighbours swapped counting as one mistake; words over 64 characters are near to nothing. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Infinity;
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Infinity;
      row.push(Math.min(replaced, swapped, at(i - 1, j) + 1, at(i, j - 1) + 1));
    }
  }
  return at(a.length, b.length);
}
