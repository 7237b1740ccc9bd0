"""How a warehouse value is written for a tool. Timestamps without a zone are UTC by convention."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson


def as_text(value: Any) -> str:
    """One value as text: decimals as written, timestamps ISO 8601 in UTC, null as empty."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return as_utc(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case dict() | list():
            return as_json(value).decode()
        case _:
            return str(value)


def as_plain(value: Any) -> Any:
    """One value for JSON that keeps its type: decimals are numbers with every digit as written,
    timestamps are text as in ``as_text``."""
    match value:
        case Decimal() if value.is_finite():
            return orjson.Fragment(format(value, "f"))
        case datetime() | date():
            return as_text(value)
        case _:
            return value


def as_address(value: Any) -> str:
    """An e-mail address as tools compare it; null is empty."""
    return str(value or "").strip().lower()


def as_utc(value: datetime) -> datetime:
    """The same instant with its zone spelled out."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def as_json(value: Any) -> bytes:
    """JSON bytes; decimals become strings, so that no digit is lost on the way."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
