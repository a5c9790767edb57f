// Says how large the page is as it is fetched, and fails when that is more than it may be.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const limit = 150 * 1024;
const dist = new URL("../dist/", import.meta.url).pathname;
const kib = (n) => `${(n / 1024).toFixed(1)} KiB`;

let total = 0;
const names = readdirSync(dist, { recursive: true });
for (const name of names) {
  const isFile = statSync(join(dist, name)).isFile();
  if (!isFile || name === ".gitkeep" || names.includes(`${name}.gz`)) {
    continue; // fetched as the packed one beside it
  }
  const size = statSync(join(dist, name)).size;
  total += size;
  console.log(`${kib(size).padStart(12)}  ${name}`);
}
console.log(`${kib(total).padStart(12)}  in all, of ${kib(limit)}`);
if (total > limit) {
  console.error("the page is too large");
  process.exit(1);
}
