import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const source = (name: string): string => fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));

// The page and the API have one origin: what the page asks for below /api goes on to the app.
const proxy = { "/api": { target: process.env["LLM_URL"] ?? "http://localhost:7860", changeOrigin: true } };

export default defineConfig({
  plugins: [react()],
  // The client as it is in this folder. A project of your own has it in node_modules and needs none of this.
  resolve: {
    alias: [
      { find: /^llm-core-client\/react$/, replacement: source("react") },
      { find: /^llm-core-client$/, replacement: source("index") },
    ],
  },
  server: { proxy },
  preview: { proxy },
});
