// @ts-check
// Logging in, contacts, search, the person card, a conversation of two: presence, unread marks, typing, delivered and read.

import { check, equal, until } from "../lib/run.mjs";
import { ask, facts } from "../lib/world.mjs";

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function meet(show, { lin, wang }) {
  await show.step("log in: a wrong password, then the right one", async () => {
    await lin.page.goto(lin.at);
    await lin.enter("user1", "wrong");
    await lin.page.getByRole("alert").first().waitFor();
    await lin.enter("user1", facts.password);
    await lin.online("websocket");
    await wang.logIn("user2", facts.password);
    const kept = await lin.page.evaluate(
      () => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie,
    );
    check(!kept.includes("user1") || !/token|password/i.test(kept), `the page keeps ${kept}`);
  });

  await show.step("contacts: departments, presence, search by pinyin, the person's card", async () => {
    const { page } = lin;
    await lin.section("Contacts");
    const tree = page.getByRole("tree");
    await tree.getByRole("treeitem", { name: /Design/ }).waitFor();
    await tree.getByRole("treeitem", { name: /孙宁/ }).waitFor();
    await tree.getByRole("treeitem", { name: /Server team/ }).click();
    await tree.getByRole("treeitem", { name: /王磊/ }).waitFor();
    await until(
      "王磊 to be online",
      async () =>
        (await tree.getByRole("treeitem", { name: /王磊/ }).getByText("online").count()) > 0 ||
        (await tree.getByRole("treeitem", { name: /online.*王磊|王磊.*online/i }).count()) > 0,
    );
    const field = page.getByRole("searchbox", { name: "Search people and groups" });
    await field.fill("wangl");
    await until("only 王磊", async () => (await tree.getByRole("treeitem").count()) === 1);
    await field.press("ArrowDown");
    await page.keyboard.press("Enter");
    const card = page.getByRole("dialog", { name: "王磊" });
    await card.getByText("wang@hangzhou.example").waitFor();
    await card.getByText("Engineering / Server team").waitFor();
    await card.getByRole("button", { name: "Send a message" }).click();
    await lin.field.waitFor();
    await field.fill("");
  });

  await show.step("a text: unread badge and title at the other one, then read", async () => {
    await lin.say("你好，王磊 👋");
    await lin.becomes("你好，王磊", "sent", "delivered");
    const entry = wang.entry("u1");
    await entry.getByText("你好，王磊").waitFor();
    await entry.getByText("1", { exact: true }).first().waitFor();
    await until("the title to count", async () => /\(1\)/.test(await wang.page.title()));
    await lin.becomes("你好，王磊", "delivered");
    await wang.open("u1");
    await wang.sees("你好，王磊 👋");
    await lin.becomes("你好，王磊", "read");
    await until("the title to count no more", async () => !/\(\d/.test(await wang.page.title()));
  });

  await talk(show, lin, wang);
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../lib/app.mjs").App} lin @param {import("../lib/app.mjs").App} wang */
async function talk(show, lin, wang) {
  await show.step("typing is seen", async () => {
    await lin.section("Chats");
    await lin.open("u2");
    await wang.field.pressSequentially("I am wri");
    await lin.page
      .getByText(/writing…/)
      .first()
      .waitFor();
    await wang.field.fill("");
    await wang.say("Morning! Coffee at ten?");
    await lin.sees("Morning! Coffee at ten?");
    await until("nobody to be writing", async () => (await lin.page.getByText(/writing…/).count()) === 0);
  });

  await show.step("emoji: picked, and as the clients of before write it", async () => {
    await lin.button("Emoji").click();
    await lin.page
      .getByRole("button", { name: "哈哈" })
      .or(lin.page.getByText("😄", { exact: true }))
      .first()
      .click();
    await lin.field.press("Enter");
    await wang.sees("😄");
    const before = await ask("old.say", { in: "u1", text: "[微笑] hello from the old client" });
    check(before > 0, "no id");
    await lin.open("u3");
    await lin.sees("🙂 hello from the old client");
  });

  await show.step("with a client of before: delivered, read, presence", async () => {
    await lin.say("Do you get this?[偷笑]");
    const got = await ask("old.next");
    equal([got.from, got.type, got.text], [1, "MSG_TYPE_SINGLE_TEXT", "Do you get this?[偷笑]"], "the old client");
    await ask("old.read", { in: "u1", id: got.id });
    await lin.becomes("Do you get this?", "read");
    const online = lin.entry("u3").getByRole("img", { name: "online", exact: true });
    await online.waitFor();
    await ask("old.leave");
    await online.waitFor({ state: "detached" });
    await ask("old.arrive");
    await online.waitFor();
  });
}
