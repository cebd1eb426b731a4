"""The commands, each in a process of its own as people start them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.command import ROOT, SECONDS, Command
from tests.command import environment as environment  # the fixtures
from tests.command import llm_core as llm_core

pytestmark = pytest.mark.slow


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["chat", "--help"],
            ["model", "--help"],
            ["model", "info", "--help"],
            ["model", "search", "--help"],
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
