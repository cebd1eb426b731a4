"""The settings: environment variables, read once, each with a default and a range that an error message can name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from llm_core.broker import BrokerUrl, parse_broker_url
from llm_core.complaints import Complaint
from llm_core.errors import SettingsError
from llm_core.hosting import default_data_dir, on_space, outlives_restart
from llm_core.kv_type import KvType
from llm_core.lora import Adapters
from llm_core.messages import Text
from llm_core.numbers import Finite
from llm_core.rate_limit import Rate
from llm_core.request import LogitBias, MaxTokens, SamplingParams, Temperature, Timeout, TopP
from llm_core.tokens import ApiToken, parse_tokens

if TYPE_CHECKING:  # SQLAlchemy takes 0.1 s, which most commands can do without
    from sqlalchemy.engine.url import URL

DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant. Answer clearly and briefly."

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
SERVER_NAME_VARIABLE = "GRADIO_SERVER_NAME"
SERVER_PORT_VARIABLE = "GRADIO_SERVER_PORT"
ROOT_PATH_VARIABLE = "GRADIO_ROOT_PATH"
SECRET_VARIABLES = frozenset(
    {"LLM_API_TOKENS", "LLM_ADMIN_TOKENS", "LLM_SERVER_URL", "LLM_SERVER_TOKEN", "LLM_REDIS_URL", "MQTT_URL"}
)
MQTT_PREFIX_PATTERN = r"^[A-Za-z0-9._:@-]+(/[A-Za-z0-9._:@-]+)*$"
_ORIGIN = re.compile(r"https?://[^/\s?#]+")
_ENGINE = re.compile(r"https?://[^/\s?#@]+(/[^\s?#@]*)?")
_COUNTERS = re.compile(r"rediss?://\S+")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
ANY_PROXY = "*"


def _listed(value: object) -> object:
    """`a, b` as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin} is no origin such as https://example.org: a scheme and a host, no path")
    return origins


def _engines(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if not _ENGINE.fullmatch(url):
            raise ValueError(
                "write http://host:port, or several with commas between; a token goes into LLM_SERVER_TOKEN"
            )
    return urls


def _biases(value: object) -> object:
    """`ID=NUMBER, ID=NUMBER` as a dict."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("write ID=NUMBER, or several with commas between")
    return {token.strip(): bias.strip() for token, _, bias in pairs}


def _proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    if proxies == (ANY_PROXY,):
        return proxies
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ValueError(f"{proxy} is no address or network such as 10.0.0.7 or 172.16.0.0/12") from None
    return proxies


def _expanded(path: Path) -> Path:
    """Its `~` as the home folder: where no shell reads a value, as in a unit of systemd's, nobody else has done it."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder is not known: {error}") from None


def _root_path(path: str) -> str:
    path = urlsplit(path).path.rstrip("/")  # Gradio takes a whole URL too
    if not _ROOT_PATH.fullmatch(path):
        raise ValueError("write a path such as /chat")
    return path


def _counters(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not _COUNTERS.fullmatch(url.get_secret_value()):
        raise ValueError("write redis://host:port")
    return url


OwnPath = Annotated[Path, AfterValidator(_expanded)]
# The range of what one of several models may have of its own, too.
ContextTokens = Annotated[int, Field(ge=64, le=4_194_304)]
Slots = Annotated[int, Field(ge=1, le=64)]
GpuLayers = Annotated[int, Field(ge=-1, le=10_000)]
Biases = Annotated[LogitBias, NoDecode, BeforeValidator(_biases)]
Engines = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_engines)]


class Settings(BaseSettings):
    """What the operator decided. Every field is the environment variable `LLM_` and its name in capitals, unless said.

    Attributes:
        model: `bundled`, the path of a `.gguf` file, or `hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]`. Several with commas
            between: the first one answers where a request names none.
        models: A YAML file that names models, with what each has of its own, in place of `model`.
        memory_mb: The most memory that all loaded models may have together, in MiB. None: what the machine or its
            container has, less a margin.
        model_idle_minutes: After so long without a request a model is unloaded. 0: never.
        admin_tokens: As `api_tokens`, of those who may fetch, load and remove models. None are set: callers of this
            machine may, of a server for it alone that has no tokens.
        models_dir: Folder whose `.gguf` files are models of this machine, beside those of the Hub's cache.
        prepare: `auto`: a small model whose weights have a form that this processor computes slowly gets a copy that it
            computes faster, once. `off`: the file as it is.
        lora: LoRA adapters of the default model, `NAME=PATH[:SCALE]`, comma-separated. They apply to requests that ask
            for none by `lora`, each with its scale, which is 1 where nothing is said; 0: only where a request asks.
        chat_template: A Jinja file that says how a conversation is written for the default model, in place of what its
            own file says.
        fallback: The bundled model serves where `model` cannot be downloaded.
        presets: A YAML file that names presets, which everybody may choose.
        mcp_servers: A YAML file that names MCP servers, whose tools are run here for those who may use them.
        server_url: OpenAI-compatible engines elsewhere, comma-separated. There are some: no model is loaded here, and
            `model` says which of the engine's models is asked for, where it has one of that name.
        server_token: Their bearer token.
        context_tokens: Tokens that one request, prompt and reply, may use. None: 4096, or what the model was trained
            for where that is less.
        kv_type: Of keys and values in the KV memory: 16 bits a number, or fewer.
        kv_host_mb: Host memory for the KV state of idle conversations, in MiB; 0 keeps them in the slots only.
        kv_disk_mb: Disk for that of sessions, in MiB, so that it is there after a restart; 0: none.
        parallel: Slots: sequences decoded together.
        queue_limit: Requests that may wait for a slot; one more is refused at once.
        threads: CPU threads of the engine. None: as many as physical cores.
        gpu_layers: Layers of the model put on a GPU, -1 for all. It does nothing in a build without a GPU backend.
        step_ms: Target time of one engine step while prompts are prefilled, in milliseconds.
        draft: Which tokens get no step of their own. `sure`: those that a form leaves no choice about. `auto`: also
            those that were said before, which are tried again where that pays. `off`: none.
        self_check: The engine looks whether slots, cache and queue agree whenever it goes idle, and stops where not.
        system_prompt: Put before conversations that bring no system message of their own.
        temperature, top_p, max_tokens, timeout: Defaults of a request; the timeout is in seconds.
        logit_bias: Default of a request to the default model: `ID=NUMBER`, comma-separated; added to the logit of the
            token with that id.
        data_dir: Folder for what outlives the process.
        database_url: Any URL of SQLAlchemy's for the sessions. None: `sessions.db` in `data_dir`.
        resume_seconds: How long a session's reply goes on with no reader.
        drain_seconds: How long running replies may go on when the server is told to end.
        session_limit: Sessions an owner may have; the one that was used least recently makes room. 0: any number.
        session_days: Days after which an unused session is deleted. 0: never.
        api_tokens: Bearer tokens, comma-separated, `name:token` or `token`; each is one owner. Kept as digests only.
        rate_limit: Requests of one owner, such as `60/minute`; `none` for any number. Without tokens an owner is an
            address; unless this was set, callers of this machine are then not counted by a server for it alone.
        redis_url: Where several processes count these requests together. None: each counts its own.
        allowed_origins: Pages of other sites that may call the API from a browser, comma-separated.
        allowed_hosts: Names by which the server may be called, comma-separated; `*` for any. None: those of this
            machine where it listens on loopback only, else any.
        trusted_proxies: Addresses and networks of the reverse proxies whose `X-Forwarded-` headers are believed,
            comma-separated; `*` for any.
        public: Allows the server to listen beyond loopback although anyone may then use it.
        server_name, server_port: Gradio's own `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`.
        root_path: Gradio's own `GRADIO_ROOT_PATH`: the path at which a proxy shows the server. None: `/`,
            unless the proxy says so.
        mqtt_url: The broker that the app, or `python -m llm_core mqtt`, serves. None: no MQTT. These and the following
            are variables without `LLM_`.
        mqtt_prefix: What all topics begin with.
        mqtt_projects: The file that names the projects. None: any project, with the defaults of a request.
        mqtt_delta_ms, mqtt_delta_bytes: How long text of a reply is gathered, in milliseconds, and how much, before it
            is published.
        mqtt_max_bytes: Longest payload of a request that is read.
        mqtt_ca_file, mqtt_cert_file, mqtt_key_file: PEM files for `mqtts://`: who signed the broker's certificate
            (None: as the system trusts), and a certificate of our own with its key.
    """

    model_config = SettingsConfigDict(env_prefix="LLM_", env_ignore_empty=True, frozen=True, extra="ignore")

    model: Annotated[str, Field(min_length=1, max_length=4096)] = "bundled"
    models_dir: OwnPath | None = None
    prepare: Literal["auto", "off"] = "auto"
    lora: Annotated[Adapters, NoDecode] = ()
    chat_template: OwnPath | None = None
    fallback: bool = Field(default_factory=on_space)
    models: OwnPath | None = None
    memory_mb: Annotated[int, Field(ge=64, le=16_777_216)] | None = None
    model_idle_minutes: Annotated[float, Field(ge=0, le=525_600), Finite] = 0.0
    admin_tokens: Annotated[tuple[ApiToken, ...], NoDecode, BeforeValidator(parse_tokens)] = ()
    presets: OwnPath | None = None
    mcp_servers: OwnPath | None = None
    server_url: Engines = ()
    server_token: SecretStr | None = None
    context_tokens: ContextTokens | None = None
    kv_type: KvType = "f16"
    kv_host_mb: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    kv_disk_mb: Annotated[int, Field(ge=0, le=16_777_216)] = 2048
    parallel: Slots = 8
    queue_limit: Annotated[int, Field(ge=0, le=10_000)] = 64
    threads: Annotated[int, Field(ge=1, le=512)] | None = None
    gpu_layers: GpuLayers = -1
    step_ms: Annotated[float, Field(ge=5, le=10_000), Finite] = 100.0
    draft: Literal["auto", "sure", "off"] = "auto"
    self_check: bool = False
    system_prompt: Text = DEFAULT_SYSTEM_PROMPT
    temperature: Temperature = 0.7
    top_p: TopP = 0.95
    max_tokens: MaxTokens = 512
    logit_bias: Biases = Field(default_factory=dict)
    timeout: Timeout = 300.0
    data_dir: OwnPath = Field(default_factory=default_data_dir)
    database_url: Annotated[str, Field(max_length=4096)] | None = None
    resume_seconds: Annotated[float, Field(ge=0, le=86_400), Finite] = 30.0
    drain_seconds: Annotated[float, Field(ge=0, le=86_400), Finite] = 30.0
    session_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    session_days: Annotated[float, Field(ge=0, le=36_500), Finite] = 0.0
    api_tokens: Annotated[tuple[ApiToken, ...], NoDecode, BeforeValidator(parse_tokens)] = ()
    rate_limit: Rate = "60/minute"
    redis_url: Annotated[SecretStr | None, AfterValidator(_counters)] = None
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_origins)] = ()
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_proxies)] = Field(
        default_factory=lambda: (ANY_PROXY,) if on_space() else ("127.0.0.1", "::1")
    )
    public: bool = Field(default_factory=on_space)
    server_name: Annotated[str, Field(validation_alias=SERVER_NAME_VARIABLE)] = "127.0.0.1"
    server_port: Annotated[int, Field(ge=0, le=65_535, validation_alias=SERVER_PORT_VARIABLE)] = 7860
    root_path: Annotated[
        Annotated[str, AfterValidator(_root_path)] | None, Field(validation_alias=ROOT_PATH_VARIABLE)
    ] = None

    mqtt_url: Annotated[
        BrokerUrl | None, NoDecode, BeforeValidator(parse_broker_url), Field(validation_alias="MQTT_URL")
    ] = None
    mqtt_prefix: Annotated[str, Field(pattern=MQTT_PREFIX_PATTERN, max_length=200, validation_alias="MQTT_PREFIX")] = (
        "llm"
    )
    mqtt_projects: Annotated[OwnPath | None, Field(validation_alias="MQTT_PROJECTS")] = None
    mqtt_delta_ms: Annotated[float, Field(ge=0, le=10_000, validation_alias="MQTT_DELTA_MS"), Finite] = 100.0
    mqtt_delta_bytes: Annotated[int, Field(ge=1, le=65_536, validation_alias="MQTT_DELTA_BYTES")] = 512
    mqtt_max_bytes: Annotated[int, Field(ge=1024, le=16_777_216, validation_alias="MQTT_MAX_BYTES")] = 1_048_576
    mqtt_ca_file: Annotated[OwnPath | None, Field(validation_alias="MQTT_CA_FILE")] = None
    mqtt_cert_file: Annotated[OwnPath | None, Field(validation_alias="MQTT_CERT_FILE")] = None
    mqtt_key_file: Annotated[OwnPath | None, Field(validation_alias="MQTT_KEY_FILE")] = None

    @classmethod
    def load(cls) -> Settings:
        """Reads the environment.

        Raises:
            SettingsError: A variable's value is not usable; the message names the variable and the allowed range.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(map(_sentence, error.errors()))) from None

    def sessions_url(self) -> URL:
        """Where the sessions are.

        Raises:
            SettingsError: `database_url` is no URL.
        """
        if self.database_url is None:
            return self._default_sessions_url()
        from sqlalchemy.engine.url import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self.database_url)
        except ArgumentError as error:
            raise SettingsError(f"LLM_DATABASE_URL cannot be used: {error}.") from None

    def _default_sessions_url(self) -> URL:
        from sqlalchemy.engine.url import URL

        # Not written as text: a ? or # of the folder's name would end the path, and the file would be elsewhere.
        return URL.create("sqlite", database=str((self.data_dir / "sessions.db").absolute()))

    def keeps_sessions(self) -> bool:
        """Whether sessions outlive the process; those of `sqlite://` are in memory.

        Raises:
            SettingsError: `database_url` is no URL.
        """
        url = self.sessions_url()
        return url.get_backend_name() != "sqlite" or url.database not in (None, "", ":memory:")

    def storage_notice(self) -> str:
        """What users should know of how long conversations are kept; empty where a restart does not lose them."""
        if self.sessions_url() != self._default_sessions_url() or outlives_restart(self.data_dir):
            return ""
        return "This Space has no persistent disk: conversations are kept until it restarts."

    def sampling(self) -> SamplingParams:
        """The defaults of a request's sampling."""
        return SamplingParams(temperature=self.temperature, top_p=self.top_p)


def variable_of(field: str) -> str:
    """The environment variable of a field of `Settings`."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"LLM_{field.upper()}"


def is_loopback(name: str) -> bool:
    """Whether only this machine can reach a server that listens on `name`."""
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_trusted_proxy(address: str, proxies: tuple[str, ...]) -> bool:
    """Whether `address` is one of `proxies`, as `Settings.trusted_proxies` has them."""
    if proxies == (ANY_PROXY,):
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(proxy) for proxy in proxies)


_BOUNDS: dict[str, str] = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _sentence(error: Mapping[str, Any]) -> str:
    """One complaint of pydantic in the operator's words: variable, value, allowed range."""
    complaint = Complaint.of(error)
    name = str(complaint.path[0])
    fields = {variable_of(field): field for field in Settings.model_fields}
    variable = name if name in fields else variable_of(name)
    field = Settings.model_fields[fields[variable]]
    bounds = [
        f"{word} {value:.15g}"
        for item in _constraints(field)
        for attribute, word in _BOUNDS.items()
        if (value := getattr(item, attribute, None)) is not None
    ]
    allowed = f" Allowed: {' and '.join(bounds)}." if bounds else ""
    if variable in SECRET_VARIABLES:  # a secret is not shown, not even a wrong one
        return f"{variable} cannot be used: {complaint.reason}."
    return f"{variable}={error.get('input')!r} cannot be used: {complaint.reason}.{allowed}"


def _constraints(field: object) -> list[object]:
    """The bounds on a field, also where they sit inside `Annotated[...] | None`."""
    found = list(getattr(field, "metadata", ()))
    annotation = getattr(field, "annotation", None)
    for option in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ():
        found.extend(m for item in getattr(option, "__metadata__", ()) for m in getattr(item, "metadata", ()))
    return found
