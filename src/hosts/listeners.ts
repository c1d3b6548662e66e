/** Where a server of hosts listens: everywhere it was told to, or nowhere. */
import type { Address, ByteStream, Listener, Network, StreamEvents } from '../base/network.ts';

export interface ListenAt {
  readonly address: Address;
  readonly accept: (stream: ByteStream) => StreamEvents;
}

export class Listeners {
  readonly #network: Network;
  #open: Listener[] = [];

  constructor(network: Network) {
    this.#network = network;
  }

  /** Returns the addresses really bound. Rejects as `Network.listen` does, and listens nowhere then. */
  async listen(places: readonly ListenAt[]): Promise<Address[]> {
    try {
      for (const { address, accept } of places) this.#open.push(await this.#network.listen(address, accept));
    } catch (error) {
      await this.close();
      throw error;
    }
    return this.#open.map(({ address }) => address);
  }

  /** Streams that were accepted live on. */
  async close(): Promise<void> {
    const listeners = this.#open;
    this.#open = [];
    await Promise.all(listeners.map((listener) => listener.close()));
  }
}

/** Of a stream that is not taken. */
export const refused: StreamEvents = {
  received: () => undefined,
  closed: () => undefined,
};
