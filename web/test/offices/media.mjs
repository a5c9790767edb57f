// @ts-check
// Pictures, files and voice, from here, from clients of before, and to them.

import { readFile } from "node:fs/promises";
import { landscape } from "../lib/app.mjs";
import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

/** @param {import("playwright-core").Locator} message */
async function picture(message) {
  const img = message.locator("img").last();
  await img.waitFor();
  await until("the picture to be there", () =>
    img.evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth > 0),
  );
  return img;
}

/** Puts a picture into the message that is being written, by the clipboard. @param {import("../lib/app.mjs").App} app @param {string} png */
export async function paste(app, png) {
  await app.field.focus();
  await app.page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
  }, png);
  await app.page.keyboard.press("Control+v");
  await app.page.getByRole("button", { name: "Remove the picture" }).waitFor();
}

/** What an existing client is told of a picture. @param {any} got */
function pictureURL(got) {
  const found = /^&\$#@~\^@\[\{:(http:\/\/\S+\/g0\/\d{3}\/\d{3}\/[0-9a-f]{64}\.png):\}\]&\$~@#@$/.exec(got.text);
  check(found, `the old client got ${got.text}`);
  return found?.[1] ?? "";
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function media(show, cast) {
  const { lin, wang } = cast;
  const png = await landscape(lin.page);
  await lin.open(cast.group);
  await wang.open(cast.group);

  await show.step("a picture is pasted; the old client gets a URL that works", async () => {
    await paste(lin, png);
    await lin.field.press("Enter");
    for (const app of [lin, wang])
      await picture(
        app.page
          .locator("article[data-id]:not([data-id='0'])")
          .filter({ has: app.page.locator("img:not([alt=''])") })
          .last(),
      );
    const url = pictureURL(await ask("old.next"));
    const got = await ask("old.fetch", { url });
    equal([got.status, got.type], [200, "image/png"], "what the old client fetches");
    check(got.size > 10_000, `${got.size} bytes`);
  });

  await show.step("a picture as a file", async () => {
    const chooser = lin.page.waitForEvent("filechooser");
    await lin.button("Picture or file").click();
    await (await chooser).setFiles({ name: "hills.png", mimeType: "image/png", buffer: Buffer.from(png, "base64") });
    await lin.page.getByRole("button", { name: "Remove the picture" }).waitFor();
    await lin.field.fill("The view from the hotel");
    await lin.field.press("Enter");
    await picture(await wang.sees("The view from the hotel"));
    const text = (await ask("old.next")).text;
    check(text.includes("The view from the hotel") && text.includes("&$#@~^@[{:http"), `the old client got ${text}`);
  });

  await files(show, cast);
  await others(show, cast, png);
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
async function files(show, { lin, wang }) {
  await show.step("a file, with progress; it arrives as it was", async () => {
    const bytes = Buffer.alloc(6 << 20, "TeamTalk ");
    const network = await lin.page.context().newCDPSession(lin.page);
    const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 4 << 20 };
    await network.send("Network.emulateNetworkConditions", slow);
    const chooser = lin.page.waitForEvent("filechooser");
    await lin.button("Picture or file").click();
    await (await chooser).setFiles({ name: "预算 2026.csv", mimeType: "text/csv", buffer: bytes });
    await lin.page.getByRole("button", { name: "Remove: 预算 2026.csv" }).waitFor();
    await lin.field.press("Enter");
    const bar = lin.page.getByRole("progressbar", { name: "预算 2026.csv" });
    await until("progress", async () => Number(await bar.getAttribute("value")) > 0);
    await bar.waitFor({ state: "detached" });
    await network.send("Network.emulateNetworkConditions", { ...slow, uploadThroughput: -1 });
    const message = await wang.sees("预算 2026.csv");
    const download = wang.page.waitForEvent("download");
    await message
      .getByRole("button", { name: /^Save/ })
      .or(message.getByRole("link", { name: /^Save/ }))
      .first()
      .click();
    const saved = await download;
    equal(saved.suggestedFilename(), "预算 2026.csv", "its name");
    const content = await readFile(await saved.path());
    check(content.equals(bytes), `${content.length} bytes, other ones`);
    const text = (await ask("old.next")).text;
    check(/^\[文件\] 预算 2026\.csv \(.+\) http:\/\//.test(text), `the old client got ${text}`);
  });

  await show.step("voice is recorded and played", async () => {
    await lin.button("Record a voice message").click();
    const bar = lin.page.getByRole("toolbar", { name: "Recording" });
    await bar
      .getByRole("timer")
      .getByText(/0:0[12]/)
      .waitFor(); // a second at least
    await lin.button("Send the recording").click();
    const message = wang.page
      .locator("article")
      .filter({ has: wang.page.getByRole("button", { name: /^Play/ }) })
      .last();
    await message.waitFor();
    await message.getByRole("button", { name: /^Play/ }).click();
    await wang.page.getByRole("button", { name: "Pause" }).waitFor();
    const text = (await ask("old.next")).text;
    check(/^\[语音\] [12]″ http:\/\//.test(text), `the old client got ${text}`);
  });
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast @param {string} png */
async function others(show, { lin, wang, group }, png) {
  await show.step("a picture and a voice message of the old client", async () => {
    await ask("old.picture", { in: group });
    for (const app of [lin, wang]) {
      const last = app.page
        .locator("article")
        .filter({ has: app.page.locator("img:not([alt=''])") })
        .last();
      const img = await picture(last);
      check((await img.evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth)) > 100, "small");
    }
    await ask("old.speak", { in: group });
    const voice = await lin.sees("Voice message");
    const download = lin.page.waitForEvent("download");
    await voice
      .getByRole("button", { name: /Save/ })
      .or(voice.getByRole("link", { name: /Save/ }))
      .first()
      .click();
    const content = await readFile(await (await download).path());
    equal(content.subarray(0, 4).toString(), "OggS", "what is saved");
  });

  await show.step("a new picture of oneself", async () => {
    await lin.settings(async (dialog) => {
      const chooser = lin.page.waitForEvent("filechooser");
      await dialog.getByRole("button", { name: "Change picture" }).click();
      await (await chooser).setFiles({ name: "me.png", mimeType: "image/png", buffer: Buffer.from(png, "base64") });
      await until("it to be shown", () =>
        dialog
          .locator(".avatar img")
          .evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth > 0)
          .catch(() => false),
      );
      await dialog.getByLabel("Signature").fill("Colour first, then type");
      await dialog.getByRole("button", { name: "Save" }).click();
    });
    await wang.page.locator(`[data-conversation="u1"] .avatar img`).waitFor();
  });
}
