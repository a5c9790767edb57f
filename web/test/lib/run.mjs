// @ts-check
// Runs a script's steps in a browser: says how long each took, and when one fails shows what every page had on it.

import { chromium } from "playwright-core";
import { leave } from "./world.mjs";

/** How long anything may take that a page has to show; far more than any of it does, even where ten others want the processor. */
export const patience = Number(process.env.TT_PATIENCE ?? 60_000);

/** @typedef {import("playwright-core").Page} Page */

export class Show {
  /** @type {import("playwright-core").Browser} */ browser;
  /** @type {{name: string, page: Page, trouble: string[], journal: string[]}[]} */ #pages = [];

  /** @param {import("playwright-core").Browser} browser */
  constructor(browser) {
    this.browser = browser;
  }

  /**
   * A browser of its own, as far as a page can tell, with one page.
   * @param {string} name
   * @param {import("playwright-core").BrowserContextOptions} [options]
   * @returns {Promise<Page>}
   */
  async page(name, options = {}) {
    const context = await this.browser.newContext({
      locale: "en-US",
      timezoneId: "Asia/Shanghai",
      viewport: { width: 1280, height: 800 },
      permissions: ["microphone", "notifications", "clipboard-read", "clipboard-write"],
      acceptDownloads: true,
      ...options,
    });
    context.setDefaultTimeout(patience);
    const page = await context.newPage();
    await this.adopt(name, page);
    return page;
  }

  /**
   * Watches a page: what its policy forbids and what it throws fails the script.
   * @param {string} name
   * @param {Page} page
   */
  async adopt(name, page) {
    /** @type {string[]} */
    const trouble = [];
    this.#pages.push({ name, page, trouble, journal: journalOf(page) });
    page.on("pageerror", (e) => trouble.push(`${name} threw: ${e.stack ?? e}`));
    page.on("console", (m) => {
      const text = m.text();
      if (/Content Security Policy|TrustedHTML|TrustedScript|Uncaught/.test(text))
        trouble.push(`${name} has on its console: ${text}`);
    });
    page.on("dialog", (d) => {
      trouble.push(`${name} opened a dialog of the browser: ${d.message()}`);
      void d.dismiss();
    });
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (e) => {
        console.error(
          `Content Security Policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`,
        );
      });
    });
  }

  /**
   * One thing that is shown.
   * @param {string} what
   * @param {() => Promise<unknown>} act
   */
  async step(what, act) {
    const began = performance.now();
    try {
      await act();
    } catch (e) {
      console.log(`FAILED ${what} after ${Math.round(performance.now() - began)} ms`);
      await this.#describe();
      throw e;
    }
    this.#judge(what);
    console.log(`ok ${what} (${Math.round(performance.now() - began)} ms)`);
  }

  /** @param {string} what */
  #judge(what) {
    const all = this.#pages.flatMap((p) => p.trouble.splice(0));
    if (all.length > 0) throw new Error(`${what}:\n${all.join("\n")}`);
  }

  async #describe() {
    for (const { name, page, trouble, journal } of this.#pages) {
      if (page.isClosed()) continue;
      for (const line of trouble) console.log(line);
      console.log(`--- ${name}, what was on its console and asked of the network last\n${journal.join("\n")}`);
      // A page that has no time may take long to say what is on it.
      const text = await page
        .locator("body")
        .ariaSnapshot({ timeout: patience })
        .catch((e) => String(e));
      const state = await page
        .evaluate(() => JSON.stringify({ ...document.body.dataset, at: Math.round(performance.now()) }))
        .catch((e) => String(e));
      console.log(`--- ${name} at ${page.url()}, ${state}\n${text}`);
      const folder = process.env.TT_SHOTS;
      if (folder) await page.screenshot({ path: `${folder}/failed-${name}.png`, timeout: 5000 }).catch(() => undefined);
    }
  }
}

/** How many lines of a journal are kept. */
const journalMost = 60;

/**
 * What a page has on its console and what it asks of the network, the last lines of it, with seconds since now.
 * @param {Page} page
 * @returns {string[]}
 */
function journalOf(page) {
  /** @type {string[]} */
  const journal = [];
  const began = performance.now();
  const note = (/** @type {string} */ line) => {
    journal.push(`${((performance.now() - began) / 1000).toFixed(1)} s: ${line.slice(0, 300)}`);
    if (journal.length > journalMost) journal.shift();
  };
  page.on("console", (m) => note(`${m.type()}: ${m.text()}`));
  page.on("framenavigated", (f) => note(`at ${f.url()}`));
  page.on("requestfailed", (r) => note(`${r.method()} ${r.url()}: ${r.failure()?.errorText}`));
  page.on("response", (r) => {
    if (r.status() >= 400) note(`${r.request().method()} ${r.url()}: ${r.status()}`);
  });
  page.on("websocket", (w) => {
    note(`${w.url()} opens`);
    w.on("socketerror", (e) => note(`${w.url()}: ${e}`));
    w.on("close", () => note(`${w.url()} is closed`));
  });
  return journal;
}

/**
 * Runs a script in one browser.
 * @param {(show: Show) => Promise<void>} script
 * @param {string[]} [args] for the browser
 */
export async function run(script, args = []) {
  const browser = await chromium.launch({
    executablePath: process.env.TT_BROWSER ?? "/usr/bin/chromium",
    args: [
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      "--autoplay-policy=no-user-gesture-required",
      ...args,
    ],
  });
  try {
    await script(new Show(browser));
  } catch (e) {
    console.log(e instanceof Error ? e.stack : String(e));
    process.exitCode = 1;
  } finally {
    await browser.close();
    leave();
  }
}

/**
 * Waits until something holds.
 * @param {string} what
 * @param {() => Promise<unknown>} holds
 * @param {number} [limit] ms
 */
export async function until(what, holds, limit = patience) {
  const end = performance.now() + limit;
  for (;;) {
    if (await holds()) return;
    if (performance.now() > end) throw new Error(`waited ${limit} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * @param {unknown} got
 * @param {unknown} want
 * @param {string} what
 */
export function equal(got, want, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`${what}: ${a}, want ${b}`);
}

/**
 * @param {unknown} holds
 * @param {string} what
 */
export function check(holds, what) {
  if (!holds) throw new Error(what);
}
