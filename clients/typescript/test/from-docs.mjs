/** Writes the examples of docs/typescript.md as files, so that they are type-checked and run as they stand. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const page = readFileSync(new URL("../../../docs/typescript.md", import.meta.url), "utf8");
const snippet = readFileSync(new URL("reference/snippet.ts", import.meta.url), "utf8"); // has a test of its own
const folder = new URL("from-docs/", import.meta.url);

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
const examples = [...page.matchAll(/^```(tsx?)\n(.*?)^```/gms)].filter(([, , text]) => text !== snippet);
for (const [number, [, kind, text]] of examples.entries()) {
  // Examples without an import would be scripts, which share their names with all others.
  writeFileSync(new URL(`${number + 1}.${kind}`, folder), `${text}\nexport {};\n`);
}
