import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { memoryShelf } from "../testing/world";
import { CookieKeep } from "./keep";

const kept = { device: "d", token: "t", user: 7, name: "ann" };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** Answers in this order, the last again and again; undefined: the connection fails. */
function serve(...answers: (Response | undefined)[]) {
  const fetch = vi.fn(async (_url: string, _init?: RequestInit) => {
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
  const taken = new CookieKeep(memoryShelf()).take();
  await vi.runAllTimersAsync();
  expect(await taken).toEqual(kept);
  expect(fetch).toHaveBeenCalledTimes(3);
});

test("that there is no session is an answer", async () => {
  for (const answer of [new Response(null, { status: 204 }), new Response("", { status: 403 })]) {
    const fetch = serve(answer);
    expect(await new CookieKeep(memoryShelf()).take()).toBeUndefined();
    expect(fetch).toHaveBeenCalledTimes(1);
  }
});

test("a server that stays away is given up", async () => {
  const began = Date.now();
  serve(new Response("", { status: 503 }));
  const taken = new CookieKeep(memoryShelf()).take().catch((error: Error) => error.message);
  await vi.runAllTimersAsync();
  expect(await taken).toContain("503");
  expect(Date.now() - began).toBeLessThanOrEqual(20_000);
});

test("what could not be dropped is dropped before anything is taken, by the next page too", async () => {
  const shelf = memoryShelf();
  const away = [undefined, new Response("", { status: 502 })];
  for (const answer of away) {
    serve(answer);
    await expect(new CookieKeep(shelf).drop()).rejects.toThrow();
  }
  for (const answer of away) {
    const fetch = serve(answer);
    await expect(new CookieKeep(shelf).take()).rejects.toThrow();
    expect(fetch.mock.calls.map(([url]) => url)).toEqual(["/web/session/drop"]);
  }
  const keep = new CookieKeep(shelf);
  const fetch = serve(new Response(null, { status: 204 }), Response.json({ value: JSON.stringify(kept) }));
  expect(await keep.take()).toBeUndefined();
  expect(fetch.mock.calls.map(([url]) => url)).toEqual(["/web/session/drop"]);
  expect(await keep.take()).toEqual(kept); // it is owed once
});

test("who logs in after a drop that failed is taken up; not so if the server did not keep that", async () => {
  const keep = new CookieKeep(memoryShelf());
  serve(undefined);
  await expect(keep.drop()).rejects.toThrow();
  serve(new Response("", { status: 502 }));
  await expect(keep.put(kept, 600)).rejects.toThrow();
  const fetch = serve(new Response(null, { status: 204 }));
  expect(await keep.take()).toBeUndefined();
  expect(fetch.mock.calls.map(([url]) => url)).toEqual(["/web/session/drop"]);
  serve(undefined);
  await expect(keep.drop()).rejects.toThrow();
  serve(new Response(null, { status: 204 }), Response.json({ value: JSON.stringify(kept) }));
  await keep.put(kept, 600);
  expect(await keep.take()).toEqual(kept);
});

/** A network that swallows everything. */
function swallow() {
  const fetch = vi.fn(
    (_url: string, { signal }: RequestInit) =>
      new Promise<Response>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      }),
  );
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

test("a server that never answers is not waited for longer than 10 s", async () => {
  vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
    const end = new AbortController();
    setTimeout(() => end.abort(new DOMException("late", "TimeoutError")), ms);
    return end.signal;
  });
  swallow();
  const dropped = expect(new CookieKeep(memoryShelf()).drop()).rejects.toThrow("late");
  await vi.advanceTimersByTimeAsync(10_000);
  await dropped;
});

test("a put that is still under way at a drop is given up: it does not settle what is owed", async () => {
  const shelf = memoryShelf();
  const keep = new CookieKeep(shelf);
  swallow();
  const put = expect(keep.put(kept, 600)).rejects.toThrow();
  serve(undefined);
  await expect(keep.drop()).rejects.toThrow();
  await put;
  const fetch = serve(new Response(null, { status: 204 }));
  expect(await new CookieKeep(shelf).take()).toBeUndefined();
  expect(fetch.mock.calls.map(([url]) => url)).toEqual(["/web/session/drop"]);
});
