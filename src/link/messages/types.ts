/** Every type of message there is. Numbers are never given to another meaning. */
export const MessageType = {
  // The link's own: handshake, liveness, requests between nodes.
  hello: 1,
  welcome: 2,
  refused: 3,
  ping: 4,
  pong: 5,
  call: 6,
  reply: 7,
  // Of the legs at both ends of a mirror. JSON, contents defined by the mirror:
  attach: 16,
  attached: 17,
  start: 18,
  describe: 19,
  description: 20,
  synced: 21,
  detach: 22,
  marks: 23,
  standing: 24,
  // Of the legs, defined here:
  records: 32,
  answer: 33,
  fault: 34,
  fetch: 35,
  fetched: 36,
  // Of the nodes at both ends, about the group (R16):
  askPromise: 37,
  promise: 38,
} as const;

export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** By number, for logs, dumps and for telling what is none. */
export const messageNames: ReadonlyMap<number, string> = new Map(
  Object.entries(MessageType).map(([name, type]) => [type, name]),
);
