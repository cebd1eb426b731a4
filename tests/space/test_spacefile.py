"""What a Spacefile may say, and the sentence for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import SpaceError
from llm_core.models.source import HubModel
from llm_core.space import spacefile

LEAST = """\
title: A chat
emoji: 💬
sdk_version: 6.31.0
python_version: "3.11"
"""


def refusal(text: str) -> str:
    with pytest.raises(SpaceError) as refused:
        spacefile.parse(text)
    return refused.value.message


def test_the_least_has_defaults_for_a_free_machine() -> None:
    spec = spacefile.parse(LEAST)

    assert (spec.hardware, spec.model, spec.app_file, spec.sdk) == ("cpu-basic", ("bundled",), "app.py", "gradio")
    assert spec.environment() == {"LLM_MODEL": "bundled"}
    assert not spec.has_gpu


def test_several_models_are_a_list_of_which_each_is_checked() -> None:
    spec = spacefile.parse(LEAST + "model: [hf:o/r:a.gguf, bundled, hf:p/s]\n")

    assert spec.environment() == {"LLM_MODEL": "hf:o/r:a.gguf,bundled,hf:p/s"}
    assert spec.front_matter()["models"] == ["o/r", "p/s"]
    assert "line 7: model.1: 'hf:r' does not name a repository" in refusal(LEAST + "model:\n- bundled\n- hf:r\n")
    assert "at least one model" in refusal(LEAST + "model: []\n")
    assert "Write several models as a list" in refusal(LEAST + "model: hf:o/r,bundled\n")


def test_a_variable_is_text_whatever_yaml_takes_it_for() -> None:
    spec = spacefile.parse(LEAST + "variables: {LLM_THREADS: 2, LLM_PUBLIC: true, LLM_TOP_P: 0.5, LLM_MODEL_: x}\n")

    assert dict(spec.variables) == {
        "LLM_THREADS": "2",
        "LLM_PUBLIC": "1",
        "LLM_TOP_P": "0.5",
        "LLM_MODEL_": "x",
    }


def test_the_front_matter_names_the_models_repository() -> None:
    spec = spacefile.parse(LEAST + "model: hf:o/r:a.gguf\ntags: [chat]\n")

    assert spec.sources == (HubModel("o/r", "a.gguf"),)
    assert spec.front_matter() == {
        "title": "A chat",
        "emoji": "💬",
        "colorFrom": "indigo",
        "colorTo": "green",
        "sdk": "gradio",
        "sdk_version": "6.31.0",
        "python_version": "3.11",
        "app_file": "app.py",
        "suggested_hardware": "cpu-basic",
        "tags": ["chat"],
        "models": ["o/r"],
    }


@pytest.mark.parametrize("emoji", ["💬", "🤖", "👩‍🚀", "🇩🇪", "☎️", "©", "👍🏽", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"])
def test_an_emoji_may_be_made_of_several_characters(emoji: str) -> None:
    assert spacefile.parse(LEAST.replace("💬", emoji)).emoji == emoji


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("titel: x", "line 5: there is no key titel. Did you mean title?"),
        ("zzz: x", "line 5: there is no key zzz. The keys are title, emoji, "),
        ("color_from: mauve", "line 5: color_from: 'mauve' is no colour of the Hub's. Allowed: red, yellow, green, "),
        (f"short_description: {'x' * 61}", "line 5: short_description has 61 characters; the Hub allows 60."),
        ("sdk: docker", "line 5: sdk: should be 'gradio'."),
        ("license: My own", "line 5: license: 'My own' is no licence identifier such as mit"),
        ("app_file: ../app.py", "line 5: app_file: '../app.py' is not the path of a Python file in the repository."),
        ("app_file: run.sh", "is not the path of a Python file"),
        ("hardware: A big one", "line 5: hardware: 'A big one' is no name of a machine such as cpu-basic."),
        ("model: o/r", "line 5: model: 'o/r' is a file on this machine, which a Space does not have."),
        ("model: hf:r", "line 5: model: 'hf:r' does not name a repository as OWNER/REPO."),
        ("variables: {threads: 2}", "line 5: variables.threads: 'threads' is no name of a variable: capitals,"),
        ("variables:\n  LLM_THREADS: [2]", "line 6: variables.LLM_THREADS: should be a valid string."),
        ("secrets: [a token]", "line 5: secrets.0: 'a token' is no name of a variable"),
        ("storage: [/data]", "line 5: storage.0: '/data' is no volume such as hf://buckets/OWNER/NAME:/data"),
        ("wheel_index: ftp://x", "line 5: wheel_index: 'ftp://x' is no address of an index of wheels"),
        ("title: Another", "line 5: title is there already, on line 1."),
        ("variables:\n  LLM_THREADS: 2\n  LLM_THREADS: 3", "line 7: LLM_THREADS is there already, on line 6."),
        ("tags: [", "Spacefile is no YAML: line 6: "),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line_and_what_is_allowed(line: str, said: str) -> None:
    assert said in refusal(f"{LEAST}{line}\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: A chat\n", "", "Spacefile: title is missing."),
        ("A chat", '" "', "line 1: title: write one line of text."),
        ("💬", "chat", "line 2: emoji: 'chat' is no emoji; the Hub takes one emoji and nothing else."),
        ("💬", "💬 !", "is no emoji"),
        ("6.31.0", "6.31", "line 3: sdk_version: 6.31 is a number in YAML; put the version in quotes."),
        ('"3.11"', "3.10", "line 4: python_version: 3.1 is a number in YAML; put the version in quotes."),
        ('"3.11"', '"2.7"', "line 4: python_version: '2.7' is no version such as"),
    ],
)
def test_what_must_be_there_is_told_too(old: str, new: str, said: str) -> None:
    assert said in refusal(LEAST.replace(old, new))


@pytest.mark.parametrize("text", ["", "- a\n", "just words"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text) == "Spacefile must be a list of `key: value` lines."


def test_all_complaints_come_at_once() -> None:
    assert len(refusal("emoji: x\nzzz: 1\n").splitlines()) == 5


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="There is no Spacefile in"):
        spacefile.load(tmp_path)
