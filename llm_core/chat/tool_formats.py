"""How models write calls of tools: one row a format. A new format is a new row here, never a branch elsewhere.

The same row is read by the parser (`call_parser`), which finds calls in a reply, and by the grammar (`grammar`), which
holds a reply to the form.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One model family's way of writing calls:

        group_open  call_open NAME call_middle ARGUMENTS call_close  separator  call_open ... call_close  group_close

    Attributes:
        name: What the format is called in the field.
        hint: What the chat template of such a model has in its source.
        marker: The text by which a call is known in a reply; "" where a call is a reply that begins as one, with no
            other sign.
        group_open, group_close: Around all calls of a reply.
        call_open, call_middle, call_close: Around the name and the arguments of one call.
        separator: Between two calls.
        id_chars: How many letters and digits the template wants a call's id to have; 0 for any.
    """

    name: str
    hint: str
    marker: str
    call_open: str
    call_middle: str
    call_close: str
    separator: str = "\n"
    group_open: str = ""
    group_close: str = ""
    id_chars: int = 0

    @property
    def tags(self) -> frozenset[str]:
        """The texts that may be single tokens of the vocabulary, and must be seen as text by the parser."""
        return frozenset(
            tag
            for tag in _TAGS
            if any(tag in part for part in (self.group_open, self.call_open, self.call_middle, self.call_close))
        )


_TAGS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>")

HERMES = ToolFormat(
    "hermes",  # NousResearch Hermes 2 and 3, Qwen 2.5 and 3, SmolLM3, and what a model without a format is told
    hint="<tool_call>",
    marker="<tool_call>",
    call_open='<tool_call>\n{"name": "',
    call_middle='", "arguments": ',
    call_close="}\n</tool_call>",
)

JSON = ToolFormat(
    "json",  # templates that know tools and have no mark of their own for calls
    hint="",
    marker="",
    call_open='{"name": "',
    call_middle='", "parameters": ',
    call_close="}",
)

TOOL_FORMATS = (
    HERMES,
    ToolFormat(
        "mistral-args",  # Mistral Small 3.2, Magistral, Devstral
        hint="[ARGS]",
        marker="[TOOL_CALLS]",
        call_open="[TOOL_CALLS]",
        call_middle="[ARGS]",
        call_close="",
        separator="",
        id_chars=9,
    ),
    ToolFormat(
        "mistral",  # Mistral 7B v0.3, Nemo, Small 3.1
        hint="[TOOL_CALLS]",
        marker="[TOOL_CALLS]",
        call_open='{"name": "',
        call_middle='", "arguments": ',
        call_close="}",
        separator=", ",
        group_open="[TOOL_CALLS][",
        group_close="]",
        id_chars=9,
    ),
    ToolFormat(
        "llama",  # Llama 3.1 to 3.3
        hint="<|python_tag|>",
        marker="",
        call_open='{"name": "',
        call_middle='", "parameters": ',
        call_close="}",
        separator="; ",
    ),
    JSON,
)


def tool_format(template_source: str) -> ToolFormat:
    """The first row whose hint the template's source has."""
    return next(row for row in TOOL_FORMATS if row.hint in template_source)
