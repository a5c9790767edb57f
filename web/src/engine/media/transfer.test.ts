import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type MediaReq, MediaReqSchema, MediaRspSchema } from "../../pb/chatpb/chat_pb";
import { Calls } from "../session/calls";
import { loggedIn, pass, type World } from "../testing/world";
import { Cmd } from "../wire/commands";
import { decryptText } from "../wire/crypt";
import { type Post, type Stored, Transfer } from "./transfer";

const path = `g0/171/205/${"abcd".repeat(16)}_80x60.png`;
const stored: Stored = { path, url: `http://chat.example/msfs/${path}`, size: 10, type: "image/png" };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Calls whose MEDIA_REQs are answered at once. */
function answering(requests: MediaReq[], code = 0): Calls {
  const calls = new Calls();
  calls.poke = () => {
    for (let call = calls.next(); call; call = calls.next()) {
      const ask = fromBinary(MediaReqSchema, call.body);
      requests.push(ask);
      const urls = ask.kind === 2 ? ask.paths.map((p) => `/msfs/${p}?s=1`) : ["/media/up/ticket"];
      const answer = create(MediaRspSchema, { code, urls, expiresS: 3_600, maxBytes: 1_000n });
      call.settle({ command: Cmd.mediaRes, flag: 0, seq: 1, body: toBinary(MediaRspSchema, answer) });
    }
  };
  return calls;
}

test("addresses asked for together are one question, and are kept until they expire [TT-MEDIA-1] [TT-MEDIA-2]", async () => {
  const asked: MediaReq[] = [];
  const t = new Transfer(answering(asked));
  const all = Promise.all([t.address("g0/a"), t.address("g0/b"), t.address("g0/a")]);
  await pass(20);
  expect(await all).toEqual(["/msfs/g0/a?s=1", "/msfs/g0/b?s=1", "/msfs/g0/a?s=1"]);
  expect(await t.address("g0/b")).toBe("/msfs/g0/b?s=1");
  expect(asked.map((a) => a.paths)).toEqual([["g0/a", "g0/b"]]);
  await pass(3_600_000);
  void t.address("g0/b");
  await pass(20);
  expect(asked.length).toBe(2);
});

test("a question has at most 100 paths", async () => {
  const asked: MediaReq[] = [];
  const t = new Transfer(answering(asked));
  const all = Promise.all(Array.from({ length: 250 }, (_, i) => t.address(`g0/${i}`)));
  await pass(20);
  expect((await all)[249]).toBe("/msfs/g0/249?s=1");
  expect(asked.map((a) => a.paths.length)).toEqual([100, 100, 50]);
});

/** The server's half of an upload. */
class Uploads {
  got = new Uint8Array(0);
  offsets: number[] = [];
  /** What happens to the next pieces: "cut" after so many bytes, or a status. */
  faults: (number | "away")[] = [];
  /** Where the session is. */
  at = "";
  readonly urls: string[] = [];

  post: Post = async (url, offset, piece, progress) => {
    this.urls.push(url);
    this.offsets.push(offset);
    const fault = this.faults.shift();
    if (fault === "away") {
      this.got = new Uint8Array(0); // another node: it has nothing
    } else if (fault !== undefined && fault >= 400) {
      return { status: fault, body: { error: "no" } };
    }
    if (offset !== this.got.length) {
      return { status: 409, body: { offset: this.got.length } };
    }
    const bytes = new Uint8Array(await piece.arrayBuffer());
    const arrived = typeof fault === "number" ? bytes.subarray(0, fault) : bytes;
    this.got = new Uint8Array([...this.got, ...arrived]);
    progress(arrived.length);
    if (typeof fault === "number") {
      throw new Error("cut");
    }
    return this.got.length === 10 ? { status: 200, body: stored } : { status: 202, body: { offset: this.got.length } };
  };

  fetch = async () => Response.json({ offset: this.got.length, size: 10 });
}

const ten = new Blob(["0123456789"], { type: "image/png" });

async function upload(server: Uploads): Promise<{ result: Stored; progress: number[] }> {
  vi.stubGlobal("fetch", server.fetch);
  const progress: number[] = [];
  const t = new Transfer(answering([]), () => server.at, server.post);
  const done = t.upload(ten, "a.png", (p) => progress.push(p), new AbortController().signal);
  done.catch(() => undefined);
  await vi.advanceTimersByTimeAsync(60_000);
  return { result: await done, progress };
}

test("an upload goes on where it broke off [TT-MEDIA-5]", async () => {
  const server = new Uploads();
  server.faults = [4, 3];
  const { result, progress } = await upload(server);
  expect(result).toEqual(stored);
  expect(server.offsets).toEqual([0, 4, 7]);
  expect(new TextDecoder().decode(server.got)).toBe("0123456789");
  expect(progress).toEqual([0.4, 0.7, 1, 1]);
});

test("at another node it begins anew", async () => {
  const server = new Uploads();
  server.faults = [4, "away"];
  await upload(server);
  expect(server.offsets).toEqual([0, 4, 0]);
  expect(new TextDecoder().decode(server.got)).toBe("0123456789");
});

test("content is sent to and fetched from the node that the session is on, and shown from memory then [TT-MEDIA-1]", async () => {
  const server = new Uploads();
  server.faults = [4, "away"];
  const fetch = vi.fn(async (_url: string) => new Response("a picture"));
  vi.stubGlobal("fetch", fetch);
  const t = new Transfer(answering([]), () => server.at, server.post);
  const own = t.address("g0/a");
  await pass(20);
  expect(await own).toBe("/msfs/g0/a?s=1"); // as long as that is the page's own
  server.at = "https://two.example";
  const [shown, again] = [await t.address("g0/a"), await t.address("g0/a")];
  expect(shown).toMatch(/^blob:/);
  expect(again).toBe(shown);
  expect(fetch.mock.calls.map(([url]) => url)).toEqual(["https://two.example/msfs/g0/a?s=1"]);
  server.at = "";
  expect(await t.address("g0/a")).toBe("/msfs/g0/a?s=1");
  vi.stubGlobal("fetch", server.fetch);
  const done = t.upload(ten, "a.png", () => undefined, new AbortController().signal);
  await vi.advanceTimersByTimeAsync(1);
  server.at = "https://three.example"; // it goes on there when the upload has broken off
  await vi.advanceTimersByTimeAsync(60_000);
  await done;
  expect(server.urls).toEqual([
    "/media/up/ticket",
    "https://three.example/media/up/ticket",
    "https://three.example/media/up/ticket",
  ]);
});

test("what another node can't give is asked for again the next time", async () => {
  let status = 503;
  vi.stubGlobal("fetch", async () => new Response("x", { status }));
  const t = new Transfer(answering([]), () => "https://two.example");
  const first = expect(t.address("g0/a")).rejects.toMatchObject({ key: "problem.unavailable" });
  await pass(20);
  await first;
  status = 200;
  expect(await t.address("g0/a")).toMatch(/^blob:/);
});

/** Content of any node, and which of the blob: URLs made of it are still there. */
function fetching(): Set<string> {
  const made = new Set<string>();
  const [create, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
  vi.stubGlobal("fetch", async () => new Response("content"));
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    const url = create(blob);
    made.add(url);
    return url;
  });
  vi.spyOn(URL, "revokeObjectURL").mockImplementation((url) => {
    made.delete(url);
    revoke(url);
  });
  return made;
}

test("of another node's content 200 are held: the oldest goes, when it is no longer being loaded", async () => {
  const made = fetching();
  const t = new Transfer(answering([]), () => "https://two.example");
  const show = async (from: number, to: number) => {
    const all = Promise.all(Array.from({ length: to - from }, (_, i) => t.address(`g0/${from + i}`)));
    await pass(20);
    return all;
  };
  const urls = await show(0, 203);
  expect(made.size).toBe(203); // all may just be loading
  await pass(60_000);
  expect([...made]).toEqual(urls.slice(3));
  const [again] = await show(0, 1);
  expect(again).not.toBe(urls[0]);
  t.clear();
  await pass(60_000);
  expect(made.size).toBe(0);
});

test("a file saved from another node does not stay in memory", async () => {
  const world = await loggedIn();
  world.server.endpoints = ["wss://two.example/ws"];
  world.server.current.cut();
  await pass(2_000); // learns of the other node
  world.server.intercept = (c, pdu) => {
    if (pdu.command === Cmd.mediaReq) {
      c.push(Cmd.mediaRes, pdu.seq, MediaRspSchema, { code: 0, urls: ["/msfs/g0/a?s=1"], expiresS: 600 });
    }
    return pdu.command === Cmd.mediaReq || c.route.url === "wss://chat.example/ws"; // its node hangs
  };
  world.server.current.cut();
  await pass(10_000);
  const made = fetching();
  const done = world.engine.download({ kind: "file", path: "g0/a", name: "a", sizeText: "7 B" });
  await pass(20);
  await done;
  expect(world.saved).toEqual([...made]);
  expect(world.saved[0]).toMatch(/^blob:/);
  await pass(60_000);
  expect(made.size).toBe(0);
});

test("what is refused is not tried again, what is not answered is, for a while [TT-MEDIA-7]", async () => {
  const server = new Uploads();
  server.faults = [413];
  await expect(upload(server)).rejects.toMatchObject({ key: "problem.tooLarge", values: { size: "1.0 KB" } });
  const full = new Uploads();
  full.faults = [507];
  await expect(upload(full)).rejects.toMatchObject({ key: "problem.quota" });
  const busy = new Uploads();
  busy.faults = [503, 429];
  await upload(busy);
  const broken = new Uploads();
  broken.faults = Array(20).fill(500);
  await expect(upload(broken)).rejects.toMatchObject({ key: "problem.uploadFailed" });
});

// With the whole engine: content goes up first, then the message that shows it.

function withMedia(world: World, uploads: Uploads): void {
  world.server.intercept = (c, pdu) => {
    if (pdu.command !== Cmd.mediaReq) {
      return false;
    }
    c.push(Cmd.mediaRes, pdu.seq, MediaRspSchema, { code: 0, urls: ["/media/up/x"], expiresS: 600, maxBytes: 1_000n });
    return true;
  };
  vi.stubGlobal("fetch", uploads.fetch);
  vi.stubGlobal(
    "XMLHttpRequest",
    class extends FakeRequest {
      override uploads = uploads;
    },
  );
}

class FakeRequest {
  uploads: Uploads | undefined;
  upload: { onprogress?: (e: { loaded: number }) => void } = {};
  onload?: () => void;
  onerror?: () => void;
  onloadend?: () => void;
  responseType = "";
  status = 0;
  response: unknown;
  private offset = 0;
  private aborted = false;

  open(): void {}

  setRequestHeader(name: string, value: string): void {
    if (name === "Upload-Offset") {
      this.offset = Number(value);
    }
  }

  abort(): void {
    this.aborted = true;
  }

  send(piece: Blob): void {
    const progress = (loaded: number) => this.upload.onprogress?.({ loaded });
    setTimeout(async () => {
      if (this.aborted) {
        return;
      }
      try {
        const answer = await this.uploads?.post("", this.offset, piece, progress, new AbortController().signal);
        this.status = answer?.status ?? 0;
        this.response = answer?.body;
        this.onload?.();
      } catch {
        this.onerror?.();
      }
      this.onloadend?.();
    }, 100);
  }
}

test("a picture goes up before its message, texts do not wait for it", async () => {
  const world = await loggedIn();
  withMedia(world, new Uploads());
  await world.engine.send("u2", { text: "look: ", pictures: [ten], burnSeconds: 30, replyTo: 4 });
  await world.engine.send("u2", { text: "quick" });
  await pass(10);
  const timeline = world.engine.timeline("u2");
  expect(timeline.messages.value.at(-1)).toMatchObject({ plain: "look: [图片]", delivery: "sending", progress: 0 });
  expect(world.server.sent.map((m) => decryptText(m.msgData))).toEqual(["quick"]);
  const shown = timeline.messages.value.at(-1)?.key;
  await pass(5_000);
  const sent = world.server.sent[1];
  expect(decryptText(sent?.msgData ?? new Uint8Array(0))).toBe(`look: &$#@~^@[{:${stored.url}:}]&$~@#@`);
  expect(sent).toMatchObject({ burnAfterReadS: 30, replyToMsgId: 4 });
  const message = timeline.messages.value.at(-1);
  expect(message).toMatchObject({ key: shown, id: 2, delivery: "sent" });
  expect(message?.parts[1]).toEqual({ kind: "picture", path, width: 80, height: 60 });
  expect(message?.progress).toBeUndefined();
});

test("files and voice messages say what they are", async () => {
  const world = await loggedIn();
  withMedia(world, new Uploads());
  await world.engine.sendFile("u2", new File(["0123456789"], "plan.pdf"));
  await pass(1_000);
  withMedia(world, new Uploads());
  await world.engine.sendVoice("u2", new Blob(["0123456789"], { type: "audio/webm; codecs=opus" }), 4.6);
  await pass(1_000);
  expect(world.server.sent.map((m) => [m.contentType, decryptText(m.msgData)])).toEqual([
    ["application/vnd.teamtalk.file", `[文件] plan.pdf (10 B) ${stored.url}`],
    ["audio/webm;codecs=opus", `[语音] 5″ ${stored.url}`],
  ]);
});

test("an upload can be cancelled, one that failed be tried again", async () => {
  const world = await loggedIn();
  const uploads = new Uploads();
  uploads.faults = [413];
  withMedia(world, uploads);
  const timeline = world.engine.timeline("u2");
  await world.engine.sendFile("u2", new File(["0123456789"], "a"));
  await pass(10);
  world.engine.cancelUpload("u2", timeline.messages.value[0]?.key ?? "");
  await pass(1_000);
  expect([timeline.messages.value.length, uploads.offsets.length]).toEqual([0, 0]);
  await world.engine.sendFile("u2", new File(["0123456789"], "b"));
  await pass(1_000);
  expect(timeline.messages.value[0]).toMatchObject({ delivery: "failed", reason: "problem.tooLargeHere" });
  await world.engine.retry("u2", timeline.messages.value[0]?.key ?? "");
  await pass(1_000);
  expect(timeline.messages.value[0]).toMatchObject({ delivery: "sent", id: 1 });
});

test("what turns out to be no picture is not sent as one", async () => {
  const world = await loggedIn();
  const uploads = new Uploads();
  const post = uploads.post;
  uploads.post = async (...args) => {
    const answer = await post(...args);
    return answer.status === 200 ? { status: 200, body: { ...stored, type: "text/html" } } : answer;
  };
  withMedia(world, uploads);
  await world.engine.send("u2", { text: "", pictures: [ten] });
  await pass(1_000);
  expect(world.engine.timeline("u2").messages.value[0]).toMatchObject({
    delivery: "failed",
    reason: "problem.noPicture",
  });
  expect(world.server.sent.length).toBe(0);
});

test("a file's name has no folders", async () => {
  const world = await loggedIn();
  withMedia(world, new Uploads());
  await world.engine.sendFile("u2", new File(["0123456789"], "..\\..\\etc/passwd"));
  await pass(1_000);
  expect(world.engine.timeline("u2").messages.value[0]?.parts[0]).toMatchObject({ kind: "file", name: "passwd" });
});

test("a text that is too long is not sent", async () => {
  const world = await loggedIn();
  const long = world.engine.send("u2", { text: "好".repeat(50_000) });
  await expect(long).rejects.toMatchObject({ key: "problem.tooLarge" });
  expect(world.server.sent.length).toBe(0);
});
