"""Webhooks of tools: told by somebody who knows the secret, and not long ago."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime

from reverse_etl.errors import Denied

TOLERANCE_SECONDS = 300
"""How old a signed message may be, so that one overheard cannot be told again later."""


def require_signature(key: str, signed: bytes, signature: str) -> None:
    """Raise Denied unless ``signature`` is the hexadecimal HMAC-SHA256 of what was signed. With an
    empty key anybody could sign, so nobody is believed."""
    if not key:
        raise Denied("No signing key is configured.", code="signature")
    expected = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise Denied("The webhook's signature is not valid.", code="signature")


def require_recent(text: str) -> None:
    """Raise Denied unless an instant (epoch seconds or ISO 8601) is of the last five minutes."""
    try:
        at = float(text) if text.isdigit() else _seconds(text)
    except ValueError:
        raise Denied("The webhook's time is not readable.", code="timestamp") from None
    if abs(time.time() - at) > TOLERANCE_SECONDS:
        raise Denied("The webhook is too old.", code="timestamp")


def _seconds(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
