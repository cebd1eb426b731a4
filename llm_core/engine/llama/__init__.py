"""llama.cpp: the only files that touch its C API. They know nothing of requests."""
