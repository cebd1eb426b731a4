"""The TypeScript client: its own tests against the running app, its types, what it depends on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import App, run

pytestmark = pytest.mark.slow

PACKAGE_SECONDS = 400  # the first test waits for npm too


@pytest.mark.timeout(PACKAGE_SECONDS)
def test_its_own_tests_and_the_guides_examples_pass_against_the_running_app(client_folder: Path, app: App) -> None:
    run(client_folder, "npm", "test", LLM_TEST_URL=app.url)


@pytest.mark.timeout(PACKAGE_SECONDS)
def test_its_types_and_those_of_the_guides_examples_are_right(client_folder: Path) -> None:
    run(client_folder, "npm", "run", "check")


def test_the_lock_file_names_no_registry(client_folder: Path) -> None:
    assert "resolved" not in (client_folder / "package-lock.json").read_text()


def test_the_client_depends_on_nothing_but_the_parser_of_events(client_folder: Path) -> None:
    package = json.loads((client_folder / "package.json").read_text())
    imported = {
        name
        for file in (client_folder / "src").iterdir()
        for name in re.findall(r'from "([^."][^"]*)"', file.read_text())
    }

    assert set(package["dependencies"]) == {"eventsource-parser"}
    assert imported == {"eventsource-parser", "react"}
