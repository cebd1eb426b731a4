/** Streams over connections that break, against a server that breaks them where it is told. */

import { afterEach, describe, expect, test } from "vitest";

import { ChatSession, createClient, LLMError, type StreamEvent, type StreamOptions } from "llm-core-client";

import { type Answer, DONE, events, hangUp, problem, refused, scripted, type ScriptedServer, stream, until } from "./wires.js";

const NAME = "5d0c000000000000000000000000abcd";
const QUEUED = { stream_id: NAME, queue_position: 0, session_id: "s" };
const RESUMED = `GET /api/llm/streams/${NAME}`;
const REQUEST = { session_id: "s", message: "Hello" };
const FAST: StreamOptions = { retryDelays: [1, 1, 1] };

let server: ScriptedServer;

afterEach(() => server.close());

async function client(...answers: Answer[]) {
  server = await scripted(...answers);
  return createClient({ baseUrl: server.url });
}

async function all(stream: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

function textOf(events: StreamEvent[]): string {
  return events.map((event) => (event.type === "content" ? event.content : "")).join("");
}

async function failure(work: Promise<unknown>): Promise<LLMError> {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(LLMError);
  return error as LLMError;
}

describe("what comes over the wire", () => {
  test("every event has its type, its number and the names of the wire", async () => {
    const call = { index: 0, id: "c1", type: "function", function: { name: "f", arguments: "{}" } };
    const wire = [QUEUED, { reasoning: "Hm" }, { content: "Hi" }, { tool_calls: [call] }, { something: "new" }, DONE];
    const { streamSession } = await client(stream([events(1, ...wire)]));

    expect(await all(streamSession(REQUEST))).toEqual([
      { type: "queue", id: 1, ...QUEUED },
      { type: "reasoning", id: 2, reasoning: "Hm" },
      { type: "content", id: 3, content: "Hi" },
      { type: "tool_calls", id: 4, tool_calls: [call] },
      { type: "done", id: 6, ...DONE },
    ]);
  });

  test("bytes may be cut anywhere, inside a character too", async () => {
    const bytes = new TextEncoder().encode(`: keep-alive\n\n${events(1, QUEUED, { content: "né 🎈" }, DONE)}`);
    const { streamChat } = await client(stream([...bytes].map((byte) => Uint8Array.of(byte))));

    expect(textOf(await all(streamChat({ messages: [] })))).toBe("né 🎈");
  });

  test("an answer that is no stream is not taken for one", async () => {
    const { streamChat } = await client(refused(200, "<html>", { "Content-Type": "text/html" }));

    expect((await failure(all(streamChat({ messages: [] })))).code).toBe("bad_answer");
  });
});

describe("a session's stream that is cut", () => {
  test("is read on after the last event, with nothing lost or twice", async () => {
    const attempts: number[] = [];
    const { streamSession } = await client(
      stream([events(1, QUEUED, { content: "a" }, { content: "b" }), 'id: 4\ndata: {"content'], "cut"),
      stream([events(3, { content: "b" }, { content: "c" })]), // ends without a last event, as a proxy ends it
      stream([events(5, { content: "d" }, DONE)]),
    );

    const read = await all(streamSession(REQUEST, { ...FAST, onReconnect: (attempt) => attempts.push(attempt) }));

    expect(textOf(read)).toBe("abcd");
    expect(read.map((event) => event.id)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(server.asked).toEqual([
      "POST /api/llm/chat/session/stream",
      `${RESUMED} after 3`,
      `${RESUMED} after 4`,
    ]);
    expect(attempts).toEqual([1, 1]); // counted anew after an event
  });

  test("is asked for again while the server is away or busy", async () => {
    const { streamSession } = await client(
      stream([events(1, QUEUED)], "cut"),
      hangUp,
      refused(503, problem("The model is loading.", "model_loading"), { "Retry-After": "0" }),
      stream([events(2, { content: "a" }, DONE)]),
    );

    expect(textOf(await all(streamSession(REQUEST, FAST)))).toBe("a");
  });

  test("counts as cut when it is silent for longer than the server ever is", async () => {
    const { streamSession } = await client(
      stream([events(1, QUEUED, { content: "a" })], "silence"),
      stream([events(3, { content: "b" }, DONE)]),
    );

    expect(textOf(await all(streamSession(REQUEST, { ...FAST, silence: 100 })))).toBe("ab");
  });

  test("fails when it does not come back", async () => {
    const { streamSession } = await client(stream([events(1, QUEUED)], "cut"));

    const error = await failure(all(streamSession(REQUEST, FAST)));

    expect(error.code).toBe("connection_lost");
    expect(error.message).toContain("3 attempts");
    expect(server.asked).toHaveLength(4);
  });

  test("fails at once when the server does not know it any more", async () => {
    const { streamSession } = await client(
      stream([events(1, QUEUED)], "cut"),
      refused(404, problem("There is no such stream.", "stream_not_found")),
    );

    expect((await failure(all(streamSession(REQUEST, FAST)))).code).toBe("stream_not_found");
    expect(server.asked).toHaveLength(2);
  });

  test("is not read on after an error that it tells of itself", async () => {
    const { streamSession } = await client(
      stream([events(1, QUEUED, { error: "The server is about to end.", code: "shutting_down" })], "cut"),
    );

    const error = await failure(all(streamSession(REQUEST, FAST)));

    expect([error.code, error.message, error.status]).toEqual(["shutting_down", "The server is about to end.", undefined]);
    expect(server.asked).toHaveLength(1);
  });
});

describe("a session's message whose answer is cut before it begins", () => {
  const POST = "POST /api/llm/chat/session/stream";
  const whole = stream([events(1, QUEUED, { content: "a" }, DONE)]);
  const full = refused(503, problem("The queue is full.", "queue_full"), { "Retry-After": "0" });

  test("is sent again under the same key, and its stream is read from the beginning", async () => {
    const { streamSession } = await client(hangUp, hangUp, whole, whole);

    expect(textOf(await all(streamSession(REQUEST, FAST)))).toBe("a");
    expect(server.asked).toEqual([POST, POST, POST]);
    expect(server.keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(server.keys).size).toBe(1);

    await all(streamSession(REQUEST, FAST));
    expect(new Set(server.keys).size).toBe(2); // each message has its own
  });

  test("is sent again when a proxy cannot say how far it came, and while the server is busy then", async () => {
    const { streamSession } = await client(refused(502, "<html>"), full, whole);

    expect(textOf(await all(streamSession(REQUEST, FAST)))).toBe("a");
    expect(new Set(server.keys).size).toBe(1);
  });

  test("is sent again when it stays silent", async () => {
    const { streamSession } = await client(() => undefined, whole);

    expect(textOf(await all(streamSession(REQUEST, { ...FAST, silence: 100 })))).toBe("a");
  });

  test("has the key that the caller gives it", async () => {
    const { streamSession, chatSession } = await client(whole, refused(200, "{}"));

    await all(streamSession(REQUEST, { idempotencyKey: "mine" }));
    await chatSession(REQUEST, { idempotencyKey: "mine too" });

    expect(server.keys).toEqual(["mine", "mine too"]);
  });

  test("is not sent again where it was refused", async () => {
    const { streamSession } = await client(full, hangUp, refused(500, problem("It ended.", "interrupted")));

    expect((await failure(all(streamSession(REQUEST, FAST)))).code).toBe("queue_full");
    expect((await failure(all(streamSession(REQUEST, FAST)))).code).toBe("interrupted");
    expect(server.asked).toHaveLength(3);
  });

  test("is not sent again where it could not be sent", async () => {
    const { streamSession } = await client();
    const attempts: number[] = [];
    await server.close();

    const reading = streamSession(REQUEST, { ...FAST, onReconnect: (attempt) => attempts.push(attempt) });
    expect((await failure(all(reading))).code).toBe("connection_failed");
    expect(attempts).toEqual([]);
  });

  test("fails when nobody answers, and says where nobody is", async () => {
    const { streamSession } = await client();

    const error = await failure(all(streamSession(REQUEST, FAST)));

    expect(error.code).toBe("connection_failed");
    expect(error.message).toContain(server.url);
    expect(server.asked).toHaveLength(4);
  });

  test("is not sent again after an abort", async () => {
    const { streamSession } = await client(hangUp);
    const controller = new AbortController();
    const options = { signal: controller.signal, retryDelays: [60_000], onReconnect: () => controller.abort("enough") };

    await expect(all(streamSession(REQUEST, options))).rejects.toBe("enough");
    expect(server.asked).toEqual([POST]);
  });

});

describe("a page's message of which it is not known whether it has arrived", () => {
  const whole = stream([events(1, QUEUED, { content: "a" }, DONE)]);
  const empty = refused(404, problem("There is no such session.", "session_not_found"));

  /** A page that tries once, whose first message is not answered. */
  async function unanswered(...answers: Answer[]): Promise<ChatSession> {
    const { streamSession, ...rest } = await client(empty, hangUp, ...answers);
    const once: typeof streamSession = (request, options) => streamSession(request, { ...options, retryDelays: [] });
    const chat = new ChatSession("s", { client: { ...rest, streamSession: once } });
    chat.open();
    expect(await chat.send("Hello")).toBe(false);
    expect(chat.state).toMatchObject({ messages: [], error: { code: "connection_failed" } });
    return chat;
  }

  const keys = (): (string | undefined)[] => server.keys.filter((key) => key !== undefined);
  const isIdle = (chat: ChatSession) => () => chat.state.status === "idle";

  test("is sent again under the same key, and the same words once more are another message", async () => {
    const chat = await unanswered(whole, whole);

    expect(await chat.send("Hello")).toBe(true);
    await until(isIdle(chat), "the reply is there");
    expect(chat.state.messages.map(({ content }) => content)).toEqual(["Hello", "a"]);
    expect(await chat.send("Hello")).toBe(true);
    await until(isIdle(chat), "the reply is there");

    const [first, second, third] = keys();
    expect(second).toBe(first);
    expect(third).not.toBe(first);
  });

  test("and another one have different keys", async () => {
    const chat = await unanswered(whole);

    expect(await chat.send("Goodbye")).toBe(true);

    expect(new Set(keys()).size).toBe(2);
  });

  test.each(["refused", "looked for"])("is another message when it was %s", async (then) => {
    const gone = refused(404, problem("It ended some time ago.", "stream_not_found"));
    const chat = await unanswered(then === "refused" ? gone : empty, whole);
    if (then === "refused") expect(await chat.send("Hello")).toBe(false);
    else chat.reload();
    await until(isIdle(chat), "that is known");

    expect(await chat.send("Hello")).toBe(true);

    expect(keys().at(-1)).not.toBe(keys()[0]);
  });
});

describe("a whole answer in a session", () => {
  const answer = JSON.stringify({ content: "a", session_id: "s" });
  const half: Answer = (_, response) => {
    response.writeHead(200, { "Content-Length": answer.length }).write(answer.slice(0, 9), () => response.destroy());
  };

  test("that is cut, before it or in it, is asked for again under the same key", async () => {
    const { chatSession } = await client(hangUp, half, refused(200, answer));

    expect(await chatSession(REQUEST, { retryDelays: [1, 1] })).toEqual({ content: "a", session_id: "s" });
    expect(server.keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(server.keys).size).toBe(1);
  });

  test("is asked for as often as there are delays, and not after an abort", async () => {
    const { chatSession } = await client();
    const controller = new AbortController();

    expect((await failure(chatSession(REQUEST, { retryDelays: [1] }))).code).toBe("connection_failed");
    expect(server.asked).toHaveLength(2);
    const asking = chatSession(REQUEST, { signal: controller.signal, retryDelays: [60_000] });
    await until(() => server.asked.length === 3, "it was asked for");
    controller.abort("enough");
    await expect(asking).rejects.toBe("enough");
  });
});

test("a stream of which nothing follows ends, and is no bad answer", async () => {
  const { resumeStream } = await client(refused(204, ""));

  expect(await all(resumeStream(NAME, { lastEventId: 6 }))).toEqual([]);
  expect(server.asked).toEqual([`${RESUMED} after 6`]);
});

test("a stateless stream that is cut fails, and says that it cannot be read on", async () => {
  const { streamChat } = await client(stream([events(1, QUEUED, { content: "a" })], "cut"));

  const error = await failure(all(streamChat({ messages: [] }, FAST)));

  expect(error.code).toBe("connection_lost");
  expect(error.message).toContain("without a session cannot be read on");
  expect(server.asked).toHaveLength(1);
  expect(server.keys).toEqual([undefined]);
});

describe("leaving a session's stream", () => {
  const stopped = `DELETE /api/llm/streams/${NAME}`;
  const endless = stream([events(1, QUEUED, { content: "a" })], "silence");
  const deleted = refused(200, "{}");

  test("by a break stops the reply", async () => {
    const { streamSession } = await client(endless, deleted);

    for await (const event of streamSession(REQUEST)) if (event.type === "content") break;

    expect(server.asked.at(-1)).toBe(stopped);
  });

  test("while its model is being loaded stops the reply too", async () => {
    const loading = { stream_id: NAME, loading: { message: "On its way", progress: 0.1 }, session_id: "s" };
    const { streamSession } = await client(stream([events(1, loading)], "silence"), deleted);

    for await (const event of streamSession(REQUEST)) if (event.type === "loading") break;

    expect(server.asked.at(-1)).toBe(stopped);
  });

  test("by an abort stops the reply and throws the signal's reason", async () => {
    const { streamSession } = await client(endless, deleted);
    const controller = new AbortController();

    const reading = async (): Promise<void> => {
      for await (const event of streamSession(REQUEST, { signal: controller.signal })) {
        if (event.type === "content") setImmediate(() => controller.abort("enough"));
      }
    };

    await expect(reading()).rejects.toBe("enough");
    expect(server.asked.at(-1)).toBe(stopped);
  });

  test("before its first event stops the reply as soon as it has a name", async () => {
    let answer = (): void => undefined;
    const { chatSessionStream } = await client((request, response) => {
      answer = () => endless(request, response);
    }, deleted);
    const said: string[] = [];
    const note = (text: string) => () => said.push(text);

    const handle = chatSessionStream(REQUEST, note("chunk"), note("complete"), note("error"), { onQueue: note("queue") });
    await until(() => server.asked.length === 1, "the request is there");
    handle.abort();
    answer();

    expect(await handle.finished).toEqual({ outcome: "aborted" });
    expect(server.asked.at(-1)).toBe(stopped);
    expect(said).toEqual([]);
  });

  test("between two connections stops the reply", async () => {
    const { streamSession } = await client(stream([events(1, QUEUED)], "cut"), deleted);
    const controller = new AbortController();
    const options = { signal: controller.signal, retryDelays: [60_000], onReconnect: () => controller.abort("enough") };

    await expect(all(streamSession(REQUEST, options))).rejects.toBe("enough");
    expect(server.asked).toEqual(["POST /api/llm/chat/session/stream", stopped]);
  });

  test("leaves it running where that is wanted, and it can be read on", async () => {
    const { streamSession, resumeStream } = await client(endless, stream([events(3, { content: "b" }, DONE)]));

    for await (const event of streamSession(REQUEST, { stopOnLeave: false })) if (event.type === "content") break;

    expect(textOf(await all(resumeStream(NAME, { lastEventId: 2 })))).toBe("b");
    expect(server.asked).toEqual(["POST /api/llm/chat/session/stream", `${RESUMED} after 2`]);
  });
});

describe("callbacks", () => {
  const pieces = [
    { index: 0, id: "c1", type: "function", function: { name: "weather", arguments: '{"ci' } },
    { index: 0, function: { arguments: 'ty":"Rome"}' } },
    { index: 1, id: "c2", type: "function", function: { name: "time", arguments: "{}" } },
  ];

  test("are called in the order of the events; calls of tools when they are whole", async () => {
    const wire = pieces.map((piece) => ({ tool_calls: [piece] }));
    const { chatStream } = await client(
      stream([events(1, QUEUED, { reasoning: "Hm" }, { content: "Hi" }, ...wire, DONE)]),
    );
    const said: unknown[] = [];

    const handle = chatStream(
      { messages: [] },
      (text) => said.push(["chunk", text]),
      (done) => said.push(["complete", done.finish_reason]),
      (error) => said.push(error),
      {
        onQueue: (position) => said.push(["queue", position]),
        onReasoning: (text) => said.push(["reasoning", text]),
        onToolCall: (call) => said.push(["call", call.id, call.function]),
        onDone: (done) => said.push(["done", done.usage.completion_tokens]),
      },
    );
    const end = await handle.finished;

    expect(end.outcome).toBe("complete");
    expect(handle.streamId).toBe(NAME);
    expect(said).toEqual([
      ["queue", 0],
      ["reasoning", "Hm"],
      ["chunk", "Hi"],
      ["call", "c1", { name: "weather", arguments: '{"city":"Rome"}' }],
      ["call", "c2", { name: "time", arguments: "{}" }],
      ["done", 4],
      ["complete", "stop"],
    ]);
  });

  test("that throw end the stream, and the handle tells what they threw", async () => {
    const { chatSessionStream } = await client(stream([events(1, QUEUED, { content: "a" })], "silence"), refused(200, "{}"));
    const bug = new Error("a bug in the page");

    const handle = chatSessionStream(REQUEST, () => {
      throw bug;
    });

    await expect(handle.finished).rejects.toBe(bug);
    expect(server.asked.at(-1)).toBe(`DELETE /api/llm/streams/${NAME}`);
  });

  test("may abort, and then no other is called", async () => {
    const { chatStream } = await client(stream([events(1, QUEUED, { content: "a" }, { content: "b" }, DONE)]));
    const chunks: string[] = [];

    const handle = chatStream(
      { messages: [] },
      (text) => {
        chunks.push(text);
        handle.abort();
      },
      () => chunks.push("complete"),
      () => chunks.push("error"),
    );

    expect(await handle.finished).toEqual({ outcome: "aborted" });
    expect(chunks).toEqual(["a"]);
  });
});

describe("refusals", () => {
  test("have the status, the code, the sentence, the field and the time to wait", async () => {
    const body = JSON.stringify({ error: { message: "Too many.", type: "t", code: "rate_limited", param: "p" } });
    const { chat } = await client(refused(429, body, { "Retry-After": "7" }));

    const error = await failure(chat({ messages: [] }));

    const { status, code, message, param, retryAfter } = error;
    expect({ status, code, message, param, retryAfter }).toEqual({
      status: 429,
      code: "rate_limited",
      message: "Too many.",
      param: "p",
      retryAfter: 7,
    });
  });

  test("by something else than the server have a sentence and the status too", async () => {
    const soon = new Date(Date.now() + 60_000).toUTCString();
    const { sessions } = await client(refused(502, "<html>", { "Retry-After": soon }));

    const error = await failure(sessions());

    expect([error.status, error.code, error.message]).toEqual([502, "http_error", "The server answered 502 Bad Gateway."]);
    expect(error.retryAfter).toBeGreaterThan(50);
  });

  test("by nobody at all say where nobody is", async () => {
    const { chat } = await client();
    await server.close();

    const error = await failure(chat({ messages: [] }));

    expect([error.status, error.code]).toEqual([undefined, "connection_failed"]);
    expect(error.message).toContain(server.url);
  });
});

test("the token goes with every request, and the address may end in a slash", async () => {
  const headers: (string | undefined)[] = [];
  const answer: Answer = (request, response) => {
    headers.push(request.headers.authorization);
    response.end('{"sessions": []}');
  };
  const client_ = await client(answer, answer);

  client_.configure({ baseUrl: `${server.url}/`, token: "secret" });
  await client_.sessions({ search: "a b", limit: 2 });
  client_.configure({ token: undefined });
  await client_.sessions();

  expect(server.asked).toEqual(["GET /api/llm/sessions?search=a+b&limit=2", "GET /api/llm/sessions"]);
  expect(headers).toEqual(["Bearer secret", undefined]);
});
