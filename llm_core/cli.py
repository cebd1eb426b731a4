"""`python -m llm_core`: the commands, their options, and what they print.

Each command imports what it needs when it runs, since `--help` should not wait for llama.cpp's library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TextIO

from llm_core.errors import InvalidRequest, LLMError, ModelError
from llm_core.mqtt.commands import add_mqtt
from llm_core.space.commands import add_space
from llm_core.stdout import silence_stdout
from llm_core.terminal import Screen, TerminalChat, answer_once, printable

if TYPE_CHECKING:
    from llm_core.client import LLMClient
    from llm_core.models.info import ModelInfo
    from llm_core.models.source import ResolvedModel
    from llm_core.settings import Settings

LOOK_SECONDS = 0.1  # between two looks at how far loading is
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

_SPEC_HELP = "bundled, the path of a .gguf file, or hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: None takes the process's.

    Returns:
        0; 1 where the command failed, with a sentence on stderr; 130 after Ctrl-C. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except LLMError as error:
        print(printable(error.message), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        silence_stdout()
        return 1
    return 0


def _never_fail(stream: TextIO) -> None:
    """A character that the terminal's encoding lacks shows as a question mark; it must not end the program."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llm_core",
        description="A local language model; LLM_MODEL says which one. docs/settings.md has all settings.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_chat(commands)
    _add_model(commands)
    add_space(commands)
    add_mqtt(commands)
    return parser


def _add_chat(commands: Any) -> None:
    chat = commands.add_parser(
        "chat",
        help="talk in the terminal, or answer once",
        description="Talks in the terminal. With PROMPT, or text piped in, answers once: the reply alone on stdout.",
        epilog="Ctrl-C stops a reply and not the program; Ctrl-D leaves; /help lists commands.",
        allow_abbrev=False,
    )
    chat.add_argument("prompt", nargs="?", metavar="PROMPT", help="answer this and exit")
    chat.add_argument("--model", metavar="NAME", help="which model answers; default: the first one of LLM_MODEL")
    chat.add_argument("--system", default="", metavar="TEXT", help="system prompt; default: LLM_SYSTEM_PROMPT")
    chat.add_argument("--temperature", type=float, metavar="0..2", help="0 always takes the likeliest token")
    chat.add_argument("--top-p", type=float, metavar="0..1", help="share of the likeliest tokens to draw from")
    chat.add_argument("--max-tokens", type=int, metavar="N", help="the longest reply")
    chat.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same tokens")
    chat.add_argument(
        "--thinking", action=argparse.BooleanOptionalAction, help="switch thinking on or off, where the model can"
    )
    chat.set_defaults(command=_chat)


def _add_model(commands: Any) -> None:
    model = commands.add_parser("model", help="list, fetch and inspect models", allow_abbrev=False)
    actions = model.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = actions.add_parser("list", help="the models on this machine", allow_abbrev=False)
    listing.set_defaults(command=_list)

    pull = actions.add_parser("pull", help="download a model, and again where it is damaged", allow_abbrev=False)
    pull.add_argument("spec", metavar="SPEC", help=_SPEC_HELP)
    pull.set_defaults(command=_pull)

    info = actions.add_parser("info", help="what a model is", allow_abbrev=False)
    info.add_argument("spec", nargs="?", metavar="SPEC", help=f"{_SPEC_HELP}; default: LLM_MODEL")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(command=_info)


# ── chat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _chat(options: argparse.Namespace) -> None:
    from llm_core.client import LLMClient

    screen = Screen()
    prompt = _prompt(options.prompt)
    request = {
        name: getattr(options, name) for name in ("model", "temperature", "top_p", "max_tokens", "seed", "thinking")
    }
    request = {name: value for name, value in request.items() if value is not None} | {"overflow": "drop_oldest"}
    with LLMClient() as client:
        client.chat_stream(
            [{"role": "user", "content": ""}], **request
        ).close()  # a bad option is refused before loading
        info = _load(client, screen, options.model or "")
        if options.thinking is not None and not info.can_switch_thinking:
            screen.note(f"{info.name} has no switch for thinking; the option does nothing.")
        if prompt is not None:
            answer_once(client.chat_stream, prompt, request, screen, system=options.system)
            return
        _enable_line_editing()
        screen.note(f"{info.name} · {info.license or 'no licence stated'} · /help lists commands")

        def models() -> list[str]:
            return [entry.name for entry in client.catalog.entries()]

        TerminalChat(client.chat_stream, request, screen, system=options.system, models=models).run()


def _prompt(argument: str | None) -> str | None:
    """What to answer once; None for a conversation."""
    if argument is None and sys.stdin.isatty():
        return None
    prompt = sys.stdin.read() if argument is None else argument
    if not prompt.strip():
        raise InvalidRequest("There is nothing to answer: the prompt is empty.", param="prompt")
    return prompt


def _load(client: LLMClient, screen: Screen, model: str) -> ModelInfo:
    """Waits for the model and shows how far it is. A download draws its own bar."""
    while True:
        try:
            info = client.models.start(model).result(LOOK_SECONDS)
        except TimeoutError:
            status = client.models.status(model)
            if status.state != "downloading":
                screen.status(status.message)
        else:
            screen.status("")
            return info


def _enable_line_editing() -> None:
    """Arrow keys and the lines typed before, where Python was built with readline."""
    try:
        import readline  # noqa: F401  # importing it changes what `input` does
    except ImportError:
        return


# ── model ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _list(_options: argparse.Namespace) -> None:
    from llm_core.models.cache import cached_models
    from llm_core.models.resolve import find
    from llm_core.models.source import BundledModel, parse_source
    from llm_core.settings import Settings

    chosen = parse_source(Settings.load().model)
    chosen_path = None
    here = cached_models()
    try:
        here.insert(0, find(BundledModel()))
    except ModelError as error:
        print(printable(error.message), file=sys.stderr)
    try:
        selected = find(chosen)
    except ModelError as error:
        print(printable(f"LLM_MODEL: {error.message}"), file=sys.stderr)
    else:
        chosen_path = selected.path
        if all(model.path != chosen_path for model in here):
            here.append(selected)
    rows = [("", "MODEL", "SIZE", "LICENCE")]
    rows += [("*" if model.path == chosen_path else "", *_row(model)) for model in here]
    _print_table(rows)
    print(f"* is LLM_MODEL: {chosen}")


def _row(resolved: ResolvedModel) -> tuple[str, str, str]:
    from llm_core.models.progress import size_text

    source = str(resolved.source)
    try:
        info = _facts(resolved)
    except ModelError as error:
        return source, size_text(resolved.path.stat().st_size), f"cannot be used: {error.message}"
    return source, size_text(info.size_bytes), info.license or "not stated"


def _pull(options: argparse.Namespace) -> None:
    from llm_core.models.resolve import resolve
    from llm_core.models.source import parse_source

    resolved = resolve(parse_source(options.spec), on_progress=lambda _done, _message: None, bar=True, mends=True)
    rows = [("file", str(resolved.path)), ("licence", _facts(resolved).license or "not stated")]
    if resolved.pin:
        rows += [("commit", str(resolved.revision)), ("pin it", f"LLM_MODEL={resolved.pin}")]
    _print_table(rows)


def _info(options: argparse.Namespace) -> None:
    from llm_core.models.progress import size_text
    from llm_core.models.resolve import find
    from llm_core.models.source import HubModel, parse_source
    from llm_core.settings import Settings

    settings = Settings.load()
    resolved = find(parse_source(options.spec or settings.model))
    info = replace(_facts(resolved), computed_as=_computed_as(resolved, settings))
    if isinstance(resolved.source, HubModel):
        from llm_core.models.hub import is_replaced

        if is_replaced(resolved):
            fetch_it = f"python -m llm_core model pull '{info.source}'"
            print(printable(f"The Hub has another file in its place now. Fetch it with: {fetch_it}"), file=sys.stderr)
    if options.json:
        print(json.dumps(asdict(info), default=str, indent=2))
        return
    _print_table(
        [
            ("name", info.name),
            ("source", info.source),
            ("file", str(info.path)),
            *([("commit", info.revision)] if info.revision else []),
            ("architecture", info.architecture),
            ("quantization", info.quantization),
            *([("computed as", f"{info.computed_as}, which is faster on this machine")] if info.computed_as else []),
            ("parameters", f"{info.parameters / 1e6:,.1f} million" if info.parameters else "unknown"),
            ("size", size_text(info.size_bytes)),
            ("context", f"trained for {info.context_train} tokens" if info.context_train else "unknown"),
            ("licence", info.license or "not stated"),
            ("chat template", "yes" if info.has_chat_template else "no"),
            ("thinking", "can be switched" if info.can_switch_thinking else "no switch"),
        ]
    )


def _facts(resolved: ResolvedModel) -> ModelInfo:
    """Reads the header and the vocabulary, not the weights."""
    from llm_core.engine.llama.model import Model
    from llm_core.models.info import describe

    model = Model.load(resolved.path, vocab_only=True)
    try:
        return describe(model, resolved)
    finally:
        model.close()


def _computed_as(resolved: ResolvedModel, settings: Settings) -> str | None:
    """The form in which this machine computes a model, where that is not the file's."""
    from llm_core.engine.capacity import default_threads
    from llm_core.engine.llama.prepared import FORM, folder_of, known_copy

    if settings.prepare == "off":
        return None
    threads = settings.threads or default_threads()
    return FORM if known_copy(resolved.path, folder_of(settings.data_dir), threads=threads) else None


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns. The texts may come from a model file, whose maker is a stranger to this terminal."""
    cleaned = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    for row in cleaned:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
