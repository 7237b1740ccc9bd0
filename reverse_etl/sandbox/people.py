"""People as a tool keeps them: attributes under the values that tell one person from another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from reverse_etl.sandbox.records import Records
from reverse_etl.sandbox.store import Store


class People:
    """One vendor's records of one kind. Writers are given the connection of their transaction, and
    whoever comes last has the value of an identifier."""

    def __init__(self, store: Store, vendor: str, kind: str = "people") -> None:
        self._store, self._kind = store, kind
        self._of = (vendor, kind)
        self._records = Records(vendor, store)

    def found(self, identifier: str, values: Iterable[str]) -> dict[str, int]:
        """Record ids by the value of an identifier, for those there are."""
        sql = (
            "select record_id from unique_values"
            " where vendor = ? and object = ? and property = ? and value = ?"
        )
        rows = {value: self._store.rows(sql, (*self._of, identifier, value)) for value in values}
        return {value: int(some[0][0]) for value, some in rows.items() if some}

    def attributes(self, record_id: int) -> dict[str, Any]:
        """What is known of a person who is there."""
        known = self._records.by_id(self._kind, record_id)
        assert known is not None
        return known

    def identifier(self, record_id: int, name: str) -> str | None:
        """A person's value of one identifier."""
        rows = self._store.rows(
            "select value from unique_values where record_id = ? and property = ?",
            (record_id, name),
        )
        return str(rows[0][0]) if rows else None

    def has(self, record_id: int) -> bool:
        """Whether there is such a record."""
        return self._records.by_id(self._kind, record_id) is not None

    def all(self) -> list[int]:
        """Every record, oldest first."""
        return [record_id for record_id, _ in self._records.all(self._kind)]

    def put(
        self,
        db: sqlite3.Connection,
        record_id: int | None,
        attributes: Mapping[str, Any],
        identifiers: Mapping[str, str],
        now: str,
    ) -> int:
        """Write a person, new where record_id is None. Identifiers replace those of their name."""
        number = self._records.save(db, self._kind, attributes, now, record_id)
        for name, value in identifiers.items():
            db.execute(
                "delete from unique_values where record_id = ? and property = ?", (number, name)
            )
            db.execute(
                "insert into unique_values values (?, ?, ?, ?, ?)",
                (*self._of, name, value, number),
            )
        return number

    def remove(self, db: sqlite3.Connection, record_id: int) -> None:
        """Forget a person and their memberships."""
        self._records.remove(db, record_id)

    def count(self) -> int:
        """How many there are."""
        return self._records.number(self._kind)
