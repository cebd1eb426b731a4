/** The running app that the tests talk to: `LLM_TEST_URL`, or the one at its usual address. */

import type { TestProject } from "vitest/node";

declare module "vitest" {
  export interface ProvidedContext {
    url: string;
  }
}

export default async function setup(project: TestProject): Promise<void> {
  const url = (process.env["LLM_TEST_URL"] ?? "http://localhost:7860").replace(/\/$/, "");
  const answer = await fetch(`${url}/api/llm/health`).catch(() => undefined);
  if (!answer?.ok) {
    throw new Error(`The tests need the running app, and it does not answer at ${url}. Start it, or set LLM_TEST_URL.`);
  }
  project.provide("url", url);
}
