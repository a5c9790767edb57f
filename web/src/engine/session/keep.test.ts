import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cookieKeep } from "./keep";

const kept = { device: "d", token: "t", user: 7, name: "ann" };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Answers in this order, the last again and again; undefined: the connection fails. */
function serve(...answers: (Response | undefined)[]) {
  const fetch = vi.fn(async () => {
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (!answer) {
      throw new TypeError("failed to fetch");
    }
    return answer.clone();
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

test("a server that restarts is asked again for the session", async () => {
  const fetch = serve(new Response("", { status: 502 }), undefined, Response.json({ value: JSON.stringify(kept) }));
  const taken = cookieKeep.take();
  await vi.runAllTimersAsync();
  expect(await taken).toEqual(kept);
  expect(fetch).toHaveBeenCalledTimes(3);
});

test("that there is no session is an answer", async () => {
  for (const answer of [new Response(null, { status: 204 }), new Response("", { status: 403 })]) {
    const fetch = serve(answer);
    expect(await cookieKeep.take()).toBeUndefined();
    expect(fetch).toHaveBeenCalledTimes(1);
  }
});

test("a server that stays away is given up", async () => {
  const began = Date.now();
  serve(new Response("", { status: 503 }));
  const taken = cookieKeep.take().catch((error: Error) => error.message);
  await vi.runAllTimersAsync();
  expect(await taken).toContain("503");
  expect(Date.now() - began).toBeLessThanOrEqual(20_000);
});
