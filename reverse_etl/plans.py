"""A plan: what a sync would change now, and the rows that would travel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reverse_etl.samples import Sample
from reverse_etl.spec import GROUP_MARK, Sync
from reverse_etl.values import as_utc
from reverse_etl.warehouse import EXPIRES_AT, NOT_BEFORE

OWN = ("_key", "_action", "_fingerprint")
_TIMES = (NOT_BEFORE, EXPIRES_AT)
_ESCAPED = 6
"""Bytes that JSON takes at most for a byte of text."""
_LONGEST_VALUE = 64
"""Bytes of a number, a time, quotes, colon and comma."""


class Change(NamedTuple):
    """One row to send. A removal has no payload: the row is gone. ``expires_at``: a trigger's event
    is not sent after it."""

    key: str
    action: str
    fingerprint: str
    payload: dict[str, Any]
    expires_at: datetime | None = None

    @property
    def identity(self) -> str:
        """The contact or customer behind the key."""
        return self.key.partition(GROUP_MARK)[0]

    @property
    def group(self) -> str | None:
        """The value of a segment's group_key."""
        return self.key.partition(GROUP_MARK)[2] or None


@dataclass(frozen=True)
class Plan:
    """What a sync would change now.

    ``retrying`` (rows the tool refused before) is part of adds, changes and removes; not among them
    are ``waiting`` (refused, and not due yet), ``unknown``, ``early`` and ``expired`` (a trigger's
    events before and after their time) and ``erased`` (people who are not to come back).
    """

    sync: Sync
    adds: int = 0
    changes: int = 0
    removes: int = 0
    unchanged: int = 0
    unknown: int = 0
    retrying: int = 0
    waiting: int = 0
    early: int = 0
    expired: int = 0
    erased: int = 0
    baseline: bool = False
    held: bool = False
    reason: str = ""
    digest: str = ""
    mrr: Decimal | None = None
    """Monthly revenue of the customers that adds and removes touch, where a budget asks for it."""
    row_count: int = 0
    """Rows of the model."""
    shrunk: bool = False
    """Held because the model has lost rows."""
    seen: tuple[str, ...] = ()
    """A trigger's events of before its first run: recorded, never sent."""
    moot: tuple[str, ...] = ()
    """Dead letters whose row no longer asks to be sent."""
    rows: pa.Table | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Rows that would travel."""
        return self.adds + self.changes + self.removes

    @property
    def id(self) -> str:
        """What a person calls this very plan by."""
        return self.digest[:12]

    def __iter__(self) -> Iterator[Change]:
        """The rows, in the order of their keys."""
        if self.rows is None:
            return
        names = [name for name in self.rows.column_names if name not in OWN + _TIMES]
        for some in self.rows.to_batches(max_chunksize=5_000):
            meta = [some.column(name).to_pylist() for name in OWN]
            columns = [_values(some.column(name)) for name in names]
            expires: Sequence[datetime | None] = [None] * len(some)
            if EXPIRES_AT in some.schema.names:
                expires = [at and as_utc(at) for at in some.column(EXPIRES_AT).to_pylist()]
            values = zip(*columns, strict=True) if columns else ((),) * len(some)
            for key, action, fingerprint, row, until in zip(*meta, values, expires, strict=True):
                payload = {} if action == "remove" else dict(zip(names, row, strict=True))
                yield Change(key, action, fingerprint, payload, until)

    @cached_property
    def heaviest(self) -> int | None:
        """At most so many bytes has a row as JSON; None where only writing it tells."""
        if self.rows is None:
            return 0
        total = 0
        for name, column in zip(self.rows.column_names, self.rows.columns, strict=True):
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                longest = pc.max(pc.binary_length(column)).as_py() or 0
                total += _ESCAPED * longest
            elif pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                return None
            total += len(name.encode()) + _LONGEST_VALUE
        return total

    def column(self, name: str) -> list[Any]:
        """A column's values in the rows that would travel; empty where the model has none."""
        if self.rows is None or name not in self.rows.column_names:
            return []
        values: list[Any] = self.rows.column(name).to_pylist()
        return values

    def identities(self) -> list[tuple[str, str, str]]:
        """(key, action, fingerprint) of the rows that would travel."""
        return list(zip(*(self.column(name) for name in OWN), strict=True))

    def split(self, keys: Collection[str]) -> tuple[Plan, Plan]:
        """The rows of these keys, and the others. Only the first knows what else there was."""
        if self.rows is None:
            return self, replace(self, adds=0, changes=0, removes=0, rows=None)
        chosen = pc.is_in(self.rows.column("_key"), pa.array(list(keys), pa.string()))
        first, rest = self.rows.filter(chosen), self.rows.filter(pc.invert(chosen))
        return self._of(first), self._of(rest)

    def samples(self, count: int = 3) -> list[Sample]:
        """Some rows of each action, as a person may see them: with ``pii`` masked."""
        if self.rows is None:
            return []
        found = []
        for action in ("add", "change", "remove"):
            some = self.rows.filter(pc.equal(self.rows.column("_action"), action)).slice(0, count)
            for row in self._of(some):
                found.append(Sample.of(row.key, action, row.payload, self.sync))
        return found

    def as_dict(self) -> dict[str, Any]:
        """The plan in figures, as ``plan --json`` prints it."""
        figures = (
            "adds changes removes unchanged held reason baseline unknown retrying waiting"
            " early expired erased"
        )
        return {
            "sync": self.sync.id,
            "model": self.sync.model,
            "destination": self.sync.destination.name,
            "kind": self.sync.spec.kind,
            **{name: getattr(self, name) for name in figures.split()},
            "mrr": None if self.mrr is None else str(self.mrr),
            "seen": len(self.seen),
            "plan": self.id,
            "samples": [sample.as_dict() for sample in self.samples()],
        }

    def _of(self, rows: pa.Table) -> Plan:
        counted = rows.column("_action").value_counts().to_pylist()
        counts = {c["values"]: c["counts"] for c in counted}
        return replace(
            self,
            adds=counts.get("add", 0),
            changes=counts.get("change", 0),
            removes=counts.get("remove", 0),
            rows=rows,
        )


def _values(column: pa.Array) -> list[Any]:
    """As to_pylist, which takes several times as long for decimals and for times."""
    kind = column.type
    is_time = pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz is None
    if pa.types.is_decimal(kind) or is_time:
        values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return values
    return list(column.to_pylist())
