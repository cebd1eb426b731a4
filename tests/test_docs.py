"""The README and docs/: examples run, commands are there, links lead somewhere, the site can be built.

Blocks of Python are run page by page, from top to bottom, as one program each. A block that cannot run says why in a
comment right above it: `<!-- not run: needs a GPU -->`. Where a page calls the app, an app is there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bench.__main__ import SCENARIOS
from llm_core.cli import parser
from llm_core.client import LLMClient
from llm_core.server.server import build_server
from llm_core.settings import Settings
from scripts.docs_links import links_out_of_docs
from tests.environment import environment_without
from tests.waiting import free_port, wait_until

from .clients.conftest import process

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SHOWN_URL = "http://localhost:7860"
# Blocks marked `py`, and curl's, that a test of their own runs with what it takes.
RUN_ELSEWHERE = {"function-calling.md": "tests/http/test_tools_docs.py", "mqtt.md": "tests/mqtt/test_docs.py"}
PROGRAM_SECONDS = 400
BUILD_SECONDS = 400
# Short replies.
PROGRAM_SETTINGS = {
    "LLM_MAX_TOKENS": "40",
    "LLM_PARALLEL": "2",
    "LLM_CONTEXT_TOKENS": "2048",
    "LLM_RATE_LIMIT": "none",
}
NEEDS_NOTHING_OF_OURS = {
    "cd",
    "export",
    "npm",
    "npx",
    "pip",
    "git",
    "curl",
    "docker",
    "apt",
    "dnf",
    "xcode-select",
    "hf",
    "mosquitto_sub",
    "mosquitto_pub",
    "mosquitto_passwd",
    "openssl",
}

BLOCK = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\bsrc=\"?https?://|<link[^>]*\brel=\"?(?:stylesheet|preconnect)[^>]*https?://"
)


def blocks(page: Path, *kinds: str) -> list[str]:
    """The blocks of these kinds that run here: those without a reason why not."""
    found = BLOCK.findall(page.read_text())
    return [text for comment, kind, text in found if kind in kinds and not comment.startswith("not run: ")]


def python_of(page: Path) -> str:
    kinds = ("python",) if page.name in RUN_ELSEWHERE else ("python", "py")
    return "\n".join(blocks(page, *kinds))


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command in a page's shell blocks."""
    commands, begun = [], ""
    for line in "\n".join(blocks(page, "sh", "bash")).replace("\\\n", " ").splitlines():
        begun += f"{line}\n"
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        commands.append(words)
        begun = ""
    return [words for words in commands if words]


PROGRAMS = [page for page in PAGES if python_of(page)]


@pytest.fixture(scope="module")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app as an operator starts it."""
    port = free_port()
    inherited = environment_without("LLM_", "GRADIO_", "MQTT_")
    settings = PROGRAM_SETTINGS | {
        "GRADIO_SERVER_PORT": str(port),
        "LLM_DATA_DIR": str(tmp_path_factory.mktemp("app")),
    }
    with process([sys.executable, "app.py"], ROOT, "Chat: ", inherited | settings):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: httpx.get(f"{url}/api/llm/health").is_success, "the model is loaded", PROGRAM_SECONDS)
        yield url


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(PROGRAM_SECONDS + 30)
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_the_python_of_a_page_read_top_to_bottom_is_a_program_that_runs(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = python_of(page)
    if SHOWN_URL in program:
        program = program.replace(SHOWN_URL, request.getfixturevalue("app_url"))
    (tmp_path / "example.py").write_text(program)

    # -c and not the file itself: the modules of the repository's root must be found as in the root.
    start = f"import runpy; runpy.run_path({str(tmp_path / 'example.py')!r}, run_name='__main__')"
    environment = os.environ | PROGRAM_SETTINGS | {"LLM_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", start]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


@pytest.mark.parametrize("page", [DOCS / name for name in RUN_ELSEWHERE], ids=lambda page: page.name)
def test_blocks_that_are_run_elsewhere_are(page: Path) -> None:
    test = ROOT / RUN_ELSEWHERE[page.name]

    assert page.name in test.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    comments = [comment for comment, _, _ in BLOCK.findall(page.read_text()) if comment]

    assert [comment for comment in comments if not re.fullmatch(r"not run: .{4,}", comment)] == []


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_a_page_is_there(page: Path) -> None:
    missing = [command for command in commands_of(page) if not is_there(command)]

    assert not missing


def is_there(command: list[str]) -> bool:
    """Whether a command names a chore of the Makefile, a module or file of ours, or a program that is not ours."""
    words = [word for word in command if not re.match(r"^[A-Z_]+=", word)]
    if not words:  # only variables
        return True
    program, *arguments = words
    if program == "make":
        chores = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return all(argument in chores for argument in arguments if re.fullmatch(r"[a-z-]+", argument))
    if Path(program).name in ("python", "python3"):
        if arguments[:2] == ["-m", "llm_core"]:
            return is_command(arguments[2:])
        if arguments[:1] == ["-m"]:
            return importlib.util.find_spec(arguments[1]) is not None
        return arguments[:1] == ["-c"] or (ROOT / arguments[0]).is_file()
    if program == "llm-core":
        return is_command(arguments)
    return program in NEEDS_NOTHING_OF_OURS or (ROOT / program).is_file()


def is_command(arguments: list[str]) -> bool:
    """Whether `llm-core` knows a command with these options."""
    with suppress(SystemExit):
        parser().parse_args(arguments)
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_requests_for_curl_are_answered(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    requests = [block for block in blocks(page, "sh", "bash") if block.startswith("curl ") and SHOWN_URL in block]
    if not requests or page.name in RUN_ELSEWHERE:
        return
    if not shutil.which("curl"):
        pytest.skip("there is no curl on this machine")
    for block in requests:
        script = block.replace(SHOWN_URL, request.getfixturevalue("app_url"))
        ran = subprocess.run(
            ["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout
        assert '"error"' not in ran.stdout


# ── what pages say of the routes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def routes() -> dict[str, dict[str, dict[str, object]]]:
    """Path to method to description, as `/docs` shows them. No model is loaded for that."""
    with LLMClient(Settings(database_url="sqlite://")) as client:
        paths: dict[str, dict[str, dict[str, object]]] = build_server(client).openapi()["paths"]
        return paths


def test_the_page_on_http_has_every_route(routes: dict[str, dict[str, dict[str, object]]]) -> None:
    said = re.sub(r"\{\w+\}", "{}", (DOCS / "http.md").read_text())
    here = {f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}" for path, of in routes.items() for method in of}

    assert {route for route in here if route not in said} == set()


def test_the_page_on_streaming_has_every_route_that_streams(routes: dict[str, dict[str, dict[str, object]]]) -> None:
    said = (DOCS / "streaming.md").read_text()
    streaming = {path for path, of in routes.items() if "text/event-stream" in json.dumps(of)}

    assert len(streaming) >= 3
    assert {path for path in streaming if path not in said} == set()


def test_the_page_on_performance_names_the_scenarios_of_the_benchmark() -> None:
    named = set(re.findall(r"^\| `(\w+)` \| (?:what|how|does)", (DOCS / "performance.md").read_text(), re.MULTILINE))

    assert named == set(SCENARIOS)


# ── links and the site ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_anchor_that_a_page_links_to_is_a_heading(page: Path) -> None:
    dead = []
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path)
        if anchor and "://" not in link and anchor not in anchors_of(target):
            dead.append(link)

    assert not dead


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub and MkDocs make of a page's headings."""
    headings = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in HEADING.findall(page.read_text())]
    return {re.sub(r"\s+", "-", heading.strip()) for heading in headings}


def test_the_list_of_decisions_has_each_under_its_title() -> None:
    listed = (DOCS / "decisions" / "index.md").read_text()
    decisions = [page for page in (DOCS / "decisions").glob("*.md") if page.name != "index.md"]
    titles = {page.name: page.read_text().splitlines()[0].removeprefix("# ") for page in decisions}

    assert {name for name, title in titles.items() if f"- [{title}]({name})" not in listed} == set()


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS + 30)
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}

    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )

    assert built.returncode == 0, built.stderr
    assert (site / "index.html").is_file()
    assert [page.name for page in site.rglob("*.html") if LOADED.search(page.read_text())] == []


def test_make_docs_builds_the_site() -> None:
    # Without what `make test` itself was given.
    bare = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKEOVERRIDES", "ARGS"}}
    shown = subprocess.run(
        ["make", "-n", "docs"], cwd=ROOT, env=bare, capture_output=True, text=True, timeout=30, check=True
    )

    assert "-m mkdocs build --strict" in shown.stdout


class TestLinksOutOfDocs:
    def test_without_a_repository_they_are_text(self) -> None:
        assert links_out_of_docs("See [the Makefile](../Makefile).", "engine.md", None) == "See the Makefile."

    def test_with_one_they_lead_there(self) -> None:
        replaced = links_out_of_docs("[this](../../app.py)", "decisions/1.md", "https://example.org/r/")

        assert replaced == "[this](https://example.org/r/blob/HEAD/app.py)"

    @pytest.mark.parametrize(
        "link", ["[a](engine.md)", "[a](../index.md)", "[a](#here)", "[a](https://example.org)", "![a](../a.png)"]
    )
    def test_others_stay_as_they_are(self, link: str) -> None:
        assert links_out_of_docs(link, "decisions/1.md", None) == link
