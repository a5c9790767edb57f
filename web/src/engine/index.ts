// The engine: everything between the user interface and the server.

import type { Engine } from "./api";
import { ChatEngine } from "./engine";
import { Database } from "./local/database";
import { BrowserMarks } from "./local/marks";
import { BrowserUnsent } from "./local/unsent";
import { Dialer, type Shelf } from "./net/dialer";
import { openLongPoll } from "./net/longpoll";
import { openWebSocket } from "./net/websocket";
import { hasWebTransport, openWebTransport } from "./net/webtransport";
import { CookieKeep } from "./session/keep";

export type * from "./api";

/** An engine for the page it runs in, which talks to the server that the page came from. */
export function createEngine(): Engine {
  const shelf = shelfOf(() => localStorage);
  const dialer = new Dialer({
    origin: location.origin,
    shelf,
    openers: {
      websocket: openWebSocket,
      longpoll: openLongPoll,
      ...(hasWebTransport() && { webtransport: openWebTransport }),
    },
  });
  const db = new Database();
  const engine = new ChatEngine({
    dialer,
    keep: new CookieKeep(shelf),
    drafts: shelfOf(() => sessionStorage),
    unsent: new BrowserUnsent(db),
    marks: new BrowserMarks(db),
    save,
  });
  const check = () => engine.check();
  addEventListener("online", check);
  addEventListener("pageshow", check);
  document.addEventListener("visibilitychange", () => {
    document.visibilityState === "visible" ? check() : engine.hidden();
  });
  return engine;
}

/** A storage that may be full, or forbidden by the browser: then nothing is kept. */
function shelfOf(storage: () => Storage): Shelf {
  const attempt = <T>(fn: () => T, otherwise: T): T => {
    try {
      return fn();
    } catch {
      return otherwise;
    }
  };
  return {
    getItem: (key) => attempt(() => storage().getItem(key), null),
    setItem: (key, value) => attempt(() => storage().setItem(key, value), undefined),
    removeItem: (key) => attempt(() => storage().removeItem(key), undefined),
  };
}

function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.rel = "noopener";
  link.click();
}
