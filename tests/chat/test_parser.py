"""Raw text becomes content and reasoning, the same however it was cut, and never with half a marker in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.chat.formats import DEFAULT_REASONING, REASONING_FORMATS, ReasoningFormat, reasoning_format
from llm_core.chat.parser import ReplyParser
from llm_core.events import ContentDelta, ReasoningDelta, TokenLogprob, ToolCallDelta

HARMONY = REASONING_FORMATS[0]
EACH_FORMAT = pytest.mark.parametrize("markers", REASONING_FORMATS, ids=lambda row: row.opener)

Piece = tuple[str, tuple[TokenLogprob, ...]]


@dataclass(frozen=True)
class Parsed:
    content: str
    reasoning: str
    logprobs: tuple[str, ...]


def parse(
    *pieces: str | Piece, markers: ReasoningFormat = DEFAULT_REASONING, starts_in_reasoning: bool = False
) -> Parsed:
    parser = ReplyParser(markers, starts_in_reasoning)
    deltas: list[ContentDelta | ReasoningDelta] = []
    for piece in pieces:
        deltas += parser.feed(piece) if isinstance(piece, str) else parser.feed(*piece)
    deltas += parser.finish()
    assert all(delta.text or (isinstance(delta, ContentDelta) and delta.logprobs) for delta in deltas)
    content = [delta for delta in deltas if isinstance(delta, ContentDelta)]
    return Parsed(
        content="".join(delta.text for delta in content),
        reasoning="".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)),
        logprobs=tuple(each.token for delta in content for each in delta.logprobs),
    )


def split(raw: str, **options: bool) -> tuple[str, str]:
    parsed = parse(raw, **options)  # type: ignore[arg-type]
    return parsed.reasoning, parsed.content


def token(text: str) -> Piece:
    return text, (TokenLogprob(text, text.encode(), -0.5),)


@EACH_FORMAT
def test_a_reply_that_is_cut_anywhere_shows_nothing_of_a_marker(markers: ReasoningFormat) -> None:
    written = f"{markers.opener}hm{markers.closer}Hello"
    for end in range(len(written)):
        parser = ReplyParser(markers, False)
        deltas = [*parser.feed(written[:end]), *parser.finish(is_cut=True)]

        assert "hmHello".startswith("".join(delta.text for delta in deltas if not isinstance(delta, ToolCallDelta)))


@pytest.mark.parametrize(
    ("raw", "reasoning", "content"),
    [
        ("Hello", "", "Hello"),
        ("<think>hm</think>Hello", "hm", "Hello"),
        ("<think>\nhm\n\nhm\n</think>\n\nHello\n", "hm\n\nhm", "Hello\n"),
        ("\n <think>hm</think>Hello", "hm", "Hello"),
        ("<think>\n\n</think>\n\nHello", "", "Hello"),
        ("<think>hm</think>\n\n    indented", "hm", "    indented"),
        ("<think>hm", "hm", ""),
        ("<think>hm</thin", "hm</thin", ""),
        ("<think>hm</thin </think>Hello", "hm</thin", "Hello"),
        ("<think>", "", ""),
        ("<thin", "", "<thin"),
        ("  <thinking> aloud", "", "  <thinking> aloud"),
        ("Use <think> and </think>.", "", "Use <think> and </think>."),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("</think>Hello", "", "</think>Hello"),
        ("", "", ""),
        (" \n ", "", " \n "),
    ],
    ids=repr,
)
def test_a_reply_is_split_at_its_markers(raw: str, reasoning: str, content: str) -> None:
    assert split(raw) == (reasoning, content)


@pytest.mark.parametrize(
    ("raw", "reasoning", "content"),
    [
        ("hm\n</think>\n\nHello", "hm", "Hello"),
        ("\n</think>\nHello", "", "Hello"),
        ("\n<think>\nhm</think>Hello", "hm", "Hello"),
        ("hm", "hm", ""),
        ("<thi", "<thi", ""),
        ("\n ", "", ""),
    ],
    ids=repr,
)
def test_after_a_prompt_that_opened_the_block_a_reply_begins_inside_it(raw: str, reasoning: str, content: str) -> None:
    assert split(raw, starts_in_reasoning=True) == (reasoning, content)


@EACH_FORMAT
def test_every_formats_markers_are_found(markers: ReasoningFormat) -> None:
    raw = f"{markers.opener}\nhm\n{markers.closer}\nHello"

    assert parse(*raw, markers=markers) == parse(raw, markers=markers) == Parsed("Hello", "hm", ())


def test_an_answer_may_have_a_marker_of_its_own() -> None:
    assert parse(f"{HARMONY.answer_opener}Hello", markers=HARMONY) == Parsed("Hello", "", ())


@EACH_FORMAT
def test_a_format_is_known_by_its_opener_in_the_template(markers: ReasoningFormat) -> None:
    assert reasoning_format(f"{{{{ '{markers.opener}' }}}}") == markers


def test_a_template_without_a_marker_gets_the_usual_one() -> None:
    assert reasoning_format("{{ messages }}") == DEFAULT_REASONING


def raw_replies(markers: ReasoningFormat) -> st.SearchStrategy[str]:
    """Texts of whole markers, parts of them, whitespace and words, in any order."""
    whole = [markers.opener, markers.closer, markers.answer_opener or "x"]
    parts = [marker[:end] for marker in whole for end in range(1, len(marker))]
    return st.lists(st.sampled_from([*whole, *parts, "\n", " ", "word", "é🎉"]), max_size=12).map("".join)


@pytest.mark.parametrize("starts_in_reasoning", [False, True])
@EACH_FORMAT
@given(data=st.data())
def test_a_reply_comes_out_the_same_however_it_is_cut(
    markers: ReasoningFormat, starts_in_reasoning: bool, data: st.DataObject
) -> None:
    raw = data.draw(raw_replies(markers))
    places = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))
    cut = [raw[start:end] for start, end in pairwise([0, *sorted(places), len(raw)])]
    whole = parse(raw, markers=markers, starts_in_reasoning=starts_in_reasoning)

    assert parse(*cut, markers=markers, starts_in_reasoning=starts_in_reasoning) == whole
    assert parse(*raw, markers=markers, starts_in_reasoning=starts_in_reasoning) == whole


@given(raw=raw_replies(DEFAULT_REASONING), starts_in_reasoning=st.booleans())
def test_nothing_is_lost_but_markers_and_the_space_around_them(raw: str, starts_in_reasoning: bool) -> None:
    parsed = parse(raw, starts_in_reasoning=starts_in_reasoning)
    kept, rest = iter(parsed.reasoning + parsed.content), []
    following = next(kept, None)
    for character in raw:
        if character == following:
            following = next(kept, None)
        else:
            rest.append(character)

    assert following is None, "what comes out is what went in, in order"
    assert len("".join("".join(rest).split())) in (0, len("<think>"), len("</think>"), len("<think></think>"))


@pytest.mark.parametrize("raw", ["<think>hm</think>Hello", "<thinHello", "  Hello <think>"])
def test_only_what_may_be_a_marker_is_held_back(raw: str) -> None:
    parser = ReplyParser(DEFAULT_REASONING, starts_in_reasoning=False)
    shown = 0
    for fed, character in enumerate(raw, 1):
        shown += sum(len(delta.text) for delta in parser.feed(character))
        assert fed - shown <= len("<think></think>")

    assert parser.feed("!") == [ContentDelta("!")]


class TestLogprobs:
    def test_those_of_content_come_with_their_text(self) -> None:
        parser = ReplyParser(DEFAULT_REASONING, starts_in_reasoning=False)
        parser.feed(*token("Hel"))

        assert parser.feed(*token("lo")) == [ContentDelta("lo", token("lo")[1])]

    def test_those_of_text_that_was_held_back_come_when_it_does(self) -> None:
        parser = ReplyParser(DEFAULT_REASONING, starts_in_reasoning=False)
        assert parser.feed(*token("<th")) == []

        assert parser.feed(*token("e>")) == [ContentDelta("<the>", token("<th")[1] + token("e>")[1])]

    def test_those_of_reasoning_and_markers_do_not_come(self) -> None:
        pieces = [token(text) for text in ("<think>", "\n", "hm", "\n</th", "ink>", "\n\n", "Hello", " you")]

        assert parse(*pieces).logprobs == ("Hello", " you")

    def test_a_token_that_is_half_marker_and_half_answer_counts_as_answer(self) -> None:
        assert parse(token("<think>hm</think"), token(">Hello")) == Parsed("Hello", "hm", (">Hello",))

    def test_those_of_tokens_without_text_come_with_the_next_text(self) -> None:
        half = ("", token("\ufffd")[1])
        parser = ReplyParser(DEFAULT_REASONING, starts_in_reasoning=False)
        assert parser.feed(*half) == []

        assert parser.feed(*token("🎉")) == [ContentDelta("🎉", half[1] + token("🎉")[1])]

    def test_those_whose_text_never_comes_are_not_lost(self) -> None:
        assert parse(token("Hello"), ("", token("STOP")[1])).logprobs == ("Hello", "STOP")

    def test_those_whose_text_never_comes_in_reasoning_do_not_come(self) -> None:
        assert parse(token("<think>hm"), ("", token("STOP")[1])).logprobs == ()

    @given(texts=st.lists(st.sampled_from(["<th", "ink>", "<think>", "</think>", "\n", "word", ""]), max_size=12))
    def test_each_comes_out_at_most_once_and_in_order(self, texts: list[str]) -> None:
        pieces = [(text, (TokenLogprob(str(at), b"", 0.0),)) for at, text in enumerate(texts)]
        parsed = parse(*pieces)

        assert list(parsed.logprobs) == sorted(set(parsed.logprobs), key=int)
        if not parsed.reasoning and parsed.content == "".join(texts):
            assert len(parsed.logprobs) == len(texts)
