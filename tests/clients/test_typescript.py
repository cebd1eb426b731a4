"""The TypeScript client: its own tests against the running app, its types, and that it installs as the guide says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import App

pytestmark = pytest.mark.slow

PACKAGE_SECONDS = 400  # the first test waits for npm too


def run(folder: Path, *command: str, **variables: str) -> str:
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | {"NO_COLOR": "1"} | variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.timeout(PACKAGE_SECONDS)
def test_its_own_tests_and_the_guides_examples_pass_against_the_running_app(client_folder: Path, app: App) -> None:
    run(client_folder, "npm", "test", LLM_TEST_URL=app.url)


@pytest.mark.timeout(PACKAGE_SECONDS)
def test_its_types_and_those_of_the_guides_examples_are_right(client_folder: Path) -> None:
    run(client_folder, "npm", "run", "check")


def test_a_project_that_installs_the_folder_can_use_it(client_folder: Path, app: App, tmp_path: Path) -> None:
    run(client_folder, "npm", "run", "build")
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    program = """
        import { createClient } from "llm-core-client";
        console.log((await createClient({ baseUrl: process.argv[1] }).health()).status);
    """

    run(tmp_path, "npm", "install", "--offline", "--no-audit", str(client_folder))

    assert run(tmp_path, "node", "--input-type=module", "-e", program, app.url) == "ok\n"


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
