// @ts-check
// Somebody talks with somebody else while his WebSocket is cut, WebSockets stop working, and the node that he is on is killed.

import { App } from "./lib/app.mjs";
import { check, equal, run, until } from "./lib/run.mjs";
import { ask, facts } from "./lib/world.mjs";

await run(async (show) => {
  const me = new App(await show.page("user1"), facts.page);
  let said = 0;
  const say = async (/** @type {number} */ count) => {
    for (let i = 0; i < count; i++) await me.say(`out ${++said}`);
  };
  /** Waits until both ways something has passed since a moment. @param {string} when */
  const flowing = async (when) => {
    const before = await highest(me, "in");
    await say(1);
    const mine = said;
    await until(`${when}: out ${mine} to be acked`, async () => (await highest(me, "out")) >= mine, 90_000);
    await until(`${when}: something new to come`, async () => (await highest(me, "in")) > before, 90_000);
  };

  await show.step("somebody writes, and the conversation is opened", async () => {
    await me.logIn("user1", facts.password);
    await me.online("websocket");
    // Where a WebSocket takes long to open, long-poll wins, and stays while so much is said: here it is not to.
    await ask("refuse", { paths: ["/lp"] });
    await ask("talk");
    await me.open("u2");
    await flowing("at first");
  });
  await show.step("the WebSocket is cut, several times", async () => {
    for (let i = 0; i < 3; i++) {
      check((await ask("cut")) > 0, "there was nothing to cut");
      await say(3);
      await flowing("after a cut");
    }
    await me.online("websocket");
  });
  await show.step("what was on its way is lost, to the node and from it, and then the WebSocket is cut", async () => {
    for (const way of ["up", "down"]) {
      await ask("lose", { way });
      await say(3);
      await until(`something to be lost ${way}`, async () => (await ask("lost")) > 200);
      await ask("cut");
      await flowing(`after a loss ${way}`);
    }
  });
  await show.step("WebSockets are refused: long-poll", async () => {
    await ask("refuse", { paths: ["/ws"] });
    await say(5);
    await me.online("longpoll");
    await flowing("by long-poll");
  });
  await show.step("its node is killed: the next one, by long-poll", async () => {
    await ask("lose", { way: "down" }); // what it answers at the end is not heard
    await say(2);
    await until("something to be lost", async () => (await ask("lost")) > 200);
    console.log(`node ${await ask("kill")} is killed`);
    await ask("cut");
    await say(5);
    await flowing("at the next node");
  });
  await show.step("WebSockets again", async () => {
    await ask("refuse", { paths: [] });
    await say(2);
    await flowing("at the end");
  });
  await show.step("nothing is lost, nothing is twice, and all is in order", async () => {
    const heard = await ask("hush");
    const numbers = (/** @type {string} */ word, /** @type {number} */ count) =>
      Array.from({ length: count }, (_, i) => `${word} ${i + 1}`);
    await until("the last of what was said", async () => (await highest(me, "in")) === heard, 60_000);
    for (const when of ["in the page", "after a reload"]) {
      const texts = (await me.whole()).map((m) => /\b(in|out) \d+/.exec(m.text)?.[0] ?? m.text);
      const of = (/** @type {string} */ word) => texts.filter((t) => t.startsWith(word));
      equal(of("in "), numbers("in", heard), when);
      equal(of("out "), numbers("out", said), `of oneself, ${when}`);
      equal(texts.length, heard + said, `all, ${when}`);
      await me.page.reload();
      await me.online();
      await me.open("u2");
      await until("the conversation", async () => (await highest(me, "in")) === heard);
    }
    equal(await ask("heard"), numbers("out", said), "at the other one");
    console.log(`${heard} messages came, ${said} were sent`);
  });
});

/**
 * The number of the newest "in N" that is drawn, or of the newest "out N" that the server has.
 * @param {App} app
 * @param {"in" | "out"} word
 */
async function highest(app, word) {
  const all = (await app.shown()).filter((m) => m.id > 0 && m.mine === (word === "out"));
  return Math.max(0, ...all.map((m) => Number(new RegExp(`${word} (\\d+)`).exec(m.text)?.[1] ?? 0)));
}
