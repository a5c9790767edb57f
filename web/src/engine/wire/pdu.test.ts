import { expect, test } from "vitest";
import { encode, FramingError, Splitter, split } from "./pdu";

const some = [encode(0x0301, 7, new Uint8Array([1, 2, 3])), encode(0x0701, 0xffff, new Uint8Array(0))];
const joined = new Uint8Array(some.flatMap((b) => [...b]));

test("the header is that of the table [TT-FRAME-1]", () => {
  expect([...encode(0x0301, 0xff01, new Uint8Array([9]))]).toEqual([
    0, 0, 0, 17, 0, 1, 0, 0, 0, 3, 3, 1, 0xff, 0x01, 0, 0, 9,
  ]);
});

test("PDUs arrive in any pieces [TT-FRAME-4]", () => {
  for (let size = 1; size <= joined.length; size++) {
    const splitter = new Splitter();
    const got = [];
    for (let at = 0; at < joined.length; at += size) {
      got.push(...splitter.push(joined.subarray(at, at + size)));
    }
    expect(got.map((p) => [p.command, p.seq, [...p.body]])).toEqual([
      [0x0301, 7, [1, 2, 3]],
      [0x0701, 0xffff, []],
    ]);
    expect(splitter.pending).toBe(0);
  }
});

test("a message holds whole PDUs", () => {
  expect(split(joined).length).toBe(2);
  expect(() => split(joined.subarray(0, joined.length - 1))).toThrow(FramingError);
});

test("impossible lengths are refused", () => {
  for (const length of [0, 15, 0x7fffffff]) {
    const bytes = encode(1, 1, new Uint8Array(0));
    new DataView(bytes.buffer).setUint32(0, length);
    expect(() => new Splitter().push(bytes)).toThrow(FramingError);
  }
});
