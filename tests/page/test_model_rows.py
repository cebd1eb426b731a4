"""A model in the page's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_core.backends.catalog import CatalogEntry
from llm_core.models.info import ModelInfo
from llm_core.models.recommended import recommended
from llm_core.models.search import FoundModel, FoundRepo
from llm_core.models.source import HubModel
from llm_core.page.model_rows import found_row, model_line, model_row, recommended_row, repo_facts
from llm_core.texts.told import english_line

INFO = ModelInfo(
    name="Qwen3-4B",
    source="hf:a/b:c.gguf",
    path=Path("c.gguf"),
    revision=None,
    architecture="qwen3",
    quantization="Q4_K_M",
    parameters=4_000_000_000,
    size_bytes=2_500_000_000,
    context_train=8192,
    license="apache-2.0",
    has_chat_template=True,
    can_switch_thinking=True,
)
ENTRY = CatalogEntry("Qwen3-4B", "hf:a/b:c.gguf", "here", "It is on this machine.", info=INFO, fit="fits")


def row(may_change: bool = True, **changes: Any) -> dict[str, Any]:
    entry = replace(ENTRY, **changes)
    return in_english(model_row(entry, entry.info, may_change=may_change))


def in_english(row: Any) -> dict[str, Any]:
    return {name: english_line(row[name]) if name in ("line", "facts", "told") else row[name] for name in row}


def test_size_form_licence_and_fit_are_told_in_one_line() -> None:
    assert row()["facts"] == "2.5 GB · Q4_K_M · apache-2.0 · fits this machine"
    assert row(fit="tight")["facts"].endswith("tight on this machine")
    assert row(fit="too_large")["facts"].endswith("too large for this machine")
    assert row(info=None, fit=None)["facts"] == ""
    bare = replace(INFO, size_bytes=0, quantization="unknown", license=None)
    assert row(info=bare, fit=None)["facts"] == "no licence stated"


def test_what_makes_vectors_or_ranks_says_so_and_cannot_be_chosen() -> None:
    vectors = row(info=replace(INFO, task="embedding"))
    ranks = row(info=replace(INFO, task="rerank"))

    assert vectors["facts"] == "makes vectors · 2.5 GB · Q4_K_M · apache-2.0 · fits this machine"
    assert ranks["facts"].startswith("ranks · ")
    assert (vectors["can_write"], ranks["can_write"]) == (False, False)
    assert row(info=replace(INFO, task="chat"))["can_write"]
    assert row(info=None)["can_write"]  # as far as is known


def test_the_head_names_the_model_its_licence_and_the_form_where_it_is_not_the_file_s() -> None:
    assert english_line(model_line("qwen", INFO)) == "qwen · apache-2.0"
    assert english_line(model_line("qwen", None)) == "qwen"
    assert english_line(model_line("qwen", replace(INFO, license=None))) == "qwen · no licence stated"
    copy = replace(INFO, quantization="Q4_1", computed_as="Q8_0")
    assert english_line(model_line("qwen", copy)) == "qwen · apache-2.0 · Q4_1, computed as Q8_0"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "ready"}, "Ready"),
        ({"state": "here"}, "On this machine"),
        ({"state": "loading", "message": "Loading the model: 40%"}, "Loading the model: 40%"),
        ({"state": "failed", "message": "It cannot be used."}, "It cannot be used."),
        (
            {"state": "fetching", "message": "Downloading c.gguf: 1.0 GB of 2.5 GB", "seconds_left": 130.0},
            "Downloading c.gguf: 1.0 GB of 2.5 GB · 2 min left",
        ),
        ({"state": "fetching", "message": "Asking the Hub."}, "Asking the Hub."),
        ({"state": "absent", "message": "The download failed."}, "The download failed."),
        ({"state": "absent", "message": "It is not here. Fetch it with: a command"}, "It is not here."),
    ],
)
def test_how_far_it_is_is_told_in_a_sentence(changes: dict[str, Any], told: str) -> None:
    assert row(**changes)["told"] == told


@pytest.mark.parametrize(
    ("changes", "acts"),
    [
        ({"state": "fetching"}, ["stop"]),
        ({"state": "absent"}, ["fetch"]),
        ({"state": "absent", "source": "/models/a.gguf"}, []),
        ({"state": "here"}, ["remove"]),
        ({"state": "ready"}, ["unload", "remove"]),
        ({"state": "ready", "is_default": True}, ["unload"]),
        ({"state": "failed", "is_served": True}, ["load", "remove"]),
        ({"state": "here", "source": "bundled"}, []),
        ({"state": "here", "source": "/models/a.gguf"}, []),
    ],
)
def test_what_can_be_done_with_it(changes: dict[str, Any], acts: list[str]) -> None:
    assert row(**changes)["acts"] == acts


def test_a_file_of_the_operator_s_folder_can_be_removed() -> None:
    entry = replace(ENTRY, source="/models/below/a.gguf")

    assert model_row(entry, INFO, may_change=True, models_dir=Path("/models"))["acts"] == ["remove"]
    assert model_row(entry, INFO, may_change=True, models_dir=Path("/other"))["acts"] == []


def test_who_may_not_change_models_learns_no_path_and_is_offered_nothing() -> None:
    shown = row(may_change=False, state="absent", source="/secret/a.gguf", message="There is no file /secret/a.gguf")

    assert "secret" not in str({**shown, "key": ""})
    assert row(may_change=False, is_served=True)["key"] == "Qwen3-4B"
    assert shown["acts"] == []


def test_of_a_model_that_another_engine_serves_nothing_of_this_machine_is_told() -> None:
    shown = in_english(model_row(ENTRY, INFO, is_elsewhere=True, may_change=True))

    assert (shown["acts"], shown["told"]) == ([], "Served by another engine")
    assert "this machine" not in shown["facts"]


def test_what_could_be_fetched_is_told_with_its_size_and_whether_it_is_too_large() -> None:
    rows = [in_english(recommended_row(each)) for each in recommended(4_000_000_000)]
    assert {each["is_too_large"] for each in rows} == {True, False}
    assert all(each["is_too_large"] == ("too large" in each["facts"]) for each in rows)
    assert all(each["why"] and each["facts"] for each in rows)

    file = FoundModel(HubModel("a/b", "c-Q4_K_M.gguf"), "c-Q4_K_M.gguf", 5_000_000_000, "Q4_K_M")
    assert in_english(found_row(file, 10**11))["facts"] == "5.0 GB · Q4_K_M"
    large = in_english(found_row(file, 10**9))
    assert (large["is_too_large"], large["facts"]) == (True, "5.0 GB · Q4_K_M · too large for this machine")
    assert english_line(repo_facts(FoundRepo("a/b", 1200, 3, None, gated=True))) == (
        "1,200 downloads a month · no licence stated · its licence has to be accepted on its page first"
    )
