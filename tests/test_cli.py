"""The commands, each in a process of its own as people start them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import environment_without
from tests.models.conftest import COMMIT, Hub, Repository
from tests.models.conftest import hub as hub  # the fixture

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 100

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine with an empty cache and no settings."""
    kept = environment_without("LLM_", "HF_")
    return kept | {"HF_HOME": str(tmp_path / "hf"), "LLM_PARALLEL": "1", "LLM_CONTEXT_TOKENS": "512"}


class Command:
    """Runs `python -m llm_core` in one environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llm_core", *arguments],
            cwd=ROOT,
            env=self.environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def llm_core(environment: dict[str, str]) -> Command:
    return Command(environment)


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["chat", "--help"],
            ["model", "--help"],
            ["model", "info", "--help"],
            ["space", "deploy", "--help"],
        ],
    )
    def test_help_is_on_stdout(self, llm_core: Command, arguments: list[str]) -> None:
        ran = llm_core(*arguments)

        assert ran.returncode == 0
        assert ran.stdout.startswith("usage: python -m llm_core")

    @pytest.mark.parametrize(
        "arguments", [[], ["model"], ["model", "pull"], ["sing"], ["chat", "--temp", "1"], ["chat", "--seed", "x"]]
    )
    def test_wrong_usage_ends_with_2(self, llm_core: Command, arguments: list[str]) -> None:
        ran = llm_core(*arguments)

        assert ran.returncode == 2
        assert "usage:" in ran.stderr

    def test_help_does_not_wait_for_the_engine(self) -> None:
        program = (
            "import sys, llm_core.cli; print(sorted({'llama_cpp', 'huggingface_hub', 'gradio'} & sys.modules.keys()))"
        )
        command = [sys.executable, "-c", program]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True)

        assert ran.stdout == "[]\n"


class TestInfo:
    def test_the_selected_model_is_described(self, llm_core: Command) -> None:
        ran = llm_core("model", "info")

        facts = dict(line.split("  ", 1) for line in ran.stdout.splitlines())
        facts = {name: value.strip() for name, value in facts.items()}
        assert ran.returncode == 0
        assert facts["name"] == "SmolLM2-135M-Instruct"
        assert facts["licence"] == "apache-2.0"
        assert facts["size"] == "98.4 MB"
        assert facts["context"] == "trained for 8192 tokens"

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
        lines = llm_core("model", "list").stdout.splitlines()

        assert lines[1].split() == ["*", "bundled", "98.4", "MB", "apache-2.0"]
        assert lines[-1] == "* is LLM_MODEL: bundled"

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


class TestAnswerOnce:
    def test_a_prompt_is_answered_on_stdout_and_nothing_else_is_there(self, llm_core: Command) -> None:
        options = ["--temperature", "0", "--max-tokens", "60", "--system", "Answer with one word."]
        first = llm_core("chat", "What is the capital of France?", *options)
        second = llm_core("chat", *options, stdin="What is the capital of France?")

        assert first.returncode == 0, first.stderr
        assert "Paris" in first.stdout
        assert first.stderr == ""
        assert "\x1b" not in first.stdout
        assert second.stdout == first.stdout

    def test_a_reply_that_is_cut_off_says_so_on_stderr(self, llm_core: Command) -> None:
        ran = llm_core("chat", "Tell me a story.", "--max-tokens", "5")

        assert ran.returncode == 0
        assert "the limit of tokens is reached" in ran.stderr

    def test_an_empty_prompt_is_refused(self, llm_core: Command) -> None:
        assert llm_core("chat", stdin=" \n").returncode == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--temperature", "nan"], "temperature"),
            (["--top-p", "1.5"], "top_p"),
            (["--max-tokens", "0"], "max_tokens"),
        ],
    )
    def test_an_option_out_of_range_is_refused_before_anything_loads(
        self, llm_core: Command, arguments: list[str], said: str
    ) -> None:
        ran = llm_core("chat", "Hello", *arguments, LLM_MODEL="/none.gguf")

        assert ran.returncode == 1
        assert ran.stderr.startswith(said)

    def test_a_model_that_cannot_be_loaded_is_one_sentence(self, llm_core: Command) -> None:
        ran = llm_core("chat", "Hello", LLM_MODEL="/none.gguf")

        assert ran.returncode == 1
        assert "There is no file /none.gguf" in ran.stderr
        assert "Traceback" not in ran.stderr

    def test_a_switch_that_the_model_lacks_is_said_to_do_nothing(self, llm_core: Command) -> None:
        ran = llm_core("chat", "Hello", "--no-thinking", "--max-tokens", "3")

        assert "has no switch for thinking" in ran.stderr
