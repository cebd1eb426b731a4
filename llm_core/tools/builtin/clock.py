"""The date and the time, here and elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

LOCAL = "local"


def current_time(time_zone: str = LOCAL) -> str:
    """The date, the day of the week and the time, now.

    Args:
        time_zone: An IANA name such as `Europe/Paris` or `America/New_York`, a large city, `UTC`, or `local` for the
            zone of this computer.
    """
    return describe(datetime.now(UTC), time_zone)


def describe(moment: datetime, time_zone: str) -> str:
    """A moment, in words that need no arithmetic.

    Args:
        moment: With a zone of its own.

    Raises:
        ValueError: There is no such time zone.
    """
    there = moment.astimezone(_zone(time_zone.strip()))
    offset = f"UTC{there:%z}"
    offset = f"{offset[:-2]}:{offset[-2:]}"
    name = getattr(there.tzinfo, "key", None) or there.tzname()
    # Not %A and %B, which are in the language of the server.
    day = f"{_DAYS[there.weekday()]}, {there.day} {_MONTHS[there.month - 1]} {there.year}"
    return f"{day}, {there:%H:%M:%S} ({name}, {offset}); ISO 8601: {there.isoformat(timespec='seconds')}"


def _zone(name: str) -> tzinfo | None:
    """The zone of a name, or of a city that one is named after; None is this computer's."""
    if name.casefold() in ("", LOCAL):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the last where the name is a folder of zones
        pass
    wanted = name.replace(" ", "_").casefold()
    for key in sorted(available_timezones()):
        if wanted in (key.casefold(), key.rpartition("/")[2].casefold()):
            return ZoneInfo(key)
    raise ValueError(f"there is no time zone {name[:50]!r}; use an IANA name such as Europe/Paris")


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
