// @ts-check
// What can be done with messages: reply, recall, burn, history, search, mute.

import { check, equal, until } from "../lib/run.mjs";
import { ask } from "../lib/world.mjs";

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function chat(show, cast) {
  const { lin, wang } = cast;
  await show.step("a reply shows what it answers, and goes there", async () => {
    await wang.open(cast.group);
    await wang.act(await wang.sees("I bring the music"), "Reply");
    await wang.page.getByText(/Reply to 赵敏/).waitFor();
    await wang.say("Jazz, please");
    const reply = await lin.sees("Jazz, please");
    await reply.getByText("I bring the music").waitFor();
    check((await ask("abroad.hears", { text: "Jazz, please" })).replyTo > 0, "abroad does not know that it is a reply");
    equal((await ask("old.next")).text, "Jazz, please", "the old client");
  });

  await show.step("recall: gone everywhere", async () => {
    await lin.open(cast.group);
    await lin.say("Wrong window, sorry");
    const there = await ask("abroad.hears", { text: "Wrong window, sorry" });
    equal((await ask("old.next")).text, "Wrong window, sorry", "the old client");
    await wang.sees("Wrong window, sorry");
    await lin.act(await lin.sees("Wrong window, sorry"), "Recall");
    for (const app of [lin, wang]) {
      await app.message("Wrong window, sorry").waitFor({ state: "detached" });
      await app.page.locator("article[data-state='recalled']").last().waitFor();
    }
    await ask("abroad.gone", { in: cast.groupAbroad, id: there.id });
  });

  await show.step("burn after reading: a countdown begins with the reading", async () => {
    await lin.open("u2");
    await lin.button("Burn after reading").click();
    await lin.page.getByRole("menuitem", { name: "10 s" }).click();
    await lin.say("The code is 4711");
    await lin.sees("The code is 4711");
    equal(await (await lin.sees("The code is 4711")).getByRole("timer").count(), 0, "countdowns before it is read");
    await wang.open("u1");
    await (await wang.sees("The code is 4711")).getByRole("timer", { name: /^Burns in ([1-9]|10) s/ }).waitFor();
    await lin.page.getByRole("button", { name: /^Burn/ }).first().click();
    await lin.page.getByRole("menuitem", { name: /^Keep/ }).click();
    await lin.say("Got it?");
    await wang.sees("Got it?");
  });
  await past(show, cast);
  await show.step("what was to burn has burned, and nothing is left of it", async () => {
    await wang.open("u1");
    await lin.open("u2");
    for (const app of [lin, wang]) {
      await app.page.locator("article[data-state='burned']").last().waitFor();
      const left = await app.page.evaluate(() => document.documentElement.outerHTML.includes("4711"));
      check(!left, "something is left of it");
      await app.sees("Got it?");
    }
  });
}

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
async function past(show, { wang, group }) {
  await show.step("history is loaded by scrolling up, whole and in order", async () => {
    for (let i = 1; i <= 70; i++) await ask("old.say", { in: "u2", text: `line ${i} of many` });
    await wang.page.reload();
    await wang.online();
    await wang.open("u3");
    await wang.sees(/line \d+ of many/);
    await wang.scroll("end");
    await wang.sees("line 70 of many");
    const lines = (await wang.whole()).map((m) => /line (\d+) of many/.exec(m.text)?.[1]).filter(Boolean);
    equal(
      lines,
      Array.from({ length: 70 }, (_, i) => String(i + 1)),
      "the history",
    );
  });

  await show.step("search in the conversation", async () => {
    await wang.page.keyboard.press("Control+f");
    const field = wang.page
      .getByRole("searchbox", { name: "Search in the loaded messages" })
      .or(wang.page.getByRole("textbox", { name: "Search in the loaded messages" }));
    await field.fill("line 7");
    await wang.page.getByText("of 2", { exact: false }).first().waitFor();
    await field.fill("no such thing");
    await wang.page.getByText("Nothing found").first().waitFor();
    await wang.page.keyboard.press("Escape");
  });

  await show.step("mute: no badge, no count in the title", async () => {
    await wang.open(group);
    await wang.button("Details").click();
    const mute = wang.page.getByRole("switch", { name: /Mute/ });
    await mute.click();
    await until("it to be muted", async () => mute.isChecked());
    await wang.page
      .getByRole("complementary", { name: /About the group/ })
      .getByRole("button", { name: "Close" })
      .click();
    await wang.open("u1");
    const before = await wang.page.title();
    await ask("old.say", { in: group, text: "Who brings plates?" });
    await wang.entry(group).getByText("Who brings plates?").waitFor();
    equal(await wang.page.title(), before, "the title");
    await wang.open(group);
    await wang.button("Details").click();
    await mute.click();
    await until("it not to be muted", async () => !(await mute.isChecked()));
    await wang.page
      .getByRole("complementary", { name: /About the group/ })
      .getByRole("button", { name: "Close" })
      .click();
  });
}
