import { describe, expect, it } from 'vitest';
import type { Indication } from '../../src/pulse/indication.ts';
import type { ControlMessage, HeartbeatPayload } from '../../src/pulse/message.ts';
import { Inbox, Outbox, waitingControlsMax, waitingIndicationsMax } from '../../src/pulse/post.ts';

const sender = 'aa'.repeat(16);
const timers: (() => void)[] = [];
const clock = {
  monotonicMs: () => 0,
  wallMs: () => 0,
  after: (_ms: number, run: () => void) => {
    timers.push(run);
    return { cancel: () => void timers.splice(timers.indexOf(run), 1) };
  },
};
const failing = (id: string, over = false): Indication => ({
  component: 'disk',
  id,
  code: 'disk-failed',
  level: 'SERIOUS',
  node: 'east',
  group: null,
  atMs: 1,
  text: '',
  over,
});

/** One heartbeat's letters from the outbox to the inbox, and what it answers back when `back`. */
function exchange(
  outbox: Outbox,
  inbox: Inbox,
  arrived: unknown[],
  answer: Promise<string | null>,
  back = true,
): void {
  const letters = { indications: outbox.indications, control: outbox.control } as HeartbeatPayload;
  inbox.take(sender, letters, {
    indication: ({ id, over }) => arrived.push(over ? `${id} over` : id),
    control: (message: ControlMessage) => {
      arrived.push(message.kind);
      return answer;
    },
    answered: () => {},
  });
  if (back && inbox.received !== null) outbox.confirmed(inbox.received);
}

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
};

describe('letters between nodes', () => {
  it('arrive once, however often they are sent, until they are confirmed (HM-16)', () => {
    const [outbox, inbox, arrived] = [new Outbox(clock, 'west'), new Inbox(), [] as unknown[]];
    outbox.indicate(failing('a'));
    outbox.indicate(failing('b'));
    exchange(outbox, inbox, arrived, Promise.resolve(null), false);
    exchange(outbox, inbox, arrived, Promise.resolve(null), false);
    expect(outbox.waiting).toBe(2);
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    expect([arrived, outbox.waiting]).toEqual([['a', 'b'], 0]);
  });

  it('tell only the newest of a condition, and forget the oldest when there are too many', () => {
    const [outbox, inbox, arrived] = [new Outbox(clock, 'west'), new Inbox(), [] as unknown[]];
    outbox.indicate(failing('a'));
    outbox.indicate(failing('b'));
    outbox.indicate(failing('a', true));
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    expect(arrived).toEqual(['b', 'a over']);
    for (let index = 0; index < waitingIndicationsMax + 5; index++) outbox.indicate(failing(`x${index}`));
    expect(outbox.waiting).toBe(waitingIndicationsMax);
    expect(outbox.indications[0]?.indication.id).toBe('x5');
  });

  it('are asked once and answered: done, or refused in words (HM-8)', async () => {
    const [outbox, inbox, arrived] = [new Outbox(clock, 'west'), new Inbox(), [] as unknown[]];
    const done = outbox.ask({ kind: 'one', body: {} }, 1000);
    const refused = outbox.ask({ kind: 'two', body: {} }, 1000);
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    await settled();
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    await done;
    exchange(outbox, inbox, arrived, Promise.resolve('there is no such mirror'));
    await settled();
    exchange(outbox, inbox, arrived, Promise.resolve(null));
    await expect(refused).rejects.toMatchObject({ code: 'E_REFUSED', message: 'west: there is no such mirror' });
    expect([arrived, outbox.waiting, timers]).toEqual([['one', 'two'], 0, []]);
  });

  it('are given up after their time, and the next one goes on', async () => {
    const outbox = new Outbox(clock, 'west');
    const late = outbox.ask({ kind: 'one', body: {} }, 1000);
    const next = outbox.ask({ kind: 'two', body: {} }, 1000);
    timers[0]?.();
    await expect(late).rejects.toMatchObject({ code: 'E_TIMEOUT' });
    expect(outbox.control?.message.kind).toBe('two');
    outbox.close();
    await expect(next).rejects.toMatchObject({ code: 'E_TIMEOUT' });
  });

  it('are bounded in size and number', async () => {
    const outbox = new Outbox(clock, 'west');
    await expect(outbox.ask({ kind: 'big', body: 'x'.repeat(400) }, 1000)).rejects.toMatchObject({
      code: 'E_REFUSED',
    });
    const all = Array.from({ length: waitingControlsMax }, () => outbox.ask({ kind: 'one', body: {} }, 1000));
    await expect(outbox.ask({ kind: 'one', body: {} }, 1000)).rejects.toMatchObject({ code: 'E_BUSY' });
    outbox.close();
    await Promise.allSettled(all);
  });

  it('of a restarted sender begin anew', () => {
    const [inbox, arrived] = [new Inbox(), [] as unknown[]];
    const deliver = {
      indication: ({ id }: Indication) => arrived.push(id),
      control: async () => null,
      answered: () => {},
    };
    const letters = {
      indications: [{ number: 9, indication: failing('a') }],
      control: null,
    } as unknown as HeartbeatPayload;
    inbox.take(sender, letters, deliver);
    const anew = {
      indications: [{ number: 1, indication: failing('b') }],
      control: null,
    } as unknown as HeartbeatPayload;
    inbox.take(sender, anew, deliver);
    inbox.take('bb'.repeat(16), anew, deliver);
    expect(arrived).toEqual(['a', 'b']);
    expect(inbox.received).toEqual({ incarnation: 'bb'.repeat(16), indication: 1, answer: null });
  });
});
