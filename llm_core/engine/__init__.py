"""Tokens in, tokens out: one thread, one llama.cpp context, many sequences. Knows nothing of messages or protocols."""
