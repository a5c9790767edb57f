// @ts-check
// People of another office, and a group of both.

import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function gather(show, cast) {
  const { lin, wang } = cast;
  await show.step("a group of people here and of another office, whom a search finds", async () => {
    const { page } = lin;
    await lin.button("New conversation").first().click();
    const dialog = page.getByRole("dialog");
    const field = dialog.getByRole("searchbox", { name: "Names of people" });
    for (const name of ["wanglei", "赵敏"]) {
      await field.fill(name);
      await dialog.getByRole("option").first().waitFor();
      await field.press("Enter");
    }
    await field.fill("user1@beijing");
    const mei = dialog.getByRole("option", { name: /梅兰/ });
    await mei.click();
    cast.mei = (await mei.getAttribute("data-row")) ?? "";
    check(/^u\d{6,}$/.test(cast.mei), `she is ${cast.mei}`);
    await dialog.getByRole("textbox", { name: "Name of the group" }).fill("Launch party");
    await dialog.getByRole("button", { name: "Create a group of 4" }).click();
    await dialog.waitFor({ state: "detached" });
    await lin.field.waitFor();
    await lin.say("Welcome, everybody 🎉");
    const entry = page.locator("[data-conversation]").filter({ hasText: "Launch party" });
    await entry.waitFor();
    cast.group = (await entry.getAttribute("data-conversation")) ?? "";
  });

  await show.step("all three kinds of clients hear it, and are heard", async () => {
    const old = await ask("old.next");
    equal(
      [old.from, `g${old.in}`, old.type, old.text],
      [1, cast.group, "MSG_TYPE_GROUP_TEXT", "Welcome, everybody 🎉"],
      "the old client",
    );
    const far = await ask("abroad.hears", { text: "Welcome, everybody 🎉" });
    equal(far.address, "user1@hangzhou.example", "abroad");
    cast.groupAbroad = far.in;
    cast.linAbroad = `u${far.from}`;
    await wang.open(cast.group);
    await wang.sees("Welcome, everybody 🎉");
    await ask("old.say", { in: cast.group, text: "I bring the music" });
    await ask("abroad.say", { in: cast.groupAbroad, text: "我坐高铁过来" });
    for (const app of [lin, wang]) {
      await app.sees("I bring the music");
      const mei = await app.sees("我坐高铁过来");
      check(/梅兰/.test((await mei.getAttribute("aria-label")) ?? (await mei.textContent()) ?? ""), "who is it from?");
    }
    await wang.say("Great, I book the table");
    equal((await ask("old.next")).text, "我坐高铁过来", "the old client");
    equal((await ask("old.next")).text, "Great, I book the table", "the old client");
    await ask("abroad.hears", { text: "Great, I book the table" });
  });

  await show.step(
    "to somebody of another office: pending while the link is down, then delivered and read",
    async () => {
      await lin.section("Contacts");
      await lin.page.getByRole("searchbox", { name: "Search people and groups" }).fill("梅兰");
      await lin.page.getByRole("treeitem", { name: /梅兰/ }).click();
      await lin.page.getByRole("dialog").getByRole("button", { name: "Send a message" }).click();
      await lin.say("See you on Friday");
      const heard = await ask("abroad.hears", { text: "See you on Friday" });
      await lin.becomes("See you on Friday", "delivered");
      await ask("abroad.read", { in: heard.in, id: heard.id });
      await lin.becomes("See you on Friday", "read");
      await ask("link", { up: false });
      await lin.say("Is the train on time?");
      await lin.becomes("Is the train on time?", "pending", "delayed");
      await ask("link", { up: true });
      await ask("abroad.hears", { text: "Is the train on time?" });
      await lin.becomes("Is the train on time?", "delivered");
      await lin.section("Chats");
    },
  );

  await members(show, cast);
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
async function members(show, { lin, group }) {
  await show.step("members: somebody is added and taken out, by who made the group", async () => {
    await lin.open(group);
    await lin.button("Details").click();
    const panel = lin.page.getByRole("complementary", { name: /About the group/ });
    await panel.getByRole("button", { name: "Add people" }).click();
    const dialog = lin.page.getByRole("dialog");
    await dialog.getByRole("searchbox").fill("omar");
    await dialog.getByRole("option", { name: /Omar/ }).click();
    await dialog.getByRole("button", { name: "Add 1 person" }).click();
    const omar = panel.locator("[data-member='6']");
    await omar.waitFor();
    await until("the number of members", async () => (await panel.getByText("5 members").count()) > 0);
    await omar.hover();
    await omar.getByRole("button", { name: /Remove Omar Haddad/ }).click();
    await omar.waitFor({ state: "detached" });
    await panel.getByRole("button", { name: "Close" }).click();
  });
}
