import { expect, test } from "vitest";
import { fileForm, fileType, partsOf, pathOf, pictureText, plainOf, sizeText, speexPart, voiceForm } from "./forms";

const path = `g0/171/205/${"abcd".repeat(16)}_800x600.png`;
const url = `http://old.host:8080/msfs/${path}`;

test("texts with pictures between them [TT-MEDIA-3]", () => {
  const text = `see ${pictureText(url)} and ${pictureText(url)}`;
  expect(partsOf(text, "")).toEqual([
    { kind: "text", text: "see " },
    { kind: "picture", path, width: 800, height: 600 },
    { kind: "text", text: " and " },
    { kind: "picture", path, width: 800, height: 600 },
  ]);
  expect(plainOf(partsOf(text, ""))).toBe("see [图片] and [图片]");
});

test("a picture that no server of ours can have is a link", () => {
  expect(partsOf(pictureText("http://elsewhere/x.png"), "")).toEqual([{ kind: "link", url: "http://elsewhere/x.png" }]);
  expect(partsOf("&$#@~^@[{:http://never ends", "")).toEqual([{ kind: "text", text: "&$#@~^@[{:http://never ends" }]);
});

test("files and voice messages are known by their content type", () => {
  const file = fileForm("a (1).txt", 1_234_567, url);
  expect(file).toBe(`[文件] a (1).txt (1.2 MB) ${url}`);
  expect(partsOf(file, fileType)).toEqual([{ kind: "file", name: "a (1).txt", sizeText: "1.2 MB", path }]);
  const type = "audio/webm;codecs=opus";
  expect(partsOf(voiceForm(5, url), type)).toEqual([{ kind: "voice", seconds: 5, path, type }]);
  // Without it they are words that somebody typed.
  expect(partsOf(file, "")).toEqual([{ kind: "text", text: file }]);
  expect(partsOf(voiceForm(5, url), "")).toEqual([{ kind: "text", text: voiceForm(5, url) }]);
  // Lists do not say a type.
  expect(plainOf(partsOf(file, undefined))).toBe("[文件] a (1).txt");
  expect(plainOf(partsOf(voiceForm(5, url), undefined))).toBe("[语音] 5″");
});

test("line breaks in a name do not hide the form", () => {
  expect(partsOf(fileForm("a\nb", 1, url), fileType)[0]).toMatchObject({ kind: "file", name: "a b" });
});

test("a path is taken out of any address", () => {
  expect(pathOf(`${url}_100x100.jpg?u=1&s=2`)).toBe(path);
  expect(pathOf(`/msfs/g0/1/2/${"ab".repeat(32)}.png`)).toBeUndefined();
});

test("audio of old clients", () => {
  expect(speexPart(new Uint8Array([0, 0, 1, 2, 9, 8]))).toEqual({
    kind: "speex",
    seconds: 258,
    data: new Uint8Array([9, 8]),
  });
});

test("sizes for people", () => {
  expect([0, 999, 1000, 123_456, 5_000_000_000].map(sizeText)).toEqual(["0 B", "999 B", "1.0 KB", "123 KB", "5.0 GB"]);
});
