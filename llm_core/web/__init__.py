"""The browser's and HTTP's doorways: they translate between a protocol and `LLMClient`, and decide nothing about chat."""
