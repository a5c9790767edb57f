// @ts-check
// Desktop notifications: of what comes while nobody looks at it, and of nothing else.

import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

/** @typedef {import("../lib/app.mjs").App} App */
/** @typedef {{title: string, body: string}} Told */

/** Notes what a page has the system tell, and lets a test say whether somebody looks at it. @param {App} app */
async function watch(app) {
  await app.page.addInitScript(() => {
    const world = /** @type {any} */ (globalThis);
    world.told = [];
    world.away = false;
    const Real = Notification;
    world.Notification = class extends Real {
      /** @param {string} title @param {NotificationOptions} [options] */
      constructor(title, options) {
        super(title, options);
        world.told.push({ title, body: options?.body ?? "" });
      }
    };
    Object.defineProperty(document, "visibilityState", { get: () => (world.away ? "hidden" : "visible") });
    document.hasFocus = () => !world.away;
  });
  await app.page.reload();
  await app.online();
}

/** Nobody looks at the page, or somebody does again. @param {App} app @param {boolean} away */
function look(app, away) {
  return app.page.evaluate((to) => {
    /** @type {any} */ (globalThis).away = to;
    document.dispatchEvent(new Event("visibilitychange"));
    dispatchEvent(new Event(to ? "blur" : "focus"));
  }, away);
}

/** @param {App} app @returns {Promise<Told[]>} */
function told(app) {
  return app.page.evaluate(() => /** @type {any} */ (globalThis).told);
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function alerts(show, { lin, wang, group }) {
  /** @type {Told[]} */
  const due = [];
  /** Waits until exactly what is due has been told. @param {string} title @param {string} body */
  const tells = async (title, body) => {
    due.push({ title, body });
    await until(`"${body}" to be told`, async () => (await told(wang)).some((t) => t.body === body));
    equal(await told(wang), due, "what was told");
  };

  await show.step("notifications: who, where and what, once they are turned on", async () => {
    await watch(wang);
    await wang.open("u1");
    await look(wang, true);
    await ask("old.say", { in: "u2", text: "before they are on" });
    await wang.entry("u3").getByText("before they are on").waitFor();
    await look(wang, false);
    await wang.settings(async (dialog) => {
      const notify = dialog.getByRole("switch", { name: /notifications/i });
      await notify.click();
      await until("them to be on", () => notify.isChecked());
    });
    await look(wang, true);
    await ask("old.say", { in: "u2", text: "Lunch?" });
    await tells("赵敏", "Lunch?");
    await ask("old.say", { in: group, text: "Who has the keys?" });
    await tells("赵敏 in Launch party", "Who has the keys?");
    await lin.open("u2");
    await lin.say("In the conversation that is open");
    await tells("林晓雨", "In the conversation that is open");
  });

  await show.step(
    "none of what somebody looks at, of a muted group, or of one's own; not the text of what burns",
    async () => {
      await look(wang, false);
      await lin.say("You are reading this");
      await lin.becomes("You are reading this", "read");
      await wang.open(group);
      const mute = async () => {
        await wang.button("Details").click();
        const panel = wang.page.getByRole("complementary", { name: /About the group/ });
        const toggle = panel.getByRole("switch", { name: /Mute/ });
        const was = await toggle.isChecked();
        await toggle.click();
        await until("it to change", async () => (await toggle.isChecked()) !== was);
        await panel.getByRole("button", { name: "Close" }).click();
      };
      await mute();
      await wang.open("u1");
      await look(wang, true);
      await ask("old.say", { in: group, text: "Found them" });
      await wang.entry(group).getByText("Found them").waitFor();
      await wang.say("One's own");
      await lin.sees("One's own");
      await lin.button("Burn after reading").click();
      await lin.page.getByRole("menuitem", { name: "60 min" }).click();
      await lin.say("The safe is 1234");
      await tells("林晓雨", "Burns after reading");
      check(!JSON.stringify(await told(wang)).includes("1234"), "the text is told");
      await lin.page.getByRole("button", { name: /^Burn/ }).first().click();
      await lin.page.getByRole("menuitem", { name: /^Keep/ }).click();
      await look(wang, false);
      await wang.open(group);
      await mute();
      equal(await told(wang), due, "what was told at the end");
    },
  );
}
