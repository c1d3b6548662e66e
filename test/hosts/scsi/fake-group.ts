/** A group whose volumes are memory, for what is above it: requests wait until `settle`, faults and access are at hand. */
import type {
  AccessState,
  HostCompletion,
  HostExtent,
  HostFault,
  HostGroup,
  HostGroupNode,
  HostGroupWatcher,
  HostUnit,
  HostVolume,
} from '../../../src/group/host-access.ts';
import type { ReservationOutcome, ReservationRequest, Reservations } from '../../../src/group/reservations.ts';

export interface FakeUnitOptions {
  readonly sizeBytes?: number;
  readonly blockSizeBytes?: 512 | 4096;
  readonly writeCache?: boolean;
}

export function fakeUnit(index: number, options: FakeUnitOptions = {}): HostUnit {
  return {
    index,
    name: `vol${index + 1}`,
    wwid: `6${index.toString(16).padStart(31, '5')}`,
    sizeBytes: options.sizeBytes ?? 1024 * 1024,
    blockSizeBytes: options.blockSizeBytes ?? 512,
    writeCache: options.writeCache ?? true,
  };
}

export class FakeGroup implements HostGroup {
  readonly name = 'g1';
  access: AccessState = 'active';
  reason = '';
  units: readonly HostUnit[];
  nodes: readonly HostGroupNode[] = [
    { node: 'east', number: 1, access: 'active', portals: ['10.0.0.1:3260'] },
    { node: 'west', number: 2, access: 'standby', portals: ['10.0.0.2:3260', '10.0.1.2:3260'] },
  ];
  /** What the volumes were asked, in order. */
  readonly asked: string[] = [];
  /** Of the next requests. */
  fault: HostFault | null = null;
  readonly state = new Map<number, Reservations>();
  /** What `reserve` does. */
  reserving: (index: number, request: ReservationRequest) => ReservationOutcome = () => ({ kind: 'done' });
  readonly requested: ReservationRequest[] = [];
  readonly #memory = new Map<number, Uint8Array>();
  readonly #watchers = new Set<HostGroupWatcher>();
  #open: (() => void)[] = [];

  constructor(units: readonly HostUnit[] = [fakeUnit(0)]) {
    this.units = units;
  }

  memory(index: number): Uint8Array {
    let bytes = this.#memory.get(index);
    if (bytes === undefined) {
      bytes = new Uint8Array(this.units.find((unit) => unit.index === index)?.sizeBytes ?? 0);
      this.#memory.set(index, bytes);
    }
    return bytes;
  }

  /** Requests of volumes that have no answer yet. */
  get open(): number {
    return this.#open.length;
  }

  /** Answers what is open, and what is asked because of it; `count`: only so many. */
  settle(count = Infinity): void {
    for (let done = 0; done < count; done++) {
      const next = this.#open.shift();
      if (next === undefined) return;
      next();
    }
  }

  volume(index: number): HostVolume | null {
    const unit = this.units.find((each) => each.index === index);
    if (this.access !== 'active' || unit === undefined) return null;
    const bytes = this.memory(index);
    const later = (what: string, done: HostCompletion, act: () => void = () => {}): void => {
      this.asked.push(what);
      const { fault } = this;
      this.#open.push(() => {
        if (fault === null) act();
        done(fault);
      });
    };
    return {
      ...unit,
      read: (offset, into, done) =>
        later(`read ${offset} ${into.length}`, done, () => into.set(bytes.subarray(offset, offset + into.length))),
      write: (offset, data, fua, done) =>
        later(`write ${offset} ${data.length}${fua ? ' fua' : ''}`, done, () => bytes.set(data, offset)),
      zero: (offset, length, { fua }, done) =>
        later(`zero ${offset} ${length}${fua ? ' fua' : ''}`, done, () => bytes.fill(0, offset, offset + length)),
      flush: (done) => later('flush', done),
      allocation: (offset, length, done) => {
        later(`allocation ${offset} ${length}`, (fault) => done(fault, extentsOf(bytes, offset, length)));
      },
    };
  }

  reservations(index: number): Reservations | null {
    return this.state.get(index) ?? null;
  }

  reserve(index: number, request: ReservationRequest, done: (outcome: ReservationOutcome) => void): void {
    this.requested.push(request);
    this.#open.push(() => done(this.reserving(index, request)));
  }

  joined = 0;

  join(): () => void {
    this.joined += 1;
    return () => (this.joined -= 1);
  }

  watch(watcher: HostGroupWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  tell(run: (watcher: HostGroupWatcher) => void): void {
    for (const watcher of this.#watchers) run(watcher);
  }

  move(access: AccessState): void {
    this.access = access;
    this.tell((watcher) => watcher.accessChanged?.());
  }
}

/** By 4 KiB: holes are what is zero. */
function extentsOf(bytes: Uint8Array, offset: number, length: number): HostExtent[] {
  const extents: HostExtent[] = [];
  for (let at = offset; at < offset + length; at += 4096) {
    const end = Math.min(at + 4096, offset + length);
    extents.push({ offset: at, length: end - at, data: bytes.subarray(at, end).some((byte) => byte !== 0) });
  }
  return extents;
}
