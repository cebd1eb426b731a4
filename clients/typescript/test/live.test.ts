/** The client and the running app. */

import { randomUUID } from "node:crypto";

import { describe, expect, inject, test, vi } from "vitest";

import {
  type ChatOptions,
  ChatSession,
  createClient,
  type History,
  type HistoryMessage,
  llmAPI,
  LLMError,
  type ResponseFormat,
  type StreamEvent,
  type Tool,
  type ToolCall,
} from "llm-core-client";

import { cutting, until } from "./wires.js";

const url = inject("url");
const client = createClient({ baseUrl: url });

const QUESTION = { messages: [{ role: "user" as const, content: "What is the capital of France?" }], temperature: 0 };
const STORY = "Tell me a very long story about the sea.";
// The token that ends a turn (id 2 in the bundled model) is banned, so that the reply ends when it is told to.
const ENDLESS = { max_tokens: 1000, logit_bias: { 2: -100 }, temperature: 0 };

const newSession = (): string => `ts-${randomUUID()}`;

/** No request runs or waits: nothing that a test left behind goes on. */
async function idle(): Promise<boolean> {
  const { queue } = await client.health();
  return queue?.running === 0 && queue.waiting === 0;
}

async function settled(sessionId: string): Promise<History> {
  let history: History | undefined;
  await until(async () => {
    history = await client.history(sessionId).catch(() => undefined);
    return history !== undefined && history.messages.at(-1)?.status !== "running";
  }, "the turn has ended");
  return history!;
}

async function refusalOf(work: Promise<unknown>): Promise<LLMError> {
  return await work.then(
    () => expect.fail("it was not refused"),
    (error: unknown) => {
      expect(error).toBeInstanceOf(LLMError);
      return error as LLMError;
    },
  );
}

test("a stream joins to the whole answer", async () => {
  const whole = await client.chat(QUESTION);
  const chunks: string[] = [];

  const end = await client.chatStream(QUESTION, (text) => chunks.push(text)).finished;

  expect(whole.content).toContain("Paris");
  expect(chunks.join("")).toBe(whole.content);
  expect(chunks.length).toBeGreaterThan(3);
  expect(end).toMatchObject({ outcome: "complete", done: { finish_reason: whole.finish_reason } });
  expect(whole.usage.completion_tokens).toBeGreaterThan(3);
});

test("the iterator yields the place in the queue, the text and the figures, in this order", async () => {
  const types: StreamEvent["type"][] = [];

  for await (const event of client.streamChat({ ...QUESTION, max_tokens: 4 })) {
    if (event.type !== types.at(-1)) types.push(event.type);
    if (event.type === "done") expect(event.timings.ttft_ms).toBeGreaterThan(0);
  }

  expect(types).toEqual(["queue", "content", "done"]);
});

test("sessions are remembered, listed, renamed, exported and deleted", async () => {
  const session_id = newSession();
  const word = `Zanzibar ${session_id}`;

  const reply = await client.chatSession({ session_id, message: word, max_tokens: 4 });
  const history = await client.history(session_id);
  const [found] = await client.sessions({ search: word });
  const renamed = await client.renameSession(session_id, "Islands");

  expect(reply.session_id).toBe(session_id);
  expect(history.messages.map(({ role, content }) => [role, content])).toEqual([
    ["user", word],
    ["assistant", reply.content],
  ]);
  expect(history.messages[1]).toMatchObject({ status: "complete", usage: reply.usage });
  expect(found).toMatchObject({ session_id, turns: 1, busy: false });
  expect(renamed.title).toBe("Islands");
  expect(await client.exportSession(session_id, "markdown")).toMatch(/^# Islands\n/);

  await client.deleteSession(session_id);
  expect((await refusalOf(client.history(session_id))).code).toBe("session_not_found");
});

test("a session's file becomes another session, and a preset is kept", async () => {
  const session_id = newSession();
  await client.chatSession({ session_id, message: "Cats?", max_tokens: 2 });
  const opened = await client.importSession(await client.exportSession(session_id, "json"));
  expect(opened.session_id).not.toBe(session_id);
  expect(opened.messages[0]?.content).toBe("Cats?");
  expect((await refusalOf(client.importSession("no file"))).code).toBe("invalid_request");
  await client.deleteSession(opened.session_id);
  await client.deleteSession(session_id);

  const name = `Preset ${session_id}`;
  await client.savePreset(name, { temperature: 1.5 });
  const found = (await client.presets()).find((each) => each.name === name);
  expect(found).toMatchObject({ temperature: 1.5, model: null, own: true, default: false });
  await client.deletePreset(name);
  expect((await client.presets()).map((each) => each.name)).not.toContain(name);
});

test("another version of a turn is made, listed and chosen", async () => {
  const session_id = newSession();
  await client.chatSession({ session_id, message: "Cats?", max_tokens: 2 });
  const first = (await client.history(session_id)).messages.at(-1)?.stream_id ?? "";
  await client.chatSession({ session_id, message: "Dogs?", replaces: first, max_tokens: 2 });
  const versions = await client.versions(session_id, first);
  const chosen = await client.chooseVersion(session_id, first);
  await client.pinSession(session_id, true);

  expect(versions.map(({ chosen, messages }) => [messages[0]?.content, chosen])).toEqual([
    ["Cats?", false],
    ["Dogs?", true],
  ]);
  expect(chosen.messages[0]?.content).toBe("Cats?");
  expect((await client.sessions())[0]).toMatchObject({ session_id, pinned: true });
  await client.deleteSession(session_id);
});

describe("lost connections", () => {
  test("a session's stream over a line that is cut three times is the text of the history", async () => {
    const line = await cutting(url, 900, 1500, 40);
    const reconnected = vi.fn();
    const session_id = newSession();
    const chunks: string[] = [];

    const end = await createClient({ baseUrl: line.url }).chatSessionStream(
      { session_id, message: STORY, ...ENDLESS, max_tokens: 60 },
      (text) => chunks.push(text),
      undefined,
      undefined,
      { onReconnect: reconnected, retryDelays: [10, 10, 10] },
    ).finished;
    await line.close();

    expect(end.outcome).toBe("complete");
    expect(reconnected.mock.calls.length).toBe(3);
    expect(chunks.join("")).toBe((await settled(session_id)).messages[1]?.content);
  });

  test("a message whose answers are cut inside their headers is said once, streamed and whole", async () => {
    const session_id = newSession();
    const line = await cutting(url, 12, 90, Infinity, 12);
    const cut = createClient({ baseUrl: line.url });
    const options = { retryDelays: [10, 10, 10] };
    const chunks: string[] = [];

    const request = { session_id, message: "Hello", max_tokens: 8 };
    const end = await cut.chatSessionStream(request, (text) => chunks.push(text), undefined, undefined, options).finished;
    const whole = await cut.chatSession({ ...request, message: "And?" }, options);
    await line.close();

    expect(end.outcome).toBe("complete");
    const { messages } = await client.history(session_id);
    expect(messages.map(({ content }) => content)).toEqual(["Hello", chunks.join(""), "And?", whole.content]);
  });

  test("a message that a program repeats under its own key comes back to the same reply", async () => {
    const request = { session_id: newSession(), message: "Hello", max_tokens: 8 };
    const options = { idempotencyKey: randomUUID() };

    const first = await client.chatSession(request, options);
    const second = await client.chatSession(request, options);
    const error = await refusalOf(client.chatSession({ ...request, message: "Another" }, options));

    expect(second).toEqual(first);
    expect((await client.history(request.session_id)).messages).toHaveLength(2);
    expect([error.status, error.code]).toEqual([409, "idempotency_key_reused"]);
  });
});

describe("leaving", () => {
  test("a stateless stream by its handle stops the engine", async () => {
    let handle: ReturnType<typeof client.chatStream>;
    const complete = vi.fn();

    await new Promise<void>((resolve) => {
      const request = { messages: [{ role: "user" as const, content: STORY }], ...ENDLESS };
      handle = client.chatStream(request, () => resolve(), complete, complete);
    });
    handle!.abort();

    expect(await handle!.finished).toEqual({ outcome: "aborted" });
    await until(idle, "the engine is idle", 5);
    expect(complete).not.toHaveBeenCalled();
  });

  test("a session's stream stops its reply, and the history has what came of it", async () => {
    const session_id = newSession();
    let text = "";

    for await (const event of client.streamSession({ session_id, message: STORY, ...ENDLESS })) {
      if (event.type === "content") text += event.content;
      if (text.length > 20) break;
    }

    const last = (await settled(session_id)).messages.at(-1);
    expect(last?.status).toBe("cancelled");
    expect(last?.content.startsWith(text)).toBe(true);
    await until(idle, "the engine is idle", 5);
  });

  test("before the first event stops it too", async () => {
    const session_id = newSession();

    const handle = client.chatSessionStream({ session_id, message: STORY, ...ENDLESS }, () => undefined);
    handle.abort();

    expect(await handle.finished).toEqual({ outcome: "aborted" });
    await until(idle, "the engine is idle", 5);
    const again = await client.chatSession({ session_id, message: "Hello", max_tokens: 2 });
    expect(again.usage.completion_tokens).toBeGreaterThan(0);
  });
});

describe("refusals", () => {
  test("of a field out of its range name the field", async () => {
    const error = await refusalOf(client.chat({ ...QUESTION, temperature: 7 }));

    expect([error.status, error.code, error.param]).toEqual([422, "invalid_request", "temperature"]);
  });

  test("of a stream come as its error, once, with status and code", async () => {
    const onError = vi.fn();
    const messages = [{ role: "user" as const, content: "word ".repeat(8000) }];

    const end = await client.chatStream({ messages }, () => undefined, undefined, onError).finished;

    expect(onError).toHaveBeenCalledTimes(1);
    expect(end).toMatchObject({ outcome: "failed", error: { status: 400, code: "context_overflow" } });
  });

  test("of a second turn in a session say that it is busy", async () => {
    const session_id = newSession();

    for await (const event of client.streamSession({ session_id, message: STORY, ...ENDLESS })) {
      if (event.type !== "content") continue;
      const error = await refusalOf(client.chatSession({ session_id, message: "And?" }));
      expect([error.status, error.code]).toEqual([409, "session_busy"]);
      break;
    }
  });
});

describe("a chat session for a page", () => {
  test("shows the message at once, the text as it comes, and in the end what the history has", async () => {
    const chat = new ChatSession(newSession(), { client, temperature: 0, max_tokens: 12 });
    const close = chat.open();
    await until(() => chat.state.status === "idle", "the history is loaded");
    const seen: string[] = [];
    chat.subscribe(() => seen.push(`${chat.state.status} ${chat.state.messages.length}`));

    expect(await chat.send("What is the capital of France?")).toBe(true);
    await until(() => chat.state.status === "idle", "the reply is there");

    expect([...new Set(seen)]).toEqual(["waiting 1", "streaming 2", "idle 2"]);
    const { messages } = await client.history(chat.sessionId);
    expect(chat.state.messages.map(({ role, content, status, usage }) => ({ role, content, status, usage }))).toEqual(
      messages.map(({ role, content, status, usage }) => ({ role, content, status, usage })),
    );
    close();
  });

  test("reads on, when it is opened again, what it left running, and stops it", async () => {
    const chat = new ChatSession(newSession(), { client, ...ENDLESS });
    const close = chat.open();
    await until(() => chat.state.status === "idle", "the history is loaded");
    await chat.send(STORY);
    await until(() => (chat.state.messages[1]?.content.length ?? 0) > 20, "there is text");
    const before = chat.state.messages[1]!.content;
    close();
    expect(chat.state.status).toBe("closed");
    expect(await chat.send("Are you there?")).toBe(false);
    expect(chat.state.error?.message).toBe("This conversation is closed: open() it first.");

    const other = new ChatSession(chat.sessionId, { client });
    const closeOther = other.open();
    await until(() => (other.state.messages[1]?.content.length ?? 0) > before.length, "the text goes on");
    expect(other.state.messages[1]!.content.startsWith(before)).toBe(true);
    other.stop();
    await until(() => other.state.status === "idle", "it has stopped");

    const last = (await client.history(chat.sessionId)).messages.at(-1);
    expect(other.state.messages.at(-1)).toMatchObject({ content: last?.content, status: "cancelled" });
    expect(other.state.error).toBeNull();
    closeOther();
  });

  test("can be stopped before there is anything to stop", async () => {
    const chat = new ChatSession(newSession(), { client, ...ENDLESS });
    const close = chat.open();
    await until(() => chat.state.status === "idle", "the history is loaded");

    const sent = chat.send(STORY);
    chat.stop();

    expect(await sent).toBe(true);
    await until(() => chat.state.status === "idle", "it has stopped");
    expect(chat.state.messages.at(-1)?.status).toBe("cancelled");
    close();
  });

  test("sends what is said while the history is on its way, once that is there", async () => {
    const session_id = newSession();
    await client.chatSession({ session_id, message: "Hello", max_tokens: 4 });
    const chat = new ChatSession(session_id, { client, max_tokens: 4 });
    const close = chat.open();

    expect(chat.state.status).toBe("loading");
    expect(await chat.send("And?")).toBe(true);

    expect(chat.state.messages.slice(0, 3).map(({ role }) => role)).toEqual(["user", "assistant", "user"]);
    close();
  });

  test("keeps no message that was refused, and says why", async () => {
    const chat = new ChatSession(newSession(), { client, temperature: 7 });
    const close = chat.open();
    await until(() => chat.state.status === "idle", "the history is loaded");

    expect(await chat.send("Hello")).toBe(false);
    expect(chat.state).toMatchObject({ messages: [], status: "idle", error: { status: 422, param: "temperature" } });

    chat.configure({ client, max_tokens: 2 });
    expect(await chat.send("Hello")).toBe(true);
    expect(chat.state.error).toBeNull();
    expect(await chat.send("And?")).toBe(false);
    expect(chat.state.error?.code).toBe("session_busy");
    await until(() => chat.state.status === "idle", "the reply is there");
    close();
  });
});

describe("tools", () => {
  const WEATHER: Tool = {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city, now",
      parameters: {
        type: "object",
        properties: { city: { type: "string", maxLength: 20 } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  };
  const CALLING: ChatOptions = {
    tools: [WEATHER],
    tool_choice: { type: "function", function: { name: "get_weather" } },
    temperature: 0,
    max_tokens: 100,
  };
  const MESSAGE = "What is the weather in Oslo?";
  const argumentsOf = (call: ToolCall | undefined): unknown => JSON.parse(call?.function.arguments ?? "");

  test("that are chosen by name are called, streaming and not, with what their schema allows", async () => {
    const request = { messages: [{ role: "user" as const, content: MESSAGE }], ...CALLING };
    const calls: ToolCall[] = [];

    const whole = await client.chat(request);
    const end = await client.chatStream(request, () => undefined, undefined, undefined, {
      onToolCall: (call) => calls.push(call),
    }).finished;

    expect(whole.finish_reason).toBe("tool_calls");
    expect(end).toMatchObject({ outcome: "complete", done: { finish_reason: "tool_calls" } });
    for (const [call] of [whole.tool_calls ?? [], calls]) {
      expect(call?.function.name).toBe("get_weather");
      expect(argumentsOf(call)).toEqual({ city: expect.any(String) as string });
    }
  });

  test("are answered in a session, and results of other calls are refused", async () => {
    const session_id = newSession();
    const reply = await client.chatSession({ session_id, message: MESSAGE, ...CALLING });
    const [call] = reply.tool_calls ?? [];

    const unknown = [{ tool_call_id: "another", content: "4 °C" }];
    const error = await refusalOf(client.chatSession({ session_id, tool_results: unknown }));
    expect([error.status, error.param]).toEqual([400, "tool_results.0.tool_call_id"]);

    const tool_results = [{ tool_call_id: call?.id ?? "", content: "4 °C, rain" }];
    const answer = await client.chatSession({ session_id, tool_results, tools: [WEATHER], tool_choice: "none", max_tokens: 12 });
    const { messages } = await client.history(session_id);

    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(messages[1]?.tool_calls).toEqual(reply.tool_calls);
    expect(messages[2]).toMatchObject({ content: "4 °C, rain", tool_call_id: call?.id });
    expect(messages[3]?.content).toBe(answer.content);
  });

  test("are answered on a page, which then has what the history has", async () => {
    const chat = new ChatSession(newSession(), { client, ...CALLING });
    const close = chat.open();
    await until(() => chat.state.status === "idle", "the history is loaded");
    await chat.send(MESSAGE);
    await until(() => chat.state.status === "idle", "the call is there");
    const [call] = chat.state.messages.at(-1)?.tool_calls ?? [];
    expect(argumentsOf(call)).toEqual({ city: expect.any(String) as string });

    chat.configure({ client, tools: [WEATHER], tool_choice: "none", max_tokens: 12 });
    expect(await chat.answer([{ tool_call_id: call?.id ?? "", content: "4 °C" }])).toBe(true);
    await until(() => chat.state.status === "idle", "the answer is there");

    const said = ({ role, content, tool_calls }: HistoryMessage) => ({ role, content, tool_calls });
    const { messages } = await client.history(chat.sessionId);
    expect(chat.state.messages.map(said)).toEqual(messages.map(said));
    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
    close();
  });

  test("hold text to a schema too, where it is asked for", async () => {
    const city = { enum: ["Oslo", "Rome"] };
    const schema = { type: "object", properties: { city }, required: ["city"], additionalProperties: false };
    const response_format: ResponseFormat = { type: "json_schema", json_schema: { name: "city", schema } };

    const { content } = await client.chat({ ...QUESTION, response_format, max_tokens: 60 });

    expect(["Oslo", "Rome"]).toContain((JSON.parse(content) as { city: string }).city);
  });
});

test("the reference's snippet, word for word, streams a reply into a component's state", async () => {
  let response = "";
  const log = vi.spyOn(console, "log").mockImplementation(() => undefined);
  const errors = vi.spyOn(console, "error");
  const setResponse = (change: (before: string) => string): void => {
    response = change(response);
  };
  vi.stubGlobal("useState", (initial: string) => [initial, setResponse]);
  llmAPI.configure({ baseUrl: url });

  await import("./reference/snippet.js");
  await until(() => log.mock.calls.length > 0 || errors.mock.calls.length > 0, "the stream has ended");

  expect(errors).not.toHaveBeenCalled();
  expect(log).toHaveBeenCalledWith("Done!");
  const { messages } = await client.history("session-123");
  expect(messages.at(-1)).toMatchObject({ role: "assistant", content: response });
  expect(messages.at(-2)).toMatchObject({ role: "user", content: "Hello!" });
  log.mockRestore();
});

test("a text goes into tokens and back, and a conversation becomes its prompt", async () => {
  const tokens = await client.tokenize({ content: "The sea is deep." });
  const prompt = await client.applyTemplate(QUESTION);

  expect(tokens.length).toBeGreaterThan(3);
  expect(await client.detokenize({ tokens })).toBe("The sea is deep.");
  expect(await client.tokenize({ content: "<|im_start|>", parse_special: true })).toHaveLength(1);
  expect(prompt).toContain("What is the capital of France?");
});

test("models and the server's own tools are listed", async () => {
  const [first] = await client.models();
  const { tools, unusable } = await client.tools();

  expect(first).toMatchObject({ is_default: true, state: "ready", task: "chat" });
  expect(tools.map((tool) => tool.name)).toContain("calculate");
  expect(unusable).toEqual({});
});

test("vectors and a ranking are asked for as the server reads them, and refused by a model that only talks", async () => {
  const embedding = await refusalOf(client.embed({ input: ["The sea", "Bread"], dimensions: 8 }));
  const ranking = await refusalOf(client.rerank({ query: "Tides?", documents: ["The sea", "Bread"], top_n: 1 }));

  expect([embedding.status, embedding.param]).toEqual([400, "model"]);
  expect([ranking.status, ranking.param]).toEqual([400, "model"]);
});
