// @ts-check
// The page as somebody uses it: what is clicked and what is read, by the names that people and screen readers have for it.

import { check, patience, until } from "./run.mjs";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Locator} Locator */
/** @typedef {{id: number, key: string, text: string, mine: boolean, delivery: string, state: string}} Shown */

export class App {
  /** @param {Page} page @param {string} at where it is */
  constructor(page, at) {
    this.page = page;
    this.at = at;
  }

  /** @param {string} name @param {string} password */
  async logIn(name, password) {
    await this.page.goto(this.at);
    await this.enter(name, password);
    await this.online();
  }

  /** @param {string} name @param {string} password */
  async enter(name, password) {
    await this.page.getByLabel("User name").fill(name);
    await this.page.getByLabel("Password", { exact: true }).fill(password);
    await this.page.getByRole("button", { name: "Log in" }).click();
  }

  /** Waits for a session, by one transport if that is said: a page looks for a better one once a minute. @param {string} [transport] */
  async online(transport) {
    const by = transport ? `[data-transport="${transport}"]` : "";
    await this.page.locator(`body[data-phase="online"]${by}`).waitFor({ state: "attached", timeout: 3 * patience });
  }

  /** The field that messages are written in. */
  get field() {
    return this.page.getByRole("textbox", { name: /^(Message to|给)/ });
  }

  get log() {
    return this.page.getByRole("log");
  }

  /** @param {string} name */
  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  /** @param {string} key */
  entry(key) {
    return this.page.locator(`[data-conversation="${key}"]`);
  }

  /** @param {"Chats" | "Contacts"} name */
  async section(name) {
    await this.page.getByRole("navigation").getByRole("button", { name }).click();
  }

  /** Opens a conversation of the list. @param {string} key */
  async open(key) {
    await this.entry(key).click();
    await this.log.waitFor();
  }

  /** @param {string} text */
  async say(text) {
    await this.field.fill(text);
    await this.field.press("Enter");
  }

  /** The messages with a text. @param {string | RegExp} text */
  message(text) {
    return this.page.locator("article[data-key]").filter({ hasText: text });
  }

  /** @param {string | RegExp} text */
  async sees(text) {
    await this.message(text).last().waitFor();
    return this.message(text).last();
  }

  /** Waits for what becomes of a message of one's own. @param {string | RegExp} text @param {...string} states */
  async becomes(text, ...states) {
    const message = this.message(text).last();
    await until(`"${text}" to be ${states}`, async () =>
      states.includes((await message.getAttribute("data-delivery")) ?? ""),
    ).catch(async (e) => {
      throw new Error(`${e.message}; it is ${await message.getAttribute("data-delivery")}`);
    });
  }

  /** Does something with a message by its menu. @param {Locator} message @param {string} what */
  async act(message, what) {
    await message.hover();
    await message.getByRole("button", { name: /^Actions for this message/ }).click();
    await this.page.getByRole("menuitem", { name: what }).click();
  }

  /** The messages that are drawn now, as they follow one another. @returns {Promise<Shown[]>} */
  shown() {
    return this.page.locator("article[data-key]").evaluateAll((all) =>
      all.map((el) => ({
        id: Number(el.dataset.id),
        key: el.dataset.key ?? "",
        text: (el.querySelector("p.text") ?? el).textContent?.trim() ?? "",
        mine: "mine" in el.dataset,
        delivery: el.dataset.delivery ?? "",
        state: el.dataset.state ?? "",
      })),
    );
  }

  /** @param {"begin" | "end"} to */
  async scroll(to) {
    await this.log.evaluate((el, up) => {
      const box = /** @type {HTMLElement} */ (el);
      box.scrollTop = up ? 0 : box.scrollHeight;
    }, to === "begin");
  }

  /**
   * The whole conversation, oldest first, as somebody sees who scrolls up to its begin. What is drawn must always be in one order.
   * @returns {Promise<Shown[]>}
   */
  async whole() {
    await this.scroll("end");
    /** @type {Shown[]} */
    let all = [];
    for (let last = performance.now(); ; ) {
      const now = await this.shown();
      const first = all[0];
      const meet = first ? now.findIndex((m) => m.key === first.key) : now.length;
      check(meet >= 0, `what is above ${first?.text} does not touch it`);
      const fresh = now.slice(0, meet);
      all = [...fresh, ...all];
      if (fresh.length > 0) {
        last = performance.now();
      } else if (first) {
        const top = await this.log.evaluate((el) => el.scrollTop);
        if (top === 0 && (await this.page.getByText("This is the beginning of the conversation").count()) > 0) break;
      }
      check(
        performance.now() - last < patience,
        `nothing comes above ${first?.text}, and it is not said to be the first`,
      );
      // The page draws what this brings in its next frame; to scroll twice before that would leave a part out.
      await this.log.evaluate(
        (el, by) =>
          new Promise((resolve) => {
            el.scrollBy(0, -Math.max(el.clientHeight - 80, 100));
            setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(resolve)), by);
          }),
        fresh.length > 0 ? 0 : 50,
      );
    }
    const keys = new Set(all.map((m) => m.key));
    check(keys.size === all.length, "a message is there twice");
    return all;
  }

  /** Changes a setting: opens them, acts, closes them. @param {(dialog: Locator) => Promise<void>} act */
  async settings(act) {
    await this.page
      .getByRole("button", { name: /settings$|^Settings$|^设置$|设置$/ })
      .first()
      .click();
    const dialog = this.page.getByRole("dialog");
    await act(dialog);
    await this.page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
  }
}

/** Bytes of a picture with something on it, as base64, made by the browser. @param {Page} page @param {string} type */
export function landscape(page, type = "image/png") {
  return page.evaluate(async (kind) => {
    const canvas = document.createElement("canvas");
    canvas.width = 960;
    canvas.height = 600;
    const g = canvas.getContext("2d");
    if (!g) throw new Error("no canvas");
    const sky = g.createLinearGradient(0, 0, 0, 420);
    sky.addColorStop(0, "#27408b");
    sky.addColorStop(0.6, "#f08a5d");
    sky.addColorStop(1, "#f9ed69");
    g.fillStyle = sky;
    g.fillRect(0, 0, 960, 600);
    g.fillStyle = "#fff3c4";
    g.beginPath();
    g.arc(690, 330, 58, 0, 7);
    g.fill();
    for (const [base, colour, seed] of /** @type {[number, string, number][]} */ ([
      [390, "#6a2c70", 1],
      [450, "#3f2a5c", 2],
      [520, "#1c1b3a", 3],
    ])) {
      g.fillStyle = colour;
      g.beginPath();
      g.moveTo(0, 600);
      for (let x = 0; x <= 960; x += 8) {
        g.lineTo(x, base - 46 * Math.sin(x / (70 * seed) + seed * 2) - 22 * Math.sin(x / 31 + seed));
      }
      g.lineTo(960, 600);
      g.fill();
    }
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, kind, 0.9));
    const bytes = new Uint8Array(await /** @type {Blob} */ (blob).arrayBuffer());
    let text = "";
    for (const b of bytes) text += String.fromCharCode(b);
    return btoa(text);
  }, type);
}
