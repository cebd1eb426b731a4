"""From what a tool of an MCP server gave back to a text for the model.

Only text is told; of pictures, sounds and files the model learns that they were there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from mcp import types


def text_of(result: types.CallToolResult) -> str:
    """What the model is told."""
    texts = [*_texts(result.content)]
    if not texts and result.structuredContent is not None:
        texts = [json.dumps(result.structuredContent, ensure_ascii=False)]
    return "\n".join(texts)


def _texts(content: list[types.ContentBlock]) -> Iterator[str]:
    for block in content:
        match block:
            case types.TextContent(text=text):
                yield text
            case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
                yield text
            case types.EmbeddedResource(resource=types.BlobResourceContents() as blob):
                yield _left_out("file", blob.mimeType, len(blob.blob))
            case types.ImageContent() | types.AudioContent():
                yield _left_out(block.type, block.mimeType, len(block.data))
            case types.ResourceLink():
                yield f"[a link to {block.uri}]"


def _left_out(kind: str, mime_type: str | None, base64_chars: int) -> str:
    """Bytes are told in base64, whose four characters are three of them."""
    return f"[{kind}, {mime_type or 'of unknown type'}, about {base64_chars * 3 // 4:,} bytes: it cannot be shown here]"
