// @ts-check
// Figures for the documentation: how large the page is, how soon it can be used, how evenly a long conversation scrolls.

import { readdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { App } from "./lib/app.mjs";
import { run } from "./lib/run.mjs";
import { facts } from "./lib/world.mjs";

/** @param {number[]} values @param {number} share */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

async function size() {
  const dist = new URL("../dist/", import.meta.url);
  let [plain, packed] = [0, 0];
  for (const name of await readdir(dist, { recursive: true })) {
    if (!/\.(html|js|css|svg|json|webmanifest)$/.test(name)) continue;
    const bytes = await readFile(new URL(name, dist));
    plain += bytes.length;
    packed += gzipSync(bytes, { level: 9 }).length;
  }
  console.log(`figure: bundle ${(packed / 1024).toFixed(1)} KiB gzipped, ${(plain / 1024).toFixed(1)} KiB plain`);
}

/** How long frames take while the conversation is scrolled from one end to the other. @param {App} app @param {number} step pixels a frame */
function scroll(app, step) {
  return app.log.evaluate(
    (el, by) =>
      new Promise((/** @type {(frames: number[]) => void} */ resolve) => {
        /** @type {number[]} */
        const frames = [];
        let last = performance.now();
        let still = 0;
        let top = -1;
        const frame = (/** @type {number} */ now) => {
          frames.push(now - last);
          last = now;
          el.scrollBy(0, by);
          const at = by < 0 ? el.scrollTop : el.scrollHeight - el.clientHeight - el.scrollTop;
          still = at <= 1 && el.scrollTop === top ? still + 1 : 0; // at the end; more may be loaded there
          top = el.scrollTop;
          if (still > 40) resolve(frames.slice(1, -40));
          else requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
      }),
    step,
  );
}

/** @param {string} what @param {number[]} frames */
function tell(what, frames) {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => quantile(frames, q).toFixed(1));
  const late = frames.filter((f) => f > 34).length;
  console.log(
    `figure: ${what}: ${frames.length} frames, p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, longest ${Math.max(...frames).toFixed(0)} ms, ${late} later than two refreshes`,
  );
}

await run(async (show) => {
  await size();
  /** @type {number[][]} */
  const times = [[], [], []];
  for (let round = 0; round < facts.rounds; round++) {
    const app = new App(await show.page("user1"), facts.page);
    await show.step(`from nothing to the conversations, round ${round + 1}`, async () => {
      await app.page.goto(app.at);
      await app.page.getByLabel("User name").waitFor();
      times[0]?.push(await app.page.evaluate(() => performance.now()));
      await app.page.getByLabel("User name").fill("user1");
      await app.page.getByLabel("Password", { exact: true }).fill(facts.password);
      const began = performance.now();
      await app.page.getByRole("button", { name: "Log in" }).click();
      await app.entry("u2").waitFor();
      times[1]?.push(performance.now() - began);
      await app.page.reload();
      await app.entry("u2").waitFor();
      await app.online();
      times[2]?.push(await app.page.evaluate(() => performance.now()));
    });
    if (round + 1 < facts.rounds) await app.page.context().close();
    else await long(show, app);
  }
  const [form, login, again] = times.map((all) => `${quantile(all, 0.5).toFixed(0)} ms`);
  console.log(
    `figure: the login form after ${form}, conversations ${login} after the button, after a reload ${again} (medians of ${facts.rounds})`,
  );
});

/** @param {import("./lib/run.mjs").Show} show @param {App} app */
async function long(show, app) {
  await show.step(`a conversation of ${facts.count} messages`, async () => {
    const began = performance.now();
    await app.open("u2");
    await app.sees(`message ${facts.count} of`);
    console.log(`figure: opened after ${(performance.now() - began).toFixed(0)} ms`);
    tell("scrolling up, while it is loaded", await scroll(app, -900));
    await app.sees(/message 1 of a/);
    tell("scrolling down", await scroll(app, 900));
    await app.sees(`message ${facts.count} of`);
    const heap = await app.page.evaluate(() => {
      // @ts-expect-error: Chromium only
      return performance.memory.usedJSHeapSize;
    });
    console.log(
      `figure: ${(heap / 1048576).toFixed(0)} MiB of JavaScript heap, ${await app.page.locator("article").count()} messages drawn`,
    );
  });
}
