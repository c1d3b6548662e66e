/**
 * Heartbeat mirrors come and go (HM-8, HM-9), without disturbing heartbeats by other ways (HM-10). The node that writes a
 * mirror, its source, leads; the other one, its target, does what it is told:
 *
 *     at the source                              at the target
 *     created ── install ──► installing                         mirror.install ──► in use, confirmed
 *     installing ── confirmed ──► installed
 *     installing ── refused ──► created                         (nothing was done)
 *     installing ── not confirmed in time ──► removing          (it may have been done)
 *     installed ── de-install ──► removing                      mirror.remove ──► NULL, confirmed
 *     removing ── confirmed ──► created
 *     created ── delete ──► (forgotten)
 *
 * A mirror is in use at the source while `installing` and `installed`; it may be split, paused or deleted only when it is
 * `created`: when nobody uses it at either end (HM-4, HM-9).
 *
 * Every step is saved before it has an effect, and each message bears a revision that rises: after a crash the step is
 * taken again, one done twice does no harm, and one that was overtaken is refused.
 */
import { z } from 'zod';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { pause, within } from '../base/waiting.ts';
import type { AlertCode, Indication } from './indication.ts';
import {
  readMirrorRecords,
  writeMirrorRecords,
  type MirrorRecord,
  type MirrorRecords,
  type MirrorState,
} from './mirror-records.ts';
import type { HeartbeatMirror } from './settings.ts';

/** HM-3: shown before a mirror is activated. */
export const productionDataWarning =
  'Do not put production data on a heartbeat mirror: it is overwritten with every heartbeat.';

/** As the status table has entries (HM-5). */
export const mirrorsMax = 16;
/** In JSON and UTF-8, so that a request fits into a heartbeat. */
export const mirrorPathBytesMax = 200;

export interface InstallerOptions {
  readonly node: string;
  /** All nodes of the cluster. */
  readonly nodes: readonly string[];
  readonly dataFolder: string;
  /** How long an activation may wait for its confirmation before it is undone; milliseconds. */
  readonly confirmMs: number;
}

/** A mirror that heartbeats are sent or read by, at this node. */
export interface UsedMirror {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Backing file or device here. */
  readonly path: string;
}

export interface MirrorRequest {
  readonly kind: string;
  readonly body: unknown;
}

/** What the installer does to the rest of the node. */
export interface InstallerPorts {
  /**
   * By the network or a working heartbeat mirror, again and again until it is answered. Rejects with `E_REFUSED`, in the other
   * node's words; with `E_TIMEOUT` after `limitMs`, and then it may or may not have been done; with `E_BUSY`.
   */
  sendControl(to: string, request: MirrorRequest, limitMs: number): Promise<void>;
  /** Enters it in the status table, and opens its channel. */
  use(mirror: UsedMirror): void;
  /** Its entry becomes NULL, its channel closes. */
  vacate(name: string): Promise<void>;
  /** What of production lies there (`volume db1`, `log of g1`), by whatever name the place is called; null: nothing. */
  productionAt(path: string): Promise<string | null>;
  indicate(indication: Indication): void;
}

export interface MirrorRow {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Backing store at `from`; null: not known at this node. */
  readonly primary: string | null;
  /** Backing store at `to`; null: the default of that node. */
  readonly secondary: string | null;
  readonly state: MirrorState;
}

export interface InstallRequest {
  readonly name: string;
  /** Whole paths of a file or device; default `<data folder>/heartbeat/<name>.img`. */
  readonly primary?: string;
  readonly secondary?: string;
}

/** What is asked of heartbeat mirrors, at the node that writes them. Rejections are `HoldfastError`s. */
export interface HeartbeatMirrors {
  list(): Promise<readonly MirrorRow[]>;
  /** `E_EXISTS`, `E_NOT_FOUND` for a node that is not there. */
  create(request: { readonly name: string; readonly to: string }): Promise<void>;
  /** Resolves when both ends use it. `E_NOT_FOUND`: no mirror is created; `E_TIMEOUT`: not confirmed, so undone. */
  install(request: InstallRequest): Promise<void>;
  /** Resolves when neither end uses it. `E_TIMEOUT`: the other end has not confirmed; it is asked for as long as it takes. */
  remove(name: string): Promise<void>;
  delete(name: string): Promise<void>;
  /** Resolves where it may be done, since nobody uses the mirror; else `E_REFUSED`, and an alert (HM-4). */
  permit(name: string, what: 'split' | 'pause'): Promise<void>;
}

const installBody = z.object({
  name: z.string().min(1).max(63),
  revision: z.int().nonnegative(),
  path: z.string().max(mirrorPathBytesMax),
});
const removeBody = installBody.omit({ path: true });
const installKind = 'mirror.install';
const removeKind = 'mirror.remove';

/** As all names in the configuration. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const retryMs = 1000;
/** Last words of mirrors that are gone, kept so that what was overtaken is known. */
const vacantMax = 64;

export class MirrorInstaller implements HeartbeatMirrors {
  readonly #world: Pick<Environment, 'clock' | 'files' | 'log'>;
  readonly #options: InstallerOptions;
  readonly #ports: InstallerPorts;
  readonly #path: string;
  readonly #records = new Map<string, MirrorRecord>();
  #adopted = new Set<string>();
  /** Saves, and requests of other nodes, run one after another. */
  #saving: Promise<void> = Promise.resolve();
  #obeying: Promise<unknown> = Promise.resolve();
  /** De-installs that wait for the other end, by name. */
  readonly #retiring = new Map<string, Promise<void>>();
  #closed = false;

  constructor(world: Pick<Environment, 'clock' | 'files' | 'log'>, options: InstallerOptions, ports: InstallerPorts) {
    this.#world = world;
    this.#options = options;
    this.#ports = ports;
    this.#path = `${options.dataFolder}/heartbeat-mirrors.json`;
  }

  /** Takes up what was before the last end of the process, and what the cluster document has new. */
  async start(document: readonly HeartbeatMirror[]): Promise<void> {
    const records = await readMirrorRecords(this.#world.files, this.#path);
    for (const record of records?.mirrors ?? []) this.#records.set(record.name, record);
    this.#adopted = new Set(records?.adopted);
    for (const record of this.#records.values()) if (isInUse(record)) this.#use(record);
    for (const record of this.#records.values()) {
      if (record.state === 'installing') void this.#activate(record).catch(() => {});
      if (record.state === 'removing') void this.#retire(record.name);
    }
    await this.adopt(document);
  }

  /** Those of the cluster document that were not there before are created and installed, at both nodes by themselves. */
  async adopt(document: readonly HeartbeatMirror[]): Promise<void> {
    const { node } = this.#options;
    const fresh = document.filter(({ name, from, to }) => (from === node || to === node) && !this.#adopted.has(name));
    const used: MirrorRecord[] = [];
    for (const { name, from, to, paths } of fresh) {
      this.#adopted.add(name);
      if (this.#records.has(name)) continue;
      const record = { name, from, to, primary: paths[from] ?? '', secondary: paths[to] ?? '', revision: 1 };
      const problem = await this.#problemOf(name, this.#pathOf(record));
      if (problem !== null) this.#alert('mirror-failed', name, problem);
      this.#records.set(name, { ...record, state: problem === null ? 'installed' : 'created' });
      if (problem === null) used.push({ ...record, state: 'installed' });
    }
    if (fresh.length > 0) await this.#save();
    for (const record of used) this.#use(record);
  }

  /** Ends what is waited for; mirrors stay in use until their channels are closed. */
  close(): void {
    this.#closed = true;
  }

  async list(): Promise<readonly MirrorRow[]> {
    return this.rows();
  }

  rows(): readonly MirrorRow[] {
    const { node } = this.#options;
    return [...this.#records.values()]
      .filter(({ from, state }) => from === node || state !== 'created')
      .map((record) => ({
        name: record.name,
        from: record.from,
        to: record.to,
        primary: record.from === node ? this.#pathOf(record) : record.primary || null,
        secondary: record.to === node ? this.#pathOf(record) : record.secondary || null,
        state: record.state,
      }));
  }

  async create({ name, to }: { readonly name: string; readonly to: string }): Promise<void> {
    const { node, nodes } = this.#options;
    if (!namePattern.test(name)) {
      throw new HoldfastError(
        'E_USAGE',
        `heartbeat mirror ${name}: a name has letters, digits, ".", "_" and "-", 63 at most`,
      );
    }
    const known = this.#records.get(name);
    // Of a mirror that another node fed only its last word is left.
    if (known !== undefined && (known.from === node || known.state !== 'created')) {
      throw new HoldfastError('E_EXISTS', `there is a heartbeat mirror ${name} already`);
    }
    if (to === node || !nodes.includes(to)) throw new HoldfastError('E_NOT_FOUND', `there is no other node ${to}`);
    await this.#change({
      name,
      from: node,
      to,
      primary: '',
      secondary: '',
      state: 'created',
      revision: known?.revision ?? 0,
    });
  }

  async install({ name, primary = '', secondary = '' }: InstallRequest): Promise<void> {
    const record = this.#ownRecord(name);
    if (record.state === 'installed') throw new HoldfastError('E_EXISTS', `heartbeat mirror ${name} is installed`);
    if (record.state !== 'created') throw this.#busy(record);
    for (const path of [primary, secondary]) requireWhole(path);
    const proposed: MirrorRecord = {
      ...record,
      primary,
      secondary,
      state: 'installing',
      revision: this.#nextRevision(record),
    };
    // Taken at once: no other request about it may come in between.
    this.#records.set(name, proposed);
    const problem = await this.#problemOf(name, this.#pathOf(proposed)).catch(messageOf);
    if (problem !== null) {
      this.#records.set(name, record);
      throw new HoldfastError('E_REFUSED', problem);
    }
    this.#world.log.warn(`heartbeat mirror ${name}: ${productionDataWarning}`);
    await this.#change(proposed, record);
    this.#use(proposed);
    await this.#activate(proposed);
  }

  async remove(name: string): Promise<void> {
    const record = this.#ownRecord(name);
    if (record.state === 'created') throw new HoldfastError('E_REFUSED', `heartbeat mirror ${name} is not installed`);
    if (record.state === 'installing') throw this.#busy(record);
    if (record.state === 'installed') await this.#beginRemoval(record);
    const { clock } = this.#world;
    const retired = this.#retire(name);
    const isDone = await within(clock, this.#options.confirmMs, (done) => void retired.then(done));
    if (isDone) return;
    throw new HoldfastError(
      'E_TIMEOUT',
      `heartbeat mirror ${name} is not used here any more, but ${record.to} has not confirmed it; it is asked until it does, and only then can the mirror be deleted`,
    );
  }

  async delete(name: string): Promise<void> {
    const record = this.#ownRecord(name);
    this.#requireUnused(record, 'delete');
    this.#records.delete(name);
    try {
      await this.#save();
    } catch (error) {
      this.#records.set(name, record);
      throw error;
    }
  }

  async permit(name: string, what: 'split' | 'pause'): Promise<void> {
    const record = this.#records.get(name);
    if (record === undefined) throw noMirror(name);
    this.#requireUnused(record, what);
  }

  /** A request of another node's installer. Null: done; a sentence: refused. Once more does no harm. */
  control(from: string, { kind, body }: MirrorRequest): Promise<string | null> {
    const answer = this.#obeying.then(async () => {
      try {
        if (kind === installKind) return await this.#obeyInstall(from, installBody.parse(body));
        if (kind === removeKind) return await this.#obeyRemove(from, removeBody.parse(body));
        return `${kind} is not known here`;
      } catch (error) {
        return error instanceof z.ZodError ? `a ${kind} that cannot be read` : messageOf(error);
      }
    });
    this.#obeying = answer;
    return answer;
  }

  async #obeyInstall(from: string, body: z.infer<typeof installBody>): Promise<string | null> {
    const { name, revision } = body;
    const { node } = this.#options;
    const known = this.#records.get(name);
    if (known !== undefined && known.from !== from && (known.from === node || known.state === 'installed')) {
      return `there is another heartbeat mirror ${name} here, from ${known.from}`;
    }
    if (known?.from === from) {
      if (known.revision > revision) return 'it was overtaken by a later request';
      if (known.revision === revision)
        return known.state === 'installed' ? null : 'it was overtaken by a later request';
    }
    const record: MirrorRecord = {
      name,
      from,
      to: node,
      primary: '',
      secondary: body.path,
      state: 'installed',
      revision,
    };
    const problem = await this.#problemOf(name, this.#pathOf(record));
    if (problem !== null) return problem;
    const wasUsed = known?.state === 'installed';
    await this.#change(record, known ?? null);
    if (wasUsed) await this.#ports.vacate(name);
    this.#use(record);
    return null;
  }

  async #obeyRemove(from: string, { name, revision }: z.infer<typeof removeBody>): Promise<string | null> {
    const known = this.#records.get(name);
    // Not of this source: whatever is here, its mirror is not.
    if (known !== undefined && known.from !== from) return null;
    if (known !== undefined && known.revision > revision) return null;
    const blank = { name, from, to: this.#options.node, primary: '', secondary: '' };
    await this.#change({ ...(known ?? blank), state: 'created', revision }, known ?? null);
    if (known?.state === 'installed') await this.#ports.vacate(name);
    return null;
  }

  /** The record is `installing`, saved and in use. */
  async #activate(record: MirrorRecord): Promise<void> {
    const { name, to, revision, secondary: path } = record;
    try {
      const request = { kind: installKind, body: { name, revision, path } };
      await this.#ports.sendControl(to, request, this.#options.confirmMs);
    } catch (error) {
      if (this.#closed) throw error;
      return this.#undo(record, error);
    }
    // Should it not be saved, the next start asks again, which does no harm.
    await this.#saveLater({ ...record, state: 'installed' });
  }

  async #undo(record: MirrorRecord, error: unknown): Promise<never> {
    const { name, to } = record;
    const code = error instanceof HoldfastError ? error.code : 'E_INTERNAL';
    // Busy: it was not even sent.
    const refused = code === 'E_REFUSED' || code === 'E_BUSY';
    const problem = refused
      ? `${to} refuses it: ${messageOf(error)}`
      : `${to} has not confirmed it within ${this.#options.confirmMs} ms, so it was undone`;
    await this.#saveLater({
      ...record,
      state: refused ? 'created' : 'removing',
      revision: this.#nextRevision(record),
    });
    await this.#ports.vacate(name);
    if (!refused) void this.#retire(name);
    this.#alert('mirror-failed', name, `not installed: ${problem}`);
    throw new HoldfastError(refused ? 'E_REFUSED' : 'E_TIMEOUT', `heartbeat mirror ${name}: ${problem}`);
  }

  async #beginRemoval(record: MirrorRecord): Promise<void> {
    await this.#change({ ...record, state: 'removing', revision: this.#nextRevision(record) }, record);
    await this.#ports.vacate(record.name);
  }

  /** Resolves when the other end has confirmed that it does not use it any more. */
  #retire(name: string): Promise<void> {
    const under = this.#retiring.get(name);
    if (under !== undefined) return under;
    const retired = this.#askUntilRemoved(name).finally(() => this.#retiring.delete(name));
    this.#retiring.set(name, retired);
    return retired;
  }

  async #askUntilRemoved(name: string): Promise<void> {
    for (;;) {
      const record = this.#records.get(name);
      if (this.#closed || record?.state !== 'removing') return;
      const { to, revision } = record;
      try {
        const request = { kind: removeKind, body: { name, revision } };
        // A node that is not of the cluster any more has nothing to confirm.
        if (this.#options.nodes.includes(to)) await this.#ports.sendControl(to, request, this.#options.confirmMs);
        await this.#change({ ...record, state: 'created' }, record);
        return;
      } catch (error) {
        this.#world.log.info(`heartbeat mirror ${name}: not removed at ${to} yet: ${messageOf(error)}`);
        await pause(this.#world.clock, retryMs);
      }
    }
  }

  #requireUnused(record: MirrorRecord, what: 'split' | 'pause' | 'delete'): void {
    if (record.state === 'created') return;
    const { name } = record;
    const state = record.state === 'removing' ? `being de-installed; wait until ${record.to} confirms` : 'installed';
    const text = `to ${what} it, de-install it first: holdfast pulse remove ${name}`;
    this.#alert('mirror-refused', name, `it is ${state}; ${text}`);
    throw new HoldfastError('E_REFUSED', `heartbeat mirror ${name} is ${state}; ${text}`);
  }

  /** Why the place cannot be used for it; null: it can. */
  async #problemOf(name: string, path: string): Promise<string | null> {
    const inUse = [...this.#records.values()].filter((record) => record.name !== name && isInUse(record));
    const other = inUse.find((record) => this.#pathOf(record) === path);
    if (other !== undefined) return `heartbeat mirror ${name}: ${path} belongs to heartbeat mirror ${other.name}`;
    if (inUse.length >= mirrorsMax)
      return `heartbeat mirror ${name}: ${mirrorsMax} are in use, which is all there can be`;
    const production = await this.#ports.productionAt(path);
    if (production === null) return null;
    return `heartbeat mirror ${name}: ${path} on ${this.#options.node} belongs to ${production}. ${productionDataWarning}`;
  }

  /** At this node. */
  #pathOf({ name, from, primary, secondary }: Omit<MirrorRecord, 'state'>): string {
    const { node, dataFolder } = this.#options;
    return (from === node ? primary : secondary) || `${dataFolder}/heartbeat/${name}.img`;
  }

  #use(record: MirrorRecord): void {
    const { name, from, to } = record;
    this.#ports.use({ name, from, to, path: this.#pathOf(record) });
  }

  #ownRecord(name: string): MirrorRecord {
    const record = this.#records.get(name);
    if (record === undefined) throw noMirror(name);
    const { from, state } = record;
    if (from === this.#options.node) return record;
    if (state === 'created') throw noMirror(name);
    throw new HoldfastError('E_REFUSED', `heartbeat mirror ${name} is written by ${from}: ask there`);
  }

  /** Above the last one even when the data folder, and with it the count, was lost. */
  #nextRevision({ revision }: MirrorRecord): number {
    return Math.max(revision + 1, Math.floor(this.#world.clock.wallMs()));
  }

  /** Saved, or as it was before and rejected. */
  async #change(record: MirrorRecord, before: MirrorRecord | null = null): Promise<void> {
    this.#records.set(record.name, record);
    try {
      await this.#save();
    } catch (error) {
      if (this.#records.get(record.name) === record) {
        if (before === null) this.#records.delete(record.name);
        else this.#records.set(record.name, before);
      }
      throw error;
    }
  }

  /** For what has happened already, saved or not. */
  async #saveLater(record: MirrorRecord): Promise<void> {
    this.#records.set(record.name, record);
    await this.#save().catch((error: unknown) => {
      this.#world.log.warn(`heartbeat mirror ${record.name}: ${messageOf(error)}`);
    });
  }

  #save(): Promise<void> {
    this.#forgetOldWords();
    const saved = this.#saving.then(() => {
      const records: MirrorRecords = { mirrors: [...this.#records.values()], adopted: [...this.#adopted] };
      return writeMirrorRecords(this.#world.files, this.#path, records);
    });
    this.#saving = saved.catch(() => {});
    return saved;
  }

  #forgetOldWords(): void {
    const vacant = [...this.#records.values()].filter(
      ({ from, state }) => from !== this.#options.node && state === 'created',
    );
    for (const { name } of vacant.slice(0, Math.max(0, vacant.length - vacantMax))) this.#records.delete(name);
  }

  #busy({ name, to, state }: MirrorRecord): HoldfastError {
    const doing = state === 'installing' ? 'being installed' : 'being de-installed';
    return new HoldfastError('E_BUSY', `heartbeat mirror ${name} is ${doing}; ${to} has not confirmed it yet`);
  }

  #alert(code: AlertCode, name: string, text: string): void {
    this.#ports.indicate({
      component: 'mirror',
      id: `mirror ${name}`,
      code,
      level: 'MODERATE',
      node: this.#options.node,
      group: null,
      atMs: this.#world.clock.wallMs(),
      text: text.startsWith('heartbeat mirror') ? text : `heartbeat mirror ${name}: ${text}`,
      over: false,
    });
  }
}

/** Whether a request is one for `MirrorInstaller.control`. */
export function isMirrorRequest(kind: string): boolean {
  return kind === installKind || kind === removeKind;
}

function isInUse({ state }: MirrorRecord): boolean {
  return state === 'installing' || state === 'installed';
}

function noMirror(name: string): HoldfastError {
  return new HoldfastError('E_NOT_FOUND', `no mirror is created: there is no heartbeat mirror ${name}`);
}

/** Empty means the default. */
function requireWhole(path: string): void {
  if (path === '') return;
  if (path.startsWith('/') && Buffer.byteLength(JSON.stringify(path)) - 2 <= mirrorPathBytesMax) return;
  throw new HoldfastError('E_USAGE', `${path}: name a whole path, of at most ${mirrorPathBytesMax} characters`);
}
