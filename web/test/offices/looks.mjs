// @ts-check
// How it looks: light, dark, Chinese, on a phone; with pictures for the documentation, if a folder for them is given; and whether everybody can use it.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { App, landscape } from "../lib/app.mjs";
import { check, equal } from "../lib/run.mjs";
import { ask, facts } from "../lib/world.mjs";
import { paste } from "./media.mjs";

const images = process.env.TT_IMAGES;

/** @param {App} app @param {string} name */
async function shoot(app, name) {
  if (!images) return;
  await app.page.mouse.move(0, 0);
  await app.page.locator(".toast").first().waitFor({ state: "detached" });
  await app.page.evaluate(() => document.fonts.ready);
  await app.page.screenshot({ path: `${images}/web-${name}.png`, animations: "disabled" });
}

/** What axe finds wrong on a page. @param {App} app @param {string} where */
async function accessible(app, where) {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await app.page.evaluate(axe);
  const found = await app.page.evaluate(async () => {
    // @ts-expect-error: it has just been loaded
    const result = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
    return result.violations.map(
      (/** @type {any} */ v) =>
        `${v.id}: ${v.help}: ${v.nodes
          .slice(0, 5)
          .map((/** @type {any} */ n) => `${n.html.slice(0, 200)} ${n.any[0]?.message ?? ""}`)
          .join("\n   ")}`,
    );
  });
  check(found.length === 0, `${where}:\n${found.join("\n")}`);
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function looks(show, cast) {
  const { lin, wang } = cast;
  await lin.open(cast.group);
  await wang.open(cast.group);
  await paste(wang, await landscape(wang.page));
  await wang.say("This is the terrace at seven in the evening [哈哈]");
  await lin.sees("This is the terrace");
  await ask("abroad.say", { in: cast.groupAbroad, text: "我周五下午三点到，车站见" });
  await lin.sees("车站见");
  await lin.act(await lin.sees("车站见"), "Reply");
  await lin.say("We’ll pick you up 🚗");
  await wang.sees("We’ll pick you up");
  await lin.becomes("We’ll pick you up", "read", "delivered", "sent");
  await show.step("light, and fit for everybody", async () => {
    await lin.settings(async (dialog) => {
      await dialog.getByText("Light", { exact: true }).click();
      await accessible(lin, "settings");
    });
    equal(await lin.page.locator("html").getAttribute("data-theme"), "light", "theme");
    await shoot(lin, "light");
    await accessible(lin, "light");
    await lin.button("Details").click();
    await accessible(lin, "a group's details");
    await lin.page.getByRole("complementary").getByRole("button", { name: "Close" }).click();
    await lin.section("Contacts");
    await accessible(lin, "contacts");
    await lin.section("Chats");
    await lin.button("New conversation").first().click();
    await lin.page.getByRole("option").first().click();
    await accessible(lin, "a new conversation");
    await lin.page.keyboard.press("Escape");
    await lin.open(cast.group);
  });
  await show.step("dark", async () => {
    await lin.settings((dialog) => dialog.getByText("Dark", { exact: true }).click());
    equal(await lin.page.locator("html").getAttribute("data-theme"), "dark", "theme");
    await shoot(lin, "dark");
    await accessible(lin, "dark");
  });
  await show.step("Chinese", async () => {
    await lin.settings(async (dialog) => {
      await dialog.getByText("Light", { exact: true }).click();
      await dialog.getByText("中文", { exact: true }).click();
    });
    equal(await lin.page.locator("html").getAttribute("lang"), "zh-CN", "language");
    await lin.page
      .getByText(/4 (人|位|名)/)
      .first()
      .waitFor();
    await shoot(lin, "chinese");
    await lin.settings((dialog) => dialog.getByText("English", { exact: true }).click());
  });
  await show.step("on a phone: the list, a conversation, back", async () => {
    const page = await show.page("phone", {
      viewport: { width: 390, height: 780 },
      isMobile: true,
      hasTouch: true,
      ...(images ? { deviceScaleFactor: 2 } : {}),
    });
    const phone = new App(page, facts.page);
    await phone.logIn("user2", facts.password);
    await phone.entry(cast.group).tap();
    await phone.log.waitFor();
    await phone.sees(/\S/);
    check(!(await phone.entry(cast.group).isVisible()), "the list is still there");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    check(wide <= 390, `the page is ${wide} wide`);
    await shoot(phone, "phone");
    await accessible(phone, "phone");
    await phone.button("Back").tap();
    await phone.entry(cast.group).waitFor();
    await page.context().close();
  });
}
