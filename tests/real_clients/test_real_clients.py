"""Other people's clients, unmodified, against one app on the bundled model; docs/clients.md says what was tried."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.clients import REQUIREMENTS
from scripts.setup import ROOT

from .conftest import Report

FOLDER = Path(__file__).parent
CASES = ("streamed", "tools", "structured", "error", "cancel")
SHARED = {"harness", "ai_sdk"}  # what programs have in common
PROGRAMS = sorted(each for kind in ("py", "mjs") for each in FOLDER.glob(f"*/*.{kind}") if each.stem not in SHARED)
NAMES = [str(each.relative_to(FOLDER)) for each in PROGRAMS]

PAGE = (ROOT / "docs" / "clients.md").read_text()
BLOCK = re.compile(r"^<!-- not run: tests/real_clients/(\S+) does -->\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What stands in the page in place of a program's names.
SHOWN = {
    '"http://localhost:7860/v1"': "V1",
    '"http://localhost:7860"': "URL",
    "http://localhost:7860/v1": "{V1}",
    '"none"': "KEY",
    '"any"': "MODEL",
    '"openai/any"': 'f"openai/{MODEL}"',
    ": any": ": {MODEL}",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_a_client_does_what_it_does_elsewhere(program: Path, case: str, report_of: Report) -> None:
    failed = report_of(program)[case]

    assert failed is None, failed


def rows() -> dict[str, list[str]]:
    """The page's table: program to the cells before and after it."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and "real_clients/" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {re.findall(r"real_clients/([\w./]+)", row[0])[0]: row for row in cells}


def test_the_table_has_the_clients_that_are_tried_and_nothing_else() -> None:
    assert sorted(rows()) == sorted(NAMES)
    for row in rows().values():
        assert row[3:] == ["yes"] * len(CASES), row[0]


def test_the_table_has_the_versions_that_are_installed() -> None:
    wanted = {}
    for file in REQUIREMENTS:
        wanted |= dict(re.findall(r"^([\w-]+)(?:\[\w+\])?(>=\S+)$", file.read_text(), re.MULTILINE))
    npm = json.loads((FOLDER / "node" / "package.json").read_text())["dependencies"]
    for name, row in rows().items():
        package = row[1].strip("`")
        assert row[2].strip("`") == (npm if name.endswith(".mjs") else wanted)[package], name


def test_the_page_sets_each_client_up_as_its_program_does() -> None:
    shown = dict(BLOCK.findall(PAGE))

    assert sorted(shown) == sorted(NAMES)
    for name, block in shown.items():
        for text, stands_for in SHOWN.items():
            block = block.replace(text, stands_for)
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        there = {line.strip() for line in (FOLDER / name).read_text().splitlines()}
        assert [line for line in lines if line not in there] == [], name
