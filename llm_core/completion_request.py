"""What is asked without a conversation: a text or tokens that the model goes on from, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Unpack

from pydantic import Discriminator, Field, Tag, ValidationError

from llm_core.complaints import invalid_request
from llm_core.messages import Text
from llm_core.options import CompletionOptions
from llm_core.request import MAX_TOKENS_LIMIT, ChatRequest, ModelRequest, SamplingParams, TokenId

_TEXT, _TOKENS = "a text", "token ids"
_Tokens = Annotated[tuple[TokenId, ...], Field(max_length=MAX_TOKENS_LIMIT)]


def _kind(prompt: Any) -> str:
    """So that a complaint is about the one or the other."""
    return _TOKENS if isinstance(prompt, (list, tuple)) else _TEXT


class CompletionRequest(ModelRequest):
    """One request: a raw prompt. No template is applied to it, and no thinking or call is read out of what follows.

    Attributes:
        prompt: A text, in which the names of control tokens are control tokens and which BOS is put before where the
            model wants that; or token ids, as they are.
        suffix: What is to come after the completion, for models that can fill in. Text and suffix are text then.
    """

    prompt: Annotated[Text, Tag(_TEXT)] | Annotated[_Tokens, Tag(_TOKENS)] = Field(discriminator=Discriminator(_kind))
    suffix: Text | None = None


AnyRequest = ChatRequest | CompletionRequest


def build_completion(prompt: str | Sequence[int], **options: Unpack[CompletionOptions]) -> CompletionRequest:
    """Checks a prompt and options.

    Raises:
        InvalidRequest: A field is unknown or out of its range; the message names it.
    """
    fields: dict[str, Any] = {**options}
    sampling = {name: fields.pop(name) for name in options if name in SamplingParams.model_fields}
    try:
        given = {"prompt": prompt, "sampling": SamplingParams(**sampling)}
        return CompletionRequest.model_validate(given | fields)
    except ValidationError as error:
        raise invalid_request(error, tags=(_TEXT, _TOKENS)) from None
