"""Instants: where they come from, and how the ledger writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def as_instant(value: datetime) -> str:
    """An instant as the ledger stores it: fixed width, so that text sorts as time does."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")
