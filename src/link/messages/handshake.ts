/**
 * The handshake (JSON). The dialer sends `hello`, the other end answers `welcome`, after which the connection is up, or
 * `refused`, after which it closes. `refused` may also come later, before a connection is closed for a breach.
 *
 *   hello     {protocols: [1], features: [text], clusterId, node, to, incarnation, bootId, softwareVersion, index, count}
 *   welcome   {protocol: 1, features: [text], clusterId, node, incarnation, bootId, softwareVersion}
 *   refused   {code, message}
 *
 * `to` is the name of the node the dialer means; `index` numbers the connection among the `count` of its set.
 * `incarnation` is drawn with every start of the process.
 */
import { z } from 'zod';
import type { Decoded } from '../../base/codec.ts';
import type { Frame } from '../frame.ts';
import { decodeJson, encodeJson } from './json.ts';
import { parsed } from './parsed.ts';
import { MessageType } from './types.ts';

export const protocolVersion = 1;
export const connectionsPerLinkMax = 16;

const name = z.string().min(1).max(128);
const features = z.array(name).max(64);
const ends = {
  features,
  clusterId: name,
  node: name,
  incarnation: z.string().regex(/^[0-9a-f]{32}$/),
  bootId: name,
  softwareVersion: name,
};

const hello = z
  .object({
    protocols: z.array(z.number().int().nonnegative()).min(1).max(16),
    ...ends,
    to: name,
    index: z.number().int().nonnegative(),
    count: z.number().int().positive().max(connectionsPerLinkMax),
  })
  .refine(({ index, count }) => index < count, { path: ['index'], error: 'not below count' });
const welcome = z.object({ protocol: z.number().int().nonnegative(), ...ends });

const refusalCodes = [
  'wrongCluster',
  /** The node's name is not the one the dialer means. */
  'wrongNode',
  /** The dialer is not a node of the cluster. */
  'unknownNode',
  /** The dialer bears the name of the node it has dialled. */
  'ownName',
  'protocolVersion',
  /** A newer process of the same node has been here. */
  'supersededIncarnation',
  /** The dialer is marked down here by its heartbeats, or on probation: it may come back (IM-5, IM-6). */
  'notYet',
  /** The message says which rule was broken. */
  'breach',
] as const;
const refused = z.object({ code: z.enum(refusalCodes), message: z.string().max(4096) });

export type Hello = Readonly<z.infer<typeof hello>>;
export type Welcome = Readonly<z.infer<typeof welcome>>;
export type Refused = Readonly<z.infer<typeof refused>>;
export type RefusalCode = (typeof refusalCodes)[number];

export const encodeHello = (value: Hello): Uint8Array[] => encodeJson(MessageType.hello, value);
export const encodeWelcome = (value: Welcome): Uint8Array[] => encodeJson(MessageType.welcome, value);
export const encodeRefused = (value: Refused): Uint8Array[] => encodeJson(MessageType.refused, value);

export const decodeHello = (frame: Frame): Decoded<Hello> => parsed(hello, decodeJson(frame));
export const decodeWelcome = (frame: Frame): Decoded<Welcome> => parsed(welcome, decodeJson(frame));
export const decodeRefused = (frame: Frame): Decoded<Refused> => parsed(refused, decodeJson(frame));
