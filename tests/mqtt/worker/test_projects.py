"""Projects: what a file may say, and what it changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, ProjectNotFound, RateLimited, SettingsError
from llm_core.mqtt.worker.projects import MOST_TEMPLATES, Limits, Project, Projects, Templates

from ..conftest import Broker, Device, serving, settings_for

WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
FILE = """
projects:
  kitchen:
    clients: [oven-*, fridge]
    system_prompt: You are a cook.
    prompt_from: [template]
    options: {temperature: 0, stop: ["END"]}
    tools: [{type: function, function: {name: get_weather}}]
    tool_choice: none
    limits: {max_tokens: 20, rate: 3/hour, running: 1, payload_bytes: 300}
  open:
  maze:
    system_prompt: You are a guide.
    prompt_from: [request, template]
    limits: {rate: none}
    compatibility: {reply_below: [game/replies/], json_replies: true}
  old:
    limits: {rate: none}
    compatibility: true
"""


@pytest.fixture(scope="module")
def projects_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("projects") / "projects.yaml"
    path.write_text(FILE)
    return path


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_file_there_is_any_project_with_nothing_of_its_own() -> None:
    assert Projects.load(None, "none").get("whatever", "anyone") == Project()


def test_with_a_file_there_are_its_projects_for_their_clients(projects_file: Path) -> None:
    projects = Projects.load(projects_file, "none")

    assert projects.get("kitchen", "oven-7").system_prompt == "You are a cook."
    assert projects.get("open", "anyone") == Project()
    for name, client in (("kitchen", "car"), ("kitchen", "fridge-2"), ("garage", "oven-7")):
        with pytest.raises(ProjectNotFound):
            projects.get(name, client)
    assert projects.compatible() == ["maze", "old"]


WRONG = [
    ("", "has no `projects:`"),
    ("projects: []", "has no `projects:`"),
    ("projects: {status: {}}", "cannot have the name 'status'"),
    ("projects: {a/b: {}}", "cannot have the name 'a/b'"),
    ("projects: {a: {colour: red}}", "projects.a.colour"),
    ("projects: {a: {options: {temperature: 9}}}", "temperature"),
    ("projects: {a: {options: {owner: me}}}", "there is no owner"),
    ("projects: {a: {limits: {rate: often}}}", "projects.a.limits.rate: not a rate"),
    ("projects: {a: {tools: [{type: function}]}}", "tools"),
    ("projects: {a: {prompt_from: [anyone]}}", "projects.a.prompt_from"),
    ("projects: {a: {compatibility: {reply_below: ['#']}}}", "must end with a slash"),
    ("projects: [", "cannot be read"),
    ("projects: !!python/object/apply:os.system ['true']", "cannot be read"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "projects.yaml"
    path.write_text(text)

    with pytest.raises(SettingsError) as refused:
        Projects.load(path, "none")
    assert refused.value.message.startswith(f"MQTT_PROJECTS={str(path)!r}")
    assert said in refused.value.message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Projects.load(tmp_path / "none.yaml", "none")


# ── what a project changes ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_takes_what_it_does_not_say_from_its_project(projects_file: Path) -> None:
    kitchen = Projects.load(projects_file, "none").get("kitchen")
    options = kitchen.request_options({"temperature": 1.0, "seed": None})

    assert (options["temperature"], options["stop"], options["max_tokens"]) == (1.0, ["END"], 20)
    assert options["tools"] == [{"type": "function", "function": {"name": "get_weather"}}]
    assert "seed" not in options


def test_no_request_goes_beyond_the_limit(projects_file: Path) -> None:
    with pytest.raises(InvalidRequest, match="at most 20 in this project"):
        Projects.load(projects_file, "none").get("kitchen").request_options({"max_tokens": 21})


@pytest.mark.parametrize("more", ["21", 21.0])
def test_a_number_written_otherwise_does_not_go_beyond_the_limit(projects_file: Path, more: Any) -> None:
    with pytest.raises(InvalidRequest, match="at most 20"):
        Projects.load(projects_file, "none").get("kitchen").request_options({"max_tokens": more})


def test_who_asks_for_no_limit_gets_what_the_project_allows(projects_file: Path) -> None:
    kitchen = Projects.load(projects_file, "none").get("kitchen")
    assert kitchen.request_options({"max_tokens": -1})["max_tokens"] == 20
    assert Project(options={"max_tokens": -1}, limits=Limits(max_tokens=5)).request_options({})["max_tokens"] == 5


def test_the_system_prompt_comes_from_whom_the_project_lets(projects_file: Path) -> None:
    projects = Projects.load(projects_file, "none")
    kitchen, maze = projects.get("kitchen"), projects.get("maze")

    assert kitchen.choose_prompt(None, None) == "You are a cook."
    assert kitchen.choose_prompt(None, "from template") == "from template"
    with pytest.raises(InvalidRequest, match="system_prompt"):
        kitchen.choose_prompt("from request", None)
    assert maze.choose_prompt("from request", "from template") == "from request"
    assert Project().choose_prompt(None, "from template") is None


def test_a_client_that_asks_too_often_is_told_when_to_come_back(projects_file: Path) -> None:
    projects = Projects.load(projects_file, "1/hour")
    for _ in range(3):
        projects.count("kitchen", "oven-1")
    with pytest.raises(RateLimited) as refused:
        projects.count("kitchen", "oven-1")
    assert refused.value.retry_after is not None
    projects.count("kitchen", "oven-2")
    projects.count("open", "oven-1")
    with pytest.raises(RateLimited):
        projects.count("open", "oven-1")
    for _ in range(9):
        projects.count("maze", "oven-1")


def test_a_template_is_for_one_session_of_one_client_or_of_any() -> None:
    admits = Project(prompt_from=("template",))
    templates = Templates(Projects({"p": admits, "q": admits, "closed": Project()}, "none"), 1000)

    def publish(project: str, **fields: Any) -> None:
        templates.receive(project, json.dumps(fields).encode())

    publish("p", session_id="s", system_prompt="any")
    publish("p", session_id="s", system_prompt="ann's", client="ann")
    publish("closed", session_id="s", system_prompt="any")

    assert templates.get("p", "ann", "s") == "ann's"
    assert templates.get("p", "bob", "s") == "any"
    assert templates.get("p", "bob", "t") is templates.get("q", "bob", "s") is templates.get("p", "bob", None) is None
    assert templates.get("closed", "bob", "s") is None
    for number in range(MOST_TEMPLATES):
        publish("p", session_id=str(number), system_prompt="x")
    assert templates.get("p", "bob", "s") is None
    for wrong in ({}, {"session_id": 1, "system_prompt": "x"}, {"session_id": "s", "system_prompt": "\ud800"}):
        with pytest.raises(InvalidRequest):
            publish("p", **wrong)


# ── on a broker ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def projects_worker(
    broker: Broker, projects_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LLMClient]:
    """A worker that knows projects, beside the one that other tests have: its topics begin with `house`."""
    folder = tmp_path_factory.mktemp("projects-worker")
    settings = settings_for(broker, folder, MQTT_PROJECTS=projects_file, MQTT_PREFIX="house/llm")
    with serving(settings) as client:
        yield client


@pytest.fixture
def player(
    broker: Broker, projects_worker: LLMClient, make_device: Callable[..., Device], request: pytest.FixtureRequest
) -> Device:
    device = make_device(broker, f"oven-{abs(hash(request.node.nodeid)) % 10**9}")
    device.listen("house/llm/+/reply/#")
    return device


def ask(device: Device, project: str, name: str | None = None, **body: Any) -> tuple[str, dict[str, Any]]:
    """Topic and payload of the end of a reply."""
    device.publish(f"house/llm/{project}/request/{name or device.name}", {"request_id": "r1", "max_tokens": 8} | body)
    while True:
        topic, message = device.next()
        if message["type"] in ("done", "error"):
            return topic, message


HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def test_a_project_is_there_for_its_clients_only(player: Device) -> None:
    assert ask(player, "kitchen", **HELLO)[1]["type"] == "done"
    assert ask(player, "kitchen", "car", **HELLO)[1]["code"] == "project_not_found"
    assert ask(player, "garage", **HELLO)[1]["code"] == "project_not_found"


def test_a_projects_limits_hold(player: Device) -> None:
    assert ask(player, "kitchen", messages=[{"role": "user", "content": "x" * 300}])[1]["code"] == "request_too_large"
    assert ask(player, "kitchen", **HELLO, max_tokens=21)[1]["code"] == "invalid_request"
    assert ask(player, "kitchen", **HELLO, system_prompt="You are a poet.")[1]["param"] == "system_prompt"
    assert ask(player, "kitchen", **HELLO, request_id="r2")[1]["type"] == "done"
    assert ask(player, "kitchen", **HELLO, request_id="r3")[1]["code"] == "rate_limited"
    assert ask(player, "kitchen", **HELLO, request_id="r2")[1]["type"] == "done", "the same request again"


def test_only_so_many_requests_of_a_project_run_at_once(player: Device) -> None:
    for number in (1, 2):
        body = HELLO | {"request_id": f"r{number}", "max_tokens": 20}
        player.publish(f"house/llm/kitchen/request/{player.name}", body)
    ends = []
    while len(ends) < 2:
        _, message = player.next()
        if message["type"] in ("done", "error"):
            ends.append(message.get("code", "done"))

    assert sorted(ends) == ["busy", "done"]


def test_a_template_replaces_the_system_prompt_of_one_session(player: Device, projects_worker: LLMClient) -> None:
    template = {"session_id": "one", "system_prompt": "You are a pirate."}
    player.publish("house/llm/maze/template", template, retain=True)
    for session in ("one", "other"):
        assert ask(player, "maze", session_id=session, message="Hello", request_id=session)[1]["type"] == "done"

    sessions = projects_worker.sessions
    prompts = {name: sessions.get(name, owner=f"name:{player.name}").system_prompt for name in ("one", "other")}
    assert prompts == {"one": "You are a pirate.", "other": "You are a guide."}


# ── older clients ────────────────────────────────────────────────────────────────────────────────────────────────────


def old_reply(device: Device, topic: str, body: dict[str, Any] | bytes) -> tuple[str, str]:
    device.publish(topic, body)
    device.next()
    _, message = device.raw[-1]
    return message.topic, message.payload.decode()


def test_an_older_client_gets_the_text_on_the_topic_of_its_names(player: Device, projects_worker: LLMClient) -> None:
    player.listen("old/assistant_response/#")
    body = {"sessionId": "s1", "clientId": "c1", "requestId": "q1", "message": "Hello", "maxTokens": 5, "topP": 0.5}
    topic, text = old_reply(player, "old/user_input", body)

    assert topic == "old/assistant_response/s1/c1/q1"
    history = projects_worker.session_history("s1", owner="project:old")
    assert [message.content for message in history] == ["Hello", text]
    assert old_reply(player, "old/user_input", body) == (topic, text), "the same request again"
    assert len(projects_worker.session_history("s1", owner="project:old")) == 2
    topic, _ = old_reply(player, "old/user_input", {"sessionId": "s1", "message": "Hi", "maxTokens": 3})
    assert topic == "old/assistant_response/s1"


def test_an_older_client_may_name_its_reply_topic_below_what_the_project_allows(player: Device) -> None:
    player.listen("game/#")
    player.listen("maze/assistant_response/#")
    body = {"sessionId": "s2", "message": "Hello", "maxTokens": 3, "replyTopic": "game/replies/7"}
    topic, text = old_reply(player, "maze/user_input", body)
    assert topic == "game/replies/7"
    assert json.loads(text).keys() == {"response", "sessionId"}

    for forged in ("game/other", "maze/user_input", "game/replies/#", "llm/lab/request/x"):
        topic, text = old_reply(player, "maze/user_input", body | {"replyTopic": forged})
        assert topic == "maze/assistant_response/default"
        assert json.loads(text)["code"] == "invalid_request"


@pytest.mark.parametrize("payload", [b"{", b"\xff", {"message": " "}, {"sessionId": "a/#", "message": "Hello"}])
def test_what_an_older_client_says_wrong_gets_an_error(player: Device, payload: Any) -> None:
    player.listen("old/assistant_response/#")
    topic, text = old_reply(player, "old/user_input", payload)

    assert topic == "old/assistant_response/default"
    assert json.loads(text)["code"] == "invalid_request"


def test_an_older_template_message_is_understood(player: Device, projects_worker: LLMClient) -> None:
    player.listen("maze/assistant_response/#")
    player.publish("maze/template", {"sessionId": "s3", "template": {"content": "You are a poet."}})
    old_reply(player, "maze/user_input", {"sessionId": "s3", "message": "Hello", "maxTokens": 3})

    assert projects_worker.sessions.get("s3", owner="project:maze").system_prompt == "You are a poet."
