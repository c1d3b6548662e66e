/**
 * A host: a few lanes, each with one request at a time on the volumes of one group, so that writes of one volume depend on
 * completed ones of another. Finds out by trying who serves; when its session ends it does not know what became of its
 * open requests, and connects anew. Everything it is told goes into the ledger.
 */
import type { HostCompletion, HostFault, HostSession, HostVolume } from '../group/host-access.ts';
import type { Cluster } from './cluster.ts';
import type { Ledger, Write } from './ledger.ts';
import { Violation } from './ledger.ts';
import type { HostPlan } from './script.ts';
import { fillSectors, sectorAt } from './symbols.ts';
import { sectorBytes } from './world/disk.ts';
import type { Prng } from './world/prng.ts';
import type { SimProcess } from './world/process.ts';
import type { World } from './world/world.ts';

export interface HostOptions {
  readonly world: World;
  readonly cluster: Cluster;
  readonly ledger: Ledger;
  readonly plan: HostPlan;
  readonly prng: Prng;
  /** Numbers of writes, unique in the scene. */
  readonly nextNumber: () => number;
  readonly violated: (violation: Violation) => void;
}

interface Session {
  readonly process: SimProcess;
  readonly volumes: HostVolume[];
  readonly handle: HostSession;
  /** `Ledger.openings` when it began: a later opening makes what it hears late. */
  readonly opening: number;
  ended: boolean;
}

interface Request {
  readonly session: Session;
  readonly what: string;
  readonly issuedAtMs: number;
  completed: boolean;
  /** Ends the lane's wait when the session ends first. */
  readonly abandoned: () => void;
}

const reconnectMs = { from: 10, to: 300 };

export class Host {
  readonly #options: HostOptions;
  readonly #name: string;
  #session: Session | null = null;
  #tries = 0;
  #stopped = false;
  #restUntilMs = 0;
  readonly #open = new Set<Request>();
  #waiting: (() => void)[] = [];
  completions = 0;
  readonly #outstanding = new WeakMap<SimProcess, number>();

  constructor(options: HostOptions, name: string) {
    this.#options = options;
    this.#name = name;
  }

  /** Requests without an answer, and lanes that wait for somebody who serves. */
  get pending(): number {
    return this.#open.size + this.#waiting.length;
  }

  /** Requests this process was asked and has not completed, those of ended sessions included. */
  outstanding(process: SimProcess): number {
    return this.#outstanding.get(process) ?? 0;
  }

  get describe(): string {
    return [...this.#open].map(({ what }) => what).join(', ') || `${this.#waiting.length} lanes wait for a session`;
  }

  start(): void {
    this.#reconnect();
    for (let lane = 0; lane < this.#options.plan.lanes; lane++) this.#think();
  }

  get group(): string {
    return this.#options.plan.group;
  }

  /** No new requests for a while. */
  rest(forMs: number): void {
    this.#restUntilMs = Math.max(this.#restUntilMs, this.#options.world.nowMs + forMs);
  }

  /** No new requests; those under way are waited for by the scene. */
  stop(): void {
    this.#stopped = true;
    this.#waiting = [];
  }

  // ---- sessions ----

  #reconnect(): void {
    this.#later(this.#options.prng.between(reconnectMs.from, reconnectMs.to), () => this.#connect());
  }

  #connect(): void {
    if (this.#session !== null) return;
    const { cluster, ledger, plan } = this.#options;
    const node = cluster.nodes[this.#tries++ % cluster.nodes.length] ?? '';
    const running = cluster.running(node);
    if (running === null) {
      this.#reconnect();
      return;
    }
    const { process, node: product } = running;
    let isAnswered = false;
    const answer = (session: Session | null): void => {
      if (isAnswered) return;
      isAnswered = true;
      if (session === null) {
        this.#reconnect();
        return;
      }
      this.#session = session;
      for (const go of this.#waiting.splice(0)) go();
    };
    process.onEnd(() => answer(null));
    process.call(() => {
      const volumes: HostVolume[] = [];
      const session: Session = {
        process,
        volumes,
        opening: ledger.openings,
        ended: false,
        handle: { label: this.#name, moved: process.whileAlive(() => this.#ended(session)) },
      };
      for (const { name } of cluster.volumesOf(plan.group)) {
        const volume = product.exports.open(name, session.handle);
        if ('refused' in volume) {
          product.exports.close(session.handle);
          answer(null);
          return;
        }
        volumes.push(volume);
      }
      process.onEnd(() => this.#ended(session));
      answer(session);
      this.#beImpatient(session, () => product.exports.close(session.handle));
    });
  }

  #beImpatient(session: Session, close: () => void): void {
    const { world, plan } = this.#options;
    if (plan.patienceMs >= 1e9) return;
    this.#later(plan.patienceMs / 2, () => {
      if (session.ended) return;
      const since = world.nowMs - plan.patienceMs;
      if ([...this.#open].some((request) => request.session === session && request.issuedAtMs <= since)) {
        this.#ended(session);
        session.process.call(close);
      } else {
        this.#beImpatient(session, close);
      }
    });
  }

  #ended(session: Session): void {
    if (session.ended) return;
    session.ended = true;
    if (this.#session === session) this.#session = null;
    for (const request of [...this.#open]) {
      if (request.session !== session) continue;
      this.#open.delete(request);
      request.abandoned();
    }
    this.#reconnect();
  }

  // ---- requests ----

  #think(): void {
    const { prng, plan } = this.#options;
    this.#later(prng.exponential(plan.thinkMs), () => this.#next());
  }

  #next(): void {
    if (this.#stopped) return;
    const restMs = this.#restUntilMs - this.#options.world.nowMs;
    if (restMs > 0) {
      this.#later(restMs, () => this.#think());
      return;
    }
    const session = this.#session;
    if (session === null) {
      this.#waiting.push(() => this.#next());
      return;
    }
    const { prng, ledger, plan } = this.#options;
    const volume = prng.below(session.volumes.length);
    const blockBytes = session.volumes[volume]?.blockSizeBytes ?? sectorBytes;
    const sizeBytes = session.volumes[volume]?.sizeBytes ?? 0;
    const places = Math.min(plan.places, sizeBytes / blockBytes);
    const stride = Math.floor(sizeBytes / blockBytes / places);
    const offset = prng.below(places) * stride * blockBytes;
    const length = Math.min(prng.pick([1, 1, 1, 2, 4]) * blockBytes, sizeBytes - offset);
    const dice = prng.below(100);
    if (dice < 55) this.#write(session, volume, offset, length, prng.chance(0.1));
    else if (dice < 62) this.#zero(session, volume, offset, length, prng.chance(0.5));
    else if (dice < 72) this.#flush(session, volume, ledger.flushIssued(volume));
    else this.#read(session, volume, offset, length);
  }

  #write(session: Session, volume: number, offset: number, length: number, fua: boolean): void {
    const { ledger, nextNumber } = this.#options;
    const number = nextNumber();
    const write = ledger.issued({ number, kind: 'write', ...session }, volume, offset, length);
    const data = fillSectors(volume, offset / sectorBytes, length / sectorBytes, number);
    const done = this.#changed(session, write, `write ${number} of ${volume}:${offset}+${length}`, fua);
    session.process.call(() => session.volumes[volume]?.write(offset, data, fua, done));
  }

  #zero(session: Session, volume: number, offset: number, length: number, keepAllocated: boolean): void {
    const { ledger, nextNumber } = this.#options;
    const number = nextNumber();
    const write = ledger.issued({ number, kind: 'zero', ...session }, volume, offset, length);
    const done = this.#changed(session, write, `zero ${number} of ${volume}:${offset}+${length}`, false);
    session.process.call(() => session.volumes[volume]?.zero(offset, length, { keepAllocated, fua: false }, done));
  }

  #changed(session: Session, write: Write, what: string, fua: boolean): HostCompletion {
    const { ledger } = this.#options;
    return this.#request(
      session,
      what,
      (fault) => {
        if (fault === null) ledger.acknowledged(write, session.opening, fua);
        else ledger.failed(write);
      },
      () => ledger.unknown(write),
    );
  }

  #flush(session: Session, volume: number, covers: number): void {
    const { ledger } = this.#options;
    const done = this.#request(
      session,
      `flush of ${volume}`,
      (fault) => {
        if (fault === null) ledger.flushed(volume, covers, session.opening);
      },
      () => {},
    );
    session.process.call(() => session.volumes[volume]?.flush(done));
  }

  #read(session: Session, volume: number, offset: number, length: number): void {
    const { ledger } = this.#options;
    const into = new Uint8Array(length);
    const first = ledger.sectorOf(volume, offset);
    const floors = ledger.floors(first, length / sectorBytes);
    const overtaken = ledger.overtaken(session.opening);
    const done = this.#request(
      session,
      `read of ${volume}:${offset}+${length}`,
      (fault) => {
        if (fault !== null) return;
        const contents: number[] = [];
        for (let at = 0; at < length / sectorBytes; at++) {
          contents.push(sectorAt(into, at, volume, offset / sectorBytes));
        }
        ledger.read(first, contents, floors, session.opening, overtaken);
      },
      () => {},
    );
    session.process.call(() => session.volumes[volume]?.read(offset, into, done));
  }

  /** I9: completes once, or its session ends; what a dead session is told afterwards nobody hears. */
  #request(
    session: Session,
    what: string,
    told: (fault: HostFault | null) => void,
    abandoned: () => void,
  ): HostCompletion {
    const { world, violated } = this.#options;
    const request: Request = {
      session,
      what,
      issuedAtMs: world.nowMs,
      completed: false,
      abandoned: () => {
        abandoned();
        this.#think();
      },
    };
    this.#open.add(request);
    const { process } = session;
    this.#outstanding.set(process, this.outstanding(process) + 1);
    return process.whileAlive((fault) => {
      if (request.completed) {
        violated(new Violation('I9', `${this.#name}: ${what} completed twice`));
        return;
      }
      request.completed = true;
      this.#outstanding.set(process, this.outstanding(process) - 1);
      this.completions++;
      world.trace.add(world.nowMs, 'note', session.process.number, fault === null ? this.completions : -1);
      if (session.ended) {
        // Nobody hears of it, but what failed need not be there.
        if (fault !== null && fault !== 'moved') told(fault);
        return;
      }
      this.#open.delete(request);
      if (fault === 'moved') {
        abandoned();
        this.#ended(session);
      } else {
        try {
          told(fault);
        } catch (error) {
          if (!(error instanceof Violation)) throw error;
          violated(error);
        }
      }
      this.#think();
    });
  }

  #later(delayMs: number, run: () => void): void {
    this.#options.world.scheduler.after(delayMs, 'note', null, run);
  }
}
