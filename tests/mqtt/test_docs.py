"""docs/mqtt.md: its examples work as they stand, its configurations keep clients apart, its tables are complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_core.client import LLMClient
from llm_core.errors import BrokerError
from llm_core.mqtt import MQTTChatClient, payloads
from llm_core.mqtt.worker.projects import Projects
from tests.waiting import free_port

from .conftest import QUESTION, Broker, running_broker, serving, settings_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "mqtt.md").read_text()
SHOWN_URL = "mqtt://localhost:1883"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def environment(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where Mosquitto's clients find another port than 1883: they read their defaults from a file."""
    folder = tmp_path_factory.mktemp("config")
    for program in ("mosquitto_pub", "mosquitto_sub"):
        (folder / program).write_text(f"-p {broker.port}\n")
    return os.environ | {"XDG_CONFIG_HOME": str(folder)}


def test_the_commands_of_the_page_ask_and_hear_the_reply(
    broker: Broker, worker: LLMClient, environment: dict[str, str]
) -> None:
    listen, ask = (block for block in blocks("sh") if block.startswith(("mosquitto_sub", "mosquitto_pub")))
    listening = subprocess.Popen(["sh", "-ec", listen], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        # Whether somebody has subscribed, only the broker knows: it is asked until the reply is heard.
        until = time.monotonic() + 60
        while listening.poll() is None and time.monotonic() < until:
            subprocess.run(["sh", "-ec", ask], env=environment, check=True, timeout=30)
            try:
                listening.wait(2)
            except subprocess.TimeoutExpired:
                continue
        heard, _ = listening.communicate(timeout=10)
    finally:
        listening.kill()

    assert '"type":"done"' in heard.splitlines()[-1]
    assert heard.startswith("llm/demo/reply/kitchen/r1 {")


def test_the_python_of_the_page_prints_a_reply(
    broker: Broker, worker: LLMClient, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = blocks("py")
    assert SHOWN_URL in program
    exec(program.replace(SHOWN_URL, broker.url), {})

    assert capsys.readouterr().out.strip()


def test_the_projects_of_the_page_can_be_used(tmp_path: Path) -> None:
    for text in blocks("yaml"):
        (tmp_path / "projects.yaml").write_text(text)
        assert Projects.load(tmp_path / "projects.yaml", "none")


def test_the_table_of_requests_has_every_field() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.split("## Requests")[1].split("## Replies")[0]))

    assert set(payloads.Ask.model_fields) - {"options"} <= named
    assert {"temperature", "top_p", "max_tokens", "tools", "response_format"} <= named


def test_the_table_of_errors_has_every_code_that_says_when_to_try_again() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.split("| code |")[1].split("Where a payload")[0]))

    assert set(payloads.RETRY_SECONDS) - {"shutting_down"} <= named


def test_the_way_of_a_request_leads_through_files_that_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py)`", PAGE.split("## The way of a request")[1].split("\n## ")[0])

    assert len(named) >= 8
    assert [name for name in named if not (ROOT / "llm_core" / "mqtt" / name).is_file()] == []


# ── the configurations ───────────────────────────────────────────────────────────────────────────────────────────────

PASSWORDS = {"llm-worker": "a-secret-of-the-workers", "kitchen": "a-secret-of-the-kitchen", "garage": "another-secret"}


def configuration(text: str, folder: Path, port: int) -> str:
    """A configuration of the page, for another folder and port, and only on this machine."""
    text = re.sub(r"^listener \d+$", f"listener {port} 127.0.0.1", text, flags=re.MULTILINE)
    text = re.sub(r"^(?:persistence|autosave|max_queued).*\n", "", text, flags=re.MULTILINE)  # as tests have them
    return text.replace("/etc/mosquitto", str(folder))


@pytest.fixture(scope="module")
def guarded(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker as the page sets one up, and a worker on it."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    listener, access, _ = blocks("ini")
    (folder / "acl").write_text(access)
    commands = next(block for block in blocks("sh") if block.startswith("mosquitto_passwd"))
    more = f"mosquitto_passwd -b {folder}/passwords garage another-secret"
    subprocess.run(
        ["sh", "-ec", commands.replace("/etc/mosquitto", str(folder)) + more],
        check=True,
        capture_output=True,
        timeout=30,
    )
    with running_broker(folder / "broker", configuration(listener, folder, port), port=port) as broker:
        settings = settings_for(broker, folder, MQTT_URL=url_of(broker, "llm-worker"))
        with serving(settings):
            yield broker


def url_of(broker: Broker, name: str) -> str:
    return f"mqtt://{name}:{PASSWORDS[name]}@127.0.0.1:{broker.port}"


def test_a_client_with_its_own_password_is_answered(guarded: Broker) -> None:
    with MQTTChatClient(url_of(guarded, "kitchen"), name="kitchen") as client:
        assert client.generate(QUESTION, max_tokens=2)


def test_a_client_cannot_be_another_one(guarded: Broker) -> None:
    with (
        MQTTChatClient(url_of(guarded, "garage"), name="kitchen", patience=1.5) as client,
        pytest.raises(BrokerError, match="does not let this client publish"),
    ):
        client.generate(QUESTION)


def test_a_client_hears_nothing_of_others_and_cannot_speak_as_a_worker(guarded: Broker) -> None:
    spy = f"mosquitto_sub -h 127.0.0.1 -p {guarded.port} -u garage -P another-secret -t 'llm/#' -W 4 -v"
    listening = subprocess.Popen(["sh", "-c", spy], stdout=subprocess.PIPE, text=True)
    forge = f"mosquitto_pub -h 127.0.0.1 -p {guarded.port} -u garage -P another-secret -q 1 -m '{{}}' -t "
    for topic in ("llm/default/reply/kitchen/r1", "llm/worker/w1/again", "llm/default/cancel/kitchen/r1"):
        subprocess.run(["sh", "-c", forge + topic], check=False, timeout=30, capture_output=True)
    with MQTTChatClient(url_of(guarded, "kitchen"), name="kitchen") as client:
        assert client.generate(QUESTION, max_tokens=2)
    heard, _ = listening.communicate(timeout=30)

    assert {line.split()[0] for line in heard.splitlines() if not line.startswith("llm/status/")} == set()


def test_clients_and_workers_may_have_certificates(mosquitto: str, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl on this machine")
    commands = next(block for block in blocks("sh") if block.startswith("openssl"))
    made = subprocess.run(
        ["sh", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    if "copy_extensions" in made.stderr:
        pytest.skip("this openssl is older than version 3")
    assert made.returncode == 0, made.stderr
    _, access, encrypted = blocks("ini")
    (tmp_path / "acl").write_text(access)
    port = free_port()
    with running_broker(tmp_path / "broker", configuration(encrypted, tmp_path, port), port=port) as broker:
        files: dict[str, Any] = {
            "MQTT_URL": f"mqtts://localhost:{port}",
            "MQTT_CA_FILE": tmp_path / "ca.pem",
            "MQTT_CERT_FILE": tmp_path / "worker.pem",
            "MQTT_KEY_FILE": tmp_path / "worker.key",
        }
        own = {"cert_file": tmp_path / "kitchen.pem", "key_file": tmp_path / "kitchen.key"}
        url, ca = f"mqtts://localhost:{port}", tmp_path / "ca.pem"
        with serving(settings_for(broker, tmp_path, **files)):
            with MQTTChatClient(url, name="kitchen", ca_file=ca, **own) as client:
                assert client.generate(QUESTION, max_tokens=2)
            for strange in ({"ca_file": ca}, own):  # without a certificate; without trust in the broker's
                with (
                    MQTTChatClient(url, name="kitchen", patience=1.5, **strange) as client,
                    pytest.raises(BrokerError, match="Nobody has answered"),
                ):
                    client.generate(QUESTION)
