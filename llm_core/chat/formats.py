"""How models mark their thinking: one row a format. A new format is a new row here, never a branch elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

TAG = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
"""What may be one token of a vocabulary."""


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """What stands around a model's thinking.

    Attributes:
        opener: Begins the thinking; it counts only at the start of a reply.
        closer: Ends the thinking; the answer follows.
        answer_opener: Begins an answer without thinking, where the format marks that too; "" where not.
    """

    opener: str
    closer: str
    answer_opener: str = ""

    @property
    def tags(self) -> frozenset[str]:
        """The tags that the markers are made of: `<|channel|>` and `<|message|>`, but not the word between them."""
        return frozenset(TAG.findall(self.opener + self.closer + self.answer_opener))


DEFAULT_REASONING = ReasoningFormat("<think>", "</think>")
"""Qwen, DeepSeek, GLM, SmolLM and most others, and what models without a hint in their template tend to write."""

REASONING_FORMATS = (
    ReasoningFormat(  # gpt-oss ("harmony")
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        answer_opener="<|channel|>final<|message|>",
    ),
    ReasoningFormat("<|channel>thought", "<channel|>"),  # Gemma 4
    ReasoningFormat("<|START_THINKING|>", "<|END_THINKING|>"),  # Command R7B, Command A
    ReasoningFormat("<seed:think>", "</seed:think>"),  # Seed-OSS
    ReasoningFormat("<mm:think>", "</mm:think>"),  # MiniMax M3
    ReasoningFormat("[THINK]", "[/THINK]"),  # Magistral, Ministral
    DEFAULT_REASONING,
)


def reasoning_format(template_source: str) -> ReasoningFormat:
    """The first row whose opener the template's source has, else `<think>`."""
    found = (row for row in REASONING_FORMATS if row.opener in template_source)
    return next(found, DEFAULT_REASONING)
