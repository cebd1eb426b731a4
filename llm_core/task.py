"""What a model is for: to go on with a text, to turn texts into vectors, or to say how well a text answers a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Task = Literal["chat", "embedding", "rerank"]

MEAN = 1
"""llama.cpp's number of the kind of pooling that an encoder has whose file does not say."""
_LAST, _RANK = 3, 4


def task_of(pooling: int) -> Task:
    """By how a model's file says that its tokens' vectors become one: 0 where they do not."""
    if not pooling:
        return "chat"
    return "rerank" if pooling == _RANK else "embedding"


def reads_in_parts(pooling: int, *, is_causal: bool) -> bool:
    """Whether a text's vector may be computed some tokens at a time: no token looks ahead, and the last one has it
    all."""
    return is_causal and pooling in (_LAST, _RANK)


_WHAT: dict[Task, str] = {
    "chat": "a chat model: it writes, and makes no vectors",
    "embedding": "an embedding model: it turns texts into vectors and cannot write",
    "rerank": "a model that ranks: it says how well texts answer a query, and cannot write",
}
_WANTED: dict[Task, str] = {
    "chat": "a chat model",
    "embedding": "an embedding model",
    "rerank": "a model that ranks or embeds",
}


def cannot(name: str, task: Task, wanted: Task, others: Sequence[str]) -> str:
    """What whoever asks a model for what it cannot do is told, in sentences.

    Args:
        name: The model's.
        task: What it is for.
        wanted: What was asked for.
        others: The names of those that can.
    """
    if others:
        do = f"Name {_WANTED[wanted]}: {', '.join(others)}."
    else:
        do = f"Serve {_WANTED[wanted]} beside it: LLM_MODEL takes several with commas between."
    return f"{name} is {_WHAT[task]}. {do}"
