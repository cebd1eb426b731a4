"""Finding models on a hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from llm_core.errors import InvalidRequest, ModelError
from llm_core.models import search
from llm_core.models.search import FoundModel, FoundRepo, models_of, search_hub
from llm_core.models.source import HubModel
from tests.models.conftest import Hub, Repository, gguf

SMALL = {"README.md": b"#", "a-Q8_0.gguf": gguf(5000), "a-Q4_K_M.gguf": gguf(3000), "mmproj-a.gguf": gguf(10)}


@pytest.fixture(autouse=True)
def repositories(hub: Hub, cache: Path) -> dict[str, Repository]:
    hub.repositories = {
        "o/Small-Chat-GGUF": Repository(SMALL, downloads=7, likes=3),
        "p/large-chat-GGUF": Repository(SMALL, license=None, downloads=900, likes=1, gated=True),
        "p/weights": Repository({"model.safetensors": b"x"}, downloads=5000),
    }
    return hub.repositories


def refusal(status: int | None, hub: Hub, *, of: str | None = None) -> str:
    hub.broken_with = status
    with pytest.raises(ModelError) as refused:
        models_of(of) if of else search_hub("chat")
    return refused.value.message


class TestSearch:
    def test_repositories_come_with_what_one_chooses_by_and_the_most_downloaded_first(self) -> None:
        assert search_hub("chat") == [
            FoundRepo("p/large-chat-GGUF", downloads=900, likes=1, license=None, gated=True),
            FoundRepo("o/Small-Chat-GGUF", downloads=7, likes=3, license="mit", gated=False),
        ]

    def test_words_order_and_number_are_the_callers(self) -> None:
        assert [found.repo for found in search_hub("small chat")] == ["o/Small-Chat-GGUF"]
        assert [found.repo for found in search_hub("", order="likes", limit=1)] == ["o/Small-Chat-GGUF"]
        assert search_hub("nothing has this name") == []

    @pytest.mark.parametrize(("query", "limit"), [("x" * 201, 20), ("x", 0), ("x", 101)])
    def test_what_is_out_of_bounds_is_refused_before_the_hub_is_asked(self, hub: Hub, query: str, limit: int) -> None:
        with pytest.raises(InvalidRequest):
            search_hub(query, limit=limit)
        assert not hub.requests

    @pytest.mark.parametrize("answer", [b'{"error": "no"}', b"<html>", b'[{"id": "o/r", "likes": "many"}]'])
    def test_an_answer_of_another_kind_is_an_error_in_words(self, hub: Hub, answer: bytes) -> None:
        hub.says = answer

        with pytest.raises(ModelError, match="The Hub could not be listed: "):
            search_hub()

    def test_rows_that_name_no_repository_are_passed_over(self, hub: Hub) -> None:
        hub.says = b'[{"name": 1}, 7, {"id": "o/r"}]'

        assert search_hub() == [FoundRepo("o/r", 0, 0, None, False)]


class TestModels:
    def test_a_repository_is_listed_with_sizes_the_smallest_first_and_without_companions(self) -> None:
        assert models_of("o/Small-Chat-GGUF") == [
            FoundModel(HubModel("o/Small-Chat-GGUF", "a-Q4_K_M.gguf"), "a-Q4_K_M.gguf", 3000, "Q4_K_M"),
            FoundModel(HubModel("o/Small-Chat-GGUF", "a-Q8_0.gguf"), "a-Q8_0.gguf", 5000, "Q8_0"),
        ]

    def test_a_split_model_is_one_with_the_size_of_all_parts_and_half_a_one_is_none(
        self, repositories: dict[str, Repository]
    ) -> None:
        parts = {f"b-0000{number}-of-00002.gguf": gguf(2000) for number in (1, 2)}
        repositories["o/split"] = Repository(parts | {"c-00002-of-00002.gguf": gguf()})

        (model,) = models_of("o/split")

        assert (model.file, model.size_bytes) == ("b.gguf", 4000)
        assert str(model.source) == "hf:o/split:b-00001-of-00002.gguf"

    def test_a_repository_without_any_has_none(self) -> None:
        assert models_of("p/weights") == []

    def test_what_is_not_there_is_said(self, hub: Hub) -> None:
        assert "There is no repository o/none on the Hub" in refusal(None, hub, of="o/none")
        with pytest.raises(ModelError, match="has no branch, tag or commit v9"):
            models_of("o/Small-Chat-GGUF", "v9")


class TestWithoutTheHub:
    @pytest.mark.parametrize("of", [None, "o/Small-Chat-GGUF"])
    def test_where_nothing_answers_the_models_that_are_here_are_pointed_to(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch, of: str | None
    ) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

        said = refusal(None, hub, of=of)

        assert said.startswith("The Hub cannot be reached at http://127.0.0.1:9 (")
        assert said.endswith("Models that are on this machine can still be used: python -m llm_core model list")

    def test_a_hub_that_says_nothing_is_not_waited_for(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search, "SEARCH_SECONDS", 0.05)
        hub.is_silent = True

        assert "cannot be reached" in refusal(None, hub)
        assert "cannot be reached" in refusal(None, hub, of="o/Small-Chat-GGUF")

    def test_in_offline_mode_it_is_not_asked(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

        assert "cannot be reached" in refusal(None, hub)
        assert not hub.requests

    @pytest.mark.parametrize("of", [None, "o/Small-Chat-GGUF"])
    @pytest.mark.parametrize(
        ("status", "said"),
        [(401, "Set HF_TOKEN"), (403, "may."), (429, "asked too often"), (503, "cannot be reached"), (418, "418")],
    )
    def test_its_other_answers_are_sentences_at_once(self, hub: Hub, status: int, said: str, of: str | None) -> None:
        assert said in refusal(status, hub, of=of)
        assert len(hub.requests) == 1, "it is not asked again and again"
