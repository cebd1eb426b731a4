/** Writes the TypeScript of the documentation as files, so that it is type-checked and run as it stands. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const pages = ["typescript", "function-calling"];
const snippet = readFileSync(new URL("reference/snippet.ts", import.meta.url), "utf8"); // has a test of its own
const folder = new URL("from-docs/", import.meta.url);

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
for (const name of pages) {
  const page = readFileSync(new URL(`../../../docs/${name}.md`, import.meta.url), "utf8");
  const examples = [...page.matchAll(/^```(tsx?)\n(.*?)^```/gms)].filter(([, , text]) => text !== snippet);
  for (const [number, [, kind, text]] of examples.entries()) {
    // Examples without an import would be scripts, which share their names with all others.
    writeFileSync(new URL(`${name}-${number + 1}.${kind}`, folder), `${text}\nexport {};\n`);
  }
}
