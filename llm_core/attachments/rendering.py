"""What the model is told of attached files: each as a block with its name, before the message's own text.

It stands in the user's message, so that nothing in a file is said by anybody but the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from llm_core.messages import Attachment, Message

_LANGUAGE = re.compile(r"[a-z0-9]{1,12}")


def told(messages: Iterable[Message]) -> list[Message]:
    """The messages as the model is told them: what is attached has become text of theirs."""
    return [_told(message) if message.attachments else message for message in messages]


def _told(message: Message) -> Message:
    content = rendered(message.attachments or (), message.content)
    return message.model_copy(update={"content": content, "attachments": None})


def rendered(attachments: Sequence[Attachment], content: str) -> str:
    """The files and what is said about them as one text."""
    blocks = [f"Attached file: {each.name}\n{fenced(each.text, _language(each))}" for each in attachments]
    return "\n\n".join([*blocks, content] if content else blocks)


def fenced(text: str, kind: str = "") -> str:
    """`text` as a code block of Markdown that nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


def _language(attachment: Attachment) -> str:
    """What the text is written in, by the file's name, where the text is the file's own."""
    suffix = PurePosixPath(attachment.name).suffix[1:].lower()
    return suffix if _LANGUAGE.fullmatch(suffix) and suffix not in ("pdf", "docx", "txt") else ""
