/** Calls of tools as a page and a program see them, on streams that a test writes. */

import { afterEach, describe, expect, test } from "vitest";

import { ChatSession, createClient, type ToolCall } from "llm-core-client";

import { type Answer, DONE, events, scripted, type ScriptedServer, stream, until } from "./wires.js";

const NAME = "5d0c000000000000000000000000abcd";
const QUEUED = { stream_id: NAME, queue_position: 0, session_id: "s" };
const head = (index: number, id: string) => ({
  tool_calls: [{ index, id, type: "function", function: { name: "weather", arguments: "" } }],
});
const more = (index: number, text: string) => ({ tool_calls: [{ index, function: { arguments: text } }] });
const WHOLE = [head(0, "c1"), more(0, '{"city"'), more(0, ': "Rome"}')];
const HALF = [head(1, "c2"), more(1, '{"ci')];

let server: ScriptedServer;

afterEach(() => server.close());

async function client(...answers: Answer[]) {
  server = await scripted(...answers);
  return createClient({ baseUrl: server.url });
}

function json(body: unknown): Answer {
  return (_, response) => {
    response.end(JSON.stringify(body));
  };
}

/** A session's page on a server that gives these answers, once the history, the first of them, is there. */
async function chatOn(...answers: Answer[]): Promise<ChatSession> {
  const chat = new ChatSession("s", { client: await client(...answers) });
  chat.open();
  await until(() => chat.state.status !== "loading", "the history is loaded");
  return chat;
}

const shown = (chat: ChatSession) =>
  chat.state.messages.map(({ role, content, tool_calls }) => [role, content, tool_calls?.map((call) => call.id) ?? []]);

describe("a call that was cut short", () => {
  test("is not told of as a call", async () => {
    const { chatStream } = await client(stream([events(1, QUEUED, ...WHOLE, ...HALF, { ...DONE, finish_reason: "length" })]));
    const calls: ToolCall[] = [];

    const end = await chatStream({ messages: [] }, () => undefined, undefined, undefined, {
      onToolCall: (call) => calls.push(call),
    }).finished;

    expect(end.outcome).toBe("complete");
    expect(calls).toEqual([{ id: "c1", type: "function", function: { name: "weather", arguments: '{"city": "Rome"}' } }]);
  });

  test("goes from the page when the reply has ended, as it is not in the history", async () => {
    const chat = await chatOn(
      json({ messages: [] }),
      stream([events(1, QUEUED, { content: "Let me look." }, ...WHOLE, ...HALF, { ...DONE, finish_reason: "cancelled" })]),
    );

    await chat.send("Rome?");
    await until(() => chat.state.status === "idle", "the reply has ended");

    expect(shown(chat)).toEqual([
      ["user", "Rome?", []],
      ["assistant", "Let me look.", ["c1"]],
    ]);
  });
});

test("a page that is opened while results are answered shows what they answer", async () => {
  const called = [{ id: "c1", type: "function", function: { name: "weather", arguments: "{}" } }];
  const history = [
    { role: "user", content: "Rome?", created_at: "2026-01-01T00:00:00Z" },
    { role: "assistant", content: "", tool_calls: called, status: "complete" },
    { role: "tool", content: "20 °C", tool_call_id: "c1", created_at: "2026-01-01T00:00:01Z" },
    { role: "assistant", content: "It", status: "running", stream_id: NAME },
  ];

  const chat = await chatOn(json({ messages: history }), stream([events(1, QUEUED, { content: "It is warm." }, DONE)]));
  await until(() => chat.state.status === "idle", "the reply has ended");

  expect(shown(chat)).toEqual([
    ["user", "Rome?", []],
    ["assistant", "", ["c1"]],
    ["tool", "20 °C", []],
    ["assistant", "It is warm.", []],
  ]);
});

test("results that the server does not take are not kept", async () => {
  const refusal: Answer = (_, response) => {
    response.writeHead(400).end(JSON.stringify({ error: { message: "No.", code: "invalid_request", param: "tool_results" } }));
  };
  const chat = await chatOn(json({ messages: [] }), refusal);

  expect(await chat.answer([{ tool_call_id: "c1", content: "20 °C" }])).toBe(false);
  expect(chat.state).toMatchObject({ messages: [], status: "idle", error: { param: "tool_results" } });
});
