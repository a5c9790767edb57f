import { split } from "../wire/pdu";
import type { Connection, Route } from "./connection";
import { Base } from "./connection";

const subprotocol = "teamtalk.v1"; // [TT-WS-1]

export function openWebSocket(route: Route, signal: AbortSignal): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(route.url, subprotocol);
    socket.binaryType = "arraybuffer";
    const giveUp = () => {
      socket.onopen = null;
      socket.onclose = null;
      socket.close();
      reject(new Error("given up"));
    };
    signal.addEventListener("abort", giveUp, { once: true });
    socket.onopen = () => {
      signal.removeEventListener("abort", giveUp);
      if (socket.protocol === subprotocol) {
        resolve(new SocketConnection(route, socket));
      } else {
        socket.close();
        reject(new Error("what answers there is no TeamTalk server"));
      }
    };
    socket.onclose = () => {
      signal.removeEventListener("abort", giveUp);
      reject(new Error("no WebSocket"));
    };
  });
}

/** PDUs in binary messages, each of one or more whole ones [TT-WS-3]. */
class SocketConnection extends Base {
  private readonly socket: WebSocket;

  constructor(route: Route, socket: WebSocket) {
    super(route);
    this.socket = socket;
    socket.onmessage = (event) => this.took(event.data);
    socket.onclose = (event) => this.broken(`closed ${event.code}`);
  }

  waiting(): number {
    return this.socket.bufferedAmount;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(bytes);
    }
  }

  close(): void {
    this.ended = true;
    this.socket.close(1000);
  }

  private took(data: unknown): void {
    try {
      if (!(data instanceof ArrayBuffer)) {
        throw new Error("a text message");
      }
      this.came(split(new Uint8Array(data)));
    } catch (error) {
      this.broken(String(error));
      this.socket.close(1000);
    }
  }
}
