/**
 * The sessions of a server by who they are (RFC 7143 6.3.5): a login with the name, ISID, target and portal group of a
 * session takes its place, and a session joined by TSIH must be there.
 *
 * Keeps: of one nexus one session at a time can touch volumes. Whoever takes another's place waits until that one is
 * *released*, which is when the device server has let go of all its commands (I9), long after its connection has ended
 * perhaps; so does a login that comes in between.
 */
import type { SessionRefusal, SessionRequest } from './agreement.ts';

/** A session, from the login that is granted until it is released. */
export interface Place {
  readonly tsih: number;
  /** Its nexus; null in a discovery session, which has none. */
  readonly key: string | null;
  /** Ends it, since another has taken its place. */
  readonly end: () => void;
  /** Those whose place it has taken, not yet released. */
  predecessor: Place | null;
  released: boolean;
  /** Called when it is released. */
  waiter: (() => void) | null;
}

export class SessionTable {
  readonly #sessionsMax: number;
  /** Released ones are not in it. The latest of each nexus. */
  readonly #byKey = new Map<string, Place>();
  readonly #byTsih = new Map<number, Place>();
  #tsih = 0;

  constructor(sessionsMax: number) {
    // A TSIH has 16 bits, and 0 is none.
    this.#sessionsMax = Math.min(sessionsMax, 0xffff);
  }

  get size(): number {
    return this.#byTsih.size;
  }

  open(request: SessionRequest, portalTag: number, end: () => void): Place | { readonly refused: SessionRefusal } {
    const { target, initiatorName, isid } = request;
    const key = target === null ? null : `${initiatorName}\n${isid}\n${target.name}\n${portalTag}`;
    const present = key === null ? undefined : this.#byKey.get(key);
    if (request.tsih !== 0) {
      const known = present !== undefined && present.tsih === request.tsih;
      return { refused: known ? 'tooManyConnections' : 'noSuchSession' };
    }
    if (this.#byTsih.size >= this.#sessionsMax) return { refused: 'outOfResources' };
    const place: Place = {
      tsih: this.#freeTsih(),
      key,
      end,
      predecessor: present ?? null,
      released: false,
      waiter: null,
    };
    this.#byTsih.set(place.tsih, place);
    if (key !== null) this.#byKey.set(key, place);
    present?.end();
    if (present?.released === true) place.predecessor = null;
    return place;
  }

  /** Calls `run` when nothing of an earlier session of the nexus can touch a volume any more; perhaps at once. */
  whenFree(place: Place, run: () => void): void {
    const { predecessor } = place;
    if (predecessor === null) {
      run();
      return;
    }
    predecessor.waiter = () => {
      place.predecessor = null;
      run();
    };
  }

  /** Nothing of this session can touch a volume any more. Later than that of its predecessor. */
  release(place: Place): void {
    if (place.released) return;
    place.released = true;
    this.#byTsih.delete(place.tsih);
    if (place.key !== null && this.#byKey.get(place.key) === place) this.#byKey.delete(place.key);
    place.waiter?.();
    place.waiter = null;
  }

  #freeTsih(): number {
    do this.#tsih = (this.#tsih % 0xffff) + 1;
    while (this.#byTsih.has(this.#tsih));
    return this.#tsih;
  }
}
