/** Commands as a transport gives them to the device server, and what became of them. */
import type { ScsiDevice, Nexus, ScsiTask, TaskAttribute } from '../../../src/hosts/scsi/task.ts';

export interface Outcome {
  readonly status: number;
  readonly sense: Uint8Array | null;
  readonly data: Uint8Array;
}

export class FakeTask implements ScsiTask {
  readonly nexus: Nexus;
  readonly lun: number;
  readonly cdb: Uint8Array;
  readonly attribute: TaskAttribute;
  readonly dataOut: Uint8Array;
  #dataIn: Uint8Array = new Uint8Array(0);
  outcome: Outcome | null = null;
  isDropped = false;
  ends = 0;

  constructor(
    nexus: Nexus,
    cdb: readonly number[],
    options: { lun?: number; dataOut?: Uint8Array; attribute?: TaskAttribute } = {},
  ) {
    this.nexus = nexus;
    this.lun = options.lun ?? 0;
    this.cdb = new Uint8Array(Math.max(16, cdb.length));
    this.cdb.set(cdb);
    this.attribute = options.attribute ?? 'simple';
    this.dataOut = options.dataOut ?? new Uint8Array(0);
  }

  reserveDataIn(bytes: number): Uint8Array {
    this.#dataIn = new Uint8Array(bytes);
    return this.#dataIn;
  }

  complete(status: number, sense: Uint8Array | null = null, dataInBytes?: number): void {
    this.ends += 1;
    const bytes = dataInBytes ?? (status === 0 || status === 4 ? this.#dataIn.length : 0);
    this.outcome = { status, sense, data: this.#dataIn.subarray(0, bytes) };
  }

  dropped(): void {
    this.ends += 1;
    this.isDropped = true;
  }
}

export function nexusOf(name: string, targetPort = 1, visible: readonly number[] | null = null): Nexus {
  return {
    initiatorPort: `iqn.2026-11.example:${name},i,0x000000000001`,
    targetPort,
    label: name,
    visible: visible === null ? null : new Set(visible),
  };
}

/** Its data is what the command wants of `dataOut`, as a transport gathers it. */
export function execute(
  device: ScsiDevice,
  nexus: Nexus,
  cdb: readonly number[],
  options: { lun?: number; dataOut?: Uint8Array; attribute?: TaskAttribute } = {},
): FakeTask {
  const asked = new FakeTask(nexus, cdb, options);
  const wanted = device.dataOutBytes(nexus, asked.lun, asked.cdb);
  const task = new FakeTask(nexus, cdb, { ...options, dataOut: asked.dataOut.subarray(0, wanted) });
  device.execute(task);
  return task;
}

/** `key code` of sense data in either format, such as `5 2400`; `-` without. */
export function senseOf(outcome: Outcome | null): string {
  const sense = outcome?.sense;
  if (sense == null) return '-';
  const isDescriptor = ((sense[0] ?? 0) & 0x7f) === 0x72;
  const [key, code, qualifier] = isDescriptor ? [sense[1], sense[2], sense[3]] : [sense[2], sense[12], sense[13]];
  const two = (byte: number | undefined): string => (byte ?? 0).toString(16).padStart(2, '0');
  return `${(key ?? 0).toString(16)} ${two(code)}${two(qualifier)}`;
}
