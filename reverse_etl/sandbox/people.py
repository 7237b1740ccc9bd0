"""People as a tool keeps them: attributes under the values that tell one person from another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from reverse_etl.sandbox.store import Store


class People:
    """Records of one vendor. Writers are given the connection of their transaction."""

    def __init__(self, store: Store, vendor: str, kind: str = "people") -> None:
        self._store = store
        self._of = (vendor, kind)

    def found(self, identifier: str, values: Iterable[str]) -> dict[str, int]:
        """Record ids by the value of an identifier, for those there are."""
        sql = (
            "select record_id from unique_values"
            " where vendor = ? and object = ? and property = ? and value = ?"
        )
        rows = {value: self._store.rows(sql, (*self._of, identifier, value)) for value in values}
        return {value: int(some[0][0]) for value, some in rows.items() if some}

    def attributes(self, record_id: int) -> dict[str, Any]:
        """What is known of a person."""
        [row] = self._store.rows("select properties from records where id = ?", (record_id,))
        known: dict[str, Any] = orjson.loads(row[0])
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
        sql = "select 1 from records where vendor = ? and object = ? and id = ?"
        return bool(self._store.rows(sql, (*self._of, record_id)))

    def all(self) -> list[int]:
        """Every record, oldest first."""
        sql = "select id from records where vendor = ? and object = ? order by id"
        return [int(row[0]) for row in self._store.rows(sql, self._of)]

    def put(
        self,
        db: sqlite3.Connection,
        record_id: int | None,
        attributes: Mapping[str, Any],
        identifiers: Mapping[str, str],
        now: str,
    ) -> int:
        """Write a person, new where record_id is None. Identifiers replace those of their name."""
        packed = orjson.dumps(dict(attributes)).decode()
        if record_id is None:
            made = db.execute(
                "insert into records(vendor, object, properties, created_at, updated_at)"
                " values (?, ?, ?, ?, ?)",
                (*self._of, packed, now, now),
            )
            record_id = int(made.lastrowid or 0)
        else:
            db.execute(
                "update records set properties = ?, updated_at = ? where id = ?",
                (packed, now, record_id),
            )
        for name, value in identifiers.items():
            db.execute(
                "delete from unique_values where record_id = ? and property = ?", (record_id, name)
            )
            db.execute(
                "insert into unique_values values (?, ?, ?, ?, ?)",
                (*self._of, name, value, record_id),
            )
        return record_id

    def remove(self, db: sqlite3.Connection, record_id: int) -> None:
        """Forget a person and their memberships."""
        db.execute("delete from records where id = ?", (record_id,))
        db.execute("delete from unique_values where record_id = ?", (record_id,))
        db.execute("delete from memberships where record_id = ?", (record_id,))

    def count(self) -> int:
        """How many there are."""
        return self._store.number(
            "select count(*) from records where vendor = ? and object = ?", self._of
        )
