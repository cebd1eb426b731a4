"""The date and the time, in words that need no arithmetic."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.tools.builtin.clock import current_time, describe

MOMENT = datetime(2026, 3, 1, 23, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "Sunday, 1 March 2026, 23:30:05 (UTC, UTC+00:00); ISO 8601: 2026-03-01T23:30:05+00:00"),
        (
            "Europe/Paris",
            "Monday, 2 March 2026, 00:30:05 (Europe/Paris, UTC+01:00); ISO 8601: 2026-03-02T00:30:05+01:00",
        ),
        (
            "Asia/Kolkata",
            "Monday, 2 March 2026, 05:00:05 (Asia/Kolkata, UTC+05:30); ISO 8601: 2026-03-02T05:00:05+05:30",
        ),
    ],
)
def test_a_moment_is_told_with_its_day_and_its_zone(zone: str, words: str) -> None:
    assert describe(MOMENT, zone) == words


@pytest.mark.parametrize("city", ["paris", "PARIS", " Paris ", "europe/paris"])
def test_a_city_will_do_in_any_case(city: str) -> None:
    assert describe(MOMENT, city) == describe(MOMENT, "Europe/Paris")


def test_a_city_of_several_words_will_do() -> None:
    assert describe(MOMENT, "new york") == describe(MOMENT, "America/New_York")


@pytest.mark.parametrize("zone", ["", "local", "Local"])
def test_local_is_the_zone_of_this_computer(zone: str) -> None:
    assert describe(MOMENT, zone).endswith(MOMENT.astimezone().isoformat(timespec="seconds"))


@pytest.mark.parametrize("zone", ["Atlantis", "Europe", "../../../etc/passwd", "/etc/localtime", "\0", "x" * 5000])
def test_what_is_no_zone_is_refused_with_what_to_write(zone: str) -> None:
    with pytest.raises(ValueError, match="use an IANA name such as Europe/Paris"):
        current_time(zone)


@given(st.text(max_size=40))
def test_any_text_is_answered_or_refused(zone: str) -> None:
    with contextlib.suppress(ValueError):
        assert describe(MOMENT, zone)


def test_the_current_time_is_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    moment = datetime.fromisoformat(current_time("UTC").rpartition(" ")[2])
    assert before <= moment <= before + timedelta(seconds=30)
