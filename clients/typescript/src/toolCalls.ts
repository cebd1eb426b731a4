/** Pieces of tool calls, put together. */

import type { ToolCall, ToolCallDelta } from "./types.js";

/** The calls that `pieces` add up to, in their order. */
export function joinToolCalls(pieces: Iterable<ToolCallDelta>): ToolCall[] {
  const calls = new Map<number, ToolCall>();
  for (const piece of pieces) {
    const call = calls.get(piece.index) ?? { id: "", type: "function", function: { name: "", arguments: "" } };
    call.id ||= piece.id ?? "";
    call.function.name ||= piece.function?.name ?? "";
    call.function.arguments += piece.function?.arguments ?? "";
    calls.set(piece.index, call);
  }
  return [...calls.entries()].sort(([one], [other]) => one - other).map(([, call]) => call);
}

/** Whether a call was made to its end: a reply that is stopped or too long may break off in the middle of one. */
export function isWholeCall(call: ToolCall): boolean {
  try {
    JSON.parse(call.function.arguments);
    return true;
  } catch {
    return false;
  }
}
