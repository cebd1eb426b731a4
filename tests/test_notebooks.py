"""The notebooks as they are stored: whole outputs, nothing of the machine that made them, one way to begin.

That they run is tested by running them: pytest collects `notebooks/` through nbmake.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.notebooks import FOLDER, cleaned, problems

ROOT = FOLDER.parent
PATHS = sorted(FOLDER.glob("*.ipynb"))
NAMES = ["01_streaming", "02_sessions_and_api", "03_function_calling", "04_many_users"]
Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    notebook: Notebook = json.loads(path.read_text())
    return notebook


def code_of(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def notebook() -> Notebook:
    return copy.deepcopy(read(PATHS[0]))


def test_there_are_these_notebooks() -> None:
    assert [path.stem for path in PATHS] == NAMES


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_whole_outputs_and_no_trace_of_a_machine(path: Path) -> None:
    assert problems(read(path)) == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_make_notebooks_leaves_it(path: Path) -> None:
    stored = read(path)
    for cell in stored["cells"]:
        cell["source"] = "".join(cell["source"])
    again = cleaned(stored)

    assert [cell["source"] for cell in again["cells"]] == [cell["source"] for cell in stored["cells"]]
    assert again["metadata"] == stored["metadata"]
    for cell in stored["cells"]:
        assert cell["metadata"] == {}
        assert set(cell) <= {"cell_type", "id", "metadata", "source", "execution_count", "outputs"}


def test_all_begin_with_the_same_cell() -> None:
    assert len({"".join(code_of(read(path))[0]["source"]) for path in PATHS}) == 1


@pytest.mark.slow
def test_the_cell_that_starts_the_app_can_be_run_again() -> None:
    cells = ["".join(cell["source"]) for cell in code_of(read(FOLDER / "02_sessions_and_api.ipynb"))]
    (start,) = [cell for cell in cells if "running(build_server" in cell]
    asks = "import httpx; assert httpx.get(f'{url}/api/llm/health').status_code == 200"
    program = "\n".join([cells[0], start, start, asks, "app.close()"])

    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert "Invalid file descriptor" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_the_first_cell_clones_the_repository_where_there_is_none(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    cell = "".join(code_of(read(PATHS[0]))[0]["source"])
    # -P: the folder that Python starts in is not the repository's.
    command = [sys.executable, "-P", "-c", f"{cell}\nimport llm_core; print(llm_core.__file__)"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["LLM_CORE_REPOSITORY"] = ROOT.as_uri()

    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()) == (tmp_path / "llm-core" / "llm_core" / "__init__.py").resolve()


class TestProblems:
    def test_a_notebook_without_outputs_has_one(self, notebook: Notebook) -> None:
        for cell in code_of(notebook):
            cell["outputs"] = []

        assert problems(notebook) == ["it has no outputs"]

    def test_cells_run_out_of_order_are_one(self, notebook: Notebook) -> None:
        code_of(notebook)[0]["execution_count"] = 7

        assert problems(notebook) == ["its cells were not run once each, from top to bottom"]

    @pytest.mark.parametrize("text", ["/home/ada/model.gguf", "saved in /tmp/x", "C:\\Users\\ada"])
    def test_a_path_is_one(self, notebook: Notebook, text: str) -> None:
        code_of(notebook)[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [text]}]

        assert len(problems(notebook)) == 1

    @pytest.mark.parametrize("text", ["/api/llm/chat", "tokens/second", "and/or", "http://127.0.0.1:1/tmp/"])
    def test_a_route_is_none(self, notebook: Notebook, text: str) -> None:
        code_of(notebook)[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [text]}]

        assert problems(notebook) == []

    def test_a_warning_is_one(self, notebook: Notebook) -> None:
        code_of(notebook)[0]["outputs"] = [{"output_type": "stream", "name": "stderr", "text": ["careful"]}]

        assert len(problems(notebook)) == 1

    def test_an_error_is_one(self, notebook: Notebook) -> None:
        error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
        code_of(notebook)[0]["outputs"] = [error]

        assert len(problems(notebook)) == 1
