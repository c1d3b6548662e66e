/**
 * Events on their way to one client. A client that reads slower than events come loses the oldest ones and is told how
 * many: the queue never holds more than its maximum, and a slow reader never slows the node.
 */
import type { NodeEvent } from '../node/control.ts';

export const eventQueueMax = 256;

export class EventQueue {
  readonly #events: NodeEvent[] = [];
  #droppedCount = 0;
  #ended = false;
  #wake: (() => void) | null = null;

  push(event: NodeEvent): void {
    if (this.#ended) return;
    this.#events.push(event);
    if (this.#events.length > eventQueueMax) {
      this.#events.shift();
      this.#droppedCount++;
    }
    this.#wake?.();
  }

  /** No event comes after it; those queued are still handed out. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The next event, with how many were dropped before it; null at the end. One caller at a time. */
  async next(): Promise<{ readonly event: NodeEvent; readonly droppedCount: number } | null> {
    for (;;) {
      const event = this.#events.shift();
      if (event) {
        const droppedCount = this.#droppedCount;
        this.#droppedCount = 0;
        return { event, droppedCount };
      }
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }
}
