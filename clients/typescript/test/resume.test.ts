/** Streams over connections that break, against a server that breaks them where it is told. */

import { afterEach, describe, expect, test } from "vitest";

import { createClient, LLMError, type StreamEvent, type StreamOptions } from "llm-core-client";

import { type Answer, DONE, events, problem, refused, scripted, type ScriptedServer, stream, until } from "./wires.js";

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
      (_, response) => response.destroy(),
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

test("a stateless stream that is cut fails, and says that it cannot be read on", async () => {
  const { streamChat } = await client(stream([events(1, QUEUED, { content: "a" })], "cut"));

  const error = await failure(all(streamChat({ messages: [] }, FAST)));

  expect(error.code).toBe("connection_lost");
  expect(error.message).toContain("without a session cannot be read on");
  expect(server.asked).toHaveLength(1);
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
