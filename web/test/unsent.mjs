// @ts-check
// What was written and not sent: a reload, another window, logging out; and a WebSocket that falls silent.

import { App } from "./lib/app.mjs";
import { check, equal, run, until } from "./lib/run.mjs";
import { ask, facts } from "./lib/world.mjs";

/** What a browser keeps. @param {App} app @param {"unsent" | "marks"} shelf @returns {Promise<string[]>} */
function kept(app, shelf = "unsent") {
  return app.page.evaluate(
    (name) =>
      new Promise((resolve, reject) => {
        const request = indexedDB.open("teamtalk");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const all = request.result.transaction(name).objectStore(name).getAll();
          all.onsuccess = () => {
            request.result.close();
            const items = /** @type {{order: number, text?: string, key: string}[]} */ (all.result);
            items.sort((a, b) => a.order - b.order);
            resolve(items.map((i) => i.text ?? i.key));
          };
        };
      }),
    shelf,
  );
}

/** @param {App} app @param {string[]} texts */
function keeps(app, texts) {
  return until(`${texts} to be kept`, async () => JSON.stringify(await kept(app)) === JSON.stringify(texts));
}

/** No session gets through, and the page can be loaded. */
async function shut() {
  await ask("refuse", { paths: ["/ws", "/lp", "/wt"] });
  await ask("cut");
}

/** Nothing is cut: a page that is just being loaded may be asking for what it resumes with. */
async function reopen() {
  await ask("refuse", { paths: [] });
}

/** Everything as it is on screen and as the other one has it. @param {App} app @param {string[]} texts what was sent, in order */
async function stands(app, texts) {
  await app.open("u2");
  await keeps(app, []);
  const last = texts.at(-1) ?? "";
  await app.becomes(last, "sent", "delivered", "read");
  const shown = (await app.whole()).filter((m) => m.mine).map((m) => m.text);
  equal(shown, texts, "on the screen");
  equal(await ask("heard"), texts, "at the other one");
}

await run(async (show) => {
  const page = await show.page("user1");
  let me = new App(page, facts.page);
  /** @type {string[]} */
  const texts = ["before all"];
  /** Writes what can't be sent. @param {...string} said */
  const write = async (...said) => {
    for (const text of said) await me.say(text);
    await keeps(me, said);
    texts.push(...said);
  };
  /** Another window of the same browser. @param {string} name */
  const window = async (name) => {
    const app = new App(await page.context().newPage(), facts.page);
    await show.adopt(name, app.page);
    await app.page.goto(app.at);
    return app;
  };

  await show.step("what was read is so after a reload, too", async () => {
    await me.logIn("user1", facts.password);
    await ask("say", { text: "hello" });
    await me.open("u2");
    await me.say("before all");
    await ask("read", { text: "before all" });
    await me.becomes("before all", "read");
    await until("the mark to be kept", async () => (await kept(me, "marks")).includes("u2"));
    await me.page.reload();
    await me.online();
    await me.open("u2");
    await me.becomes("before all", "read");
  });

  await show.step("written without a connection, reloaded, sent", async () => {
    await shut();
    await write("one", "two", "three");
    await me.page.reload();
    await me.page.locator("body[data-phase='offline']").waitFor({ state: "attached" });
    await reopen();
    await me.online();
    await stands(me, texts);
  });

  await show.step("the window is closed, another one is opened", async () => {
    await shut();
    await write("four", "five");
    await me.page.close();
    me = await window("second");
    await reopen();
    await me.online();
    await stands(me, texts);
  });

  await show.step("a window that lives keeps what it has; when it is closed, another one sends it", async () => {
    const first = me;
    me = await window("third");
    await me.online();
    await first.page.getByText("TeamTalk is in use in another window.").first().waitFor();
    await first.say("six, in the first");
    await keeps(first, ["six, in the first"]);
    await me.open("u2");
    const look = () => me.page.evaluate(() => dispatchEvent(new Event("online"))); // as if the network had changed
    await look();
    await me.say("seven, in the other");
    await me.becomes("seven, in the other", "sent", "delivered", "read");
    equal(await kept(me), ["six, in the first"], "kept");
    await first.page.close();
    await until("it to be taken over", async () => {
      await look();
      return (await kept(me)).length === 0;
    });
    texts.push("seven, in the other", "six, in the first");
    await stands(me, texts);
  });

  await silent(show, me, texts);

  await show.step("logging out leaves nothing behind", async () => {
    await shut();
    await me.say("never");
    await keeps(me, ["never"]);
    check((await kept(me, "marks")).length > 0, "no marks are kept");
    await me.page
      .getByRole("button", { name: /settings$|^Settings$/i })
      .first()
      .click();
    await me.page.getByRole("dialog").getByRole("button", { name: "Log out" }).click();
    await me.page.getByLabel("User name").waitFor();
    await until("nothing to be kept", async () => [...(await kept(me)), ...(await kept(me, "marks"))].length === 0);
    await reopen();
    await me.logIn("user1", facts.password);
    await stands(me, texts);
  });
});

/** @param {import("./lib/run.mjs").Show} show @param {App} me @param {string[]} texts */
async function silent(show, me, texts) {
  await show.step("the WebSocket falls silent and stays open: the page goes on by itself", async () => {
    await ask("refuse", { paths: ["/lp"] }); // which would win where a WebSocket takes long to open
    await me.online("websocket");
    check((await ask("silence")) > 0, "there was nothing to silence");
    await me.say("can you hear me?");
    texts.push("can you hear me?");
    await ask("say", { text: "and you me?" });
    await until("something to be lost", async () => (await ask("lost")) > 0);
    // After a heartbeat without an answer: within 30 s and 15 s.
    await until("to be heard", async () => (await ask("heard")).includes("can you hear me?"), 240_000);
    await me.sees("and you me?");
    await stands(me, texts);
    const theirs = (await me.whole()).filter((m) => !m.mine).map((m) => m.text);
    equal(theirs, ["hello", "and you me?"], "of the other one");
  });
}
