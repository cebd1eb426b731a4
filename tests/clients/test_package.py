"""The client in somebody's project: as an ES module and as a CommonJS module, with types, and with one React."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, App, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # the first test waits for npm

# What a React project has. Copied from where they are: npm would ask the registry for them.
PEERS = ("react", "react-dom", "scheduler", "@types/react", "csstype")
HEALTH = "createClient({ baseUrl: process.argv[1] }).health().then(({ status }) => console.log(status));"
RENDER = """
const Chat = () => createElement("p", null, useChatSession("s").status);
console.log(renderToString(createElement(Chat)));
"""
TYPED = """
import { llmAPI, type ChatOptions, type LLMError } from "llm-core-client";
import { useChatSession } from "llm-core-client/react";

const options: ChatOptions = { repeat_last_n: 32 };
export const asked: Promise<string> = llmAPI.chat({ messages: [], ...options }).then(({ content }) => content);
export const codeOf = (error: LLMError): string => error.code;
export const hook: (session: string) => { status: string } = useChatSession;
// @ts-expect-error: it is a number
export const wrong: ChatOptions = { repeat_last_n: "32" };
"""


@pytest.fixture(scope="module")
def project(client_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with React that has installed what `npm pack` makes of the folder, as the guide says."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text("{}")
    run(folder, "npm", "pack", "--silent", str(client_folder))
    (package,) = folder.glob("*.tgz")
    peers = [str(client_folder / "node_modules" / name) for name in PEERS]
    run(folder, "npm", "install", "--offline", "--no-audit", "--install-links", f"./{package.name}", *peers)
    return folder


def test_the_guide_says_how(client_folder: Path) -> None:
    version = json.loads((client_folder / "package.json").read_text())["version"]
    guide = (ROOT / "docs" / "typescript.md").read_text()

    assert "npm pack ./clients/typescript" in guide
    assert f"npm install ./llm-core-client-{version}.tgz" in guide


def test_an_es_module_can_import_it(project: Path, app: App) -> None:
    program = f'import {{ createClient }} from "llm-core-client"; {HEALTH}'

    assert run(project, "node", "--input-type=module", "-e", program, app.url) == "ok\n"


def test_a_commonjs_module_can_require_it_without_the_help_of_a_newer_node(project: Path, app: App) -> None:
    program = f'const {{ createClient }} = require("llm-core-client"); {HEALTH}'

    assert run(project, "node", "--no-experimental-require-module", "-e", program, app.url) == "ok\n"


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (
            "module",
            'import { createElement } from "react"; import { renderToString } from "react-dom/server";'
            'import { useChatSession } from "llm-core-client/react";',
        ),
        (
            "commonjs",
            'const { createElement } = require("react"); const { renderToString } = require("react-dom/server");'
            'const { useChatSession } = require("llm-core-client/react");',
        ),
    ],
)
def test_its_hook_runs_in_the_projects_own_react_which_is_the_only_one(project: Path, kind: str, program: str) -> None:
    said = run(project, "node", f"--input-type={kind}", "--no-experimental-require-module", "-e", program + RENDER)

    assert said == "<p>closed</p>\n"
    assert len(list(project.glob("**/node_modules/react/package.json"))) == 1
    assert not (project / "node_modules" / "llm-core-client").is_symlink()


def test_the_client_alone_needs_no_react_and_nothing_from_a_registry(project: Path, tmp_path: Path, app: App) -> None:
    (package,) = project.glob("*.tgz")
    (tmp_path / "package.json").write_text("{}")
    run(tmp_path, "npm", "install", "--offline", "--no-audit", str(package))
    program = f'const {{ createClient }} = require("llm-core-client"); {HEALTH}'

    assert run(tmp_path, "node", "-e", program, app.url) == "ok\n"
    assert not list(tmp_path.glob("**/node_modules/react"))


@pytest.mark.parametrize("suffix", ["mts", "cts"])
def test_its_types_are_there_for_both_kinds_of_module(project: Path, client_folder: Path, suffix: str) -> None:
    (project / f"program.{suffix}").write_text(TYPED)
    compiler = str(client_folder / "node_modules" / ".bin" / "tsc")
    options = ["--noEmit", "--strict", "--module", "nodenext", "--lib", "es2023,dom", "--types", ""]

    checked = subprocess.run(
        [compiler, *options, f"program.{suffix}"], cwd=project, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout


def test_what_is_packed_is_what_is_built(project: Path) -> None:
    installed = project / "node_modules" / "llm-core-client"

    assert {path.name for path in installed.iterdir()} == {"package.json", "dist", "cjs", "node_modules"}
    assert {path.name for path in (installed / "node_modules").iterdir()} == {"eventsource-parser"}
