"""What is written about the project is true of it: tables equal the code, links lead somewhere, imports point down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.errors import SettingsError
from llm_core.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE_SECONDS = 120

LINK = re.compile(r"\]\(([^)\s]+)\)")
LAYOUT_LINE = re.compile(r"^  (\w+)/ ")
VARIABLE_ROW = re.compile(r"^\| `((?:LLM|GRADIO|MQTT)_\w+)` \|", re.MULTILINE)


FIELD_OF = {variable_of(field): field for field in Settings.model_fields}


def settings_rows(page: Path) -> dict[str, list[str]]:
    """The rows of a page's table of settings: variable to the cells after it."""
    rows = [line for line in page.read_text().splitlines() if VARIABLE_ROW.match(line)]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0].strip("`"): row[1:] for row in cells}


def pins(requirements: str) -> dict[str, str]:
    """The packages that a requirements file pins exactly, with their versions."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / requirements).read_text(), re.MULTILINE))


def test_the_settings_page_has_every_setting_and_the_readme_some_of_them() -> None:
    assert set(settings_rows(ROOT / "docs" / "settings.md")) == set(FIELD_OF)
    assert 5 <= len(settings_rows(README)) <= 15


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "settings.md"], ids=lambda page: page.name)
def test_a_table_of_settings_has_their_defaults(page: Path) -> None:
    rows = settings_rows(page)

    assert set(rows) <= set(FIELD_OF)
    for variable, (default, *_) in rows.items():
        field = Settings.model_fields[FIELD_OF[variable]]
        if field.default_factory is not None or field.default in (None, ()):
            assert default, f"{variable}: the default is worked out at the start, which the page has to put in words"
        else:
            shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert default == f"`{shown}`", variable


@pytest.mark.parametrize("variable", FIELD_OF)
def test_the_settings_page_allows_what_the_error_message_allows(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = settings_rows(ROOT / "docs" / "settings.md")[variable][1]
    monkeypatch.setenv(variable, "not a number")
    try:
        Settings.load()
        said = ""
    except SettingsError as error:
        said = "".join(re.findall(r"Allowed: (.*)\.$", error.message))

    assert allowed == said


def test_the_settings_page_shows_a_message_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PARALLEL", "0")

    with pytest.raises(SettingsError) as refused:
        Settings.load()

    assert refused.value.message in (ROOT / "docs" / "settings.md").read_text()


def test_every_link_between_the_pages_leads_to_a_file() -> None:
    dead = [
        f"{page.relative_to(ROOT)} -> {link}"
        for page in PAGES
        for link in LINK.findall(page.read_text())
        if "://" not in link and not (page.parent / link.split("#")[0]).exists()
    ]

    assert not dead


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}

    assert {page for page in pages if f"]({page})" not in index} == set()


def test_every_chore_that_the_pages_name_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # In code only: "a model that makes embeddings" is prose.
    named = {name for page in PAGES for name in re.findall(r"(?:^|`|\d )make ([a-z]+)", page.read_text(), re.MULTILINE)}

    assert {"run", "test", "lint", "bench"} <= named
    assert named <= targets


@pytest.mark.slow
def test_every_command_that_the_pages_name_is_there() -> None:
    named = {name for page in PAGES for name in re.findall(r"-m llm_core ([a-z]+)", page.read_text())}
    command = [sys.executable, "-m", "llm_core", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=EXAMPLE_SECONDS, check=True)

    assert {"chat", "model"} <= named
    assert {name for name in named if not re.search(rf"\b{name}\b", shown.stdout)} == set()


def test_imports_point_only_down_the_list_in_the_readme() -> None:
    rooms = [match[1] for line in README.read_text().splitlines() if (match := LAYOUT_LINE.match(line))]
    doorways = rooms[: rooms.index("mqtt") + 1]  # they stand above `client.py`, which is in the list's middle
    order = ["__main__", "cli", *doorways, "client", *rooms[len(doorways) :]]
    upward = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in (ROOT / "llm_core").rglob("*.py")
        for name in imported_rooms(file)
        if height(name, order) < height(file.relative_to(ROOT / "llm_core").with_suffix("").parts[0], order)
    ]

    assert rooms, "the README has no layout"
    assert not upward


def imported_rooms(file: Path) -> list[str]:
    """The modules and folders right below `llm_core` that a file imports from."""
    imported = [node.module or "" for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    return [name.split(".")[1] for name in imported if name.startswith("llm_core.")]


def height(room: str, order: list[str]) -> int:
    """Place in the order, 0 on top. What is in no list is a noun, known to all; `__init__` is the view from above."""
    if room == "__init__":
        return -1
    return order.index(room) if room in order else len(order)


def test_gradio_and_llama_cpp_python_are_pinned_exactly() -> None:
    assert {"gradio", "llama-cpp-python"} <= set(pins("requirements.txt"))
