/**
 * CHAP as iSCSI uses it (RFC 7143 12.1.3, RFC 1994), the target's side:
 *
 *   CHAP_A=list        → CHAP_A, CHAP_I, CHAP_C: algorithm, identifier, challenge
 *   CHAP_N, CHAP_R     → nothing, or CHAP_N, CHAP_R where the initiator has sent a CHAP_I and CHAP_C of its own
 *
 * Whatever is wrong ends in one sentence for our log; the initiator is told that it failed and no more.
 */
import { digest, type DigestAlgorithm, hasDigest } from '../../base/digest.ts';
import { isSameMac } from '../../base/hmac.ts';
import type { Random } from '../../base/random.ts';
import { decodeBinary, decodeNumber, encodeBinary, type Pair } from './key-text.ts';
import type { ChapCredentials } from './targets.ts';

/** Numbers of CHAP_A (IANA, "PPP Authentication Algorithms"), and the length of their digests, which is that of our challenges. */
const algorithms: ReadonlyMap<number, { readonly name: DigestAlgorithm; readonly bytes: number }> = new Map([
  [5, { name: 'md5', bytes: 16 }],
  [6, { name: 'sha1', bytes: 20 }],
  [7, { name: 'sha256', bytes: 32 }],
  [8, { name: 'sha3-256', bytes: 32 }],
]);

/** RFC 7143 12.1.3. */
const challengeBytesMax = 1024;

export type ChapStep =
  | { readonly kind: 'answer'; readonly pairs: readonly Pair[] }
  /** The initiator is who it says; the pairs prove that we are. */
  | { readonly kind: 'authenticated'; readonly pairs: readonly Pair[] }
  | { readonly kind: 'failed'; readonly reason: string };

export class Chap {
  readonly #credentials: ChapCredentials;
  readonly #random: Random;
  #algorithm: DigestAlgorithm | null = null;
  #identifier = 0;
  #challenge: Uint8Array = new Uint8Array(0);

  constructor(credentials: ChapCredentials, random: Random) {
    this.#credentials = credentials;
    this.#random = random;
  }

  /** A step of the security stage, with its CHAP keys among others; once `authenticated` or `failed` never again. */
  step(pairs: ReadonlyMap<string, string>): ChapStep {
    const list = pairs.get('CHAP_A');
    if (this.#algorithm !== null) {
      return list === undefined ? this.#verify(this.#algorithm, pairs) : failed('CHAP_A is sent twice');
    }
    return list === undefined ? failed('no CHAP_A') : this.#ask(list);
  }

  #ask(list: string): ChapStep {
    for (const text of list.split(',')) {
      const number = decodeNumber(text);
      const algorithm = number === null ? undefined : algorithms.get(number);
      if (algorithm === undefined || !hasDigest(algorithm.name)) continue;
      this.#algorithm = algorithm.name;
      this.#identifier = this.#random.bytes(1)[0] ?? 0;
      this.#challenge = this.#random.bytes(algorithm.bytes);
      return {
        kind: 'answer',
        pairs: [
          { key: 'CHAP_A', value: String(number) },
          { key: 'CHAP_I', value: String(this.#identifier) },
          { key: 'CHAP_C', value: encodeBinary(this.#challenge) },
        ],
      };
    }
    return failed(`none of the algorithms offered is known: ${list}`);
  }

  #verify(algorithm: DigestAlgorithm, pairs: ReadonlyMap<string, string>): ChapStep {
    const { user, secret } = this.#credentials;
    const name = pairs.get('CHAP_N');
    const response = decodeBinary(pairs.get('CHAP_R') ?? '', challengeBytesMax);
    if (name === undefined || response === null) return failed('no CHAP_N, or no CHAP_R');
    const expected = chapResponse(algorithm, this.#identifier, secret, this.#challenge);
    // Compared whatever the name is: the time taken tells nobody which of both was wrong.
    const same = isSameMac(expected, response);
    if (name !== user) return failed(`unknown CHAP user ${JSON.stringify(name)}`);
    if (!same) return failed(`wrong secret of CHAP user ${JSON.stringify(name)}`);
    return this.#prove(algorithm, pairs);
  }

  /** The other way, where the initiator asks for it. */
  #prove(algorithm: DigestAlgorithm, pairs: ReadonlyMap<string, string>): ChapStep {
    const [identifierText, challengeText] = [pairs.get('CHAP_I'), pairs.get('CHAP_C')];
    if (identifierText === undefined && challengeText === undefined) return { kind: 'authenticated', pairs: [] };
    const { secret, mutual } = this.#credentials;
    if (mutual === null) return failed('it wants us to authenticate ourselves, for which there are no credentials');
    const identifier = decodeNumber(identifierText ?? '');
    const challenge = decodeBinary(challengeText ?? '', challengeBytesMax);
    if (identifier === null || identifier > 255 || challenge === null) return failed('malformed CHAP_I or CHAP_C');
    // What we answer could be used to answer us: our own challenge sent back, or one of another connection's under one secret
    // for both directions (RFC 7143 9.2.1).
    if (isSameMac(challenge, this.#challenge)) return failed('our own challenge is sent back');
    if (isSameMac(secret, mutual.secret)) return failed('both directions have the same secret');
    const response = chapResponse(algorithm, identifier, mutual.secret, challenge);
    return {
      kind: 'authenticated',
      pairs: [
        { key: 'CHAP_N', value: mutual.user },
        { key: 'CHAP_R', value: encodeBinary(response) },
      ],
    };
  }
}

/** RFC 1994 4.1: the digest over identifier, secret and challenge. `identifier`: 0…255. */
export function chapResponse(
  algorithm: DigestAlgorithm,
  identifier: number,
  secret: Uint8Array,
  challenge: Uint8Array,
): Uint8Array {
  return digest(algorithm, Uint8Array.of(identifier), secret, challenge);
}

function failed(reason: string): ChapStep {
  return { kind: 'failed', reason };
}
