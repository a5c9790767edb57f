// The interface on invented data: `npm run demo`. Options are in the address: ?out, ?offline, ?queued, ?stale, ?empty, ?messages=10000.
import { mount } from "../ui/mount";
import { DemoEngine } from "./engine";

const options = new URLSearchParams(location.search);
const n = options.get("messages");

function status() {
  if (options.has("offline")) {
    return { phase: "offline" as const, retryAt: Date.now() + 17_000 };
  }
  if (options.has("queued")) {
    return { phase: "queued" as const, queue: { position: 1204, etaSeconds: 31 } };
  }
  if (options.has("stale")) {
    return { stale: true };
  }
  return options.has("kicked") ? { ended: "kicked" as const } : {};
}

const engine = new DemoEngine({
  out: options.has("out") || options.has("kicked") || options.has("queued"),
  empty: options.has("empty"),
  status: status(),
  ...(n ? { messages: Number(n) } : {}),
});
const root = document.getElementById("app");
if (root) {
  mount(engine, root);
}
Object.assign(globalThis, { engine });
