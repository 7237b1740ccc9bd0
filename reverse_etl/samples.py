"""Rows as a person may see them: what is tagged ``pii``, or described nowhere, is masked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reverse_etl.spec import GROUP_MARK, Sync
from reverse_etl.values import as_text

MASK = "***"
LONGEST = 40
SHORTEST = 4
"""A shorter value is found in words by chance."""
_ADDRESS = re.compile(r"[^\s<>\"'(),;:=]+@[^\s<>\"'(),;:=]+")


@dataclass(frozen=True)
class Sample:
    """One row of a plan. ``values``: what would be sent, by column; nothing for a removal."""

    key: str
    action: str
    values: Mapping[str, str]

    @classmethod
    def of(cls, key: str, action: str, payload: Mapping[str, Any], sync: Sync) -> Sample:
        """A row of a sync, masked. Its key is an id, never an address."""
        shown = _shown(sync)
        values = {
            name: as_text(value)[:LONGEST] if name in shown else MASK
            for name, value in payload.items()
            if value is not None
        }
        return cls(key.replace(GROUP_MARK, " in "), action, values)

    def as_dict(self) -> dict[str, Any]:
        """As ``plan --json`` prints it."""
        return {"key": self.key, "action": self.action, "values": dict(self.values)}

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.action} {self.key} {told}".rstrip()


def scrubbed(words: str, payloads: Sequence[Mapping[str, Any]], sync: Sync) -> str:
    """What a tool said about rows, without the values it repeats from them."""
    shown = _shown(sync)
    for payload in payloads:
        for name, value in payload.items():
            text = value if isinstance(value, str) else ""
            if name not in shown and len(text) >= SHORTEST and text in words:
                words = words.replace(text, f"<{name}>")
    return scrubbed_words(words)


def scrubbed_words(words: str) -> str:
    """What a tool said, without any e-mail address."""
    return _ADDRESS.sub("<address>", words)


def _shown(sync: Sync) -> frozenset[str]:
    return sync.open_columns | {sync.spec.key, "customer_id", "contact_id", "event_id"}
