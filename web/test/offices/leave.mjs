// @ts-check
// Leaving a group, a reload, and logging out.

import { check } from "../lib/run.mjs";

/** @param {import("../lib/run.mjs").Show} show @param {import("../offices.mjs").Cast} cast */
export async function leave(show, cast) {
  const { lin, wang } = cast;
  await show.step("a reload keeps the session and what was being written", async () => {
    await lin.open("u2");
    await lin.field.fill("half a thought");
    await lin.section("Chats");
    await lin.open(cast.group);
    await lin.page.reload();
    await lin.online();
    await lin.open("u2");
    check((await lin.field.inputValue()) === "half a thought", "the draft is gone");
    await lin.field.fill("");
  });
  await show.step("leaving a group", async () => {
    await wang.online(); // the phone was a second session
    await wang.open(cast.group);
    await wang.button("Details").click();
    await wang.button("Leave the group").click();
    await wang.page.getByRole("dialog").getByRole("button", { name: "Leave the group" }).click();
    await wang.page.getByRole("dialog").waitFor({ state: "detached" });
    await lin.open(cast.group);
    await lin.button("Details").click();
    await lin.page.locator("[data-member='2']").waitFor({ state: "detached" });
    await lin.page
      .getByRole("complementary", { name: /About the group/ })
      .getByRole("button", { name: "Close" })
      .click();
  });
  await show.step("logging out: a reload does not bring the session back", async () => {
    await lin.page
      .getByRole("button", { name: /settings$|^Settings$/i })
      .first()
      .click();
    await lin.page.getByRole("dialog").getByRole("button", { name: "Log out" }).click();
    await lin.page.getByLabel("User name").waitFor();
    await lin.page.reload();
    await lin.page.getByLabel("User name").waitFor();
  });
}
