"""The commands for models, each in a process of its own as people start them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llm_core.models.recommended import table
from tests.command import ROOT, Command
from tests.command import environment as environment  # the fixtures
from tests.command import llm_core as llm_core
from tests.models.conftest import COMMIT, Hub, Repository, gguf
from tests.models.gguf_file import gguf_file, model_file

pytestmark = pytest.mark.slow


class TestInfo:
    def test_the_selected_model_is_described(self, llm_core: Command) -> None:
        ran = llm_core("model", "info", LLM_PREPARE="auto")

        facts = dict(line.split("  ", 1) for line in ran.stdout.splitlines())
        facts = {name: value.strip() for name, value in facts.items()}
        assert ran.returncode == 0
        assert facts["name"] == "SmolLM2-135M-Instruct"
        assert facts["licence"] == "apache-2.0"
        assert facts["size"] == "98.4 MB"
        assert facts["context"] == "trained for 8192 tokens"
        assert facts["memory"].startswith("161.3 MB for 1 reply of 512 tokens (weights 142.9 MB, ")
        assert facts["tools"] == "not in its template"

    def test_json_has_the_same_facts_for_programs(self, llm_core: Command) -> None:
        facts = json.loads(llm_core("model", "info", "bundled", "--json", LLM_MODEL="/none.gguf").stdout)

        assert facts["source"] == "bundled"
        assert facts["quantization"] == "Q4_1"
        assert Path(facts["path"]).is_file()

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("/none.gguf", "There is no file /none.gguf."),
            (str(ROOT), f"{ROOT} is a folder."),
            (str(ROOT / "README.md"), "is not a GGUF file"),
            ("hf:o/r:../a.gguf", "is not the path of a file inside a repository"),
            ("hf:o/r", "hf:o/r is not on this machine. Fetch it with: python -m llm_core model pull 'hf:o/r'"),
        ],
    )
    def test_what_is_wrong_is_one_sentence_on_stderr(self, llm_core: Command, spec: str, said: str) -> None:
        ran = llm_core("model", "info", spec)

        assert ran.returncode == 1
        assert said in ran.stderr
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr

    def test_a_bad_setting_is_named(self, llm_core: Command) -> None:
        ran = llm_core("model", "info", LLM_PARALLEL="many")

        assert ran.returncode == 1
        assert ran.stderr.startswith("LLM_PARALLEL='many' cannot be used")


class TestPullAndList:
    @pytest.fixture
    def there(self, llm_core: Command, hub: Hub) -> Command:
        """A machine that reaches a hub with one repository: the bundled model's file, under another name."""
        bundled = json.loads(llm_core("model", "info", "bundled", "--json").stdout)
        weights = Path(bundled["path"]).read_bytes()
        hub.repositories["o/small"] = Repository({"small-Q4_1.gguf": weights}, license="mit")
        llm_core.environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        return llm_core

    def test_list_has_the_bundled_model_and_marks_it(self, llm_core: Command) -> None:
        lines = llm_core("model", "list", "--memory", "8").stdout.splitlines()

        assert lines[1].split() == ["*", "bundled", "98.4", "MB", "fits", "chat", "apache-2.0"]
        assert lines[2] == "* is LLM_MODEL: bundled"

    def test_a_pulled_model_is_pinned_listed_and_marked_where_it_is_selected(self, there: Command) -> None:
        pulled = there("model", "pull", "hf:o/small")
        listed = there("model", "list", LLM_MODEL="hf:o/small")

        assert pulled.returncode == 0, pulled.stderr
        assert "small-Q4_1.gguf: 100%" in pulled.stderr
        assert f"LLM_MODEL=hf:o/small:small-Q4_1.gguf@{COMMIT}" in pulled.stdout
        assert [line.split()[:2] for line in listed.stdout.splitlines()[1:3]] == [
            ["bundled", "98.4"],
            ["*", "hf:o/small:small-Q4_1.gguf"],
        ]

    def test_a_damaged_model_is_mended_by_pull_and_a_replaced_one_is_told_by_info(
        self, there: Command, hub: Hub
    ) -> None:
        there("model", "pull", "hf:o/small")
        path = Path(json.loads(there("model", "info", "hf:o/small", "--json").stdout)["path"])
        path.resolve().write_bytes(bytes(path.stat().st_size))
        assert there("model", "info", "hf:o/small").returncode == 1

        mended = there("model", "pull", "hf:o/small")
        assert mended.returncode == 0, mended.stderr

        hub.repositories["o/small"].files["small-Q4_1.gguf"] = b"GGUF and more"
        hub.repositories["o/small"].commit = "2e" * 20
        told = there("model", "info", "hf:o/small")
        assert told.returncode == 0
        assert "The Hub has another file in its place now. Fetch it with: python -m llm_core model pull" in told.stderr

    def test_list_says_that_the_selected_model_is_not_here(self, llm_core: Command) -> None:
        ran = llm_core("model", "list", LLM_MODEL="hf:o/small")

        assert ran.returncode == 0
        assert "LLM_MODEL: hf:o/small is not on this machine" in ran.stderr
        assert "bundled" in ran.stdout

    def test_pull_of_what_is_not_there_ends_with_1(self, there: Command) -> None:
        ran = there("model", "pull", "hf:o/none")

        assert ran.returncode == 1
        assert ran.stderr.startswith("There is no repository o/none on the Hub")

    def test_a_removed_model_is_gone_and_the_bundled_one_stays(self, there: Command) -> None:
        there("model", "pull", "hf:o/small")

        removed = there("model", "rm", "hf:o/small")

        assert removed.returncode == 0, removed.stderr
        assert removed.stdout.splitlines()[-1] == "98.4 MB are free now."
        assert "hf:o/small" not in there("model", "list").stdout
        assert there("model", "rm", "hf:o/small").returncode == 1
        refused = there("model", "rm", "bundled")
        assert refused.returncode == 1
        assert "is a part of the installation and stays" in refused.stderr


class TestFolder:
    def test_models_of_the_folder_are_listed_and_removed(self, llm_core: Command, tmp_path: Path) -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / "small-Q8_0.gguf").write_bytes(model_file(general__license="mit"))
        (folder / "vectors.gguf").write_bytes(model_file("bert", pooling_type=1))
        (folder / "huge.gguf").write_bytes(model_file(block_count=4000, context_length=1 << 20))
        (folder / "broken.gguf").write_bytes(gguf())
        llm_core.environment["LLM_MODELS_DIR"] = str(folder)
        llm_core.environment["LLM_CONTEXT_TOKENS"] = "100000"

        listed = json.loads(llm_core("model", "list", "--json", "--memory", "1").stdout)
        rows = {Path(row["path"]).name: row for row in listed}

        small = rows["small-Q8_0.gguf"]
        assert (small["license"], small["quantization"], small["memory"]["fit"]) == ("mit", "Q8_0", "fits")
        assert rows["huge.gguf"]["memory"]["fit"] == "too_large"
        assert (rows["vectors.gguf"]["task"], rows["vectors.gguf"]["problem"]) == ("embedding", None)
        assert (small["task"], rows["vectors.gguf"]["memory"]["fit"]) == ("chat", "fits")
        assert "has a header that cannot be read" in rows["broken.gguf"]["problem"]
        assert rows["broken.gguf"]["memory"] is None
        table = llm_core("model", "list", "--memory", "1").stdout
        assert "cannot be used" in table
        assert re.search(r"vectors.gguf .* embedding +not stated", table)
        assert "too large" in table

        assert llm_core("model", "rm", small["source"]).returncode == 0
        assert not (folder / "small-Q8_0.gguf").exists()

    def test_a_model_that_is_selected_and_elsewhere_is_listed_too(self, llm_core: Command, tmp_path: Path) -> None:
        path = tmp_path / "mine-00001-of-00002.gguf"
        path.write_bytes(model_file())

        for is_whole in (False, True):
            ran = llm_core("model", "list", LLM_MODEL=str(path))

            row = next(line for line in ran.stdout.splitlines() if line.startswith("*"))
            assert row.split()[1] == str(path)
            assert ("cannot be used" in row) is not is_whole
            path.with_name("mine-00002-of-00002.gguf").write_bytes(gguf_file({}))


class TestSearch:
    @pytest.fixture
    def there(self, llm_core: Command, hub: Hub) -> Command:
        hub.repositories["o/small-GGUF"] = Repository(
            {"a-Q4_K_M.gguf": gguf(3000), "a-Q8_0.gguf": gguf(5000)}, downloads=12_345, likes=6, gated=True
        )
        llm_core.environment["HF_ENDPOINT"] = hub.url
        return llm_core

    def test_repositories_are_found_by_their_names(self, there: Command) -> None:
        ran = there("model", "search", "small")

        assert ran.returncode == 0, ran.stderr
        assert "hf:o/small-GGUF  12,345     6      mit, to be accepted on its page first" in ran.stdout
        assert json.loads(there("model", "search", "small", "--json").stdout)[0]["repo"] == "o/small-GGUF"
        assert "Nothing was found." in there("model", "search", "large").stdout

    def test_a_repository_is_listed_with_what_can_be_pulled(self, there: Command) -> None:
        ran = there("model", "search", "hf:o/small-GGUF", "--memory", "0.000004")

        rows = [line.split() for line in ran.stdout.splitlines()[1:3]]
        assert rows == [
            ["hf:o/small-GGUF:a-Q4_K_M.gguf", "3.0", "kB", "Q4_K_M", "fits"],
            ["hf:o/small-GGUF:a-Q8_0.gguf", "5.0", "kB", "Q8_0", "too", "large"],
        ]
        found = json.loads(there("model", "search", "hf:o/small-GGUF", "--json").stdout)
        assert found[0]["source"] == "hf:o/small-GGUF:a-Q4_K_M.gguf"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["hf:o/none"], "There is no repository o/none"),
            (["hf:o/r:a.gguf"], "Name one repository"),
            (["x", "--limit", "0"], "limit"),
        ],
    )
    def test_what_cannot_be_searched_is_one_sentence(self, there: Command, arguments: list[str], said: str) -> None:
        ran = there("model", "search", *arguments)

        assert ran.returncode == 1
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr


class TestRecommend:
    def test_the_best_that_fits_is_marked_and_can_be_pulled(self, llm_core: Command) -> None:
        ran = llm_core("model", "recommend", "--memory", "1.5")

        (best,) = (line for line in ran.stdout.splitlines() if line.startswith("*  "))
        (named,) = (model for model in table() if model.name == best.split()[1])
        assert ran.stdout.splitlines()[-1] == f"Fetch it with: python -m llm_core model pull {named.source}"

    def test_json_has_every_one_with_its_reason(self, llm_core: Command) -> None:
        every = json.loads(llm_core("model", "recommend", "--json", "--memory", "1.5").stdout)

        assert [model["name"] for model in every] == [model.name for model in table()]
        assert [model["memory"]["fit"] for model in every if model["best"]] == ["fits"]

    @pytest.mark.parametrize("memory", ["none", "0", "nan"])
    def test_memory_is_a_number(self, llm_core: Command, memory: str) -> None:
        assert llm_core("model", "recommend", "--memory", memory).returncode == 2
