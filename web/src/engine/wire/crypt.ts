// The cipher of message texts [TT-CRYPT-1]. Its key is the same in every client: it hides nothing, and is only the form that texts have.

import { ecb } from "@noble/ciphers/aes.js";
import { md5 } from "@noble/hashes/legacy.js";
import { bytesToHex } from "@noble/hashes/utils.js";

const key = new TextEncoder().encode("12345678901234567890123456789012");
const block = 16;
const utf8 = new TextEncoder();
const fromUTF8 = new TextDecoder();
const ascii = new TextDecoder("latin1");

/** The data of a text message. */
export function encryptText(text: string): Uint8Array {
  const bytes = utf8.encode(text);
  const rest = bytes.length % block;
  // The length stands in the last four bytes of the last block; one more block where they are not free.
  const blocks = Math.ceil(bytes.length / block) + (rest === 0 || rest > block - 4 ? 1 : 0);
  const plain = new Uint8Array(blocks * block);
  plain.set(bytes);
  new DataView(plain.buffer).setUint32(plain.length - 4, bytes.length);
  return utf8.encode(toBase64(ecb(key, { disablePadding: true }).encrypt(plain)));
}

/** The text of a message's data; undefined: it is not one of that form [TT-CRYPT-2]. */
export function decryptText(data: Uint8Array): string | undefined {
  const bytes = fromBase64(ascii.decode(data).replace(/\s+/g, ""));
  if (!bytes || bytes.length === 0 || bytes.length % block !== 0) {
    return undefined;
  }
  const plain = ecb(key, { disablePadding: true }).decrypt(bytes);
  const length = new DataView(plain.buffer, plain.byteOffset).getUint32(plain.length - 4);
  return length > plain.length ? undefined : fromUTF8.decode(plain.subarray(0, length));
}

/** What the protocol calls the password [TT-LOGIN-3]. */
export function passwordSum(password: string): string {
  return bytesToHex(md5(utf8.encode(password)));
}

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(binary);
}

export function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return undefined;
  }
}
