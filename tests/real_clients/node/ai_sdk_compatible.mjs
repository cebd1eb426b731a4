// ai, with @ai-sdk/openai-compatible.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { runAISDK } from "./ai_sdk.mjs";
import { KEY, MODEL, V1 } from "./harness.mjs";

const local = createOpenAICompatible({ name: "local", baseURL: V1, apiKey: KEY, supportsStructuredOutputs: true });
const model = local(MODEL);
await runAISDK(model);
