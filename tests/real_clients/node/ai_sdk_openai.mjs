// ai, with @ai-sdk/openai on chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { runAISDK } from "./ai_sdk.mjs";
import { KEY, MODEL, RESPONSES, V1 } from "./harness.mjs";

const local = createOpenAI({ baseURL: V1, apiKey: KEY });
const model = local.chat(MODEL);
await runAISDK(RESPONSES ? local(MODEL) : model);
