/**
 * `store: none`: every node has the cluster document from its own file, so two nodes compare them before they have
 * anything to do with each other. A peer whose document differs is refused, and the difference named, until one of the two
 * is started again with another file.
 *
 * Invariant: `agrees` is true only for the process of a peer that was compared with this one.
 */
import type { LinkConnection } from '../link/link.ts';
import type { ClusterDocument } from '../store/document.ts';
import { documentDifference } from './document-difference.ts';
import { parseDocument } from './stored-document.ts';

export interface DocumentAgreementOptions {
  readonly node: string;
  readonly document: () => ClusterDocument;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  /** The peer's document is found to be ours: what waited for that may go on. */
  readonly agreed: (peer: string) => void;
  readonly differs: (difference: string) => void;
}

interface Peer {
  incarnation: string;
  /** Undefined until compared. */
  difference: string | null | undefined;
  comparing: boolean;
}

export const documentMethod = 'document.get';
const timeoutMs = 2000;

export class DocumentAgreement {
  readonly #options: DocumentAgreementOptions;
  readonly #peers = new Map<string, Peer>();

  constructor(options: DocumentAgreementOptions) {
    this.#options = options;
  }

  connectionUp({ peer: name, peerIncarnation }: LinkConnection): void {
    const known = this.#peers.get(name);
    if (known?.incarnation !== peerIncarnation)
      this.#peers.set(name, { incarnation: peerIncarnation, difference: undefined, comparing: false });
    this.#compare(name);
  }

  /** About once a second: what could not be asked for is asked for again. */
  tick(): void {
    for (const name of this.#peers.keys()) this.#compare(name);
  }

  agrees(name: string): boolean {
    return this.#peers.get(name)?.difference === null;
  }

  /** Why a peer that is connected is not dealt with; null when it is, or is not connected. */
  problem(name: string): string | null {
    const difference = this.#peers.get(name)?.difference;
    if (difference === null || !this.#peers.has(name)) return null;
    return difference ?? `its configuration has not been compared yet`;
  }

  /** This node's document, for a peer that compares. */
  answer(): string {
    return JSON.stringify(this.#options.document());
  }

  #compare(name: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined || peer.difference !== undefined || peer.comparing) return;
    const { node, document, request, agreed, differs } = this.#options;
    peer.comparing = true;
    request(name, documentMethod, {}, timeoutMs)
      .then((text) => {
        if (this.#peers.get(name) !== peer || typeof text !== 'string') return;
        peer.difference = documentDifference(document(), parseDocument(text), { ours: node, theirs: name });
        if (peer.difference === null) agreed(name);
        else differs(peer.difference);
      })
      .catch(() => {
        // Asked again with the next tick, or when a connection is up again.
      })
      .finally(() => {
        peer.comparing = false;
      });
  }
}
