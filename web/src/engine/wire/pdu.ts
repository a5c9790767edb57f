// Framing: a PDU is a header of 16 bytes, big-endian, and a body [TT-FRAME-1].

export const headerLength = 16;

/** No server sends more in one PDU; what announces more is no PDU. */
const mostLength = 16 << 20;

export interface Pdu {
  command: number;
  flag: number;
  seq: number;
  body: Uint8Array;
}

export class FramingError extends Error {}

export function encode(command: number, seq: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(headerLength + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, out.length);
  view.setUint16(4, 1);
  view.setUint16(8, command >> 8);
  view.setUint16(10, command);
  view.setUint16(12, seq);
  out.set(body, headerLength);
  return out;
}

/** The length of the PDU that begins at an offset; undefined: its header is not whole yet. */
function lengthAt(bytes: Uint8Array, at: number): number | undefined {
  if (bytes.length - at < 4) {
    return undefined;
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
  if (length < headerLength || length > mostLength) {
    throw new FramingError(`a PDU of ${length} bytes`);
  }
  return length;
}

function decodeAt(bytes: Uint8Array, at: number, length: number): Pdu {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, length);
  return {
    command: view.getUint16(10),
    flag: view.getUint16(6),
    seq: view.getUint16(12),
    body: bytes.slice(at + headerLength, at + length),
  };
}

/** The PDUs of a message that holds only whole ones. */
export function split(bytes: Uint8Array): Pdu[] {
  const splitter = new Splitter();
  const pdus = splitter.push(bytes);
  if (splitter.pending > 0) {
    throw new FramingError("the message ends inside a PDU");
  }
  return pdus;
}

/** Cuts a stream into PDUs, however it arrives [TT-FRAME-4]. */
export class Splitter {
  private rest: Uint8Array = new Uint8Array(0);
  private chunks: Uint8Array[] = []; // behind rest: joined only when they complete a PDU
  private have = 0;
  private need = headerLength;

  /** Bytes of a PDU that is not whole yet. */
  get pending(): number {
    return this.have;
  }

  push(chunk: Uint8Array): Pdu[] {
    this.chunks.push(chunk);
    this.have += chunk.length;
    if (this.have < this.need) {
      return [];
    }
    const bytes = this.join();
    const pdus: Pdu[] = [];
    let at = 0;
    for (;;) {
      const length = lengthAt(bytes, at);
      if (length === undefined || bytes.length - at < length) {
        this.need = length ?? headerLength;
        break;
      }
      pdus.push(decodeAt(bytes, at, length));
      at += length;
    }
    this.rest = bytes.subarray(at);
    this.have = this.rest.length;
    return pdus;
  }

  private join(): Uint8Array {
    if (this.rest.length === 0 && this.chunks.length === 1) {
      const only = this.chunks[0] as Uint8Array;
      this.chunks = [];
      return only;
    }
    const all = new Uint8Array(this.have);
    let at = 0;
    for (const part of [this.rest, ...this.chunks]) {
      all.set(part, at);
      at += part.length;
    }
    this.chunks = [];
    return all;
  }
}
