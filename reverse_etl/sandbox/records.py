"""What a vendor keeps: records found by id or by a unique value, lists of them, events."""

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from reverse_etl.sandbox.store import Store


class Records:
    """Records of one vendor, found by id or by a unique value."""

    def __init__(self, vendor: str, store: Store) -> None:
        self._vendor, self._store = vendor, store

    def find(self, object_: str, name: str, value: str) -> tuple[int, dict[str, Any]] | None:
        """The record whose unique `name` has this value."""
        rows = self._store.rows(
            "select r.id, r.properties from unique_values u join records r on r.id = u.record_id"
            " where u.vendor = ? and u.object = ? and u.property = ? and u.value = ?",
            (self._vendor, object_, name, value),
        )
        return (rows[0]["id"], orjson.loads(rows[0]["properties"])) if rows else None

    def by_id(self, object_: str, record_id: int) -> dict[str, Any] | None:
        """The record with this id."""
        rows = self._store.rows(
            "select properties from records where vendor = ? and object = ? and id = ?",
            (self._vendor, object_, record_id),
        )
        return orjson.loads(rows[0]["properties"]) if rows else None

    def all(self, object_: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every record of an object, by id."""
        for row in self._store.rows(
            "select id, properties from records where vendor = ? and object = ? order by id",
            (self._vendor, object_),
        ):
            yield row["id"], orjson.loads(row["properties"])

    def number(self, object_: str) -> int:
        """How many there are."""
        return self._store.number(
            "select count(*) from records where vendor = ? and object = ?", (self._vendor, object_)
        )

    def put(
        self,
        object_: str,
        properties: Mapping[str, Any],
        now: str,
        *,
        unique: Mapping[str, str],
        record_id: int | None = None,
    ) -> int:
        """Write a record, a new one without `record_id`; the first holder keeps a unique value."""
        with self._store.transaction() as db:
            number = self.save(db, object_, properties, now, record_id)
            db.execute("delete from unique_values where record_id = ?", (number,))
            db.executemany(
                "insert or ignore into unique_values values (?, ?, ?, ?, ?)",
                [(self._vendor, object_, name, v, number) for name, v in unique.items()],
            )
        return number

    def save(
        self,
        db: sqlite3.Connection,
        object_: str,
        properties: Mapping[str, Any],
        now: str,
        record_id: int | None = None,
    ) -> int:
        """Write what is known of a record, a new one without `record_id`, in a transaction."""
        packed = orjson.dumps(dict(properties)).decode()
        if record_id is not None:
            db.execute(
                "update records set properties = ?, updated_at = ? where id = ?",
                (packed, now, record_id),
            )
            return record_id
        made = db.execute(
            "insert into records(vendor, object, properties, created_at, updated_at)"
            " values (?, ?, ?, ?, ?)",
            (self._vendor, object_, packed, now, now),
        ).lastrowid
        assert made is not None
        return made

    def delete(self, record_id: int) -> None:
        """Remove a record and its memberships."""
        with self._store.transaction() as db:
            self.remove(db, record_id)

    def remove(self, db: sqlite3.Connection, record_id: int) -> None:
        """As `delete`, in a transaction."""
        db.execute("delete from records where id = ?", (record_id,))
        db.execute("delete from unique_values where record_id = ?", (record_id,))
        db.execute("delete from memberships where record_id = ?", (record_id,))

    # Lists of them

    def list_id(self, object_: str, name: str) -> int | None:
        """The list of that name."""
        rows = self._store.rows(
            "select id from lists where vendor = ? and object = ? and name = ?",
            (self._vendor, object_, name),
        )
        return rows[0]["id"] if rows else None

    def make_list(self, object_: str, name: str, now: str) -> int:
        """A new, empty list."""
        with self._store.transaction() as db:
            made = db.execute(
                "insert into lists(vendor, object, name, processing, created_at, updated_at)"
                " values (?, ?, ?, 'STATIC', ?, ?)",
                (self._vendor, object_, name, now, now),
            ).lastrowid
        assert made is not None
        return made

    def list_name(self, list_id: int) -> str | None:
        """The name of a list."""
        rows = self._store.rows(
            "select name from lists where vendor = ? and id = ?", (self._vendor, list_id)
        )
        return rows[0]["name"] if rows else None

    def join(self, list_id: int, record_id: int, now: str) -> bool:
        """Put a record on a list; False where it was on it."""
        with self._store.transaction() as db:
            added = db.execute(
                "insert or ignore into memberships values (?, ?, ?)", (list_id, record_id, now)
            )
        return added.rowcount == 1

    def leave(self, list_id: int, record_id: int) -> bool:
        """Take a record off a list; False where it was not on it."""
        with self._store.transaction() as db:
            gone = db.execute(
                "delete from memberships where list_id = ? and record_id = ?", (list_id, record_id)
            )
        return gone.rowcount == 1

    def members(self, list_id: int) -> list[int]:
        """Record ids on a list."""
        return [
            row[0]
            for row in self._store.rows(
                "select record_id from memberships where list_id = ? order by 1", (list_id,)
            )
        ]

    def list_sizes(self) -> dict[str, int]:
        """Members by name of list."""
        return self._store.tally(
            "select l.name, count(m.record_id) from lists l"
            " left join memberships m on m.list_id = l.id"
            " where l.vendor = ? group by l.id order by l.name",
            (self._vendor,),
        )

    # Events

    def log_event(
        self, name: str, record_id: int | None, occurred_at: str, now: str, properties: Any
    ) -> None:
        """Keep an event as accepted."""
        with self._store.transaction() as db:
            db.execute(
                "insert into events(vendor, name, record_id, occurred_at, received_at, properties,"
                " outcome) values (?, ?, ?, ?, ?, ?, 'accepted')",
                (
                    self._vendor,
                    name,
                    record_id,
                    occurred_at,
                    now,
                    orjson.dumps(properties).decode(),
                ),
            )

    def event_counts(self) -> dict[str, int]:
        """Accepted events by name."""
        return self._store.tally(
            "select name, count(*) from events where vendor = ? group by 1 order by 1",
            (self._vendor,),
        )
