"""What `/openapi.json` says is true: schemathesis asks what it allows, and much that it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedding_model import minilm_path as minilm_path
from tests.scripted import saying
from tests.served import loaded_client, served

# 400 is for what no schema can say: a conversation that does not fit, a result of a call that nobody made.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]
# `max_tokens` is no secret: what was sent is told, so that it can be sent again.
[output.sanitization]
enabled = false
"""
RUN = ["run", "--checks", "all", "--seed", "1", "--generation-database", "none", "--suppress-health-check", "all"]
RUN += ["--request-timeout", "60"]  # of a machine that is busy with other work
# Callers name their sessions: one is made by one name and asked for by another, which that check takes for lost.
RUN += ["--exclude-checks", "ensure_resource_availability"]
# Every boundary of every field of a chat is some 1,500 requests, which take minutes; their fuzzing is enough here.
_FUZZED = r"chat$|/chat/session$|/stream$|completions$|responses$|apply-template$|generate$|messages$|count_tokens$"
OTHERS = ["--phases", "coverage", "--exclude-path-regex", _FUZZED]


@pytest.fixture(scope="module")
def url(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("data")
    models = f"bundled, {minilm_path}"
    with (
        loaded_client(folder, model=models, context_tokens=256, admin_tokens="root:secret") as client,
        saying(client, "Hello"),
        served(client) as url,
    ):
        yield url


@pytest.mark.local_engine
@pytest.mark.parametrize(
    "asked",
    [["--phases", "examples,fuzzing,stateful", "--max-examples", "20"], OTHERS],
    ids=["whatever may come", "every boundary"],
)
def test_schemathesis_finds_nothing_with_all_its_checks(url: str, tmp_path: Path, asked: list[str]) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)

    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", config, *RUN, *asked, f"{url}openapi.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert re.search(r"\b(\d+) selected / \1 total", run.stdout) or asked is OTHERS
