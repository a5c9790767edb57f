// @ts-check
// The page over https: by WebTransport, with a cookie that no script can read.

import { App } from "./lib/app.mjs";
import { check, equal, run } from "./lib/run.mjs";
import { ask, facts } from "./lib/world.mjs";

await run(
  async (show) => {
    const me = new App(await show.page("user1", { ignoreHTTPSErrors: true }), facts.page);
    await show.step("by WebTransport", async () => {
      await me.logIn("user1", facts.password);
      await me.online("webtransport");
      await ask("say", { in: "u1", text: "over TCP" });
      await me.open("u2");
      await me.sees("over TCP");
      await me.say("over HTTP/3");
      await me.becomes("over HTTP/3", "sent", "delivered", "read");
    });
    await show.step("a reload: the same session, by a cookie that scripts can't read", async () => {
      const cookies = await me.page.context().cookies();
      check(cookies.length > 0, "there is no cookie");
      for (const c of cookies) equal([c.httpOnly, c.sameSite, c.secure], [true, "Strict", true], c.name);
      equal(await me.page.evaluate(() => document.cookie), "", "what a script can read");
      await me.page.reload();
      await me.online();
      await me.open("u2");
      await me.sees("over HTTP/3");
    });
  },
  [`--ignore-certificate-errors-spki-list=${facts.key}`, "--webtransport-developer-mode"],
);
