/**
 * Who may talk to whom: both ends' judgement of what the other says of itself. Decides only; sending and closing is the
 * table's business. Nodes are known by name (TL-17): an address merely says where to look for one.
 */
import type { LinkIdentity } from './link.ts';
import { protocolVersion, type Hello, type Refused, type Welcome } from './messages/handshake.ts';

export function makeHello(
  identity: LinkIdentity,
  bootId: string,
  to: string,
  connection: { readonly index: number; readonly count: number },
): Hello {
  return { protocols: [protocolVersion], ...facts(identity, bootId), to, ...connection };
}

export function makeWelcome(identity: LinkIdentity, bootId: string): Welcome {
  return { protocol: protocolVersion, ...facts(identity, bootId) };
}

/** Null: welcome. */
export function judgeHello(identity: LinkIdentity, knownPeer: boolean, hello: Hello): Refused | null {
  if (!hello.protocols.includes(protocolVersion)) {
    const message = `${identity.node} speaks version ${protocolVersion} of the link protocol, ${hello.node} speaks ${hello.protocols.join(', ')}`;
    return { code: 'protocolVersion', message };
  }
  if (hello.clusterId !== identity.clusterId) {
    const message = `${identity.node} belongs to cluster ${identity.clusterId}, ${hello.node} to ${hello.clusterId}`;
    return { code: 'wrongCluster', message };
  }
  if (hello.node === identity.node) {
    const itself = hello.incarnation === identity.incarnation;
    const message = itself ? `${hello.node} has dialled itself` : `there are two nodes named ${hello.node}`;
    return { code: 'ownName', message };
  }
  if (hello.to !== identity.node) return { code: 'wrongNode', message: `this is ${identity.node}, not ${hello.to}` };
  return knownPeer
    ? null
    : { code: 'unknownNode', message: `${identity.node} knows no node ${hello.node} in its cluster` };
}

/** Null: it is the node that was meant. */
export function judgeWelcome(identity: LinkIdentity, peer: string, welcome: Welcome): string | null {
  if (welcome.protocol !== protocolVersion) {
    return `${welcome.node} answered with version ${welcome.protocol} of the link protocol, not ${protocolVersion}`;
  }
  if (welcome.clusterId !== identity.clusterId) {
    return `${welcome.node} belongs to cluster ${welcome.clusterId}, not to ${identity.clusterId}`;
  }
  return welcome.node === peer ? null : `this is ${welcome.node}, not ${peer}`;
}

/** In the order of `ours`. */
export function commonFeatures(ours: readonly string[], theirs: readonly string[]): readonly string[] {
  return ours.filter((feature) => theirs.includes(feature));
}

function facts({ clusterId, node, incarnation, softwareVersion, features }: LinkIdentity, bootId: string) {
  return { features: [...features], clusterId, node, incarnation, bootId, softwareVersion };
}
