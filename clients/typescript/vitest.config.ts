import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

const source = (name: string): string => fileURLToPath(new URL(`./src/${name}.ts`, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^llm-core-client\/react$/, replacement: source("react") },
      { find: /^llm-core-client$/, replacement: source("index") },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/server.ts",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // One engine answers all of them: side by side they would only wait for each other.
    fileParallelism: false,
  },
});
