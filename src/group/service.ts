/**
 * What happens around the serving of a group, and is not the group's business: the integrity check before hosts are let
 * in (AS-9), what runs on the volumes (HM-18). The agent's room is above this one and is called through here.
 */

/** How a node has become owner. */
export type OpenedBy =
  /** From an owner that was gone. */
  | 'takeOver'
  /** It was the owner by the record when its process started, or got its lease back from nobody. */
  | 'start'
  /** From an owner that handed it over. */
  | 'handedOver';

export interface GroupService {
  /**
   * Everything is ready but the hosts. Null, now or later: they are let in; text: they are kept out, and why. Never
   * rejects.
   */
  beforeServing(group: string, by: OpenedBy): Promise<string | null> | null;
  /** Hosts are let in. */
  serving(group: string, by: OpenedBy): void;
  /** R15: about to be handed over, while hosts are still served. Text: it is not, and why. Never rejects. */
  beforeHandOver(group: string, to: string): Promise<string | null>;
  /** It was not handed over after all: hosts are served here as before. */
  handOverFailed(group: string): void;
  /** It is not owned here any more. */
  left(group: string, reason: string): void;
}
