"""What a tool's headers say about pace, in the spellings that tools use.

Contracts: RFC 9110 (Retry-After), the IETF drafts on RateLimit header fields (``RateLimit`` with
``RateLimit-Policy``, and the older ``RateLimit-Limit``, ``-Remaining``, ``-Reset``), and vendors'
own: ``X-RateLimit-*``, Braze's ``X-Ratelimit-Retry-After``, Brevo's ``x-sib-ratelimit-*``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from reverse_etl.rate import RateBudget

_PREFIXES = ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-", "X-Sib-RateLimit-")
_MILLISECONDS = ("Retry-After-Ms", "X-Retry-After-Ms")
_SECONDS = ("Retry-After", "X-RateLimit-Retry-After", "X-Retry-After")
_EPOCH = 100_000_000
"""A reset above this is a moment since 1970, not a number of seconds to wait."""


def pause_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before the next call, None where the tool names none."""
    for name in _MILLISECONDS:
        if (milliseconds := _number(headers.get(name))) is not None:
            return milliseconds / 1000
    for name in _SECONDS:
        text = headers.get(name, "").strip()
        if (seconds := _number(text)) is not None:
            return _until(seconds, headers)
        if (moment := _moment(text)) is not None:
            return max(0.0, moment - _now(headers))
    counted = _counted(headers)
    return counted[1] if counted and counted[0] <= 0 else None


def learn(headers: Mapping[str, str], budget: RateBudget) -> None:
    """Tell the budget how many calls are left, and until when."""
    if counted := _counted(headers):
        budget.grant(*counted)


def _counted(headers: Mapping[str, str]) -> tuple[int, float] | None:
    """Calls left, and the seconds until the count starts anew."""
    structured = headers.get("RateLimit", "")
    found = re.search(r";\s*r=(\d+)", structured), re.search(r";\s*t=(\d+)", structured)
    if found[0] and found[1]:
        return int(found[0][1]), float(found[1][1])
    for prefix in _PREFIXES:
        remaining = _number(headers.get(f"{prefix}Remaining"))
        reset = _number(headers.get(f"{prefix}Reset"))
        if remaining is not None and reset is not None:
            return int(remaining), _until(reset, headers)
    return None


def _until(value: float, headers: Mapping[str, str]) -> float:
    """Seconds from now, whichever way the tool counts: some name the moment."""
    if value < _EPOCH:
        return value
    seconds = value / 1000 if value > _EPOCH * 1000 else value
    return max(0.0, seconds - _now(headers))


def _now(headers: Mapping[str, str]) -> float:
    """The tool's clock, which its moments belong to; ours where it does not tell."""
    moment = _moment(headers.get("Date", ""))
    return time.time() if moment is None else moment


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None


def _number(text: str | None) -> float | None:
    """A number that is not negative; tools also write words, lists and nothing at all."""
    found = re.fullmatch(r"\d+(\.\d+)?", (text or "").strip())
    return float(found[0]) if found else None
