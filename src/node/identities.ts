/**
 * Where an installation's lasting identities come from: drawn once and kept in the coordination store, or, without one,
 * derived from names, so that every node finds the same without asking anybody. Derived ones are as lasting as the names:
 * who renames a cluster, a group or a volume then makes another one.
 *
 *   cluster id   SHA-256("holdfast cluster", cluster), first 32 hex digits
 *   WWID         6024846 and SHA-256("holdfast volume", cluster, group, volume), first 25 hex digits
 *
 * Each part of what is hashed is preceded by its length in bytes, in decimal, and a colon.
 */
import { randomHex, type Random } from '../base/random.ts';
import { sha256Hex } from '../base/sha256.ts';
import { makeWwid, wwidOf } from '../volume/wwid.ts';

export interface Identities {
  readonly clusterId: string;
  wwid(group: string, volume: string): string;
}

export function drawnIdentities(random: Random): Identities {
  return { clusterId: randomHex(random, 16), wwid: () => makeWwid(random) };
}

export function derivedIdentities(cluster: string): Identities {
  return {
    clusterId: sha256Hex('holdfast cluster', cluster).slice(0, 32),
    wwid: (group, volume) => wwidOf(sha256Hex('holdfast volume', cluster, group, volume)),
  };
}
