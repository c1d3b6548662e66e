/** The first cluster document of an installation, as its configuration declares it: identities are made here, once. */
import { formatAddress } from '../base/network.ts';
import type { Random } from '../base/random.ts';
import type { ClusterDocument, LegEntry } from '../store/document.ts';
import { hostPortText } from './configuration-pulse.ts';
import type { Configuration, GroupConfiguration } from './configuration.ts';
import { derivedIdentities, drawnIdentities } from './identities.ts';

export function toClusterDocument(configuration: Configuration, random: Random): ClusterDocument {
  const { cluster, store } = configuration;
  const identities = store.kind === 'none' ? derivedIdentities(cluster) : drawnIdentities(random);
  return {
    schema: 1,
    clusterId: identities.clusterId,
    cluster,
    version: 1,
    sites: configuration.sites,
    nodes: configuration.nodes.map(({ name, site, replication, pulse, heartbeat, iscsi }) => ({
      name,
      site,
      replication: formatAddress(replication),
      pulse: pulse.map(hostPortText),
      heartbeat: heartbeat === null ? null : hostPortText(heartbeat),
      iscsi: iscsi.map(formatAddress),
    })),
    groups: configuration.groups.map((group) => ({
      name: group.name,
      preferredOwner: group.owner,
      volumes: group.volumes.map((volume, index) => ({
        ...volume,
        index,
        wwid: identities.wwid(group.name, volume.name),
      })),
      nextVolumeIndex: group.volumes.length,
      legs: legsOf(group),
      log: group.log,
      settings: group.settings,
      takeOver: group.takeOver,
      resources: group.resources,
      iscsi: group.iscsi,
    })),
    pulse: configuration.pulse?.settings ?? null,
  };
}

/** The owner's leg is written to like its first mirror when they have changed places. */
function legsOf(group: GroupConfiguration): LegEntry[] {
  const mirrors = group.mirrors.map(({ to, mode }): LegEntry => ({ node: to, mode }));
  return [{ node: group.owner, mode: mirrors[0]?.mode ?? 'sync' }, ...mirrors];
}
