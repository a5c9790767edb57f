import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DemoEngine } from "./engine";

const src = new URL("..", import.meta.url);

test("nothing of the page uses the demo's engine", () => {
  const files = readdirSync(src, { recursive: true, encoding: "utf8" });
  const page = files.filter((f) => /\.tsx?$/.test(f) && !/\.test\.tsx?$/.test(f) && !f.startsWith("demo"));
  expect(page.length).toBeGreaterThan(50);
  expect(page.filter((f) => /from "[^"]*\bdemo\//.test(readFileSync(new URL(f, src), "utf8")))).toEqual([]);
});

test("the demo has every state of a message that there is to be seen", () => {
  const engine = new DemoEngine();
  const all = engine.conversations.value.flatMap((c) => engine.timeline(c.key).messages.value);
  const states = new Set(all.flatMap((m) => [m.state, m.delivery ?? ""]));
  for (const s of [
    "recalled",
    "burned",
    "sending",
    "failed",
    "sent",
    "pending",
    "delayed",
    "delivered",
    "read",
    "undeliverable",
  ]) {
    expect(states).toContain(s);
  }
  expect(new Set(all.map((m) => m.key)).size).toBe(all.length);
});
