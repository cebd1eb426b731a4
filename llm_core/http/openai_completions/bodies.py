"""What `/v1/completions` reads: OpenAI's fields, those of other servers that mean the same, and what they mean here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator

from llm_core.errors import InvalidRequest
from llm_core.http.bodies import Sampling
from llm_core.http.choices import MAX_CHOICES
from llm_core.http.dialect import read_dialect
from llm_core.http.openai_chat.routes import AnySeed, Count, StreamOptions, seed_of
from llm_core.http.shapes import Schema
from llm_core.messages import MAX_TEXT_CHARS, Text
from llm_core.numbers import Whole, are_whole
from llm_core.request import MaxTokens

DEFAULT_MAX_TOKENS = 16  # OpenAI's
MAX_LOGPROBS = 5  # OpenAI's

Prompt = str | list[int]

_TEXT: Schema = {"type": "string", "maxLength": MAX_TEXT_CHARS}
_TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "minItems": 1}
_SEVERAL: Schema = {"type": "array", "items": {"anyOf": [_TEXT, _TOKENS]}, "minItems": 1, "maxItems": MAX_CHOICES}
_PROMPT: Schema = {"anyOf": [_TEXT, _TOKENS, _SEVERAL]}
# Of chats, where they would change the answer.
_NOT_HERE = ("messages", "response_format", "tools", "functions")


class RawBody(Sampling):
    """A raw prompt, or several."""

    model_config = ConfigDict(frozen=True, extra="allow")  # what else is there, `read_dialect` looks at

    prompt: Annotated[Any, WithJsonSchema(_PROMPT)] = Field(
        description="A text, token ids, or a list of those; names of control tokens in a text are control tokens"
    )
    max_tokens: MaxTokens | None = Field(
        None, description=f"{DEFAULT_MAX_TOKENS} where it is left out; -1 is what fits"
    )
    suffix: Text | None = Field(None, description="What comes after the completion, for models that can fill in")
    echo: bool | None = Field(None, description="The prompt's text comes first")
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS), Whole] | None = None
    n: Count | None = Field(None, description="Choices for each prompt")
    seed: AnySeed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("prompt")
    @classmethod
    def _is_one_or_several(cls, given: Any) -> Any:
        prompts = prompts_of(given)
        if not prompts or not all(map(_is_prompt, prompts)):
            raise ValueError("must be a text, a list of token ids, or a list of those")
        if len(prompts) > MAX_CHOICES:
            raise ValueError(f"has {len(prompts)} prompts; at most {MAX_CHOICES} go into one request")
        return given

    @property
    def prompts(self) -> list[Prompt]:
        return prompts_of(self.prompt)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.complete`.

        Raises:
            InvalidRequest: A field asks for what is not done here.
        """
        extra = self.model_extra or {}
        for field in _NOT_HERE:
            if extra.get(field):
                raise InvalidRequest(f"{field}: is not read here; /v1/chat/completions reads it.", param=field)
        if self.echo and self.logprobs is not None:
            raise InvalidRequest(
                "echo: log probabilities of a prompt are not computed here. Leave out echo, or logprobs.", param="echo"
            )
        own = self.model_dump(include={*Sampling.model_fields, "max_tokens", "suffix", "logprobs"})
        own |= {"seed": seed_of(self.seed)}
        read = own | read_dialect(extra, own)
        return read | {"max_tokens": DEFAULT_MAX_TOKENS if read["max_tokens"] is None else read["max_tokens"]}


def prompts_of(given: Any) -> list[Any]:
    """Each prompt of one or several."""
    is_several = isinstance(given, list) and all(isinstance(each, (str, list)) for each in given)
    return given if is_several else [given]


def _is_prompt(given: Any) -> bool:
    return isinstance(given, str) or (isinstance(given, list) and are_whole(given))
