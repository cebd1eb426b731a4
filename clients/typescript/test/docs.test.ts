/** The TypeScript of the documentation against the running app. Their types are checked by `npm run check`. */

import { existsSync, readdirSync, readFileSync } from "node:fs";

import { afterEach, expect, inject, test, vi } from "vitest";

import { llmAPI } from "llm-core-client";

const folder = new URL("from-docs/", import.meta.url);
const page = readFileSync(new URL("../../../docs/typescript.md", import.meta.url), "utf8");
const programs = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".ts")) : [];

afterEach(() => vi.restoreAllMocks());

test("the page has the reference's snippet word for word", () => {
  expect(page).toContain(`\`\`\`ts\n${readFileSync(new URL("reference/snippet.ts", import.meta.url), "utf8")}\`\`\``);
});

test.each(programs)("example %s runs", async (name) => {
  const log = vi.spyOn(console, "log").mockReturnValue();
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
  llmAPI.configure({ baseUrl: inject("url") });

  await import(/* @vite-ignore */ `./from-docs/${name}`);

  expect(log).toHaveBeenCalled();
});

test.each(["typescript", "function-calling"])("the page on %s has examples", (name) => {
  expect(programs.some((program) => program.startsWith(`${name}-`))).toBe(true);
});
