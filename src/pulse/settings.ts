/**
 * What the pulse is told to do: part of the cluster document, the same on all nodes. The founding documents' numbers are
 * the preset `classic`; every number is a setting (AS-13).
 */

/** Part of the cluster document; null there means: no pulse, and no automatic take-over. Times in milliseconds. */
export interface PulseSettings {
  readonly preset: PulsePreset;
  /** Between two heartbeats on each channel (HM-6). */
  readonly intervalMs: number;
  /** After so long without a valid heartbeat a channel is silent (HM-7, AS-3). */
  readonly timeoutMs: number;
  /** Without a gap for so long, a channel or path that was FAILED counts again (HM-19); 0: at once. */
  readonly probationMs: number;
  /** Which tests a message must pass besides authentication and being of a known member (HM-7). Without `check`: none more. */
  readonly validity: { readonly serial: boolean; readonly time: boolean; readonly check?: PeerCheck | undefined };
  /** IM-5: connections of a link not heard of for so long are marked down and closed. */
  readonly connectionTimeoutMs: number;
  /** IM-6: without a gap for so long, connections are opened again; 0: at once. */
  readonly connectionProbationMs: number;
  /** HM-1: a master that sent nothing valid for so long is one no more. */
  readonly masterTimeoutMs: number;
  /** AS-4: before take-over the silent node is asked over the network; `retries` times, `waitMs` for each answer. */
  readonly presence: { readonly enabled: boolean; readonly waitMs: number; readonly retries: number };
  /** AS-5: so long a node waits for the others after its start before their silence counts; 0: for ever. */
  readonly startUpMs: number;
  /** The engine is stuck when it has not moved for so long: the pulse goes silent. */
  readonly stallMs: number;
  /** Of the nodes' leases (R15), and the margin others wait beyond. */
  readonly leaseTtlMs: number;
  readonly leaseMarginMs: number;
  /** TL-4: echo on every connection of a link, when it is given up, and how long a record may wait for its answer. */
  readonly link: {
    readonly echoMs: number;
    readonly silenceMs: number;
    readonly commandTimeoutMs: number;
    /** IM-5: any valid frame on a connection counts as a heartbeat does for its mark. Absent: it does. */
    readonly framesCount?: boolean | undefined;
  };
  /** HM-2: heartbeats by network (UDP). */
  readonly network: boolean;
  readonly mirrors: readonly HeartbeatMirror[];
  readonly interconnects: readonly Interconnect[];
}

/** HM-7: a command that ends with status 0 in time where what is heard of a node may be believed. No shell. */
export interface PeerCheck {
  readonly words: readonly string[];
  readonly timeoutMs: number;
}

export type PulsePreset = 'lan' | 'wan' | 'classic';

/** HM-2: a small volume of its own on two nodes, written at `from`, read at `to`. */
export interface HeartbeatMirror {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Backing file or device at each of the two; default `<data folder>/heartbeat/<name>.img`. */
  readonly paths: Readonly<Record<string, string>>;
}

/** AS-3: a dedicated way between two nodes of one site. */
export interface Interconnect {
  readonly name: string;
  /**
   * At each of the two nodes: a serial device (`/dev/ttyS0`), `unix:/path` or `host:port`. Of sockets both name the same
   * kind: the first node (in the cluster document's order) listens at its own, the second dials it.
   */
  readonly at: Readonly<Record<string, string>>;
  /** Of serial devices; default 115200. */
  readonly baudRate: number;
}
