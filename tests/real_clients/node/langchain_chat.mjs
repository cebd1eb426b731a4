// @langchain/openai: ChatOpenAI.
import assert from "node:assert/strict";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";
import {
	checkLeaving, checkPieces, checkRefused, DESCRIPTION, KEY, MODEL, QUESTION, REPLY_TOKENS, run, STORY, STORY_TOKENS,
	TOO_LONG, V1,
} from "./harness.mjs";

const chat = new ChatOpenAI({ model: MODEL, apiKey: KEY, configuration: { baseURL: V1 } });
chat.maxTokens = REPLY_TOKENS;
const Trip = z.object({ city: z.enum(["Oslo", "Rome"]) });

async function streamed() {
	const pieces = [];
	for await (const chunk of await chat.stream(QUESTION)) pieces.push(chunk.text);
	checkPieces(pieces);
}

async function tools() {
	const weather = tool(async () => "12 degrees and sunny", { name: "get_weather", description: DESCRIPTION, schema: Trip });
	const said = new HumanMessage(QUESTION);
	chat.maxTokens = 100; // a call that is cut short is none
	const message = await chat.bindTools([weather], { tool_choice: "get_weather" }).invoke([said]);
	const [call] = message.tool_calls;
	const result = new ToolMessage({ content: await weather.invoke(call.args), tool_call_id: call.id });
	assert((await chat.invoke([said, message, result])).text);
}

async function structured() {
	const reply = await chat.withStructuredOutput(Trip, { method: "jsonSchema" }).invoke(QUESTION);
	assert(["Oslo", "Rome"].includes(reply.city));
}

async function error() {
	await checkRefused(() => chat.invoke(TOO_LONG));
}

async function cancel() {
	await checkLeaving(async () => {
		chat.maxTokens = STORY_TOKENS;
		for await (const chunk of await chat.stream(STORY)) {
			if (chunk.text) break;
		}
	});
}

await run(streamed, tools, structured, error, cancel);
