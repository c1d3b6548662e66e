import { describe, expect, test } from 'vitest';
import type { ByteStream } from '../../src/base/network.ts';
import { DiskSlots } from '../../src/pulse/disk-slots.ts';
import { MirrorSourceChannel, MirrorTargetChannel } from '../../src/pulse/mirror-channel.ts';
import { MirrorFeedListener } from '../../src/pulse/mirror-feed-listener.ts';
import { encodeSigned, FeedDecoder, FeedKeys } from '../../src/pulse/mirror-feed.ts';
import { decodeSlot, encodeSlot, regions } from '../../src/pulse/mirror-slot.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';

const mirror = { mirror: 'hb1', from: 'east', to: 'west' };
const key = new Uint8Array(32).fill(7);
const limitMs = 1000;
const path = '/data/heartbeat/hb1.img';
const at = { kind: 'tcp', host: 'west', port: 7100 } as const;

class End {
  readonly received: string[] = [];
  readonly faults: (string | null)[] = [];
  readonly events = {
    received: (message: Uint8Array) => void this.received.push(Buffer.from(message).toString()),
    fault: (problem: string | null) => void this.faults.push(problem),
  };
  get fault(): string | null {
    return this.faults.at(-1) ?? null;
  }
}

/** East feeds west, one message every 200 ms once `beat` runs. */
class Scene {
  readonly world: World;
  east: SimProcess;
  west: SimProcess;
  readonly source = new End();
  readonly target = new End();
  channel!: MirrorSourceChannel;
  reader!: MirrorTargetChannel;
  listener!: MirrorFeedListener;
  beats = 0;

  constructor(seed: string) {
    this.world = new World({ seed });
    this.east = this.world.machine('east').start('node');
    this.west = this.world.machine('west').start('node');
  }

  startSource(withKey = key, flushEveryMs = 5000): void {
    const { east } = this;
    const slots = new DiskSlots();
    const options = { mirror, path, limitMs, slots, feedAt: 'west:7100', key: withKey, flushEveryMs };
    this.channel = new MirrorSourceChannel(east.environment, options);
    east.call(() => this.channel.start(this.source.events));
    const beat = (): void => {
      this.channel.send('west', Buffer.from(`beat ${++this.beats}`));
      east.environment.clock.after(200, beat);
    };
    east.call(beat);
  }

  startTarget(flushEveryMs = 5000): void {
    const { west } = this;
    this.listener = new MirrorFeedListener(west.environment, at, key);
    this.reader = new MirrorTargetChannel(west.environment, {
      mirror,
      path,
      limitMs,
      slots: new DiskSlots(),
      listener: this.listener,
      flushEveryMs,
    });
    west.call(() => {
      this.listener.start();
      this.reader.start(this.target.events);
    });
  }

  /** Beats heard during the next `durationMs`. */
  async heard(durationMs: number): Promise<number> {
    const before = this.target.received.length;
    await this.world.run(durationMs);
    return this.target.received.length - before;
  }
}

async function running(seed: string): Promise<Scene> {
  const scene = new Scene(seed);
  scene.startTarget();
  scene.startSource();
  await scene.world.run(2000);
  return scene;
}

const tableOf = (scene: Scene, end: { readTable(): Promise<Uint8Array | null> }): Promise<string | null> =>
  scene.world.settle(end.readTable()).then((bytes) => (bytes === null ? null : Buffer.from(bytes).toString()));

describe('HM-2: a heartbeat mirror', () => {
  test('carries each heartbeat over both disks, in order, and has no fault', async () => {
    const scene = await running('plain');
    expect(await scene.heard(10_000)).toBeGreaterThanOrEqual(49);
    const numbers = scene.target.received.map((text) => Number(text.slice(5)));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect([scene.source.faults, scene.target.faults]).toEqual([[], []]);
    for (const process of [scene.east, scene.west]) {
      const volume = await scene.world.settle(process.environment.files.read(path));
      const slots = regions.message.slotsAt.map((from) => decodeSlot('message', volume.subarray(from, from + 4096)));
      expect(slots.every((slot) => slot !== null && /^beat \d+$/.test(Buffer.from(slot.payload).toString()))).toBe(
        true,
      );
    }
  });

  test('HM-11: a failing primary is a fault at the source, and over when writes work again', async () => {
    const scene = await running('primary');
    scene.east.machine.files.fail({ code: 'E_IO', operation: 'write', path });
    expect(await scene.heard(2000)).toBeLessThan(3);
    expect(scene.source.fault).toMatch(/^heartbeat mirror hb1: .*write failed/);
    scene.east.machine.files.mend(path);
    expect(await scene.heard(2000)).toBeGreaterThan(5);
    expect(scene.source.fault).toBeNull();
  });

  test('HM-11: a failing secondary is a fault at both ends, and over when writes work again', async () => {
    const scene = await running('secondary');
    scene.west.machine.files.fail({ code: 'E_IO', operation: 'write', path });
    expect(await scene.heard(2000)).toBeLessThan(3);
    expect(scene.source.fault).toMatch(/west: .*write failed/);
    expect(scene.target.fault).toMatch(/write failed/);
    scene.west.machine.files.mend(path);
    expect(await scene.heard(2000)).toBeGreaterThan(5);
    expect([scene.source.fault, scene.target.fault]).toEqual([null, null]);
  });

  test('HM-12: a secondary that cannot be read hands nothing up', async () => {
    const scene = await running('unreadable');
    scene.west.machine.files.fail({ code: 'E_IO', operation: 'read', path });
    expect(await scene.heard(2000)).toBeLessThan(3);
    expect(scene.target.fault).toMatch(/read failed/);
    scene.west.machine.files.mend(path);
    expect(await scene.heard(2000)).toBeGreaterThan(5);
  });

  test('an error that only a flush shows is a fault, and over with the next good flush', async () => {
    const scene = new Scene('flush');
    scene.startTarget(500);
    scene.startSource(key, 500);
    await scene.world.run(2000);
    scene.east.machine.files.fail({ code: 'E_IO', operation: 'sync', path });
    await scene.world.run(2000);
    expect(scene.source.fault).toMatch(/sync failed/);
    expect(await scene.heard(2000)).toBeGreaterThan(5);
    scene.east.machine.files.mend(path);
    await scene.world.run(3000);
    expect(scene.source.fault).toBeNull();
  });

  test.each(['east', 'west'])(
    'a disk that hangs at %s is a fault after the limit, and held for no more work',
    async (name) => {
      const scene = await running(`hang ${name}`);
      const { files } = scene.world.machine(name);
      files.hang();
      await scene.world.run(limitMs * 3);
      const end = name === 'east' ? scene.source : scene.target;
      expect(end.fault).toMatch(/has not answered for 1000 ms/);
      expect(scene.source.fault).toMatch(/has not answered for 1000 ms/);
      if (name === 'east') {
        await expect(scene.world.settle(scene.channel.writeTable(Buffer.from('t')), 100)).rejects.toThrow(
          /not answered/,
        );
      }
      const process = name === 'east' ? scene.east : scene.west;
      const before = process.effects;
      await scene.world.run(10_000);
      // At most the flush that was due: no write is started behind one that hangs.
      expect(process.effects - before).toBeLessThan(name === 'east' ? 2 : 60);
      files.heal();
      await scene.world.run(3000);
      expect([scene.source.fault, scene.target.fault]).toEqual([null, null]);
      expect(await scene.heard(2000)).toBeGreaterThan(5);
    },
  );

  test('a connection that is cut is made anew, without a fault', async () => {
    const scene = await running('cut');
    for (let times = 0; times < 5; times++) {
      for (const connection of scene.world.network.connections()) connection.cut();
      await scene.world.run(1000);
    }
    expect(await scene.heard(2000)).toBeGreaterThan(5);
    expect(scene.source.faults).toEqual([]);
  });

  test('a target that cannot be reached is a fault at the source; nothing piles up, and only the newest follows', async () => {
    const scene = await running('partition');
    const [east, west] = [scene.world.machine('east'), scene.world.machine('west')];
    scene.world.network.partition(east, west);
    await scene.world.run(20_000);
    expect(scene.source.fault).toMatch(/nothing has been written at west for 1000 ms/);
    expect(scene.target.faults).toEqual([]);
    const beats = scene.beats;
    scene.world.network.heal(east, west);
    await scene.world.run(12_000);
    expect(scene.source.fault).toBeNull();
    const later = scene.target.received.map((text) => Number(text.slice(5))).filter((beat) => beat > 15);
    // One may have been under way when the network broke.
    expect(later.filter((beat) => beat < beats).length).toBeLessThan(3);
    expect(later.at(-1)).toBeGreaterThanOrEqual(scene.beats - 2);
  });

  test('only the newest counts when the target is slow', async () => {
    const scene = await running('slow');
    scene.west.machine.files.slowness = 1500;
    await scene.world.run(10_000);
    const lag = scene.beats - Number(scene.target.received.at(-1)?.slice(5));
    expect(lag).toBeLessThan(8);
  });

  test('starts anew after a crash of either end, at any moment, with what the volume holds', async () => {
    for (let effects = 1; effects < 17; effects++) {
      const scene = new Scene(`crash ${effects}`);
      scene.startTarget();
      scene.startSource();
      const victim = effects % 2 === 0 ? 'east' : 'west';
      scene[victim].crashAfterEffects(effects);
      await scene.world.run(3000);
      expect(scene[victim].alive).toBe(false);
      scene[victim] = scene.world.machine(victim).start('node');
      if (victim === 'east') scene.startSource();
      else scene.startTarget();
      await scene.world.run(7000);
      expect(await scene.heard(2000), `${effects}`).toBeGreaterThan(5);
      expect([scene.source.fault, scene.target.fault]).toEqual([null, null]);
    }
  });

  test('starts anew after a loss of power, whatever of the last writes the disk kept', async () => {
    for (let seed = 0; seed < 8; seed++) {
      const scene = await running(`power ${seed}`);
      scene.world.machine('east').powerLoss();
      await scene.world.run(1000);
      scene.world.machine('east').powerOn();
      scene.east = scene.world.machine('east').start('node');
      scene.startSource();
      await scene.world.run(5000);
      expect(scene.source.fault).toBeNull();
      expect(await scene.heard(2000)).toBeGreaterThan(5);
    }
  });
});

describe('the volume of a heartbeat mirror', () => {
  test('a torn slot never hides the last good one', () => {
    const volume = new Uint8Array(8192);
    volume.set(encodeSlot('message', { sequence: 4, payload: Buffer.from('four') }), 0);
    const five = encodeSlot('message', { sequence: 5, payload: new Uint8Array(1400).fill(5) });
    for (let sectors = 0; sectors < 8; sectors++) {
      volume.set(five.subarray(0, sectors * 512), 4096);
      const slots = [0, 4096].map((from) => decodeSlot('message', volume.subarray(from, from + 4096)));
      expect(slots[0]?.sequence).toBe(4);
      expect(slots[1]?.sequence).toBe(sectors < 3 ? undefined : 5);
    }
  });

  test('HM-3: what holds something else is refused and left as it is', async () => {
    const scene = new Scene('foreign');
    const { files } = scene.east.environment;
    const data = new Uint8Array(60_000);
    data[5000] = 1;
    await scene.world.settle(files.makeFolder('/data/heartbeat'));
    await scene.world.settle(files.write(path, data, { sync: true }));
    scene.startTarget();
    scene.startSource();
    await scene.world.run(5000);
    expect(scene.source.fault).toMatch(/holds something else than a heartbeat mirror; it is not overwritten/);
    expect(await scene.world.settle(files.read(path))).toEqual(data);
  });

  test('a device that is not there is not replaced by a file of its name', async () => {
    const scene = new Scene('device');
    const channel = new MirrorSourceChannel(scene.east.environment, {
      mirror,
      path: '/dev/sdx',
      limitMs,
      slots: new DiskSlots(),
      feedAt: 'west:7100',
      key,
    });
    scene.east.call(() => channel.start(scene.source.events));
    await scene.world.run(3000);
    expect(scene.source.fault).toMatch(/there is no such device/);
    expect(await scene.world.settle(scene.east.environment.files.list('/dev'))).toEqual([]);
  });
});

describe('HM-5: the status table on the mirrored volume', () => {
  test('is found at both ends, also by a process that starts later', async () => {
    const scene = await running('table');
    await scene.world.settle(scene.channel.writeTable(Buffer.from('one')));
    await scene.world.settle(scene.channel.writeTable(Buffer.alloc(16 * 1024, 'x')));
    await scene.world.settle(scene.channel.writeTable(Buffer.from('three')));
    await scene.world.run(1000);
    expect(await tableOf(scene, scene.channel)).toBe('three');
    expect(await tableOf(scene, scene.reader)).toBe('three');
    for (const name of ['east', 'west'] as const) {
      scene[name].crash();
      scene[name] = scene.world.machine(name).start('node');
    }
    scene.startTarget();
    scene.startSource();
    expect(await tableOf(scene, scene.reader)).toBe('three');
    expect(await tableOf(scene, scene.channel)).toBe('three');
  });

  test('gets to a target that was away, and to one whose volume is new', async () => {
    const scene = await running('table away');
    scene.west.crash();
    await scene.world.settle(scene.channel.writeTable(Buffer.from('kept')));
    await scene.world.run(3000);
    scene.west = scene.world.machine('west').start('node');
    scene.startTarget();
    await scene.world.run(8000);
    expect(await tableOf(scene, scene.reader)).toBe('kept');
    scene.east.crash();
    scene.west.crash();
    scene.west = scene.world.machine('west').start('node');
    await scene.world.settle(scene.west.environment.files.remove(path));
    scene.east = scene.world.machine('east').start('node');
    scene.startTarget();
    scene.startSource();
    await scene.world.run(8000);
    expect(await tableOf(scene, scene.reader)).toBe('kept');
  });

  test('is refused by a mirror that was closed', async () => {
    const scene = await running('table closed');
    await scene.world.settle(scene.channel.close());
    const written = scene.channel.writeTable(Buffer.from('late'));
    await expect(scene.world.settle(written, 1000)).rejects.toThrow('it was closed');
  });

  test('heartbeats go on while it is written all the time', async () => {
    const scene = await running('table busy');
    const write = (): void => {
      scene.channel.writeTable(Buffer.alloc(16_000, 't')).catch(() => {});
      scene.east.environment.clock.after(1, write);
    };
    scene.east.call(write);
    expect(await scene.heard(4000)).toBeGreaterThan(17);
  });
});

describe('BY-6: the feed of heartbeat mirrors', () => {
  test('refuses and counts a source with another key', async () => {
    const scene = new Scene('wrong key');
    scene.startTarget();
    scene.startSource(new Uint8Array(32).fill(8));
    expect(await scene.heard(5000)).toBe(0);
    expect(scene.listener.refused.wrongKey).toBeGreaterThan(1);
    expect(scene.source.fault).toMatch(/does not know the key of the cluster/);
  });

  test('HM-10: refuses and counts a mirror that is not installed; others are not touched', async () => {
    const scene = await running('removed');
    const other = new End();
    const names = { mirror: 'hb2', from: 'east', to: 'west' };
    const hb2 = { mirror: names, path: '/data/heartbeat/hb2.img', limitMs, slots: new DiskSlots() };
    const reader = new MirrorTargetChannel(scene.west.environment, { ...hb2, listener: scene.listener });
    scene.west.call(() => reader.start(other.events));
    const channel = new MirrorSourceChannel(scene.east.environment, { ...hb2, feedAt: 'west:7100', key });
    scene.east.call(() => channel.start(other.events));
    scene.east.call(() => channel.send('west', Buffer.from('second')));
    await scene.world.run(2000);
    expect(other.received).toEqual(['second']);
    scene.west.call(() => void reader.close());
    expect(await scene.heard(3000)).toBeGreaterThan(13);
    expect(scene.listener.refused.unknownMirror).toBeGreaterThan(0);
    expect(scene.source.faults).toEqual([]);
  });

  test('a write that is repeated, or has a wrong MAC, ends the connection, though the key was known at first', async () => {
    for (const forged of ['repeated', 'wrong'] as const) {
      const scene = new Scene(`replay ${forged}`);
      scene.startTarget();
      await scene.world.run(500);
      const { clock, network } = scene.east.environment;
      const answers: string[] = [];
      let closed = false;
      let keys: FeedKeys | null = null;
      const decoder = new FeedDecoder(
        (frame) => {
          answers.push(frame.type);
          const nonce = new Uint8Array(16);
          if (frame.type === 'challenge') {
            keys = new FeedKeys(key, frame.nonce, nonce);
            stream.send([encodeSigned({ type: 'hello', nonce, identity: mirror }, keys.signHello)]);
          } else if (frame.type === 'welcome' && keys !== null) {
            const write = { type: 'write', number: 1, region: 'message', payload: Buffer.from('beat') } as const;
            const bytes = encodeSigned(write, keys.signWrite);
            stream.send([bytes]);
            const next = encodeSigned({ ...write, number: 2 }, keys.signAnswer);
            clock.after(100, () => stream.send([forged === 'repeated' ? bytes : next]));
          }
        },
        () => {},
      );
      const stream: ByteStream = network.connect(at, {
        received: (chunk) => decoder.push(chunk),
        closed: () => (closed = true),
      });
      await scene.world.run(2000);
      expect(answers).toEqual(['challenge', 'welcome', 'answer']);
      expect([closed, scene.listener.refused.breaches]).toEqual([true, 1]);
      expect(scene.target.received).toEqual(['beat']);
    }
  });

  test('ends a connection of a stranger, whatever he sends, and goes on serving', async () => {
    const scene = await running('stranger');
    const stranger = scene.world.machine('stranger').start('stranger');
    const prng = scene.world.prng.derive('stranger');
    const closed: string[] = [];
    let opened = 0;
    for (let times = 0; times < 40; times++) {
      const bytes = Uint8Array.from({ length: prng.below(300) }, () => prng.below(256));
      stranger.call(() => {
        const stream: ByteStream = stranger.environment.network.connect(at, {
          opened: () => {
            opened++;
            stream.send([bytes]);
          },
          received: () => {},
          closed: (reason) => closed.push(reason),
        });
      });
    }
    expect(await scene.heard(8000)).toBeGreaterThan(35);
    expect(opened).toBe(40);
    expect(closed.length).toBe(40);
    const { breaches, greetings } = scene.listener.refused;
    expect(breaches + greetings).toBe(40);
  });
});
