// @ts-check
// What is meant to be markup stays text, and what can't be uploaded is said so.

import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

const script = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>";

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function mischief(show, { lin }) {
  await show.step("markup in names, texts, links and file names stays text", async () => {
    await lin.section("Contacts");
    await lin.page.getByRole("searchbox", { name: "Search people and groups" }).fill("xss");
    await lin.page.getByRole("treeitem").first().click();
    const card = lin.page.getByRole("dialog");
    await card.getByText("<img src=x onerror=alert(1)>").first().waitFor();
    await card.getByText("</p><script>alert(2)</script>").waitFor();
    await lin.page.keyboard.press("Escape");
    await lin.section("Chats");
    await lin.open("u3");
    await ask("old.say", { in: "u1", text: script });
    await ask("old.say", { in: "u1", text: "javascript:alert(3) and &$#@~^@[{:javascript:alert(4):}]&$~@#@" });
    await ask("old.say", { in: "u1", text: "[文件] <b>x</b>.html (1 B) http://127.0.0.1:1/g0/000/000/x.html" });
    await (await lin.sees("<script>alert(1)</script>")).waitFor();
    await lin.sees("javascript:alert(3)");
    await lin.sees("<b>x</b>.html");
    equal(
      await lin.page.locator("article a[href^='javascript'], article script, article b, article img[src='x']").count(),
      0,
      "markup",
    );
    check((await lin.page.title()) !== "owned", "it ran");
  });

  await show.step("what can't be uploaded gets a clear error", async () => {
    await lin.open("u2");
    const send = async (/** @type {string} */ name, /** @type {string} */ mimeType, /** @type {Buffer} */ buffer) => {
      const chooser = lin.page.waitForEvent("filechooser");
      await lin.button("Picture or file").click();
      await (await chooser).setFiles({ name, mimeType, buffer });
    };
    await send("empty.txt", "text/plain", Buffer.alloc(0));
    await lin.page.getByText("empty.txt is empty.").waitFor();
    // A picture of 50,000 × 50,000 pixels in a few bytes.
    const bomb = Buffer.from(
      "89504e470d0a1a0a0000000d494844520000c3500000c3500802000000" + "00000000" + "0000000049454e44ae426082",
      "hex",
    );
    await send("bomb.png", "image/png", bomb);
    await lin.field.press("Enter");
    const failed = lin.page.locator("article[data-delivery='failed']").last();
    await failed.waitFor();
    await until("a reason", async () => /\w{4}/.test((await failed.textContent()) ?? ""));
    await lin.act(failed, "Discard");
    await failed.waitFor({ state: "detached" });
    // Larger than the server takes, which the test has made little.
    await send("large.bin", "application/octet-stream", Buffer.alloc(9 << 20));
    await lin.page.getByText(/large\.bin is too large: at most 8/).waitFor();
  });
}
