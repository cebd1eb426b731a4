"""A number is the same number at every door, however it is written."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from llm_core.http.anthropic.bodies import MessagesBody
from llm_core.http.llama_cpp.routes import TokensBody
from llm_core.http.ollama.bodies import AskingBody
from llm_core.http.openai_chat.routes import CompletionBody
from llm_core.http.openai_completions.bodies import RawBody
from llm_core.http.openai_embeddings import EmbeddingsBody
from llm_core.http.openai_responses.bodies import ResponsesBody
from llm_core.http.rerank import RerankBody
from llm_core.mqtt.payloads import Ask
from llm_core.numbers import Whole
from llm_core.presets.preset import PresetFields
from llm_core.request import SamplingParams

SAID = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (SamplingParams, {"top_k": 40.0, "seed": 3.0, "repeat_last_n": 64.0, "logprobs": 1.0}),
        (CompletionBody, {"messages": SAID, "max_tokens": 5.0, "n": 2.0, "seed": -3.0, "top_logprobs": 2.0}),
        (RawBody, {"prompt": [1.0, 2.0], "max_tokens": 5.0, "logprobs": 1.0}),
        (ResponsesBody, {"input": "Hi", "max_output_tokens": 5.0, "top_logprobs": 2.0}),
        (EmbeddingsBody, {"input": [[1.0, 2.0]], "dimensions": 5.0}),
        (MessagesBody, {"model": "m", "messages": SAID, "max_tokens": 5.0, "top_k": 40.0}),
        (
            AskingBody,
            {"model": "m", "options": {"top_k": 40.0, "seed": -1.0, "num_predict": -2.0, "repeat_last_n": -1.0}},
        ),
        (RerankBody, {"query": "q", "documents": ["a"], "top_n": 1.0}),
        (TokensBody, {"tokens": [1.0, 2.0]}),
        (PresetFields, {"max_tokens": 5.0}),
        (Ask, {"request_id": "1", "session_id": "s", "message": "Hi", "after": 4.0, "max_bytes": 65536.0}),
    ],
)
def test_a_whole_number_may_be_written_with_a_point(body: type[BaseModel], given: dict[str, Any]) -> None:
    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(each) for name, each in value.items()}
        if isinstance(value, list):
            return [rounded(each) for each in value]
        return int(value) if isinstance(value, float) else value

    assert body.model_validate(given) == body.model_validate(rounded(given))


@pytest.mark.parametrize("value", [True, "5", 5.5, math.inf, math.nan, None])
def test_nothing_else_is_one_where_what_is_given_is_read_strictly(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Annotated[int, Whole]).validate_python(value, strict=True)
