"""The native API: `/api/llm`."""
