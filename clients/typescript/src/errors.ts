/** What can go wrong, in one shape: refusals, errors inside a stream, and lost connections. */

export interface LLMErrorDetails {
  status?: number | undefined;
  retryAfter?: number | undefined;
  param?: string | undefined;
  unsent?: boolean | undefined;
  cause?: unknown;
}

/**
 * Something went wrong. `message` is a sentence for people, `code` a stable name for programs.
 *
 * Codes of the server are those of its HTTP guide, such as `queue_full` or `session_not_found`. The client adds
 * `connection_failed` (the server cannot be reached), `connection_lost` (it could be, and then no more), `bad_answer`
 * (what answered is not this server) and `http_error` (a refusal without a code, as proxies send them).
 */
export class LLMError extends Error {
  override readonly name = "LLMError";
  readonly code: string;
  /** The HTTP status; undefined where there was none: inside a stream, or without a connection. */
  readonly status: number | undefined;
  /** Seconds after which to try again, where the server said so. */
  readonly retryAfter: number | undefined;
  /** The field of the request that was refused, where it was one. */
  readonly param: string | undefined;
  /** Whether it is known that the request did not get as far as the server. */
  readonly unsent: boolean;

  constructor(message: string, code: string, details: LLMErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.retryAfter = details.retryAfter;
    this.param = details.param;
    this.unsent = details.unsent ?? false;
  }
}

/** The error that a refused request stands for, whatever its body is. */
export async function refusal(response: Response): Promise<LLMError> {
  const details = { status: response.status, retryAfter: secondsToWait(response.headers.get("Retry-After")) };
  const problem = problemOf(await response.text().catch(() => ""));
  if (problem !== undefined) {
    return new LLMError(problem.message, problem.code, { ...details, param: problem.param });
  }
  return new LLMError(`The server answered ${response.status} ${response.statusText}`.trimEnd() + ".", "http_error", details);
}

function problemOf(body: string): { message: string; code: string; param: string | undefined } | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return undefined;
  }
  const problem = (answer as { error?: unknown } | null)?.error as Record<string, unknown> | null | undefined;
  if (typeof problem?.["message"] !== "string" || typeof problem["code"] !== "string") return undefined;
  const param = problem["param"];
  return { message: problem["message"], code: problem["code"], param: typeof param === "string" ? param : undefined };
}

/** `Retry-After` in seconds: it is a number of them, or a date. */
function secondsToWait(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const milliseconds = Date.parse(header) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds / 1000);
}
