import { defineConfig } from "vitest/config";

// Where "npm run dev" finds a server: teamtalkd dev serves there.
const server = process.env.TEAMTALK ?? "http://127.0.0.1:8080";

// Paths that the server answers and not the page.
const served = ["/ws", "/lp", "/web", "/media", "/msfs", "/g0", "/msg_server"];

export default defineConfig({
  define: { __VERSION__: JSON.stringify(process.env.TEAMTALK_VERSION ?? "dev") },
  build: {
    target: "es2022",
    // The content security policy allows no inline scripts, and every name must carry a hash to be cached for good.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    emptyOutDir: true,
  },
  server: {
    // Host stays what the browser sent, so that the server sees a page of its own.
    proxy: Object.fromEntries(
      served.map((path) => [path, { target: server, ws: path === "/ws", changeOrigin: false }]),
    ),
  },
  test: {
    include: ["src/**/*.test.{ts,tsx}"],
    environment: "node",
    pool: "threads",
    isolate: false,
  },
});
