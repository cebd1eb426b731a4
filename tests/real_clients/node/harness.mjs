// What the programs of this folder share, as in ../python/harness.py.
import assert from "node:assert/strict";

export const URL = process.argv[2];
export const RESPONSES = process.argv[3] === "responses"; // the default of some clients, in place of chat completions
export const V1 = `${URL}/v1`;
export const KEY = "none";
export const MODEL = "SmolLM2-135M-Instruct";
export const QUESTION = "What is the capital of France?";
export const STORY = "Tell me a very long story about the sea.";
export const TOO_LONG = "word ".repeat(4000);
export const REPLY_TOKENS = 24;
export const STORY_TOKENS = 1500;
export const DESCRIPTION = "The weather in a city, now";
export const CITY = { type: "object", properties: { city: { enum: ["Oslo", "Rome"] } }, required: ["city"] };
const PATIENCE_MS = 60_000;

export function checkPieces(pieces) {
	assert(pieces.filter(Boolean).length > 3, JSON.stringify(pieces));
	assert.match(pieces.join(""), /Paris/);
}

export const checkRefused = (ask) => assert.rejects(ask, /tokens/);

export async function checkLeaving(leave) {
	const before = await generated();
	await leave();
	const overdue = Date.now() + PATIENCE_MS;
	while ((await (await fetch(`${URL}/api/llm/health`)).json()).queue.running) {
		assert(Date.now() < overdue, "the reply goes on without its reader");
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
	const made = (await generated()) - before;
	assert(made > 0 && made < STORY_TOKENS / 2, `${made} tokens were made`);
}

async function generated() {
	const said = await (await fetch(`${URL}/metrics`)).text();
	return Number(said.match(/^llm_generated_tokens_total (\S+)$/m)?.[1] ?? 0);
}

export async function run(...cases) {
	const failed = {};
	for (const each of cases) {
		try {
			await each();
			failed[each.name] = null;
		} catch (error) {
			failed[each.name] = String(error?.stack ?? error);
		}
	}
	console.log(JSON.stringify(failed));
	process.exit(0);
}
