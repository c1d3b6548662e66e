/** The procedure: which ways of heartbeats the user wants used (HM-14). Pure; carried between nodes as a request. */
import { z } from 'zod';
import { HoldfastError } from '../base/errors.ts';
import type { ControlMessage } from './message.ts';
import type { UseChange } from './service.ts';
import { advance, type StatusTable } from './status-table.ts';

export interface UseContext {
  /** Heartbeat mirrors of the cluster document, whether this node has an end of them or not. */
  readonly declared: readonly string[];
  readonly hasNetwork: boolean;
  readonly hasInterconnect: boolean;
}

type Path = 'network' | 'mirrors' | { readonly mirror: string };

/** Throws `E_NOT_FOUND` for a path that nobody knows. */
export function applyUse(table: StatusTable, change: UseChange, { declared }: UseContext): StatusTable {
  const installed = table.list.flatMap((row) => row?.name ?? []);
  const known = new Set([...declared, ...installed]);
  const pathOf = (text: string): Path => {
    if (text === 'network' || text === 'mirrors') return text;
    const mirror = text.replace(/^mirror:/, '');
    if (known.has(mirror)) return { mirror };
    const names = ['network', 'mirrors', ...known].join(', ');
    throw new HoldfastError('E_NOT_FOUND', `there is no heartbeat path ${text} to choose; there are: ${names}`);
  };
  const { select, enable = [], disable = [] } = change;
  const choices: [Path, boolean][] = [
    ...enable.map((text): [Path, boolean] => [pathOf(text), true]),
    ...disable.map((text): [Path, boolean] => [pathOf(text), false]),
  ];
  if (select !== undefined) choices.unshift(['network', select !== 'mirrors'], ['mirrors', select !== 'network']);
  return choices.reduce((next, [path, on]) => advance(next, { kind: 'use', path, enable: on }), table);
}

/** What heartbeats of this node would still travel by, or be heard by; the echo of a link does not count. */
export function pathsLeft(table: StatusTable, { hasNetwork, hasInterconnect }: UseContext): string[] {
  const left = hasNetwork && table.network.enable !== 'DISABLE' ? ['network'] : [];
  if (hasInterconnect) left.push('interconnect');
  if (table.mirrors.enable === 'DISABLE') return left;
  return [...left, ...table.list.flatMap((row) => (row === null || row.status === 'DISABLE' ? [] : row.name))];
}

/** Whether the user named this channel, or its kind, as one to be used. */
export function isChosen({ select, enable = [] }: Omit<UseChange, 'confirmed'>, channel: string): boolean {
  const mirror = channel.replace(/^mirror:/, '');
  if (mirror === channel) return enable.includes(channel) || select === 'both' || select === channel;
  return (
    enable.some((text) => text === channel || text === mirror || text === 'mirrors') ||
    select === 'both' ||
    select === 'mirrors'
  );
}

const kind = 'use';
const paths = z.array(z.string().max(80)).max(32).readonly().exactOptional();
const body = z.object({
  atMs: z.number().nonnegative().exactOptional(),
  select: z.enum(['network', 'mirrors', 'both']).exactOptional(),
  enable: paths,
  disable: paths,
});

/** A change as one node asks it of another; `atMs`: when it was made. */
type PassedChange = Omit<UseChange, 'confirmed'> & { readonly atMs?: number };

/** The change as a request to another node. */
export function useMessage({ select, enable, disable, atMs }: PassedChange): ControlMessage {
  return {
    kind,
    body: {
      ...(select === undefined ? {} : { select }),
      ...(enable === undefined ? {} : { enable }),
      ...(disable === undefined ? {} : { disable }),
      ...(atMs === undefined ? {} : { atMs }),
    },
  };
}

/** Null for a request of another kind; throws for one of this kind that is malformed. */
export function readUseMessage(message: ControlMessage): PassedChange | null {
  return message.kind === kind ? body.parse(message.body) : null;
}
