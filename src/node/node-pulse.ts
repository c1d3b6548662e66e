/**
 * The engine's side of the pulse: starts it as the cluster document says, keeps its status table over restarts, installs
 * heartbeat mirrors, and has it say what this node is. Which thread it beats in is the host's affair.
 */
import type { Commands } from '../agent/commands.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { untilMultipleMs } from '../base/waiting.ts';
import { MirrorInstaller } from '../pulse/installer.ts';
import type { Indication } from '../pulse/indication.ts';
import type { ControlMessage } from '../pulse/message.ts';
import type { SpokenWord } from '../pulse/service.ts';
import type { PulseSettings } from '../pulse/settings.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import { decodeTable, encodeTable, type StatusTable } from '../pulse/status-table.ts';
import type { ClusterDocument } from '../store/document.ts';
import { defaultLeaseTtlMs } from '../store/lease.ts';
import { PeerChecks } from './peer-checks.ts';
import { defaultStallMs } from './progress.ts';
import type { PulseAsked } from './pulse-control.ts';
import type { PulseConfiguration, PulseHost } from './pulse-host.ts';

export interface NodePulseContext {
  readonly environment: Environment;
  readonly host: PulseHost;
  readonly node: string;
  /** Of this process. */
  readonly incarnation: string;
  readonly dataFolder: string;
  readonly document: () => ClusterDocument;
  /** What of production lies at a path (HM-3). */
  readonly productionAt: (path: string) => Promise<string | null>;
  /** How long ago each other node was last heard on its link, milliseconds; those never heard are left out. */
  readonly linkHeard: () => ReadonlyMap<string, number>;
  /** What this node says of itself now. */
  readonly word: () => Omit<SpokenWord, 'leaving'>;
  /** Null: no programs can be run here, and nodes are not checked by any (HM-7). */
  readonly commands: Commands | null;
  /** Where the document has no pulse. */
  readonly leaseTtlMs?: number;
  readonly leaseAcquired: (leaseId: string) => void;
  readonly leaseLapsed: (reason: string) => void;
  readonly changed: (snapshot: PulseSnapshot) => void;
  /** Seen by the pulse here, or (`from` another node) told by it. */
  readonly indicated: (indication: Indication, from: string) => void;
}

/** How long an activation waits for its confirmation. */
const confirmMs = 30_000;

export class NodePulse {
  readonly mirrors: MirrorInstaller;
  readonly #context: NodePulseContext;
  #beats = false;
  #table: StatusTable | null = null;
  #saving: Promise<void> = Promise.resolve();
  #said = '';
  #telling: Timer | null = null;
  #checks: PeerChecks | null = null;
  readonly #muted = new Map<string, string>();

  constructor(context: NodePulseContext) {
    this.#context = context;
    const { environment, host, node, dataFolder } = context;
    this.mirrors = new MirrorInstaller(
      environment,
      {
        node,
        get nodes() {
          return context.document().nodes.map(({ name }) => name);
        },
        dataFolder,
        confirmMs,
      },
      {
        sendControl: (to, request, limitMs) =>
          host.ask({ kind: 'sendControl', to, message: request, limitMs }).then(() => {}),
        use: ({ name, from, to, path }) => {
          const mirror = { name, from, to, paths: { [node]: path } };
          this.#asking({ kind: 'addChannel', channel: { kind: 'mirror', mirror } }, `heartbeat mirror ${name}`);
        },
        vacate: (name) => host.ask({ kind: 'removeChannel', id: `mirror:${name}` }).then(() => {}),
        productionAt: (path) => context.productionAt(path),
        indicate: (indication) => context.indicated(indication, node),
      },
    );
  }

  get snapshot(): PulseSnapshot | null {
    return this.#context.host.snapshot;
  }

  /** As an administrator asks it; null: there is none. */
  get asked(): PulseAsked | null {
    if (!this.#beats) return null;
    const { host } = this.#context;
    return {
      status: () => host.ask<'status'>({ kind: 'status' }),
      snapshot: () => host.ask<'snapshot'>({ kind: 'snapshot' }),
      use: (change) => host.ask<'use'>({ kind: 'use', change }),
    };
  }

  /** Whether a pulse is configured, and beats. */
  get beats(): boolean {
    return this.#beats;
  }

  async start(): Promise<void> {
    const { host, node, incarnation, document, leaseTtlMs } = this.#context;
    const { pulse } = document();
    this.#table = pulse === null ? null : await this.#loadTable();
    await host.start(
      {
        node,
        incarnation,
        leaseTtlMs: pulse?.leaseTtlMs ?? leaseTtlMs ?? defaultLeaseTtlMs,
        stallMs: pulse?.stallMs ?? defaultStallMs,
        pulse: this.#configuration(),
      },
      {
        leaseAcquired: (leaseId) => this.#context.leaseAcquired(leaseId),
        leaseLapsed: (reason) => this.#context.leaseLapsed(reason),
        changed: (snapshot) => this.#context.changed(snapshot),
        indicated: (indication, from) => this.#context.indicated(indication, from),
        tableChanged: (table) => this.#saveTable(table),
        control: (from, message) => this.#control(from, message),
      },
    );
    this.#beats = pulse !== null;
    if (pulse === null) return;
    await this.mirrors.start(pulse.mirrors);
    this.#tell(pulse.intervalMs);
    this.#checks = this.#makeChecks(pulse);
  }

  /** HM-7. */
  #makeChecks({ validity, intervalMs }: PulseSettings): PeerChecks | null {
    const { environment, commands, node, document } = this.#context;
    if (validity.check === undefined || commands === null) return null;
    return new PeerChecks({
      clock: environment.clock,
      commands,
      node,
      others: () => document().nodes.flatMap(({ name }) => (name === node ? [] : [name])),
      check: validity.check,
      everyMs: intervalMs,
      checked: (peer, problem) => this.#asking({ kind: 'checked', peer, problem }, `check of ${peer}`),
      output: (peer, text) => environment.log.info(`check of ${peer}: ${text.trimEnd()}`),
    });
  }

  /** The document has changed: new mirrors are adopted; other settings of the pulse hold from the next start. */
  async follow(): Promise<void> {
    const { pulse } = this.#context.document();
    if (this.#beats && pulse !== null) await this.mirrors.adopt(pulse.mirrors);
  }

  /** With each heartbeat the pulse has the newest: what this node is, and whom its links hear (TL-4). */
  #tell(intervalMs: number): void {
    const { environment, host, linkHeard, word } = this.#context;
    for (const [peer, agoMs] of linkHeard()) host.heard('link', peer, agoMs);
    const now = word();
    const text = JSON.stringify(now);
    if (text !== this.#said) host.say({ ...now, leaving: false });
    this.#said = text;
    const { clock } = environment;
    this.#telling = clock.after(untilMultipleMs(clock, intervalMs), () => this.#tell(intervalMs));
  }

  /** HM-16: the other nodes are told. */
  indicate(indication: Indication): void {
    if (this.#beats) this.#context.host.indicate(indication);
  }

  /** Silent, and without a lease, as long as somebody (`by`) has a reason for it. */
  mute(by: 'agent' | 'drill', reason: string | null): void {
    if (reason === null) this.#muted.delete(by);
    else this.#muted.set(by, reason);
    const [first = null] = this.#muted.values();
    this.#context.host.mute(first);
  }

  /** AS-7. */
  async leave(): Promise<void> {
    if (this.#beats) await this.#context.host.ask({ kind: 'leave' }).catch(() => {});
  }

  async stop(): Promise<void> {
    this.#telling?.cancel();
    this.#checks?.stop();
    this.mirrors.close();
    await this.#context.host.stop();
    await this.#saving;
  }

  #configuration(): PulseConfiguration | null {
    const { clusterId, nodes, pulse } = this.#context.document();
    return pulse === null ? null : { clusterId, nodes, settings: pulse, table: this.#table };
  }

  async #control(from: string, message: ControlMessage): Promise<string | null> {
    return this.mirrors.control(from, message);
  }

  #asking(question: Parameters<PulseHost['ask']>[0], what: string): void {
    this.#context.host.ask(question).catch((error: unknown) => {
      this.#context.environment.log.error(`${what}: ${messageOf(error)}`);
    });
  }

  get #tablePath(): string {
    return `${this.#context.dataFolder}/pulse-table.json`;
  }

  async #loadTable(): Promise<StatusTable | null> {
    try {
      const text = new TextDecoder().decode(await this.#context.environment.files.read(this.#tablePath));
      const table = decodeTable(text);
      if (table === null) throw new Error('it is not of this version');
      return table;
    } catch (error) {
      if (!(error instanceof HoldfastError && error.code === 'E_FILE_MISSING'))
        this.#context.environment.log.warn(
          `${this.#tablePath} cannot be read, all paths are in use: ${messageOf(error)}`,
        );
      return null;
    }
  }

  /** The last one counts: what is saved follows what was told, in order. */
  #saveTable(table: StatusTable): void {
    const { environment } = this.#context;
    const data = new TextEncoder().encode(encodeTable(table));
    this.#saving = this.#saving.then(async () => {
      try {
        await environment.files.write(`${this.#tablePath}.new`, data, { sync: true });
        await environment.files.rename(`${this.#tablePath}.new`, this.#tablePath);
      } catch (error) {
        environment.log.warn(`the table of heartbeats cannot be kept: ${messageOf(error)}`);
      }
    });
  }
}
