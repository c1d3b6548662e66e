/**
 * Cuts the byte stream of a connection into PDUs (RFC 7143 11.1), incremental and total:
 *
 *   BHS 48 │ AHS 0…1020 │ header digest 0 or 4 │ data segment │ padding 0…3 │ data digest 0 or 4
 *
 * A header is read where it lies in the received chunk. Once it is known its owner says where the data segment goes: to
 * memory of the owner's (the buffer of the task a Data-Out belongs to), into which the socket then reads straight
 * (`space`), or nowhere in particular: a view of the chunk, or of memory lent for a segment that came in several.
 *
 * Keeps: no more memory than one header and, where the owner names none, one data segment of at most `dataBytesMax`;
 * while the sink is full no PDU is begun. Nothing is allocated for a PDU that lies wholly in a chunk, but the view of its data.
 */
import { crc32c } from '../../base/crc32c.ts';
import { payloadMemory } from '../../base/payload-memory.ts';
import { ahsBytesMax, bhsBytes, dataSegmentBytesDefault, digestBytes, paddingOf, RequestHeader } from './pdu.ts';

export interface PduSink {
  /** True while no further PDU may be taken in; decoding goes on with `proceed`. */
  readonly full: boolean;
  /**
   * Where the data segment of this PDU goes, not called where there is none. Null: the sink looks at it in `pdu` and
   * copies, or shares in (`PayloadMemory`), what it keeps. Memory shorter than the segment takes the front; the rest is passed over,
   * so empty memory discards it. Memory named here is the decoder's to write into until `pdu`, `damaged` or `stop`.
   */
  place(header: RequestHeader): Uint8Array | null;
  /** A whole PDU. Header, AHS and data placed nowhere are the sink's during the call only. `data` has no padding. */
  pdu(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void;
  /** Instead of `pdu`: the data segment is not what was sent (RFC 7143 7.8). Later PDUs follow as usual. */
  damaged(header: RequestHeader, ahs: Uint8Array): void;
  /** Not iSCSI, or not to be trusted any more. Nothing is decoded afterwards. */
  garbage(reason: string): void;
}

/** With less of a segment missing, taking the rest from the next chunk costs less than a system call of its own. */
const directBytesMin = 32 * 1024;

const none = new Uint8Array(0);
const headerBytesMax = bhsBytes + ahsBytesMax + digestBytes;

export class PduDecoder {
  /** Longest data segment we take (RFC 7143 13.12), bytes; beyond it the connection ends. */
  dataBytesMax = dataSegmentBytesDefault;
  /** As the login has agreed; from the next PDU on. */
  headerDigest = false;
  dataDigest = false;

  readonly #sink: PduSink;
  /** A header that a chunk ended in, or whose data segment is still coming. */
  readonly #header = new Uint8Array(headerBytesMax);
  readonly #headerView = new DataView(this.#header.buffer);
  #headerFilled = 0;
  /** The header handed on; one object for all. */
  readonly #current = new RequestHeader(this.#headerView);

  /** What is still to come of the PDU: its data segment, then what stands behind it. */
  #dataLeft = 0;
  #tailLeft = 0;
  /** Where the data goes, and how much of it is there. */
  #place: Uint8Array = none;
  #placeFilled = 0;
  /** `#place` is lent by `payloadMemory`. */
  #placeLent = false;
  /** Checksum of what came of data and padding; then what the digest says. */
  #checksum = 0;
  #digest = 0;
  #digestLeft = 0;
  #ahsBytes = 0;
  /** What arrived while the sink was full, in order. */
  #held: Uint8Array[] = [];
  #over = false;

  constructor(sink: PduSink) {
    this.#sink = sink;
  }

  /** Where the next bytes should go; null: anywhere. */
  space(): Uint8Array | null {
    const room = Math.min(this.#dataLeft, this.#place.length - this.#placeFilled);
    return room >= directBytesMin ? this.#place.subarray(this.#placeFilled, this.#placeFilled + room) : null;
  }

  received(chunk: Uint8Array): void {
    if (this.#over) return;
    if (this.#held.length > 0) this.#hold(chunk);
    else this.#decode(chunk);
  }

  /** The sink may have room again. */
  proceed(): void {
    while (!this.#over && !this.#sink.full) {
      const chunk = this.#held.shift();
      if (chunk === undefined) return;
      const later = this.#held;
      this.#held = [];
      this.#decode(chunk);
      payloadMemory.give(chunk);
      this.#held.push(...later);
    }
  }

  /** Ends decoding for good. */
  stop(): void {
    this.#over = true;
    this.#held = [];
    this.#dataLeft = this.#tailLeft = 0;
    this.#place = none;
  }

  #hold(chunk: Uint8Array): void {
    payloadMemory.share(chunk);
    this.#held.push(chunk);
  }

  #decode(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    const end = chunk.length;
    let at = 0;
    while (at < end && !this.#over) {
      if (this.#dataLeft > 0) {
        at = this.#fill(chunk, at);
      } else if (this.#tailLeft > 0) {
        at = this.#tail(chunk, at);
      } else if (this.#sink.full) {
        this.#hold(chunk.subarray(at));
        return;
      } else {
        at = this.#head(view, chunk, at);
      }
    }
  }

  /** Reads a header, or a part of one. Returns where to go on in the chunk. */
  #head(view: DataView, chunk: Uint8Array, at: number): number {
    const present = chunk.length - at;
    if (this.#headerFilled === 0 && present >= bhsBytes) {
      const bytes = this.#headerBytes(view, at);
      if (present >= bytes) return this.#begin(view, at, chunk, at + bytes);
    }
    const wanted = this.#headerFilled < bhsBytes ? bhsBytes : this.#headerBytes(this.#headerView, 0);
    const count = Math.min(wanted - this.#headerFilled, present);
    this.#header.set(chunk.subarray(at, at + count), this.#headerFilled);
    this.#headerFilled += count;
    if (this.#headerFilled < bhsBytes || this.#headerFilled < this.#headerBytes(this.#headerView, 0))
      return at + count;
    this.#headerFilled = 0;
    return this.#begin(this.#headerView, 0, chunk, at + count);
  }

  #headerBytes(view: DataView, at: number): number {
    return bhsBytes + view.getUint8(at + 4) * 4 + (this.headerDigest ? digestBytes : 0);
  }

  /** The header at `headerAt` is whole; its data begins at `at` in the chunk. Returns where to go on in the chunk. */
  #begin(view: DataView, headerAt: number, chunk: Uint8Array, at: number): number {
    const header = this.#current;
    header.view = view;
    header.at = headerAt;
    const { ahsBytes, dataBytes } = header;
    this.#ahsBytes = ahsBytes;
    if (this.headerDigest) {
      const covered = bhsBytes + ahsBytes;
      const bytes = new Uint8Array(view.buffer, view.byteOffset + headerAt, covered);
      // Its length fields cannot be trusted either, so the next PDU cannot be found (RFC 7143 7.7).
      if (view.getUint32(headerAt + covered, true) !== crc32c(bytes)) return this.#refuse('wrong header digest', at);
    }
    if (dataBytes > this.dataBytesMax) {
      return this.#refuse(`data segment of ${dataBytes} bytes, at most ${this.dataBytesMax} allowed`, at);
    }
    if (dataBytes === 0) {
      this.#sink.pdu(header, this.#ahs(), none);
      return at;
    }
    const place = this.#sink.place(header);
    if (this.#over) return at;
    const withDigest = this.dataDigest;
    const padding = paddingOf(dataBytes);
    if (place === null && chunk.length - at >= dataBytes + padding + (withDigest ? digestBytes : 0)) {
      const data = chunk.subarray(at, at + dataBytes);
      let end = at + dataBytes + padding;
      let intact = true;
      if (withDigest) {
        const sent = new DataView(chunk.buffer, chunk.byteOffset + end, digestBytes).getUint32(0, true);
        intact = sent === crc32c(chunk.subarray(at, end));
        end += digestBytes;
      }
      this.#deliver(data, intact);
      return end;
    }
    if (view !== this.#headerView) {
      this.#header.set(new Uint8Array(view.buffer, view.byteOffset + headerAt, bhsBytes + ahsBytes));
      header.view = this.#headerView;
      header.at = 0;
    }
    this.#place = place ?? payloadMemory.take(dataBytes);
    this.#placeLent = place === null;
    this.#placeFilled = 0;
    this.#dataLeft = dataBytes;
    this.#digestLeft = withDigest ? digestBytes : 0;
    this.#tailLeft = padding + this.#digestLeft;
    this.#checksum = this.#digest = 0;
    return at;
  }

  #fill(chunk: Uint8Array, at: number): number {
    const place = this.#place;
    const count = Math.min(this.#dataLeft, chunk.length - at);
    const end = at + count;
    const kept = Math.min(count, place.length - this.#placeFilled);
    // What `space` offered comes back as the same memory.
    const inPlace = chunk.buffer === place.buffer && chunk.byteOffset + at === place.byteOffset + this.#placeFilled;
    if (!inPlace && kept > 0) place.set(chunk.subarray(at, at + kept), this.#placeFilled);
    this.#placeFilled += kept;
    if (this.#digestLeft > 0) this.#checksum = crc32c(chunk.subarray(at, end), this.#checksum);
    this.#dataLeft -= count;
    if (this.#dataLeft === 0 && this.#tailLeft === 0) this.#end();
    return end;
  }

  #tail(chunk: Uint8Array, at: number): number {
    const digestLeft = this.#digestLeft;
    if (this.#tailLeft > digestLeft) {
      const count = Math.min(this.#tailLeft - digestLeft, chunk.length - at);
      if (digestLeft > 0) this.#checksum = crc32c(chunk.subarray(at, at + count), this.#checksum);
      this.#tailLeft -= count;
      at += count;
    } else {
      // The digest, least significant byte first (RFC 7143 13.1).
      this.#digest |= (chunk[at] ?? 0) << (8 * (digestBytes - digestLeft));
      this.#digestLeft -= 1;
      this.#tailLeft -= 1;
      at += 1;
      if (this.#tailLeft === 0) {
        this.#end(this.#digest >>> 0 === this.#checksum);
        return at;
      }
    }
    if (this.#tailLeft === 0) this.#end();
    return at;
  }

  #end(intact = true): void {
    const place = this.#place;
    const lent = this.#placeLent;
    this.#place = none;
    this.#deliver(place.subarray(0, this.#placeFilled), intact);
    if (lent) payloadMemory.give(place);
  }

  #deliver(data: Uint8Array, intact: boolean): void {
    if (intact) this.#sink.pdu(this.#current, this.#ahs(), data);
    else this.#sink.damaged(this.#current, this.#ahs());
  }

  #ahs(): Uint8Array {
    if (this.#ahsBytes === 0) return none;
    const { view, at } = this.#current;
    return new Uint8Array(view.buffer, view.byteOffset + at + bhsBytes, this.#ahsBytes);
  }

  #refuse(reason: string, at: number): number {
    this.stop();
    this.#sink.garbage(reason);
    return at;
  }
}
