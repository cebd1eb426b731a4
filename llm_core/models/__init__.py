"""Where a model comes from: what `LLM_MODEL` says, the file that it means, and the facts about that file."""
