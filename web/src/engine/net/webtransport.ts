import { Splitter } from "../wire/pdu";
import type { Connection, Route } from "./connection";
import { Base } from "./connection";

/** Whether the browser has it, and the page may use it. */
export function hasWebTransport(): boolean {
  return typeof globalThis.WebTransport === "function" && globalThis.isSecureContext;
}

export async function openWebTransport(route: Route, signal: AbortSignal): Promise<Connection> {
  const session = new WebTransport(route.url);
  const giveUp = () => session.close();
  signal.addEventListener("abort", giveUp, { once: true });
  // Its end is told by the stream as well; nobody else looks at this promise.
  session.closed.catch(() => undefined);
  try {
    await session.ready;
    const stream = await session.createBidirectionalStream();
    return new StreamConnection(route, session, stream);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

/** PDUs back to back on one bidirectional stream. */
class StreamConnection extends Base {
  private readonly session: WebTransport;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  private queued = 0;

  constructor(route: Route, session: WebTransport, stream: WebTransportBidirectionalStream) {
    super(route);
    this.session = session;
    this.writer = stream.writable.getWriter();
    void this.read(stream.readable.getReader());
  }

  waiting(): number {
    return this.queued;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.ended) {
      return;
    }
    this.queued += bytes.length;
    this.writer.write(bytes).then(
      () => {
        this.queued -= bytes.length;
      },
      (error: unknown) => this.broken(String(error)),
    );
  }

  close(): void {
    this.ended = true;
    // The end of the stream takes what was written along; the session goes when the server has had it, or it is lost anyway.
    this.writer.close().then(
      () => this.session.close(),
      () => this.session.close(),
    );
  }

  private async read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    const splitter = new Splitter();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) {
          throw new Error("the stream has ended");
        }
        this.came(splitter.push(value));
      }
    } catch (error) {
      this.broken(String(error));
      this.session.close();
    }
  }
}
