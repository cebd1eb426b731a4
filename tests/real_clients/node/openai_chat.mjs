// openai: chat completions.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
	checkLeaving, checkPieces, checkRefused, CITY, DESCRIPTION, KEY, MODEL, QUESTION, REPLY_TOKENS, run, STORY, STORY_TOKENS,
	TOO_LONG, V1,
} from "./harness.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY });
const chat = client.chat.completions;
const said = [{ role: "user", content: QUESTION }];
const asked = { model: MODEL, max_tokens: REPLY_TOKENS, messages: said };
const tool = { type: "function", function: { name: "get_weather", description: DESCRIPTION, parameters: CITY } };

async function streamed() {
	const pieces = [];
	for await (const chunk of await chat.create({ ...asked, stream: true })) pieces.push(chunk.choices[0].delta.content);
	checkPieces(pieces);
}

async function tools() {
	const named = { type: "function", function: { name: "get_weather" } };
	const { message } = (await chat.create({ ...asked, tools: [tool], tool_choice: named })).choices[0];
	const [call] = message.tool_calls;
	assert(["Oslo", "Rome"].includes(JSON.parse(call.function.arguments).city));
	const result = { role: "tool", tool_call_id: call.id, content: "12 degrees and sunny" };
	const again = { ...asked, messages: [...said, message, result], tools: [tool], tool_choice: "none" };
	assert((await chat.create(again)).choices[0].message.content);
}

async function structured() {
	const form = zodResponseFormat(z.object({ city: z.enum(["Oslo", "Rome"]) }), "trip");
	const reply = await chat.parse({ ...asked, response_format: form });
	assert(["Oslo", "Rome"].includes(reply.choices[0].message.parsed.city));
}

async function error() {
	await checkRefused(() => chat.create({ ...asked, messages: [{ role: "user", content: TOO_LONG }] }));
}

async function cancel() {
	const messages = [{ role: "user", content: STORY }];
	await checkLeaving(async () => {
		for await (const chunk of await chat.create({ ...asked, messages, max_tokens: STORY_TOKENS, stream: true })) {
			if (chunk.choices[0].delta.content) break;
		}
	});
}

await run(streamed, tools, structured, error, cancel);
