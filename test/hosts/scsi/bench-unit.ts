/** One command at a time against units without a device server: what is sent to `run`, what comes back. */
import type {
  AccessState,
  HostCompletion,
  HostFault,
  HostGroupNode,
  HostVolume,
} from '../../../src/group/host-access.ts';
import type { Command, ReservationClass } from '../../../src/hosts/scsi/command.ts';
import { type AttentionCode, LogicalUnit } from '../../../src/hosts/scsi/logical-unit.ts';
import { ScsiStatus, type Nexus, type ScsiTask } from '../../../src/hosts/scsi/task.ts';

export interface Answer {
  readonly status: ScsiStatus;
  readonly data: Uint8Array;
  readonly sense: Uint8Array | null;
}

export class BenchVolume implements HostVolume {
  readonly name: string;
  readonly wwid: string;
  readonly bytes: Uint8Array;
  readonly blockSizeBytes: number;
  readonly #turn: (() => void)[];
  /** The next request ends with it. */
  fault: HostFault | null = null;
  largestRequest = 0;

  constructor(name: string, wwid: string, sizeBytes: number, blockSizeBytes: number, turn: (() => void)[]) {
    this.name = name;
    this.wwid = wwid;
    this.bytes = new Uint8Array(sizeBytes);
    this.blockSizeBytes = blockSizeBytes;
    this.#turn = turn;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  read(offset: number, into: Uint8Array, done: HostCompletion): void {
    this.#later(into.length, done, () => into.set(this.bytes.subarray(offset, offset + into.length)));
  }

  write(offset: number, data: Uint8Array, _fua: boolean, done: HostCompletion): void {
    this.#later(data.length, done, () => this.bytes.set(data, offset));
  }

  zero(): void {
    throw new Error('not asked for here');
  }

  flush(): void {
    throw new Error('not asked for here');
  }

  allocation(): void {
    throw new Error('not asked for here');
  }

  #later(length: number, done: HostCompletion, act: () => void): void {
    this.largestRequest = Math.max(this.largestRequest, length);
    const { fault } = this;
    this.fault = null;
    this.#turn.push(() => {
      if (fault === null) act();
      done(fault);
    });
  }
}

export interface BenchOptions {
  readonly commands: readonly Command[];
  /** Size in blocks and block size of each volume; index = LUN. */
  readonly volumes: readonly { blocks: number; blockSizeBytes: 512 | 4096; writeCache?: boolean }[];
  readonly nodes?: readonly HostGroupNode[];
}

export const targetName = 'iqn.2026-11.org.holdfast:lab:g1';

export function wwidOf(lun: number): string {
  return `6001405${'0'.repeat(23)}${lun.toString(16).padStart(2, '0')}`;
}

export class Bench {
  readonly units: readonly BenchUnit[];
  readonly commands: readonly Command[];
  readonly turn: (() => void)[] = [];

  constructor({ commands, volumes, nodes = [twoNodes('active', 'standby')].flat() }: BenchOptions) {
    this.commands = commands;
    const device = { targetName, commands, units: () => this.units };
    this.units = volumes.map(({ blocks, blockSizeBytes, writeCache = true }, lun) => {
      const wwid = wwidOf(lun);
      const volume = new BenchVolume(`vol${lun}`, wwid, blocks * blockSizeBytes, blockSizeBytes, this.turn);
      return new BenchUnit(lun, device, volume, writeCache, nodes);
    });
  }

  unit(lun: number): BenchUnit {
    const unit = this.units[lun];
    if (unit === undefined) throw new Error(`no unit at ${lun}`);
    return unit;
  }

  /** Until nothing is left to complete. */
  settle(): void {
    for (let act = this.turn.shift(); act !== undefined; act = this.turn.shift()) act();
  }

  /** Sends it to the first unit unless told otherwise, and waits. The reserved bits are checked as a device server does. */
  send(cdb: readonly number[], { lun = 0, dataOut = [] as ArrayLike<number>, nexus = nexusOf(1) } = {}): Answer {
    const started = this.start(cdb, { lun, dataOut, nexus });
    this.settle();
    const answer = started();
    if (answer === null) throw new Error('the command was not completed');
    return answer;
  }

  start(
    cdb: readonly number[],
    { lun = 0, dataOut = [] as ArrayLike<number>, nexus = nexusOf(1) } = {},
  ): () => Answer | null {
    const unit = this.units[lun];
    const command = this.find(cdb);
    if (command === undefined) throw new Error(`no command ${cdb.join(' ')}`);
    const padded = Uint8Array.from({ length: 16 }, (_, index) => cdb[index] ?? 0);
    let answer: Answer | null = null;
    let reserved = new Uint8Array(0);
    const limit = unit === undefined ? 0 : (command.dataOutBytes?.(unit, padded) ?? 0);
    const task: ScsiTask = {
      nexus,
      lun,
      cdb: padded,
      attribute: 'simple',
      dataOut: Uint8Array.from(dataOut).subarray(0, limit),
      reserveDataIn: (bytes) => (reserved = new Uint8Array(bytes)),
      complete: (status, sense = null, bytes = status === ScsiStatus.good ? reserved.length : 0) => {
        if (answer !== null) throw new Error('completed twice');
        answer = { status, sense, data: reserved.subarray(0, bytes) };
      },
      dropped: () => {
        throw new Error('dropped by a command');
      },
    };
    if (unit !== undefined) command.run(unit, task);
    else command.withoutUnit?.({ targetName, commands: this.commands, units: () => this.units }, task);
    return () => answer;
  }

  find(cdb: readonly number[]): Command | undefined {
    const [opcode, actionByte = 0] = cdb;
    return this.commands.find(
      (command) =>
        command.opcode === opcode &&
        (command.serviceAction === null || command.serviceAction === (actionByte & 0x1f)),
    );
  }
}

class BenchUnit extends LogicalUnit {
  readonly bench: BenchVolume;
  aborted = false;
  /** What the reservations of others keep everybody from. */
  reserved: 'nothing' | 'write' | 'all' = 'nothing';
  readonly attentions: { code: AttentionCode; except: Nexus | null }[] = [];

  constructor(
    lun: number,
    device: LogicalUnit['device'],
    volume: BenchVolume,
    writeCache: boolean,
    nodes: readonly HostGroupNode[],
  ) {
    const { name, wwid, sizeBytes } = volume;
    const blockSizeBytes = volume.blockSizeBytes === 512 ? 512 : 4096;
    const unused = (): never => {
      throw new Error('not asked for here');
    };
    super({
      unit: { index: lun, name, wwid, sizeBytes, blockSizeBytes, writeCache },
      device,
      group: {
        name: 'g1',
        access: 'active',
        reason: '',
        units: [],
        nodes,
        volume: () => volume,
        reservations: () => null,
        reserve: unused,
        join: unused,
        watch: unused,
      },
      clock: { monotonicMs: unused, wallMs: unused, after: unused },
      nexuses: () => [],
    });
    this.bench = volume;
  }

  override attention(code: AttentionCode, except: Nexus | null = null): void {
    this.attentions.push({ code, except });
  }

  override conflicts(_nexus: Nexus, access: ReservationClass): boolean {
    return this.reserved === 'all' || (this.reserved === 'write' && access === 'write');
  }

  override isAborted(): boolean {
    return this.aborted;
  }
}

const nexuses = new Map<number, Nexus>();

/** One object a target port, as the device server has it. */
export function nexusOf(targetPort: number): Nexus {
  const initiatorPort = 'iqn.2004-10.com.ubuntu:host,i,0x00023d000001';
  const nexus = nexuses.get(targetPort) ?? {
    initiatorPort,
    targetPort,
    label: `host at ${targetPort}`,
    visible: null,
  };
  nexuses.set(targetPort, nexus);
  return nexus;
}

export function twoNodes(east: AccessState, west: AccessState): HostGroupNode[] {
  return [
    { node: 'east', number: 1, access: east, portals: ['127.0.0.1:3260', '[::1]:3260'] },
    { node: 'west', number: 2, access: west, portals: ['127.0.0.1:3261'] },
  ];
}

/** Sense key, and ASC << 8 | ASCQ, of fixed or descriptor format. */
export function senseOf({ status, sense }: Answer): [key: number, asc: number] | null {
  if (status !== ScsiStatus.checkCondition || sense === null) return null;
  const descriptor = sense[0] === 0x72;
  const [key = 0, asc = 0, ascq = 0] = (descriptor ? [1, 2, 3] : [2, 12, 13]).map((at) => sense[at] ?? 0);
  return [key, (asc << 8) | ascq];
}

export function hexOf(bytes: ArrayLike<number>): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
