"""What happened, as events with keys and counts: never a payload, never a secret."""

from __future__ import annotations

import logging
import time
from typing import Any

import orjson

LOGGER = logging.getLogger("reverse_etl")
LOGGER.addHandler(logging.NullHandler())  # who wants to hear adds a handler


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Tell one thing. Fields are ids, counts, codes and a tool's scrubbed words."""
    LOGGER.log(level, name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object a line: ``at`` (UTC), ``level``, ``event``, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        return orjson.dumps(line | getattr(record, "fields", {}), default=str).decode()
