"""Projects: for each, what its clients' requests have in common, what they may ask, and who they are. One YAML file."""

from __future__ import annotations

from collections import OrderedDict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from llm_core.errors import InvalidRequest, ProjectNotFound, SettingsError
from llm_core.messages import Text, parse_messages
from llm_core.mqtt import payloads
from llm_core.mqtt.topics import NAME_RULE, is_project
from llm_core.options import WIRE_OPTIONS
from llm_core.rate_limit import Rate, RateLimit
from llm_core.request import MAX_TOKENS_LIMIT, MaxTokens, build_request
from llm_core.yaml_file import read_yaml

MOST_TEMPLATES = 1000  # sessions whose template is remembered; what a session has taken over is in the session


class Limits(BaseModel):
    """What clients of a project may ask.

    Attributes:
        max_tokens: The longest reply, and the default where a request does not say. None: as the settings say.
        rate: Requests of one client, such as `30/minute`; `none` for any number. None: `LLM_RATE_LIMIT`.
        running: Requests of the project that one worker makes or has waiting at a time.
        payload_bytes: Longest payload. None: `MQTT_MAX_BYTES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: MaxTokens | None = None
    rate: Rate | None = None
    running: Annotated[int, Field(ge=1)] | None = None
    payload_bytes: Annotated[int, Field(ge=256)] | None = None


class Compatibility(BaseModel):
    """The topics that older clients know: `{project}/user_input` and `{project}/assistant_response/...`.

    Attributes:
        reply_below: What a payload's `replyTopic` may begin with, beside `{project}/assistant_response/`.
        json_replies: Whether an answer is an object with `response`, or the text alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reply_below: tuple[str, ...] = ()
    json_replies: bool = False

    @model_validator(mode="after")
    def _bases_are_levels(self) -> Compatibility:
        for base in self.reply_below:
            if not base.endswith("/") or base.startswith("$") or any(letter in base for letter in "+#"):
                raise ValueError(f"reply_below: {base!r} must end with a slash and have no wildcard")
        return self


_MAX_TOKENS: TypeAdapter[int] = TypeAdapter(MaxTokens)


def _at_most(most: int, wanted: Any) -> Any:
    """The `max_tokens` of a request where a project has a limit; what is no number is refused later.

    Raises:
        InvalidRequest: More is asked for. Who asks for no limit gets what there is.
    """
    try:
        number = _MAX_TOKENS.validate_python(wanted)
    except ValidationError:
        return wanted
    if most < number < MAX_TOKENS_LIMIT:
        raise InvalidRequest(f"max_tokens: at most {most} in this project", param="max_tokens")
    return min(most, number)


class Project(BaseModel):
    """One project.

    Attributes:
        clients: Patterns of the clients that may use it, such as `oven-*`. Who a client is, the broker says.
        system_prompt: Of requests that bring none. None: as the settings say.
        prompt_from: Who may replace it: a request, and a message on the project's template topic, for one session.
        options: Defaults of a request: sampling, `max_tokens`, `stop`, `thinking`, `response_format`...
        tools: What the model may call where a request does not say.
        tool_choice: Which of them.
        compatibility: True, or how, where older clients are served too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clients: tuple[str, ...] = ("*",)
    system_prompt: Text | None = None
    prompt_from: tuple[Literal["request", "template"], ...] = ("request",)
    options: dict[str, Any] = Field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Any = None
    limits: Limits = Limits()
    compatibility: Compatibility | None = None

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, data: Any) -> Any:
        """`compatibility: true` is all of it as it comes."""
        if isinstance(data, dict) and isinstance(data.get("compatibility"), bool):
            data = data | {"compatibility": {} if data["compatibility"] else None}
        return data

    @model_validator(mode="after")
    def _is_a_request(self) -> Project:
        if unknown := sorted(set(self.options) - WIRE_OPTIONS):
            raise ValueError(f"options: there is no {unknown[0]}")
        try:
            build_request(
                [{"role": "user", "content": ""}], **({"max_tokens": 1, "timeout": 1.0} | self.request_options({}))
            )
        except InvalidRequest as error:
            raise ValueError(f"options: {error.message}") from None
        return self

    def admits(self, client: str) -> bool:
        return any(fnmatchcase(client, pattern) for pattern in self.clients)

    def request_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """What a request asks, with what the project says where it says nothing.

        Raises:
            InvalidRequest: It asks for more than is allowed.
        """
        options: dict[str, Any] = dict(self.options)
        if self.tools:
            options |= {"tools": list(self.tools), "tool_choice": self.tool_choice}
        most = self.limits.max_tokens
        if most is not None:
            options["max_tokens"] = min(most, options.get("max_tokens") or most)
        options |= {name: value for name, value in given.items() if value is not None}
        if most is not None:
            options["max_tokens"] = _at_most(most, options["max_tokens"])
        return {name: value for name, value in options.items() if value is not None}

    def choose_prompt(self, asked: str | None, from_template: str | None) -> str | None:
        """The system prompt of a request.

        Raises:
            InvalidRequest: The request brings one, and may not.
        """
        if asked is not None and "request" not in self.prompt_from:
            raise InvalidRequest("system_prompt: this project has its own", param="system_prompt")
        if asked is not None:
            return asked
        if from_template is not None and "template" in self.prompt_from:
            return from_template
        return self.system_prompt


class Projects:
    """All projects, and how often their clients have asked.

    Args:
        projects: By name. None: there is any project, with nothing of its own.
        rate: Of clients whose project says nothing.
        redis_url: Where several processes count together.
    """

    def __init__(self, projects: dict[str, Project] | None, rate: str, redis_url: str | None = None) -> None:
        self._projects, self._any = projects, Project()
        self._usual = RateLimit(rate, redis_url)
        own = {name: project.limits.rate for name, project in (projects or {}).items()}
        self._limits = {name: RateLimit(each, redis_url) for name, each in own.items() if each is not None}

    @classmethod
    def load(cls, path: Path | None, rate: str, redis_url: str | None = None) -> Projects:
        """
        Raises:
            SettingsError: The file cannot be read, or says what cannot be; the message says where.
        """
        return cls(None if path is None else _read(path), rate, redis_url)

    def get(self, name: str, client: str | None = None) -> Project:
        """A project.

        Args:
            client: Who wants to use it.

        Raises:
            ProjectNotFound: It does not exist, or not for this client.
        """
        project = self._any if self._projects is None else self._projects.get(name)
        if project is None or (client is not None and not project.admits(client)):
            raise ProjectNotFound(f"There is no project {name!r} for this client.")
        return project

    def compatible(self) -> list[str]:
        """The projects that serve older clients."""
        return [name for name, project in (self._projects or {}).items() if project.compatibility is not None]

    def count(self, name: str, owner: str) -> None:
        """Counts one request. It may wait for Redis.

        Raises:
            RateLimited: It is one too many.
        """
        if name in self._limits:
            self._limits[name].check(f"{owner} in {name}")
        else:
            self._usual.check(owner)


class Templates:
    """System prompts that somebody has published for one session each; the newest ones are remembered.

    Args:
        max_bytes: Longest payload that is read.
    """

    def __init__(self, projects: Projects, max_bytes: int) -> None:
        self._projects, self._max_bytes = projects, max_bytes
        self._prompts: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    def receive(self, name: str, payload: bytes) -> None:
        """Takes `{"session_id", "system_prompt", "client"?}`; without a client it is for this session of any client.

        Raises:
            ProjectNotFound: There is no project of this name.
            InvalidRequest, TooLarge: It is not of this form.
        """
        if not payload:  # how a retained message is taken back
            return
        project = self._projects.get(name)
        if "template" not in project.prompt_from:
            return
        data = payloads.read_json(payload, limit=project.limits.payload_bytes or self._max_bytes)
        if project.compatibility is not None:
            data = _in_our_words(data)
        session_id, prompt, client = (data.get(field) for field in ("session_id", "system_prompt", "client"))
        if not isinstance(session_id, str) or not isinstance(prompt, str) or not isinstance(client, str | None):
            raise InvalidRequest('A template is {"session_id": "...", "system_prompt": "..."}.')
        parse_messages([{"role": "system", "content": prompt}])
        key = (name, client or "", session_id)
        self._prompts[key] = prompt
        self._prompts.move_to_end(key)
        while len(self._prompts) > MOST_TEMPLATES:
            self._prompts.popitem(last=False)

    def get(self, project: str, client: str, session_id: str | None) -> str | None:
        """The prompt for a client's session, where there is one."""
        if session_id is None:
            return None
        return self._prompts.get((project, client, session_id)) or self._prompts.get((project, "", session_id))


def _in_our_words(data: dict[str, Any]) -> dict[str, Any]:
    """A template message of older clients."""
    template = data.get("template") or data.get("systemPrompt") or data.get("prompt_template")
    if isinstance(template, dict):
        template = template.get("content")
    fields = {"session_id": data.get("sessionId"), "system_prompt": template}
    return {name: value for name, value in fields.items() if value is not None} | data


def _read(path: Path) -> dict[str, Project]:
    data, _ = read_yaml(path, f"MQTT_PROJECTS={str(path)!r}", "projects")
    projects = data.get("projects") if isinstance(data, dict) else None
    if not isinstance(projects, dict) or not projects:
        raise SettingsError(f"MQTT_PROJECTS={str(path)!r} cannot be used: it has no `projects:` with names below it.")
    return {str(name): _project(path, str(name), fields) for name, fields in projects.items()}


def _project(path: Path, name: str, fields: Any) -> Project:
    if not is_project(name):
        raise SettingsError(f"MQTT_PROJECTS={str(path)!r}: a project cannot have the name {name!r}: {NAME_RULE}.")
    try:
        return Project.model_validate(fields or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("projects", name, *first["loc"])))
        raise SettingsError(
            f"MQTT_PROJECTS={str(path)!r}, {where}: {first['msg'].removeprefix('Value error, ')}."
        ) from None
