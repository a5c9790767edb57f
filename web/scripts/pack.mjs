// Compresses what was built, so that the server need not: each file beside its original, unless that gains nothing.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url).pathname;

writeFileSync(join(dist, ".gitkeep"), ""); // vite empties the folder, and git keeps it by this file

for (const name of readdirSync(dist, { recursive: true })) {
  if (!/\.(html|js|css|svg|json|webmanifest|txt)$/.test(name)) {
    continue;
  }
  const plain = readFileSync(join(dist, name));
  const packed = gzipSync(plain, { level: 9 });
  if (packed.length < plain.length) {
    writeFileSync(join(dist, `${name}.gz`), packed);
  }
}
