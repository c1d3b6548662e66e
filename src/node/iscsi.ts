/** A node's iSCSI service: targets, server, and what is told of them. */
import type { Environment } from '../base/environment.ts';
import type { Address } from '../base/network.ts';
import { IscsiServer } from '../hosts/iscsi/server.ts';
import { targetPortOf } from '../hosts/scsi/port-groups.ts';
import type { IscsiSessionRow, IscsiTargetRow, OwnIscsi } from './iscsi-control.ts';
import { IscsiTargets, portalsOf } from './iscsi-targets.ts';
import type { Node } from './node.ts';

type World = Pick<Environment, 'clock' | 'turn' | 'log' | 'network' | 'random'>;

export class NodeIscsi implements OwnIscsi {
  readonly #node: Node;
  readonly #targets: IscsiTargets;
  readonly #server: IscsiServer;

  /** Of a node that has started: its number in the cluster document is known. */
  constructor(world: World, node: Node) {
    this.#node = node;
    this.#targets = new IscsiTargets({
      clock: world.clock,
      turn: world.turn,
      groups: node.hostGroups,
      document: () => node.currentDocument,
      withdrawn: (target, reason) => this.#server?.endSessionsOf(target, reason),
    });
    this.#server = new IscsiServer(world, this.#targets);
  }

  /** Rejects as `Network.listen` does, and listens nowhere then. */
  listen(addresses: readonly Address[]): Promise<Address[]> {
    return this.#server.listen(
      addresses.map((address, place) => ({ address, tag: targetPortOf(this.#number, place) })),
    );
  }

  async close(): Promise<void> {
    await this.#server.close();
    this.#targets.close();
  }

  targets(): readonly IscsiTargetRow[] {
    const sessions = this.#server.sessions();
    return this.#targets.list().map(({ name, group, initiators }) => ({
      node: this.#node.nodeName,
      target: name,
      group: group.name,
      access: group.access,
      reason: group.reason,
      portals: portalsOf(this.#number, this.#ownPortals),
      units: group.units.map(({ index, name: volume, sizeBytes }) => ({ lun: index, volume, sizeBytes })),
      sessions: sessions.filter(({ target }) => target === name).length,
      hosts: initiators,
    }));
  }

  sessions(): readonly IscsiSessionRow[] {
    const portals = new Map(portalsOf(this.#number, this.#ownPortals).map(({ tag, address }) => [tag, address]));
    return this.#server.sessions().map((session) => ({
      node: this.#node.nodeName,
      session: session.id,
      kind: session.type,
      initiator: session.initiatorName,
      from: session.remote,
      portal: portals.get(session.portalTag) ?? '-',
      target: session.target,
      ageSeconds: session.ageMs / 1000,
      commandsInFlight: session.commandsInFlight,
    }));
  }

  disconnect(session: number): boolean {
    return this.#server.disconnect(session);
  }

  /** Of a volume at this node, as initiators of the field write them. */
  exportsOf(group: string, lun: number): readonly string[] {
    const target = this.#targets.list().find((each) => each.group.name === group);
    if (target === undefined) return [];
    return this.#ownPortals.map((portal) => `iscsi://${portal}/${target.name}/${lun}`);
  }

  get #number(): number {
    return this.#node.currentDocument.nodes.findIndex(({ name }) => name === this.#node.nodeName) + 1;
  }

  get #ownPortals(): readonly string[] {
    return this.#node.currentDocument.nodes.find(({ name }) => name === this.#node.nodeName)?.iscsi ?? [];
  }
}
