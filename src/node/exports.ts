/** The volumes of a node by the names hosts use, over the groups that hold them. */
import type { Group } from '../group/group.ts';
import type { ExportCatalogue, ExportEntry, ExportRefusal, HostSession, HostVolume } from '../group/host-access.ts';
import type { Owner } from '../group/owner.ts';
import type { VolumeEntry } from '../store/document.ts';

export class NodeExports implements ExportCatalogue {
  readonly #groups: ReadonlyMap<string, Group>;

  constructor(groups: ReadonlyMap<string, Group>) {
    this.#groups = groups;
  }

  list(): readonly ExportEntry[] {
    const entries: ExportEntry[] = [];
    for (const group of this.#groups.values()) {
      for (const volume of group.entry.volumes) {
        const owner = group.record?.owner;
        const where = owner === undefined ? 'not started yet' : `served by ${owner}`;
        entries.push({
          name: volume.name,
          description: `group ${group.name}, ${where}`,
          sizeBytes: volume.sizeBytes,
        });
      }
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  open(name: string, session: HostSession): HostVolume | ExportRefusal {
    for (const group of this.#groups.values()) {
      const entry = group.entry.volumes.find((volume) => volume.name === name);
      if (entry === undefined) continue;
      const { owner } = group;
      if (group.withheld !== null) {
        return { refused: 'unavailable', message: `volume ${name} is closed to hosts: ${group.withheld}` };
      }
      if (group.role === 'primary' && owner?.leg.has(entry.index) === true) {
        group.addSession(session, name);
        return hostVolume(entry, owner);
      }
      const holder = group.record?.owner;
      if (group.role === 'opening') {
        return { refused: 'unavailable', message: `volume ${name} is being opened here: ${group.problem ?? 'wait'}` };
      }
      if (group.role === 'secondary' && holder !== undefined) {
        return { refused: 'elsewhere', message: `volume ${name} is owned by ${holder}; connect there` };
      }
      return {
        refused: 'unavailable',
        message: `volume ${name} cannot be served here: ${group.problem ?? 'not started yet'}`,
      };
    }
    return { refused: 'unknown', message: `there is no volume ${name} here` };
  }

  close(session: HostSession): void {
    for (const group of this.#groups.values()) group.removeSession(session);
  }
}

/** The volume's way to its owner; what it completes after the owner has let go is `moved`. */
export function hostVolume({ name, wwid, sizeBytes, blockSizeBytes, index }: VolumeEntry, owner: Owner): HostVolume {
  return {
    name,
    wwid,
    sizeBytes,
    blockSizeBytes,
    read: (offset, into, done) => owner.read(index, offset, into, done),
    write: (offset, data, fua, done) => owner.write(index, offset, data, fua, done),
    zero: (offset, length, options, done) => owner.zero(index, offset, length, options, done),
    flush: (done) => owner.flush(index, done),
    allocation: (offset, length, done) => {
      owner.allocation(index, offset, length, (fault, extents) => done(fault === null ? null : 'io', extents));
    },
  };
}
