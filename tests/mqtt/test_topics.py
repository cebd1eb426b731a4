"""Topics: what each means, and where replies may go."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_core.mqtt.topics import Address, RequestKey, Topics, is_below

TOPICS = Topics("llm")
BASE = TOPICS.reply_base("lab", "oven")


def test_what_is_made_is_read_again() -> None:
    key = RequestKey("lab", "oven", "r1")
    assert TOPICS.parse(TOPICS.request("lab", "oven")) == Address("request", "lab", "oven")
    assert TOPICS.parse(TOPICS.cancel(key)) == Address("cancel", "lab", "oven", "r1")
    assert TOPICS.parse(TOPICS.template("lab")) == Address("template", "lab")
    assert TOPICS.parse(TOPICS.status("w1")) == Address("status", name="w1")
    assert TOPICS.parse(TOPICS.worker("w1", "again")) == Address("worker", name="w1", verb="again")
    assert TOPICS.reply(key) == "llm/lab/reply/oven/r1"


@pytest.mark.parametrize(
    "topic",
    [
        "other/lab/request/oven",
        "llm/lab/request",
        "llm/lab/request/oven/more",
        "llm/lab/request/a b",
        "llm/lab/request/$oven",
        "llm/la b/request/oven",
        "llm/status/request/oven",
        "llm/lab/cancel/oven",
        "llm/lab/reply/oven/r1",
        "llm",
        "",
    ],
)
def test_any_other_topic_means_nothing(topic: str) -> None:
    assert TOPICS.parse(topic) is None


@pytest.mark.parametrize("topic", [f"{BASE}r1", f"{BASE}a/b/c", f"{BASE}ü", f"{BASE}a b"])
def test_a_reply_may_go_anywhere_below_the_requesters_own_topic(topic: str) -> None:
    assert is_below(topic, BASE)


@given(st.text(max_size=40))
@example("../other/r1")
@example("#")
@example("a/+")
@example("a/$SYS")
@example("a//b")
@example("")
@example("a\x00")
@example("a\ud800")
def test_no_reply_topic_has_a_wildcard_a_dollar_an_empty_level_or_what_cannot_be_printed(rest: str) -> None:
    if is_below(BASE + rest, BASE):
        assert rest
        assert not set("+#$") & set(rest)
        assert all(rest.split("/"))
        assert rest.replace("/", "x").isprintable()


@given(st.text(max_size=60))
def test_nothing_that_is_not_below_the_base_is_taken_for_it(topic: str) -> None:
    assert not is_below(topic, BASE) or topic.startswith(BASE)
    assert not is_below(f"{BASE[:-1]}x/{topic}", BASE)


def test_a_topic_that_is_too_long_is_none() -> None:
    assert not is_below(BASE + "x" * 1024, BASE)
