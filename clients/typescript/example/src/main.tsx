import "./style.css";

import { llmAPI } from "llm-core-client";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";

// Set where the page and the app have different origins; the app must then name the page's in LLM_ALLOWED_ORIGINS.
const baseUrl: string | undefined = import.meta.env["VITE_LLM_URL"];
if (baseUrl) llmAPI.configure({ baseUrl });

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
