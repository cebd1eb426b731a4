"""What is asked: a system prompt that all users share, conversations that no two users share, and long prompts."""

from __future__ import annotations

import random
from dataclasses import dataclass

from llm_core.engine.llama.model import Model

SYSTEM_PROMPT = """\
You are the assistant of a public library in a small old harbour town. People of every age write to you, from children
who look for a book about whales to sailors who want to read up on weather, knots and engines before a long voyage.
Answer in plain English, in whole sentences, and without jargon. Be friendly, patient and exact. Never make fun of a
question, however simple it may seem.

The library is open from nine in the morning until seven in the evening on weekdays, and from ten until four on
Saturdays. It is closed on Sundays and on public holidays. Members may borrow up to ten items for four weeks and may
renew them twice, unless somebody else is waiting. A card is free for everybody who lives, works or studies in the
town; visitors can read as long as they like, but cannot take anything home. The reading room on the first floor has
twelve desks, good light and a view of the water. Please remind people to speak softly there.

When you are asked to explain something, begin with the most important point, and then go on to causes, examples and
exceptions. If you do not know an answer, say so, and tell the reader which kind of book or which of our librarians
may help. When opinions differ, describe each of them fairly and leave the choice to the reader. Do not give advice on
medicine, law or money beyond what a good encyclopedia would say; point to a doctor, a lawyer or an adviser instead.

Write as much as the question deserves. A long question deserves a long answer, with several paragraphs, and a short
one may have a short one. Finish every thought, and never end with a list of links.
"""

_NAMES = ("Ada", "Bruno", "Carla", "Dario", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Mara")
_TRADES = ("a teacher", "a sailor", "a baker", "a nurse", "a student", "a carpenter", "a gardener", "a cook")
_TOPICS = (
    "tides", "lighthouses", "bread", "violins", "glaciers", "compasses", "bees", "bridges", "clocks", "volcanoes",
    "steam engines", "whales", "paper", "rainbows", "canals", "telescopes", "coral reefs", "windmills", "salt", "maps",
    "sails", "earthquakes", "vaccines", "bicycles", "cheese", "comets", "submarines", "forests", "printing", "anchors",
)  # fmt: skip
_FOLLOW_UPS = (
    "Thank you. Now tell me about the history of {topic}, from the beginning until today, in several long paragraphs.",
    "Which mistakes do people make when they talk about {topic}? Describe ten of them, each in two full sentences.",
)
# Ordinary words of one or two tokens; a long prompt needs no sense, only length.
_WORDS = """
    the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
    which one you were her all she there would their we him been has when who will more no if out so said what up
    its about into than them can only other new some could time these two may then do first any my now such like
    our over man me even most made after also did many before must through back years where much your way well
    down should because each just those people how too little state good very make world still own see men work
    long get here between both life water house light river stone window garden winter summer morning letter
    island harbour captain market music
""".split()  # noqa: SIM905 - a list of 170 literals would be a page


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one user says, turn by turn."""

    user: str
    questions: tuple[str, ...]


def conversations(users: int, turns: int, *, series: str) -> list[Conversation]:
    """One conversation for each user. The same `series` gives the same ones, another series others: a second round
    must not find its prompts cached.
    """
    draw = random.Random(series)
    return [_conversation(f"{series}-{number}", turns, draw) for number in range(users)]


def _conversation(user: str, turns: int, draw: random.Random) -> Conversation:
    topic = draw.choice(_TOPICS)
    first = (
        f"My name is {draw.choice(_NAMES)}, I am {draw.choice(_TRADES)} and my card has the number "
        f"{draw.randrange(10_000, 100_000)}. Explain to me in detail how {topic} work and what they are good for. "
        "Write at least five long paragraphs."
    )
    follow_ups = [_FOLLOW_UPS[number % len(_FOLLOW_UPS)].format(topic=topic) for number in range(turns - 1)]
    return Conversation(user, (first, *follow_ups))


def long_text(vocabulary: Model, tokens: int, *, series: str) -> str:
    """Words that make up about `tokens` tokens, different from the first word on for each `series`."""
    draw = random.Random(series)
    text = f"Notes {series}: " + " ".join(draw.choices(_WORDS, k=tokens))
    return b"".join(
        vocabulary.token_bytes(token)
        for token in vocabulary.tokenize(text, add_special=False, parse_special=False)[:tokens]
    ).decode("utf-8", "ignore")


def short_question(series: str) -> str:
    """A question of about 30 tokens that nobody has asked before."""
    draw = random.Random(series)
    return (
        f"I am number {draw.randrange(10_000, 100_000)} in the line. In one sentence, what do {draw.choice(_TOPICS)} "
        f"and {draw.choice(_TOPICS)} have in common?"
    )
