"""`types.ts` has the fields of the API, each by its name: what is added on one side is missed on the other."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydantic import BaseModel

from llm_core.events import CacheMiss, FinishReason
from llm_core.http import bodies
from llm_core.http.llama_cpp.routes import TextBody, TokensBody
from llm_core.http.native import presets
from llm_core.http.native.tools import ToolsAnswer
from llm_core.http.openai_embeddings import EmbeddingsAnswer, EmbeddingsBody, UsedAnswer
from llm_core.http.rerank import RerankAnswer, RerankBody
from llm_core.messages import Attachment, Message
from llm_core.presets.preset import PresetFields
from llm_core.sessions.records import TurnStatus
from scripts.node import CLIENT

_WITHOUT = {"encoding_format", "with_pieces", "object"}  # forms of the wire that the client does not ask for
TYPES = (CLIENT / "src" / "types.ts").read_text()


def fields(interface: str) -> set[str]:
    """What an interface has, with what it has of others."""
    found = re.search(rf"^(?:export )?interface {interface}(?: extends ([\w, ]+))? {{\n(.*?)^}}", TYPES, re.M | re.S)
    assert found, f"there is no {interface}"
    inherited = {name for base in (found[1] or "").split(", ") if base for name in fields(base)}
    return inherited | set(re.findall(r"^  (\w+)\??:", found[2], re.M))


@pytest.mark.parametrize(
    ("interface", "model"),
    [
        ("ChatOptions", bodies.Options),
        ("ChatRequest", bodies.ChatBody),
        ("Message", Message),
        ("Attachment", Attachment),
        ("ChatReply", bodies.ReplyAnswer),
        ("SessionReply", bodies.SessionReplyAnswer),
        ("Usage", bodies.UsageAnswer),
        ("Timings", bodies.TimingsAnswer),
        ("History", bodies.HistoryAnswer),
        ("SessionSummary", bodies.SessionAnswer),
        ("Version", bodies.VersionAnswer),
        ("PresetFields", PresetFields),
        ("PresetChange", presets.PresetBody),
        ("Preset", presets.PresetAnswer),
        ("RerankRequest", RerankBody),
        ("Ranking", RerankAnswer),
        ("EmbedRequest", EmbeddingsBody),
        ("Embeddings", EmbeddingsAnswer),
        ("TextUsage", UsedAnswer),
        ("TokenizeRequest", TextBody),
        ("DetokenizeRequest", TokensBody),
        ("Model", bodies.ModelAnswer),
        ("ServedTools", ToolsAnswer),
    ],
)
def test_an_interface_has_the_fields_of_the_api(interface: str, model: type[BaseModel]) -> None:
    only_in_sessions = {"not_kept", "awaiting_approval"} if interface == "ChatReply" else set()

    assert fields(interface) - only_in_sessions == set(model.model_fields) - _WITHOUT


def test_a_session_request_has_the_fields_of_the_api() -> None:
    assert fields("SessionOptions") | {"message", "tool_results", "approvals"} == set(bodies.SessionBody.model_fields)


@pytest.mark.parametrize(
    ("name", "values"), [("FinishReason", FinishReason), ("TurnStatus", TurnStatus), ("CacheMiss", CacheMiss)]
)
def test_a_vocabulary_has_the_words_of_the_api(name: str, values: object) -> None:
    found = re.search(rf"^export type {name} = (.*);$", TYPES, re.M)

    assert found
    assert set(re.findall(r'"(\w+)"', found[1])) == set(get_args(values))
