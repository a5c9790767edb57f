// @ts-check
// Pictures that are dropped, and looked at large.

import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { landscape } from "../lib/app.mjs";
import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

/** Drags files over the middle of a conversation and, unless it is only to be seen, drops them. @param {import("../lib/app.mjs").App} app @param {string[]} files @param {boolean} [leave] */
async function drag(app, files, leave = false) {
  const box = await app.log.boundingBox();
  if (!box) throw new Error("there is no conversation");
  const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  const input = await app.page.context().newCDPSession(app.page);
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of /** @type {const} */ (["dragEnter", "dragOver"]))
    await input.send("Input.dispatchDragEvent", { type, ...at, data });
  await app.page.getByText("Drop to send").waitFor();
  if (leave)
    await app.log.dispatchEvent("dragleave"); // the protocol's own "dragCancel" tells the page nothing
  else await input.send("Input.dispatchDragEvent", { type: "drop", ...at, data });
  await app.page.getByText("Drop to send").waitFor({ state: "detached" });
  await input.detach();
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function pictures(show, { lin, wang, group }) {
  await show.step("a picture is dropped: it can be taken away again, and is sent with the text", async () => {
    await lin.open(group);
    await wang.open(group);
    const files = [];
    for (const name of ["terrace.png", "terrace.jpeg"]) {
      const path = join(tmpdir(), name);
      await writeFile(path, Buffer.from(await landscape(lin.page, `image/${name.slice(8)}`), "base64"));
      files.push(path);
    }
    await drag(lin, files, true);
    const staged = lin.page.getByRole("button", { name: "Remove the picture" });
    equal(await staged.count(), 0, "pictures, before anything is dropped");
    await drag(lin, files);
    await until("two pictures", async () => (await staged.count()) === 2);
    await staged.first().click();
    await until("one of them to go", async () => (await staged.count()) === 1);
    await lin.say("Dropped in");
    equal(await staged.count(), 0, "pictures that are left");
    for (const app of [lin, wang]) {
      const img = (await app.sees("Dropped in")).getByAltText("Picture");
      await until("the picture", () => img.evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth > 0));
    }
    const text = (await ask("old.next")).text;
    check(/^Dropped in&\$#@~\^@\[\{:http:\S+\.jpe?g:\}\]&\$~@#@$/.test(text), `the old client got ${text}`);
  });

  await show.step("the viewer: opens, goes on by keys, zooms, closes where one was", async () => {
    const open = (await wang.sees("Dropped in")).getByRole("button", { name: "Open the picture" });
    const viewer = wang.page.getByRole("dialog", { name: /^Picture \d+ of \d+$/ });
    await open.click();
    await viewer.waitFor();
    const place = async () => {
      const name = (await viewer.getByRole("heading", { includeHidden: true }).textContent()) ?? "";
      return name.match(/\d+/g)?.map(Number) ?? [];
    };
    const [last = 0, count] = await place();
    check(last === count && last > 1, `picture ${last} of ${count} is the newest`);
    equal(await wang.button("Next picture").isDisabled(), true, "whether there is none after it");
    const large = viewer.getByRole("button", { name: "Zoom" });
    const whole = () =>
      until("the picture to be there", () =>
        large.locator("img").evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth > 0),
      );
    await whole();
    const shown = await large.locator("img").getAttribute("src");
    await wang.page.keyboard.press("ArrowLeft");
    await until("the one before", async () => (await place())[0] === last - 1);
    await whole();
    check((await large.locator("img").getAttribute("src")) !== shown, "it is the same picture");
    await wang.page.keyboard.press("ArrowRight");
    await until("the newest again", async () => (await place())[0] === last);
    await wang.page.keyboard.press("ArrowRight");
    await wang.button("Previous picture").click();
    await until("the one before, by the button", async () => (await place())[0] === last - 1);
    await large.click();
    await until("it to be large", async () => /zoomed/.test((await large.getAttribute("class")) ?? ""));
    await wang.page.keyboard.press("Escape");
    await viewer.waitFor({ state: "detached" });
    equal(await open.evaluate((el) => el === document.activeElement), true, "whether the picture has the focus again");
    await wang.page.keyboard.press("Enter");
    await viewer.waitFor();
    await viewer.getByRole("button", { name: "Close" }).click();
    await viewer.waitFor({ state: "detached" });
  });
}
