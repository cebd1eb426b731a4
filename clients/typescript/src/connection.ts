/** Where the server is, and how it is asked. Knows HTTP and nothing of chat. */

import { LLMError, refusal } from "./errors.js";

export interface ConnectionOptions {
  /** Address of the server. Default: in a browser where the page came from, else http://localhost:7860. */
  baseUrl?: string | undefined;
  /** Bearer token, where the server has tokens. */
  token?: string | undefined;
  /** Used in place of the global one. */
  fetch?: typeof globalThis.fetch | undefined;
}

export interface AskOptions {
  body?: unknown;
  /** A body that is JSON already, or is refused by the server. */
  json?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Lets the request outlive the page that made it. */
  keepalive?: boolean;
  /** A status that is an answer too, and no refusal. */
  alsoGood?: number;
}

const LOCAL = "http://localhost:7860";
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"]); // Node says so; browsers give no reason

export class Connection {
  #options: ConnectionOptions;

  constructor(options: ConnectionOptions = {}) {
    this.#options = options;
  }

  /** Changes what is given and leaves the rest as it is. Requests that run are not touched. */
  configure(options: ConnectionOptions): void {
    this.#options = { ...this.#options, ...options };
  }

  get baseUrl(): string {
    return (this.#options.baseUrl ?? origin() ?? LOCAL).replace(/\/+$/, "");
  }

  /**
   * The answer to a request, once its headers are there.
   *
   * @throws {LLMError} It was refused, or the server cannot be reached. After an abort, the signal's reason instead.
   */
  async ask(method: string, path: string, { body, json, headers, ...rest }: AskOptions = {}): Promise<Response> {
    const { token, fetch = globalThis.fetch } = this.#options;
    const request: RequestInit = { method, headers: { ...headers }, keepalive: rest.keepalive ?? false };
    if (rest.signal !== undefined) request.signal = rest.signal;
    if (token !== undefined) request.headers = { ...request.headers, Authorization: `Bearer ${token}` };
    const text = json ?? (body === undefined ? undefined : JSON.stringify(body));
    if (text !== undefined) {
      request.headers = { ...request.headers, "Content-Type": "application/json" };
      request.body = text;
    }
    let response: Response;
    const offline = isOffline();
    try {
      response = await fetch(`${this.baseUrl}${path}`, request);
    } catch (error) {
      rest.signal?.throwIfAborted();
      const details = { cause: error, unsent: offline || NOT_SENT.has(reasonOf(error)) };
      throw new LLMError(`The server at ${this.baseUrl} cannot be reached.`, "connection_failed", details);
    }
    if (!response.ok && response.status !== rest.alsoGood) throw await refusal(response);
    return response;
  }

  /** The text of an answer. Throws as `ask` does. */
  async text(method: string, path: string, options: AskOptions = {}): Promise<string> {
    const response = await this.ask(method, path, options);
    try {
      return await response.text();
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new LLMError("The connection was lost before the whole answer was there.", "connection_lost", { cause: error });
    }
  }

  /** The JSON of an answer. Throws as `ask` does. */
  async json<T>(method: string, path: string, options: AskOptions = {}): Promise<T> {
    const text = await this.text(method, path, options);
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new LLMError(`What answers at ${this.baseUrl} does not speak JSON.`, "bad_answer", { cause: error });
    }
  }
}

/** Whether the browser has no network. What is on the same machine may be reached all the same. */
function isOffline(): boolean {
  return (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
}

function reasonOf(error: unknown): string {
  return (error as { cause?: { code?: string } }).cause?.code ?? "";
}

/** Where the page came from; undefined outside a page, and in one that came from a file. */
function origin(): string | undefined {
  const found = (globalThis as { location?: { origin?: string } }).location?.origin;
  return found?.startsWith("http") ? found : undefined;
}
