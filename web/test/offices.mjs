// @ts-check
// Two browsers, a client of before over TCP and the SDK of another office in one conversation: everything that the page can do, done with its buttons.

import { App } from "./lib/app.mjs";
import { run } from "./lib/run.mjs";
import { facts } from "./lib/world.mjs";
import { alerts } from "./offices/alerts.mjs";
import { chat } from "./offices/chat.mjs";
import { gather } from "./offices/gather.mjs";
import { leave } from "./offices/leave.mjs";
import { looks } from "./offices/looks.mjs";
import { media } from "./offices/media.mjs";
import { meet } from "./offices/meet.mjs";
import { mischief } from "./offices/mischief.mjs";
import { pictures } from "./offices/pictures.mjs";

/**
 * @typedef {object} Cast
 * @property {App} lin user1, a browser
 * @property {App} wang user2, another one
 * @property {string} group the group of both offices, "g1"
 * @property {string} groupAbroad what it is called in the other office
 * @property {string} mei somebody of the other office, as this one calls her
 * @property {string} linAbroad what user1 is called there
 */

await run(async (show) => {
  const scale = process.env.TT_IMAGES ? { deviceScaleFactor: 2 } : {};
  /** @type {Cast} */
  const cast = {
    lin: new App(await show.page("lin", scale), facts.page),
    wang: new App(await show.page("wang", scale), facts.page),
    group: "",
    groupAbroad: "",
    mei: "",
    linAbroad: "",
  };
  const only = process.env.TT_ACTS?.split(",");
  for (const act of [meet, gather, chat, media, pictures, alerts, looks, mischief, leave]) {
    if (!only || act === meet || only.includes(act.name)) await act(show, cast);
  }
});
