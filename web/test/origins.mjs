// @ts-check
// A page that was loaded from one node goes on at another, whose name is another origin: pictures and files go by that one.

import { readFile } from "node:fs/promises";
import { App, landscape } from "./lib/app.mjs";
import { check, equal, run, until } from "./lib/run.mjs";
import { ask, facts } from "./lib/world.mjs";
import { paste } from "./offices/media.mjs";

await run(
  async (show) => {
    const me = new App(await show.page("user1", { ignoreHTTPSErrors: true }), facts.page);
    const own = new URL(facts.page).origin;
    /** What was asked of other origins. @type {string[]} */
    const elsewhere = [];
    me.page.on("response", (r) => {
      const { origin, pathname } = new URL(r.url());
      if (origin.startsWith("https:") && origin !== own && r.ok()) {
        elsewhere.push(`${r.request().method()} ${pathname.split("/")[1]}`);
      }
    });
    /** Waits for the last picture to be there, and says where it is shown from. */
    const picture = async () => {
      const stored = me.page.locator("article[data-id]:not([data-id='0'])");
      const img = stored.last().locator("img:not([alt=''])");
      await img.waitFor();
      await until("the picture to be there", () =>
        img.evaluate((el) => /** @type {HTMLImageElement} */ (el).naturalWidth > 0),
      );
      return (await img.getAttribute("src")) ?? "";
    };

    await show.step("at its own node", async () => {
      await me.logIn("user1", facts.password);
      await ask("say", { text: "hello" });
      await me.open("u2");
      const jpeg = Buffer.from(await landscape(me.page, "image/jpeg"), "base64"); // another one than below
      const chooser = me.page.waitForEvent("filechooser");
      await me.button("Picture or file").click();
      await (await chooser).setFiles({ name: "hills.jpg", mimeType: "image/jpeg", buffer: jpeg });
      await me.page.getByRole("button", { name: "Remove the picture" }).waitFor();
      await me.field.press("Enter");
      check(/^g0\//.test(await ask("sees")), "it is not there");
      const src = await picture();
      check(src.startsWith("/msfs/"), `it is shown from ${src}`);
      equal(elsewhere, [], "what was asked of others");
    });

    await show.step("its node is killed: it goes on at another one", async () => {
      await ask("kill");
      await me.say("is there anybody?");
      await until(
        "it to be sent",
        async () => {
          const last = (await me.shown()).at(-1);
          return (last?.id ?? 0) > 0 && last?.text === "is there anybody?";
        },
        180_000,
      );
    });

    await show.step("a picture is sent, arrives, and is shown as it is there", async () => {
      await paste(me, await landscape(me.page));
      await me.field.press("Enter");
      check(/^g0\//.test(await ask("sees")), "it is not there");
      const src = await picture();
      check(src.startsWith("blob:"), `it is shown from ${src}`);
      for (const what of ["POST media", "GET msfs"]) check(elsewhere.includes(what), `it asked for ${elsewhere}`);
    });

    await show.step("a file is sent, and saved under its name", async () => {
      const bytes = Buffer.alloc(5 << 20, "TeamTalk "); // in more than one piece
      const chooser = me.page.waitForEvent("filechooser");
      await me.button("Picture or file").click();
      await (await chooser).setFiles({ name: "预算 2026.csv", mimeType: "text/csv", buffer: bytes });
      await me.page.getByRole("button", { name: "Remove: 预算 2026.csv" }).waitFor();
      await me.field.press("Enter");
      const message = await me.sees("预算 2026.csv");
      const download = me.page.waitForEvent("download");
      await message.getByRole("button", { name: /^Save/ }).first().click();
      equal((await download).suggestedFilename(), "预算 2026.csv", "its name");
      const content = await readFile(await (await download).path());
      check(content.equals(bytes), `${content.length} bytes, other ones`);
      equal(new URL(me.page.url()).origin, own, "the page is still its own");
    });
  },
  [`--ignore-certificate-errors-spki-list=${facts.keys}`, "--webtransport-developer-mode"],
);
