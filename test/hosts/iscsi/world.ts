/** A small world for one iSCSI server: turns and time by hand, streams in memory, a device that does what it is told. */
import type { Log } from '../../../src/base/log.ts';
import type { Address, ByteStream, Listener, Network, StreamEvents } from '../../../src/base/network.ts';
import type { Turn } from '../../../src/base/turn.ts';
import { type IscsiLimits, IscsiServer } from '../../../src/hosts/iscsi/server.ts';
import type { Admission, IscsiTarget } from '../../../src/hosts/iscsi/targets.ts';
import type {
  Nexus,
  ScsiDevice,
  ScsiTask,
  TaskManagement,
  TaskManagementResponse,
} from '../../../src/hosts/scsi/task.ts';
import { Prng } from '../../../src/sim/world/prng.ts';
import { ManualClock, ManualTurn, TestStream } from '../nbd/world.ts';
import { type Answer, Host } from './host.ts';

const blockBytes = 512;

/** READ (10), WRITE (10), and as TEST UNIT READY everything else. */
export class FakeDevice implements ScsiDevice {
  readonly data: Buffer;
  /** What happened, in words. */
  readonly calls: string[] = [];
  /** While true nothing ends; `release` lets all end that is there. */
  holding = false;
  /** Those to be aborted are completed all the same: the abort came too late for them. */
  finishing = false;
  /** Instead of carrying it out. */
  script: ((task: ScsiTask) => void) | null = null;
  asyncEvent: ((lun: number, sense: Uint8Array) => void) | null = null;
  /** With the device. */
  readonly tasks = new Set<ScsiTask>();
  readonly nexuses = new Set<Nexus>();
  readonly #turn: Turn;
  readonly #aborting = new Set<ScsiTask>();
  #held: (() => void)[] = [];

  constructor(turn: Turn, blocks = 4096) {
    this.#turn = turn;
    this.data = Buffer.alloc(blocks * blockBytes);
  }

  nexusGained(nexus: Nexus): void {
    this.nexuses.add(nexus);
    this.calls.push(`gained ${nexus.initiatorPort} ${nexus.targetPort}`);
  }

  nexusLost(nexus: Nexus, done: () => void): void {
    if (!this.nexuses.delete(nexus)) throw new Error('lost a nexus it did not have');
    this.#endAll(
      (task) => task.nexus === nexus,
      () => {
        this.calls.push(`lost ${nexus.initiatorPort} ${nexus.targetPort}`);
        done();
      },
    );
  }

  dataOutBytes(_nexus: Nexus, _lun: number, cdb: Uint8Array): number {
    return cdb[0] === 0x2a ? lengthOf(cdb) : 0;
  }

  execute(task: ScsiTask): void {
    if (!this.nexuses.has(task.nexus)) throw new Error('a command of a nexus that is lost');
    this.tasks.add(task);
    const [block] = placeOf(task.cdb);
    this.calls.push(
      `${nameOf(task.cdb)} ${block}+${lengthOf(task.cdb)}${task.attribute === 'simple' ? '' : ` ${task.attribute}`}`,
    );
    const { dataOut, cdb } = task;
    const into = cdb[0] === 0x28 ? task.reserveDataIn(lengthOf(cdb)) : null;
    this.#later(() => {
      if (!this.tasks.delete(task)) throw new Error('ended twice');
      const at = block * blockBytes;
      if (cdb[0] === 0x2a) this.data.set(dataOut, at);
      into?.set(this.data.subarray(at, at + into.length));
      if (this.#aborting.delete(task) && !this.finishing) task.dropped();
      else if (this.script !== null) this.script(task);
      else task.complete(0x00);
    });
  }

  manage(nexus: Nexus, request: TaskManagement, done: (response: TaskManagementResponse) => void): void {
    this.calls.push(`manage ${request.kind}`);
    if ('lun' in request && request.lun !== 0) {
      this.#turn.defer(() => {
        done('noSuchUnit');
      });
      return;
    }
    const concerned = (task: ScsiTask): boolean =>
      request.kind === 'abortTask'
        ? task === request.task
        : request.kind === 'abortTaskSet'
          ? task.nexus === nexus
          : true;
    this.#endAll(concerned, () => {
      done('complete');
    });
  }

  onAsyncEvent(_nexus: Nexus, listener: (lun: number, sense: Uint8Array) => void): void {
    this.asyncEvent = listener;
  }

  release(): void {
    this.holding = false;
    for (const run of this.#held) this.#turn.defer(run);
    this.#held = [];
  }

  /** Those concerned will be dropped instead of completed; `done` when they have been. */
  #endAll(concerned: (task: ScsiTask) => boolean, done: () => void): void {
    const ending = [...this.tasks].filter(concerned);
    for (const task of ending) this.#aborting.add(task);
    const look = (): void => {
      if (ending.some((task) => this.#aborting.has(task))) this.#later(look);
      else done();
    };
    this.#later(look);
  }

  #later(run: () => void): void {
    if (this.holding) this.#held.push(run);
    else this.#turn.defer(run);
  }
}

function placeOf(cdb: Uint8Array): [number, number] {
  const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.length);
  return cdb[0] === 0x28 || cdb[0] === 0x2a ? [view.getUint32(2), view.getUint16(7)] : [0, 0];
}

function lengthOf(cdb: Uint8Array): number {
  return placeOf(cdb)[1] * blockBytes;
}

function nameOf(cdb: Uint8Array): string {
  return cdb[0] === 0x28 ? 'read' : cdb[0] === 0x2a ? 'write' : `op${cdb[0]}`;
}

export const targetName = 'iqn.2026-11.org.holdfast:c1:g1';
export const initiatorName = 'iqn.1993-08.org.debian:01:abc';
export const isid = '00023d000001';

export interface LoginOptions {
  readonly isid?: string;
  readonly tsih?: number;
  readonly initiator?: string;
  readonly discovery?: boolean;
  /** Beside names: `InitialR2T=No`. */
  readonly keys?: readonly string[];
}

/** A connection with the host at its other end. */
export class Line {
  readonly host = new Host();
  readonly stream: TestStream;
  readonly #world: World;

  constructor(world: World, stream: TestStream) {
    this.#world = world;
    this.stream = stream;
  }

  /** Delivers, runs the turn, lets ended streams close, returns what came back. */
  say(...parts: Uint8Array[]): Answer[] {
    for (const part of parts) this.stream.deliver(part);
    return this.hear();
  }

  hear(): Answer[] {
    this.#world.turn.run();
    const bytes = this.stream.fetch();
    this.#world.turn.run();
    const answers = this.host.read(Buffer.concat([bytes, this.stream.fetch()]));
    if (this.stream.ended || this.stream.destroyed) {
      this.stream.close('closed here');
      this.#world.turn.run();
    }
    return answers;
  }

  login(options: LoginOptions = {}): Answer | null {
    const { host } = this;
    const names = [`InitiatorName=${options.initiator ?? initiatorName}`];
    if (options.discovery) names.push('SessionType=Discovery');
    else names.push('SessionType=Normal', `TargetName=${targetName}`);
    const keys = options.keys ?? [];
    const [answer] = this.say(host.login(options.isid ?? isid, options.tsih ?? 0, [...names, ...keys]));
    if (answer === undefined) return null;
    const agreed = new Map(
      answer.data
        .toString()
        .split('\0')
        .map((pair) => pair.split('=') as [string, string]),
    );
    const said = new Map(keys.map((pair) => pair.split('=') as [string, string]));
    const value = (key: string, otherwise: string): string => agreed.get(key) ?? said.get(key) ?? otherwise;
    host.settings = {
      headerDigest: value('HeaderDigest', 'None') === 'CRC32C',
      dataDigest: value('DataDigest', 'None') === 'CRC32C',
      initialR2T: value('InitialR2T', 'Yes') === 'Yes',
      immediateData: value('ImmediateData', 'Yes') === 'Yes',
      firstBurst: Number(value('FirstBurstLength', '65536')),
      maxBurst: Number(value('MaxBurstLength', '262144')),
      sendSegment: host.settings.sendSegment,
    };
    return answer;
  }

  /** A whole write; answers R2Ts until it is answered itself. */
  write(cdb: Uint8Array, all: Uint8Array, expected = all.length): { answer: Answer; r2ts: Answer[] } {
    const { host } = this;
    const { bytes, sent } = host.write({ cdb, all, expected });
    const tag = host.tag;
    const r2ts: Answer[] = [];
    let answers = this.say(bytes);
    let at = sent;
    while (true) {
      const [first] = answers;
      if (first === undefined) throw new Error('no answer');
      if (first.opcode === 0x21) return { answer: first, r2ts };
      if (first.opcode !== 0x31 || first.tag !== tag) throw new Error(`opcode ${first.opcode}`);
      const now = answers;
      r2ts.push(...now);
      answers = [];
      for (const { transferTag, offset, desired } of now) {
        if (offset !== at || desired > host.settings.maxBurst)
          throw new Error(`R2T of ${offset}+${desired} at ${at}`);
        at += desired;
        answers.push(...this.say(...host.sequence(tag, transferTag, all, offset, offset + desired)));
      }
    }
  }
}

export class World {
  readonly turn = new ManualTurn();
  readonly clock = new ManualClock();
  readonly device: FakeDevice;
  readonly logged: string[] = [];
  readonly server: IscsiServer;
  admission: Admission | { readonly refused: string } = { visible: null, chap: null };
  readonly #accept: ((stream: ByteStream) => StreamEvents)[] = [];

  constructor(limits: Partial<IscsiLimits> = {}) {
    this.device = new FakeDevice(this.turn);
    const note = (message: string): void => {
      this.logged.push(message);
    };
    const log: Log = { info: note, warn: note, error: note };
    const network: Network = {
      connect: () => {
        throw new Error('the server connects to nobody');
      },
      listen: (at: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener> => {
        this.#accept.push(accept);
        return Promise.resolve({ address: at, close: () => Promise.resolve() });
      },
    };
    const target: IscsiTarget = {
      name: targetName,
      alias: '',
      device: this.device,
      portals: [{ address: '0.0.0.0:3260', tag: 1 }],
      redirect: null,
      admit: () => this.admission,
    };
    this.server = new IscsiServer(
      { clock: this.clock, turn: this.turn, log, network, random: new Prng('iscsi') },
      { list: () => [target], find: (name) => (name === targetName ? target : null) },
      limits,
    );
    for (const tag of [1, 2]) {
      void this.server.listen([{ address: { kind: 'tcp', host: '10.0.0.1', port: 3259 + tag }, tag }]);
    }
  }

  /** `portal`: 0 or 1. */
  connect(portal = 0): Line {
    const stream = new TestStream();
    const accept = this.#accept[portal];
    if (accept === undefined) throw new Error('nobody listens');
    stream.events = accept(stream);
    if (stream.destroyed) stream.close('closed here');
    return new Line(this, stream);
  }

  /** A session. */
  enter(options: LoginOptions = {}): Line {
    const line = this.connect();
    const answer = line.login(options);
    if (answer?.bhs.readUInt16BE(36) !== 0) throw new Error('login refused');
    return line;
  }

  /** Time passes, stroke by stroke. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 500) {
      this.clock.advance(Math.min(500, left));
      this.turn.run();
    }
  }
}
