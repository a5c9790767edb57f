import { expect, test } from "vitest";
import { decryptText, encryptText, passwordSum } from "./crypt";

const utf8 = new TextEncoder();
const vectors = [
  ["hello", "nnZSBwfPCz60q69ddmfIJA=="],
  ["0123456789abcdef", "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g="],
  ["123456789012", "qRbX2o2N6/0vxpOpQhCOOg=="],
  ["1234567890123", "ovYKzOY+0lEFsnZlqUWIQAr+GZ43+2mMfQMFqTsGBjY="],
  ["[语音]", "QhGXlpFjvMFUNrtl1aaPzA=="],
] as const;

test.each(vectors)("%s [TT-CRYPT-1]", (text, data) => {
  expect(new TextDecoder().decode(encryptText(text))).toBe(data);
  expect(decryptText(utf8.encode(data))).toBe(text);
});

test("every length comes back", () => {
  for (let n = 0; n < 70; n++) {
    const text = "好".repeat(n % 5) + "x".repeat(n);
    expect(decryptText(encryptText(text))).toBe(text);
  }
});

test("what is no text of that form is told from one [TT-CRYPT-2]", () => {
  expect(decryptText(utf8.encode(" nnZSBwfPCz60\r\nq69ddmfIJA== "))).toBe("hello");
  for (const data of ["", "plain words", "nnZSBwfPCz60q69ddmfI", "AAAAAAAAAAAAAAAAAAAAAA=="]) {
    expect(decryptText(utf8.encode(data))).toBeUndefined();
  }
});

test("the password is its MD5 [TT-LOGIN-3]", () => {
  expect(passwordSum("12345")).toBe("827ccb0eea8a706c4c34a16891f84e7b");
});
