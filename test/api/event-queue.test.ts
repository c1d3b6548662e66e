import { expect, it } from 'vitest';
import { EventQueue, eventQueueMax } from '../../src/api/event-queue.ts';

const event = (atMs: number) => ({ atMs, node: 'east', group: null, kind: 'test', message: '' });

it('I8: a client that does not read loses the oldest events, and is told how many', async () => {
  const queue = new EventQueue();
  for (let index = 0; index < eventQueueMax + 10; index++) queue.push(event(index));
  expect(await queue.next()).toEqual({ event: event(10), droppedCount: 10 });
  expect(await queue.next()).toEqual({ event: event(11), droppedCount: 0 });
});

it('hands out what is queued before its end, and takes nothing after it', async () => {
  const queue = new EventQueue();
  queue.push(event(1));
  queue.end();
  queue.push(event(2));
  expect((await queue.next())?.event.atMs).toBe(1);
  expect(await queue.next()).toBeNull();
});

it('wakes a reader that waits', async () => {
  const queue = new EventQueue();
  const next = queue.next();
  queue.push(event(5));
  expect((await next)?.event.atMs).toBe(5);
  const end = queue.next();
  queue.end();
  expect(await end).toBeNull();
});
