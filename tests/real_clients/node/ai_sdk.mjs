// What the programs for Vercel's AI SDK have in common: all but the provider.
import assert from "node:assert/strict";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import {
	checkLeaving, checkPieces, checkRefused, CITY, DESCRIPTION, QUESTION, REPLY_TOKENS, run, STORY, STORY_TOKENS, TOO_LONG,
} from "./harness.mjs";

export async function runAISDK(model) {
	const asked = { model, prompt: QUESTION, maxOutputTokens: REPLY_TOKENS, maxRetries: 0 };

	async function streamed() {
		const pieces = [];
		for await (const piece of streamText(asked).textStream) pieces.push(piece);
		checkPieces(pieces);
	}

	async function tools() {
		const called = [];
		const execute = async ({ city }) => {
			called.push(city);
			return "12 degrees and sunny";
		};
		const get_weather = tool({ description: DESCRIPTION, inputSchema: jsonSchema(CITY), execute });
		// The small model would call again and again, or never: the first step must, the second must not.
		const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" });
		const reply = await generateText({ ...asked, maxOutputTokens: 100, tools: { get_weather }, stopWhen: stepCountIs(3), prepareStep });
		assert.equal(called.length, 1);
		assert(reply.text);
	}

	async function structured() {
		const schema = z.object({ city: z.enum(["Oslo", "Rome"]) });
		const reply = await generateText({ ...asked, output: Output.object({ schema }) });
		assert(["Oslo", "Rome"].includes(reply.output.city));
	}

	async function error() {
		await checkRefused(() => generateText({ ...asked, prompt: TOO_LONG }));
	}

	async function cancel() {
		await checkLeaving(async () => {
			const abort = new AbortController();
			const story = { ...asked, prompt: STORY, maxOutputTokens: STORY_TOKENS, abortSignal: abort.signal };
			for await (const _ of streamText(story).textStream) {
				abort.abort();
				break;
			}
		});
	}

	await run(streamed, tools, structured, error, cancel);
}
