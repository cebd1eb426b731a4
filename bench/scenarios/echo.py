"""One greedy stream that writes a text once more with one change, and one that says what was never said.

Where most of a reply stands in its prompt already, it can be guessed and checked several tokens at a time. Where
nothing repeats, guessing must cost nothing.
"""

from __future__ import annotations

import time
from difflib import SequenceMatcher

from bench.lab import Findings, Lab, Opening
from bench.measure import Reply, median, timed, to_llama_server
from bench.systems import APP, System

# Sentences of which no two are alike: a model that has begun to copy them goes on.
_TEXT = """\
The harbour wall was built in 1887 by forty men and three horses. At its end stands a small white lighthouse with a
green door. Marta has kept it since her father died, and every evening at six she climbs the ninety steps. From the
gallery she can see the ferry leave, the fishing boats come home and the first lamps of the market. On Mondays the
baker brings her bread, salt and a newspaper from the mainland. In winter the path is often under water, so she keeps
a barrel of flour and two sacks of coal in the cellar. The lens came from a workshop in Paris and weighs as much as a
cow. It turns once in twelve seconds, driven by a clock that has to be wound by hand. Last spring a young engineer
wanted to replace it by an electric motor. Marta gave him tea, showed him the brass wheels and asked him to come back
when he could name each of them. He learned them all within a week, and since then he winds the clock on Sundays.
"""
_ECHO = "Write the following text once more, word for word, but call the woman Greta in place of Marta.\n\n{text}"
_FREE = "Write a long story about {topic}. Never say the same thing twice."
_TOPICS = ("a comet", "a cheese", "a violin", "a glacier", "a submarine", "a beehive", "a windmill", "an old map")


async def run(lab: Lab) -> Findings:
    """Tokens per second after the first one, our app with and without drafts and the other servers, in turns."""
    openings: list[Opening] = [*lab.apps("draft", "off"), lab.llama_cpp_server, *lab.others]
    text = _text(lab)
    replies: dict[str, dict[str, list[Reply]]] = {}
    for number in range(lab.sizes.repeats):
        for opening in openings if number % 2 == 0 else reversed(openings):
            async with opening() as system:
                lab.say(f"echo: {number + 1} of {lab.sizes.repeats}, {system.name}")
                found = replies.setdefault(system.name, {"echo": [], "free": []})
                found["echo"].append(await _ask(system, lab, _ECHO.format(text=text)))
                found["free"].append(await _ask(system, lab, _FREE.format(topic=_TOPICS[number % len(_TOPICS)])))
    figures: dict[str, float] = {}
    for name, found in replies.items():
        figures |= {f"{name}.{kind}_rate": median([each.token_rate for each in found[kind]]) for kind in found}
        figures[f"{name}.copied"] = median([_copied(text, reply.text) for reply in found["echo"]])
    for kind in ("echo", "free"):
        figures |= to_llama_server(figures, f"{kind}_rate")
        figures |= {
            f"{kind}_to_without": figures[f"{APP}.{kind}_rate"] / figures[f"{name}.{kind}_rate"]
            for name in replies
            if name.startswith(f"{APP} ")
        }
    said = {name: {kind: found[kind][0].text for kind in found} for name, found in replies.items()}
    return Findings(figures=figures, raw={"said": said})


def _text(lab: Lab) -> str:
    """As many of its words as have about the tokens that are asked for."""
    words = _TEXT.split(" ")
    while len(lab.vocabulary.tokenize(" ".join(words), add_special=False, parse_special=False)) > lab.sizes.echo_tokens:
        words.pop()
    return " ".join(words)


async def _ask(system: System, lab: Lab, question: str) -> Reply:
    # A number that nobody has had: the prompt is read each time, and no earlier reply is there to be copied.
    messages = [
        {"role": "system", "content": f"You are the writer number {time.time_ns()}. You do exactly as you are told."},
        {"role": "user", "content": question},
    ]
    return await timed(system.stream(messages, lab.sizes.echo_tokens, "writer"))


def _copied(text: str, reply: str) -> float:
    """The share of a reply's words that stand in the text in that order."""
    words = reply.split()
    blocks = SequenceMatcher(None, text.split(), words, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(words))
