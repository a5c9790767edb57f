// The forms that pictures, files and voice messages have as texts, so that old clients can show them too.

import type { Part } from "../api";

const pictureBegin = "&$#@~^@[{:";
const pictureEnd = ":}]&$~@#@";

export const fileType = "application/vnd.teamtalk.file";

/** The path of a blob anywhere in a URL; what follows its extension is a size that somebody asked for. */
const blobPath = /g0\/\d{3}\/\d{3}\/[0-9a-f]{64}(?:_(\d{1,4})x(\d{1,4}))?\.[0-9A-Za-z]{1,8}/;

const fileText = /^\[文件\] (.+) \(([^()]*)\) (\S+)$/su;
const voiceText = /^\[语音\] (\d{1,4})″ (\S+)$/u;

/** The path in a URL; undefined: it is not the address of anything that this server's cluster could have. */
export function pathOf(url: string): string | undefined {
  return blobPath.exec(url)?.[0];
}

export function pictureText(url: string): string {
  return pictureBegin + url + pictureEnd;
}

export function fileForm(name: string, size: number, url: string): string {
  return `[文件] ${name.replace(/[\r\n]+/g, " ")} (${sizeText(size)}) ${url}`;
}

export function voiceForm(seconds: number, url: string): string {
  return `[语音] ${seconds}″ ${url}`;
}

/** A size for people: "1.2 MB". */
export function sizeText(bytes: number): string {
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  let size = bytes;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** What a text message shows. Lists don't say a content type: there the form alone decides. */
export function partsOf(text: string, contentType: string | undefined): Part[] {
  const special = specialPart(text, contentType);
  return special ? [special] : mixedParts(text);
}

function specialPart(text: string, contentType: string | undefined): Part | undefined {
  if (contentType === fileType || contentType === undefined) {
    const m = fileText.exec(text);
    const path = m && pathOf(m[3] ?? "");
    if (m && path) {
      return { kind: "file", name: m[1] ?? "", sizeText: m[2] ?? "", path };
    }
  }
  if (contentType?.startsWith("audio/") || contentType === undefined) {
    const m = voiceText.exec(text);
    const path = m && pathOf(m[2] ?? "");
    if (m && path) {
      return { kind: "voice", seconds: Number(m[1]), path, type: contentType ?? "" };
    }
  }
  return undefined;
}

/** Texts with pictures between them. */
function mixedParts(text: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  while (at < text.length) {
    const begin = text.indexOf(pictureBegin, at);
    const end = begin < 0 ? -1 : text.indexOf(pictureEnd, begin);
    if (end < 0) {
      break;
    }
    pushText(parts, text.slice(at, begin));
    const url = text.slice(begin + pictureBegin.length, end);
    const path = pathOf(url);
    parts.push(path ? picturePart(path) : { kind: "link", url });
    at = end + pictureEnd.length;
  }
  pushText(parts, text.slice(at));
  return parts;
}

function picturePart(path: string): Part {
  const m = blobPath.exec(path);
  const width = Number(m?.[1] ?? 0);
  const height = Number(m?.[2] ?? 0);
  return width > 0 && height > 0 ? { kind: "picture", path, width, height } : { kind: "picture", path };
}

function pushText(parts: Part[], text: string): void {
  if (text !== "") {
    parts.push({ kind: "text", text });
  }
}

/** A message of an old client: seconds, then Speex. */
export function speexPart(data: Uint8Array): Part {
  const seconds = data.length >= 4 ? new DataView(data.buffer, data.byteOffset).getUint32(0) : 0;
  return { kind: "speex", seconds, data: data.slice(4) };
}

/** For previews, searching and copying: emoji names and the like are left in, what can't be read as text is named. */
export function plainOf(parts: readonly Part[]): string {
  return parts.map(plainPart).join("");
}

function plainPart(part: Part): string {
  switch (part.kind) {
    case "text":
      return part.text;
    case "picture":
      return "[图片]";
    case "file":
      return `[文件] ${part.name}`;
    case "voice":
    case "speex":
      return `[语音] ${part.seconds}″`;
    case "link":
      return part.url;
  }
}
