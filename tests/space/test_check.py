"""Spacefile, README.md, the requirements and the settings are held together: each kind of mismatch is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.cli import main
from llm_core.space import check, readme, spacefile
from tests.space.conftest import Project

ROOT = Path(__file__).resolve().parents[2]


def test_this_repository_fits() -> None:
    assert list(check.problems(ROOT, spacefile.load(ROOT))) == []


def test_a_project_that_fits_has_no_problems(project: Project) -> None:
    assert project.problems() == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "README.md",
            "title: A chat",
            "title: Another",
            "README.md's front matter has title 'Another' and Spacefile",
        ),
        ("README.md", "emoji: 🤖\n", "", "README.md's front matter lacks emoji; Spacefile has '🤖'."),
        ("README.md", "license: mit", "license: mit\npinned: true", "has pinned, which Spacefile does not have."),
        ("README.md", "title: A chat", "title: [", "front matter, between the lines of dashes at its top, is no YAML."),
        ("Spacefile", "6.31.0", "6.30.0", "Spacefile has sdk_version 6.30.0 and requirements.txt has gradio==6.31.0."),
        ("requirements.txt", "gradio==6.31.0", "gradio>=6", "requirements.txt does not pin gradio exactly; "),
        ("requirements.txt", "llama-cpp-python==", "llama-cpp-python>=", "does not pin llama-cpp-python exactly; "),
        ("requirements.txt", "numpy>=2,<3", "pydantic>=2.14", "wants pydantic>=2.14, and the gradio[oauth,mcp] that a"),
        ("requirements.txt", "numpy>=2,<3", "numpy >", "requirements.txt, line 4: 'numpy >' is no requirement such as"),
        ("Spacefile", '"3.11"', '"3.10"', "Spacefile has python_version 3.10; the app needs >=3.11."),
        ("pyproject.toml", "requires-python", "x", "pyproject.toml does not say which Python the app needs"),
        ("Spacefile", "license", "app_file: run.py\nlicense", "app_file is run.py, and there is no such file."),
        (
            "Spacefile",
            "license",
            "model: /models/a.gguf\nlicense",
            "/models/a.gguf is on no volume of the Space's",
        ),
        ("Spacefile", "LLM_THREADS: 2", "LLM_THREAD: 2", "LLM_THREAD under variables is no setting of this app; docs/"),
        ("Spacefile", "LLM_THREADS: 2", "LLM_THREADS: two", "Spacefile: LLM_THREADS='two' cannot be used: "),
        ("Spacefile", "LLM_THREADS: 2", "LLM_THREADS: 0", "Allowed: at least 1 and at most 512."),
        ("Spacefile", "LLM_THREADS: 2", "LLM_MODEL: x", "LLM_MODEL is a key of its own. Write model: x"),
        ("Spacefile", "LLM_THREADS: 2", "GRADIO_SERVER_PORT: 80", "GRADIO_SERVER_PORT is set by the Space itself."),
        ("Spacefile", "LLM_THREADS: 2", "LLM_API_TOKENS: abc", "Put the name LLM_API_TOKENS under secrets."),
        (
            "Spacefile",
            "license",
            "secrets: [LLM_THREADS]\nlicense",
            "LLM_THREADS is both under variables and under",
        ),
        ("Spacefile", "license", "secrets: [PASSWORD]\nlicense", "PASSWORD under secrets is no setting of this app; "),
        (
            "Spacefile",
            "license",
            "hardware: t4-small\nlicense",
            "t4-small has a GPU, and the wheels of https://abetlen",
        ),
        ("Spacefile", "whl/cpu", "whl/cu124", "cpu-basic has no GPU, and the wheels of https://abetlen"),
        ("Spacefile", "license", "hardware: zero-a10g\nlicense", "zero-a10g lends a GPU for single calls"),
    ],
)
def test_a_mismatch_is_told_and_ends_with_1(
    project: Project, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, said: str
) -> None:
    project.edit(file, old, new)

    assert main(["space", "check"]) == 1
    assert said in capsys.readouterr().err


def test_a_readme_without_front_matter_is_told_with_the_command_that_writes_it(project: Project) -> None:
    project.write("README.md", "# A chat\n")

    assert project.problems() == [
        f"README.md has no front matter, by which the Hub knows the Space. Write it: {check.FIX}"
    ]


def test_fix_writes_the_front_matter_and_nothing_else(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# A chat\n\n---\nText between lines.\n---\n"
    project.write("README.md", text)

    assert main(["space", "check", "--fix"]) == 0
    assert "front matter is written" in capsys.readouterr().out
    assert readme.body((project.root / "README.md").read_text()).lstrip() == text
    assert main(["space", "check", "--fix"]) == 0
    assert "is written" not in capsys.readouterr().out


def test_a_model_on_a_volume_and_another_wheel_index_with_a_gpu_fit(project: Project) -> None:
    project.edit("Spacefile", "whl/cpu", "whl/cu124")
    project.add_to_spacefile(
        "hardware: t4-small\nmodel: /models/a.gguf\nstorage: ['hf://models/o/r:/models', 'hf://buckets/o/b:/data']\n"
    )

    assert project.problems() == []


def test_the_settings_of_whoever_checks_do_not_count(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARALLEL", "0")

    assert project.problems() == []
