"""Bearer tokens: who may call, kept as digests so that no memory dump, log or error message holds a secret."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_TOKEN_CHARS = 512
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """One owner's token.

    Attributes:
        name: Of the owner; for a token without one, the beginning of its digest.
        digest: SHA-256 of the token.
    """

    name: str
    digest: bytes = field(repr=False)


def parse_tokens(value: object) -> object:
    """The tokens of `name:token, token, ...`. Two tokens may have one name: they are one owner.

    Raises:
        ValueError: One cannot be used. The message does not show it.
    """
    if not isinstance(value, str):
        return value
    return tuple(_parse(part.strip(), at) for at, part in enumerate(value.split(","), 1) if part.strip())


def find_token(token: str, tokens: Iterable[ApiToken]) -> ApiToken | None:
    """The one that `token` is, or None. All are compared, in constant time, so that the time tells nothing."""
    digest = _digest(token)
    found = None
    for known in tokens:
        if hmac.compare_digest(known.digest, digest):
            found = known
    return found


def _parse(text: str, at: int) -> ApiToken:
    name, colon, token = text.partition(":")
    if not colon:
        name, token = "", text
    if not token or len(token) > MAX_TOKEN_CHARS or any(letter.isspace() for letter in token):
        raise ValueError(f"number {at} is not a token of 1 to {MAX_TOKEN_CHARS} characters without blanks")
    if colon and not _NAME.fullmatch(name):
        raise ValueError(f"the name of number {at} must be 1 to 64 letters, digits, dots, dashes or underscores")
    digest = _digest(token)
    return ApiToken(name or f"token-{digest.hex()[:8]}", digest)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
