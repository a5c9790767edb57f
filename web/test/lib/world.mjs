// @ts-check
// What the Go test that runs a script has told it, and what the script may ask of it: one line of JSON each way, over standard output and input.

import { createInterface } from "node:readline";

/** What the test says of its world: addresses, names. */
export const facts = JSON.parse(process.env.TT_FACTS ?? "{}");

/** @type {((answer: any) => void)[]} */
const waiting = [];
const answers = createInterface({ input: process.stdin });
answers.on("line", (line) => waiting.shift()?.(JSON.parse(line)));

/**
 * Has the test do something, and waits for it.
 * @param {string} what
 * @param {object} [args]
 * @returns {Promise<any>}
 */
export function ask(what, args) {
  return new Promise((resolve) => {
    waiting.push(resolve);
    process.stdout.write(`${JSON.stringify({ ask: what, with: args })}\n`);
  });
}

/** Lets the process end. */
export function leave() {
  answers.close();
  process.stdin.destroy();
}
