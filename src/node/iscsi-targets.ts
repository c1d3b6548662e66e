/**
 * A node's groups as iSCSI targets: names, portals, who may log in (BY-6), and where hosts are sent that log in at a node
 * which does not serve. Follows the cluster document; each target keeps its device server through every move.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Turn } from '../base/turn.ts';
import type { HostGroup } from '../group/host-access.ts';
import { commands } from '../hosts/scsi/commands.ts';
import { targetPortOf } from '../hosts/scsi/port-groups.ts';
import { DeviceServer } from '../hosts/scsi/device-server.ts';
import type { Admission, ChapCredentials, IscsiTarget, Portal, TargetDirectory } from '../hosts/iscsi/targets.ts';
import {
  iscsiTargetName,
  type ChapEntry,
  type ClusterDocument,
  type GroupEntry,
  type IscsiEntry,
  type IscsiHostEntry,
} from '../store/document.ts';
import { parseAddressRange } from './address-range.ts';
import type { HostGroups } from './host-groups.ts';

export interface IscsiTargetsContext {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly groups: HostGroups;
  readonly document: () => ClusterDocument;
  /** A target is not offered any more, or its rules have changed: its sessions end. */
  readonly withdrawn: (target: string, reason: string) => void;
}

/** RFC 1994 2.3 wants secrets of 12 bytes at least; more than 255 is no secret but a wrong file. */
const secretBytes = { min: 12, max: 255 } as const;

export class IscsiTargets implements TargetDirectory {
  readonly #context: IscsiTargetsContext;
  readonly #targets = new Map<string, GroupTarget>();
  readonly #unwatch: () => void;

  constructor(context: IscsiTargetsContext) {
    this.#context = context;
    this.#follow();
    this.#unwatch = context.groups.watch(() => this.#follow());
  }

  list(): readonly GroupTarget[] {
    return [...this.#targets.values()];
  }

  find(name: string): GroupTarget | null {
    return this.#targets.get(name) ?? null;
  }

  close(): void {
    this.#unwatch();
    for (const target of this.#targets.values()) target.close();
  }

  #follow(): void {
    const { groups, document, withdrawn } = this.#context;
    const { cluster, groups: entries } = document();
    const wanted = new Map(
      groups.list().flatMap((group) => {
        const entry = entries.find(({ name }) => name === group.name);
        return entry === undefined ? [] : [[targetName(cluster, entry), { group, entry }] as const];
      }),
    );
    for (const [name, target] of [...this.#targets]) {
      const now = wanted.get(name);
      if (now?.group === target.group) {
        if (target.follow(now.entry)) withdrawn(name, 'who may log in has changed');
        continue;
      }
      this.#targets.delete(name);
      target.close();
      withdrawn(name, 'the target is not offered any more');
    }
    for (const [name, { group, entry }] of wanted) {
      if (!this.#targets.has(name)) this.#targets.set(name, new GroupTarget(this.#context, name, group, entry));
    }
  }
}

export class GroupTarget implements IscsiTarget {
  readonly name: string;
  readonly group: HostGroup;
  readonly device: DeviceServer;
  #entry: GroupEntry;

  constructor(context: IscsiTargetsContext, name: string, group: HostGroup, entry: GroupEntry) {
    this.name = name;
    this.group = group;
    this.#entry = entry;
    this.device = new DeviceServer({
      targetName: name,
      group,
      commands,
      clock: context.clock,
      turn: context.turn,
    });
  }

  get alias(): string {
    return this.group.name;
  }

  get portals(): readonly Portal[] {
    return this.group.nodes.flatMap(({ number, portals }) => portalsOf(number, portals));
  }

  /** Initiators that may log in; null: every one. */
  get initiators(): readonly string[] | null {
    return this.#settings.hosts?.map(({ initiator }) => initiator) ?? null;
  }

  get redirect(): string | null {
    if (!this.#settings.redirect || this.group.access === 'active') return null;
    return this.group.nodes.find(({ access }) => access === 'active')?.portals[0] ?? null;
  }

  admit(initiatorName: string, address: string): Admission | { readonly refused: string } {
    const { hosts } = this.#settings;
    if (hosts === null) return { visible: null, chap: null };
    const host = hosts.find((each) => fits(each, initiatorName, address));
    if (host === undefined) {
      return { refused: `${initiatorName} at ${address} is not among the hosts of group ${this.group.name}` };
    }
    try {
      return { visible: this.#visibleTo(host), chap: credentialsOf(host) };
    } catch (error) {
      return { refused: messageOf(error) };
    }
  }

  /** True: what was agreed with hosts before does not hold any more. */
  follow(entry: GroupEntry): boolean {
    const before = JSON.stringify(this.#settings);
    this.#entry = entry;
    return before !== JSON.stringify(this.#settings);
  }

  close(): void {
    this.device.close();
  }

  get #settings(): IscsiEntry {
    return this.#entry.iscsi;
  }

  #visibleTo({ volumes }: IscsiHostEntry): ReadonlySet<number> | null {
    if (volumes === null) return null;
    return new Set(this.#entry.volumes.flatMap(({ name, index }) => (volumes.includes(name) ? [index] : [])));
  }
}

export function targetName(cluster: string, entry: GroupEntry): string {
  return entry.iscsi.target ?? iscsiTargetName(cluster, entry.name);
}

/** The same at every node. */
export function portalsOf(nodeNumber: number, addresses: readonly string[]): readonly Portal[] {
  return addresses.map((address, place) => ({ address, tag: targetPortOf(nodeNumber, place) }));
}

function fits({ initiator, addresses }: IscsiHostEntry, name: string, address: string): boolean {
  if (initiator !== '*' && initiator !== name) return false;
  return addresses === null || addresses.some((range) => parseAddressRange(range)?.contains(address) === true);
}

/** Secrets are read at each login: one that is changed counts from the next on. */
function credentialsOf({ chap, mutual }: IscsiHostEntry): ChapCredentials | null {
  if (chap === null) return null;
  return {
    user: chap.user,
    secret: readSecret(chap),
    mutual: mutual === null ? null : { user: mutual.user, secret: readSecret(mutual) },
  };
}

function readSecret({ user, secretFile }: ChapEntry): Uint8Array {
  let text: string;
  try {
    text = readFileSync(secretFile, 'utf8');
  } catch (error) {
    throw new HoldfastError('E_NOT_FOUND', `the CHAP secret of ${user} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const secret = new TextEncoder().encode(text.split(/\r?\n/, 1)[0]);
  const { min, max } = secretBytes;
  if (secret.length >= min && secret.length <= max) return secret;
  const message = `the CHAP secret of ${user} in ${secretFile} has ${secret.length} bytes; it must have ${min} to ${max}`;
  throw new HoldfastError('E_REFUSED', message);
}
