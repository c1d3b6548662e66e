/**
 * Finds the group a frame is for. Frames name an attachment, not a group: numbers of attachments are unique on the node
 * that owns the group, so the other end adds the connection they came by.
 */
import type { Group } from '../group/group.ts';
import type { Frame } from '../link/frame.ts';
import type { LinkConnection } from '../link/link.ts';
import { decodeJson, encodeJson } from '../link/messages/json.ts';
import { MessageType } from '../link/messages/types.ts';
import { attachSchema, type Attached } from '../mirror/messages.ts';

export class FrameRouter {
  readonly #groups: ReadonlyMap<string, Group>;
  /** Of attachments and fetches this node has begun. */
  readonly #ours = new Map<number, string>();
  /** Of attachments other nodes have begun, by connection. */
  readonly #theirs = new Map<number, Map<number, string>>();
  #lastId = 0;

  constructor(groups: ReadonlyMap<string, Group>) {
    this.#groups = groups;
  }

  newId(group: string, replaces: number): number {
    this.#ours.delete(replaces);
    const id = ++this.#lastId;
    this.#ours.set(id, group);
    return id;
  }

  /** A fetch is answered. */
  forget(id: number): void {
    this.#ours.delete(id);
  }

  connectionDown(connection: LinkConnection): void {
    this.#theirs.delete(connection.id);
  }

  route(connection: LinkConnection, frame: Frame): void {
    if (frame.type === MessageType.attach) {
      this.#attach(connection, frame);
      return;
    }
    const id = idOf(frame);
    if (id === null) {
      connection.breach('mirror', `a frame of type ${frame.type} without the number of its attachment`);
      return;
    }
    const name = connection.direction === 'out' ? this.#ours.get(id) : this.#theirs.get(connection.id)?.get(id);
    if (name !== undefined) this.#groups.get(name)?.frame(connection, frame);
  }

  #attach(connection: LinkConnection, frame: Frame): void {
    const json = decodeJson(frame);
    const body = json.ok ? attachSchema.safeParse(json.value) : null;
    if (body?.success !== true || connection.direction !== 'in') {
      connection.breach('mirror', 'a malformed attach');
      return;
    }
    const { attachId, group: name } = body.data;
    const group = this.#groups.get(name);
    if (group === undefined) {
      const refusal: Attached = {
        attachId,
        ok: false,
        code: 'unknownGroup',
        reason: `this node has no copy of group ${name}`,
        seen: 0,
      };
      connection.send(encodeJson(MessageType.attached, refusal));
      return;
    }
    let theirs = this.#theirs.get(connection.id);
    if (theirs === undefined) {
      theirs = new Map<number, string>();
      this.#theirs.set(connection.id, theirs);
    }
    for (const [id, other] of theirs) if (other === name) theirs.delete(id);
    theirs.set(attachId, name);
    group.frame(connection, frame);
  }
}

/** Null when the frame bears none. */
function idOf(frame: Frame): number | null {
  const { control, type } = frame;
  switch (type) {
    case MessageType.records:
    case MessageType.answer:
    case MessageType.fetch:
    case MessageType.fetched:
    case MessageType.askPromise:
    case MessageType.promise: {
      if (control.length < 4) return null;
      return new DataView(control.buffer, control.byteOffset, control.byteLength).getUint32(0, true);
    }
    default: {
      const json = decodeJson(frame);
      const value: unknown = json.ok ? json.value : null;
      if (typeof value !== 'object' || value === null || !('attachId' in value)) return null;
      return typeof value.attachId === 'number' ? value.attachId : null;
    }
  }
}
