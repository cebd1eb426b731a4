"""`llm-core`, which is `python -m llm_core`: the commands, their options, and what they print.

Each command imports what it needs when it runs, since `--help` should not wait for llama.cpp's library.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llm_core import __version__
from llm_core.attachments.reading import read_file
from llm_core.consent import KeyboardConsent
from llm_core.errors import InvalidRequest, LLMError
from llm_core.messages import Attachment
from llm_core.models.commands import add_model
from llm_core.mqtt.commands import add_mqtt
from llm_core.server.commands import add_serve
from llm_core.space.commands import add_space
from llm_core.stdout import silence_stdout
from llm_core.terminal import Screen, TerminalChat, answer_once, printable

if TYPE_CHECKING:
    from llm_core.client import LLMClient
    from llm_core.models.info import ModelInfo

LOOK_SECONDS = 0.1  # between two looks at how far loading is
INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: None takes the process's.

    Returns:
        0; 1 where the command failed, with a sentence on stderr; 130 after Ctrl-C. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    options = parser().parse_args(arguments)
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


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    every = argparse.ArgumentParser(
        prog=_program(),
        description="A local language model; LLM_MODEL says which one. docs/settings.md has all settings.",
        allow_abbrev=False,
    )
    every.add_argument("--version", action="version", version=f"llm-core {__version__}")
    commands = every.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_serve(commands)
    _add_chat(commands)
    add_model(commands)
    add_space(commands)
    add_mqtt(commands)
    return every


def _program() -> str:
    """How it was called, for its help: by the installed script, by `app.py`, or as a module."""
    name = Path(sys.argv[0]).name
    return "python -m llm_core" if name in ("__main__.py", "-m", "-c", "") else name


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
        "--attach", action="append", default=[], metavar="FILE", help="a file that goes along as text; may be repeated"
    )
    chat.add_argument(
        "--thinking", action=argparse.BooleanOptionalAction, help="switch thinking on or off, where the model can"
    )
    chat.add_argument(
        "--tools",
        action="store_true",
        help="let the model call the tools of this machine (LLM_MCP_SERVERS); you are asked where the file says so",
    )
    chat.set_defaults(command=_chat)


# ── chat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _chat(options: argparse.Namespace) -> None:
    from llm_core.client import LLMClient

    screen = Screen()
    prompt = _prompt(options.prompt)
    files: list[Attachment] = []
    for path in options.attach:
        files.append(read_file(path, files))
    request = {
        name: getattr(options, name) for name in ("model", "temperature", "top_p", "max_tokens", "seed", "thinking")
    }
    request = {name: value for name, value in request.items() if value is not None} | {"overflow": "drop_oldest"}
    consent = KeyboardConsent(screen)
    if options.tools:
        request |= {"run_tools": True, "on_tool_call": consent}
    with LLMClient() as client:
        client.chat_stream(
            [{"role": "user", "content": ""}], **request
        ).close()  # a bad option is refused before loading
        info = _load(client, screen, options.model or "")
        if options.thinking is not None and not info.can_switch_thinking:
            screen.note(f"{info.name} has no switch for thinking; the option does nothing.")
        if prompt is not None:
            answer_once(client.chat_stream, prompt, request, screen, system=options.system, files=files)
            return
        _enable_line_editing()
        screen.note(f"{info.name} · {info.license or 'no licence stated'} · /help lists commands")

        def models() -> list[str]:
            return [entry.name for entry in client.catalog.entries()]

        TerminalChat(
            client.chat_stream,
            request,
            screen,
            system=options.system,
            files=files,
            read_file=read_file,
            models=models,
            ended=consent.stop,
        ).run()


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
