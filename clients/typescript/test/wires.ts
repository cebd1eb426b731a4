/** Real sockets for tests of lost connections: a server that does as told, and a proxy that cuts the line. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from "node:net";

export interface Wire {
  url: string;
  close(): Promise<void>;
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface ScriptedServer extends Wire {
  /** `METHOD path`, and the header `Last-Event-ID` where there was one. */
  asked: string[];
  /** The header `Idempotency-Key` of each request. */
  keys: (string | undefined)[];
}

/** Gives the first request the first answer, and so on. */
export async function scripted(...answers: Answer[]): Promise<ScriptedServer> {
  const asked: string[] = [];
  const keys: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    keys.push(request.headers["idempotency-key"] as string | undefined);
    const last = request.headers["last-event-id"];
    asked.push(`${request.method} ${request.url}${last === undefined ? "" : ` after ${String(last)}`}`);
    request.resume();
    const answer = answers.shift();
    if (answer === undefined) response.destroy();
    else request.on("end", () => answer(request, response));
  });
  const wire = await listening(server);
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await wire.close();
  };
  return { url: wire.url, asked, keys, close };
}

/** Passes bytes on to `target` and back, and cuts each of the first connections after so many bytes of answer. */
export async function cutting(target: string, ...cuts: number[]): Promise<Wire & { connections(): number }> {
  const { hostname, port } = new URL(target);
  const open = new Set<Socket>();
  let connections = 0;
  const server = createTcpServer((near) => {
    connections += 1;
    let left = cuts.shift() ?? Infinity;
    const far = connect(Number(port), hostname);
    const cut = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("error", cut).on("close", cut);
      socket.on("close", () => open.delete(socket));
    }
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => {
      if (data.length < left) near.write(data);
      else near.write(data.subarray(0, left), cut);
      left -= data.length;
    });
  });
  const wire = await listening(server);
  const close = async (): Promise<void> => {
    for (const socket of open) socket.destroy();
    await wire.close();
  };
  return { url: wire.url, close, connections: () => connections };
}

async function listening(server: Server): Promise<Wire> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export const DONE = {
  done: true,
  finish_reason: "stop",
  usage: { prompt_tokens: 3, cached_tokens: 0, completion_tokens: 4 },
  timings: { queue_ms: 0, ttft_ms: 1, tokens_per_second: 50 },
};

/** Events as the server writes them, numbered from `first`. */
export function events(first: number, ...data: object[]): string {
  return data.map((each, place) => `id: ${first + place}\ndata: ${JSON.stringify(each)}\n\n`).join("");
}

/** A stream that has these texts or bytes, each on its own, and then ends, is cut, or stays silent. */
export function stream(parts: (string | Uint8Array)[], then: "end" | "cut" | "silence" = "end"): Answer {
  return (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
    const write = (place: number): void => {
      const part = parts[place];
      // The next one goes out when this one has: in one packet they would not test how pieces are put together.
      if (part !== undefined) response.write(part, () => setImmediate(write, place + 1));
      else if (then === "end") response.end();
      else if (then === "cut") response.destroy();
    };
    response.flushHeaders();
    write(0);
  };
}

/** Hangs up without a word. */
export const hangUp: Answer = (_, response) => {
  response.destroy();
};

export function refused(status: number, body: string, headers: Record<string, string> = {}): Answer {
  return (_, response) => {
    response.writeHead(status, headers).end(body);
  };
}

export function problem(message: string, code: string): string {
  return JSON.stringify({ error: { message, type: "server_error", code, param: null } });
}

/** Waits until it is true, looking often. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, seconds = 30): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
