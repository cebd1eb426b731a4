export { llmAPI } from "llm-core-client";
