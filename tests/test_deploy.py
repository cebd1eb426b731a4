"""The files for several machines hold together: names, settings, what lets streams pass, and the arithmetic."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_core.http.sse import KEEP_ALIVE_SECONDS
from llm_core.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
VARIABLES = set(map(variable_of, Settings.model_fields))
_DEFAULT = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")
CONVERSATION_TOKENS = 4096
IMAGES = ("Dockerfile", "cuda.Dockerfile")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return loaded


@pytest.fixture(scope="module")
def nginx() -> dict[str, list[str]]:
    """Directive to its arguments, one for each time that it is there."""
    text = re.sub(r"#.*", "", (DEPLOY / "nginx.conf").read_text())
    assert text.count("{") == text.count("}")
    found: dict[str, list[str]] = {}
    for statement in re.split(r"[;{}]", text):
        if words := statement.split(maxsplit=1):
            found.setdefault(words[0], []).append(words[1].strip() if len(words) > 1 else "")
    return found


def apps(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "LLM_SERVER_URL" in service.get("environment", {})}


def test_the_copies_of_the_app_have_settings_that_can_be_used(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second) = apps(services).values()
    assert first == second
    environment = {
        name: _DEFAULT.sub(lambda found: "ann:token-of-ann-1234567890" if "TOKENS" in found[1] else "x", value)
        for name, value in first["environment"].items()
    }
    environment["LLM_SERVER_URL"] = re.sub(r"\$\{\w+:-(.*)\}", r"\1", first["environment"]["LLM_SERVER_URL"])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert set(environment) <= VARIABLES
    settings = Settings.load()
    assert settings.sessions_url().drivername == "postgresql+psycopg"
    assert settings.api_tokens


def test_every_name_that_is_called_is_a_service(services: dict[str, Any], nginx: dict[str, list[str]]) -> None:
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
    text = (DEPLOY / "compose.yaml").read_text()
    called = set(re.findall(r"(?:://|@)([a-z][\w-]*):\d+", text))
    assert called <= set(services)
    assert {server.partition(":")[0] for server in nginx["server"] if server} == set(apps(services))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_can_be_trusted(name: str) -> None:
    lines = (DEPLOY / name).read_text()
    bases = re.findall(r"^FROM (\S+)", lines, re.MULTILINE)
    copied = [path for paths in re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.MULTILINE) for path in paths.split()]
    last = lines[lines.rindex("FROM ") :]

    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), "a base image is of one version"
    assert copied
    assert all((ROOT / path).exists() for path in copied)
    assert "\nUSER llm\n" in last
    assert "HEALTHCHECK" in last
    assert "/health'" in last
    assert not re.search(r"\b(g\+\+|devel)\b", last), "no compiler where it runs"


def test_images_take_extras_that_the_package_has(services: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    taken = [service["build"]["args"]["EXTRAS"] for service in apps(services).values()]
    taken += [re.findall(r"^ARG EXTRAS=(\S+)", (DEPLOY / name).read_text(), re.MULTILINE)[0] for name in IMAGES]

    assert all(set(each.split(",")) <= set(extras) for each in taken)


def test_nginx_lets_streams_pass(nginx: dict[str, list[str]]) -> None:
    assert nginx["proxy_buffering"] == ["off"]
    assert nginx["gzip"] == ["off"]
    assert nginx["proxy_http_version"] == ["1.1"]
    assert nginx["proxy_ignore_client_abort"] == ["off"]
    assert 'Connection ""' in nginx["proxy_set_header"]
    assert int(nginx["proxy_read_timeout"][0].removesuffix("s")) > 2 * KEEP_ALIVE_SECONDS
    assert "non_idempotent" not in nginx["proxy_next_upstream"][0], "a POST that is sent twice is said twice"


def table(heading: str) -> list[list[str]]:
    """The rows of a table of docs/remote.md, by the first cell of its heading."""
    lines = (ROOT / "docs" / "remote.md").read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_bytes_per_token_are_what_the_formula_gives() -> None:
    for model, layers, heads, head, number, per_token, conversation in table("model"):
        expected = 2 * int(layers) * int(heads) * int(head) * int(number)
        assert int(per_token) == expected, model
        assert conversation == f"{expected * CONVERSATION_TOKENS / 1e6:.0f} MB", model


def test_users_and_rates_are_what_the_formulas_give() -> None:
    per_token = {row[0]: int(row[5]) for row in table("model")}
    for machine, size, what, users, rate, alone in table("machine"):
        memory, bandwidth = (float(number) for number in re.findall(r"(\d+) GB", size))
        name = next(name for name in per_token if what.startswith(name))
        weights = float(re.findall(r"([\d.]+) GB", what)[0])
        conversation = per_token[name] * CONVERSATION_TOKENS / 1e9
        fitting = int((0.9 * memory - weights) / conversation)

        assert int(users) == fitting, machine
        assert rate == f"{bandwidth / (weights + fitting * conversation):.0f}", machine
        assert alone == f"{bandwidth / (weights + conversation):.0f}", machine
