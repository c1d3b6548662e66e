/**
 * An iSCSI target without a node, for other people's initiators and for measurements: server and device server over a group
 * whose one volume, `vol1`, is memory. Serves until it is killed; prints the URL of its unit.
 *
 *     npx rolldown test/clients/iscsi-target.ts --platform node --format esm -o FOLDER/target.mjs
 *     node FOLDER/target.mjs PORT [MEBIBYTES]
 */
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import type { Turn } from '../../src/base/turn.ts';
import type { HostCompletion, HostExtent, HostGroup, HostUnit, HostVolume } from '../../src/group/host-access.ts';
import type { ReservationOutcome, Reservations } from '../../src/group/reservations.ts';
import { IscsiServer } from '../../src/hosts/iscsi/server.ts';
import type { IscsiTarget } from '../../src/hosts/iscsi/targets.ts';
import { commands } from '../../src/hosts/scsi/commands.ts';
import { DeviceServer } from '../../src/hosts/scsi/device-server.ts';
import { payloadMemory } from '../../src/base/payload-memory.ts';

const extentBytes = 4096;

class MemoryVolume implements HostVolume {
  readonly name: string;
  readonly wwid: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly #bytes: Buffer;
  readonly #turn: Turn;

  constructor(unit: HostUnit, turn: Turn) {
    this.name = unit.name;
    this.wwid = unit.wwid;
    this.sizeBytes = unit.sizeBytes;
    this.blockSizeBytes = unit.blockSizeBytes;
    this.#bytes = Buffer.alloc(unit.sizeBytes);
    this.#turn = turn;
  }

  read(offset: number, into: Uint8Array, done: HostCompletion): void {
    into.set(this.#bytes.subarray(offset, offset + into.length));
    this.#later(done);
  }

  write(offset: number, data: Uint8Array, _fua: boolean, done: HostCompletion): void {
    this.#bytes.set(data, offset);
    payloadMemory.give(data);
    this.#later(done);
  }

  zero(offset: number, length: number, _options: unknown, done: HostCompletion): void {
    this.#bytes.fill(0, offset, offset + length);
    this.#later(done);
  }

  flush(done: HostCompletion): void {
    this.#later(done);
  }

  /** Holes are what is zero. */
  allocation(offset: number, length: number, done: (fault: null, extents: HostExtent[]) => void): void {
    const extents: HostExtent[] = [];
    for (let at = offset; at < offset + length; at += extentBytes) {
      const end = Math.min(at + extentBytes, offset + length);
      const data = this.#bytes.subarray(at, end).some((byte) => byte !== 0);
      extents.push({ offset: at, length: end - at, data });
    }
    this.#turn.defer(() => {
      done(null, extents);
    });
  }

  #later(done: HostCompletion): void {
    this.#turn.defer(() => {
      done(null);
    });
  }
}

function memoryGroup(turn: Turn, portal: string, sizeBytes: number): HostGroup {
  const unit: HostUnit = {
    index: 0,
    name: 'vol1',
    wwid: '6f00d0000000000000000000000000a1',
    sizeBytes,
    blockSizeBytes: 512,
    writeCache: true,
  };
  const volume = new MemoryVolume(unit, turn);
  return {
    name: 'g1',
    access: 'active',
    reason: '',
    units: [unit],
    volume: (index) => (index === 0 ? volume : null),
    nodes: [{ node: 'east', number: 1, access: 'active', portals: [portal] }],
    reservations: (): Reservations | null => null,
    reserve: (_index, _request, done: (outcome: ReservationOutcome) => void) => {
      turn.defer(() => {
        done({ kind: 'unreachable', reason: 'a group in memory keeps no record' });
      });
    },
    watch: () => () => undefined,
  };
}

async function serve(port: number, sizeBytes: number): Promise<void> {
  const write = (message: string): void => {
    process.stderr.write(`${message}\n`);
  };
  const environment = createNodeEnvironment({ info: write, warn: write, error: write });
  const { clock, turn } = environment;
  const portal = `127.0.0.1:${port}`;
  const name = 'iqn.2026-11.org.holdfast:test:g1';
  const group = memoryGroup(turn, portal, sizeBytes);
  const device = new DeviceServer({ targetName: name, group, commands, clock, turn });
  const target: IscsiTarget = {
    name,
    alias: '',
    portals: [{ address: portal, tag: 1 }],
    device,
    redirect: null,
    admit: () => ({ visible: null, chap: null }),
  };
  const directory = { list: () => [target], find: (wanted: string) => (wanted === name ? target : null) };
  const server = new IscsiServer(environment, directory);
  await server.listen([{ address: { kind: 'tcp', host: '127.0.0.1', port }, tag: 1 }]);
  process.stdout.write(`iscsi://${portal}/${name}/0\n`);
}

await serve(Number(process.argv[2]), Number(process.argv[3] ?? 256) * 1024 ** 2);
