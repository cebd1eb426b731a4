"""llama-server's own routes beside those of chat."""
