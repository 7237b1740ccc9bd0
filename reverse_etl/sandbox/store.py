"""What the tools received: one SQLite file that survives restarts."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
create table if not exists records(
    id integer primary key autoincrement, vendor text not null, object text not null,
    properties text not null, created_at text not null, updated_at text not null);
create index if not exists records_by_object on records(vendor, object, id);
-- one row per value of a property that is unique in the tool (an e-mail, a customer id)
create table if not exists unique_values(
    vendor text not null, object text not null, property text not null, value text not null,
    record_id integer not null, primary key (vendor, object, property, value)) without rowid;
create index if not exists unique_values_by_record on unique_values(record_id);
create table if not exists lists(
    id integer primary key autoincrement, vendor text not null, object text not null,
    name text not null, processing text not null, version integer not null default 1,
    created_at text not null, updated_at text not null, deleted_at text);
create table if not exists memberships(
    list_id integer not null, record_id integer not null, joined_at text not null,
    primary key (list_id, record_id)) without rowid;
create index if not exists memberships_by_record on memberships(record_id);
-- outcome: accepted, dropped (nobody there to attach it to) or duplicate (same uuid again)
create table if not exists events(
    id integer primary key autoincrement, vendor text not null, name text not null, uuid text,
    record_id integer, email text, occurred_at text, received_at text not null,
    properties text not null, outcome text not null);
create unique index if not exists events_by_uuid on events(vendor, uuid)
    where outcome = 'accepted' and uuid is not null;
create index if not exists events_by_name on events(vendor, outcome, name);
-- properties and event definitions that a client created through the API
create table if not exists definitions(
    vendor text not null, kind text not null, name text not null, body text not null,
    primary key (vendor, kind, name)) without rowid;
create table if not exists opt_outs(
    vendor text not null, address text not null, reason text not null, at text not null,
    primary key (vendor, address, reason)) without rowid;
create table if not exists mails(
    id integer primary key autoincrement, sender text not null, recipients text not null,
    subject text not null, from_ text not null, to_ text not null, message_id text not null,
    language text, sync text, text text, html text, headers text not null, raw blob not null,
    received_at text not null);
create table if not exists webhooks(
    id integer primary key autoincrement, endpoint text not null, webhook_id text not null,
    type text, body text not null, headers text not null, received_at text not null,
    duplicates integer not null default 0, unique (endpoint, webhook_id));
create table if not exists requests(
    id integer primary key autoincrement, vendor text not null, method text not null,
    path text not null, status integer not null, violation text, fault text,
    milliseconds real not null, at text not null);
create index if not exists requests_by_violation on requests(vendor, violation)
    where violation is not null;
"""
_TABLES = (
    "records",
    "unique_values",
    "lists",
    "memberships",
    "events",
    "definitions",
    "opt_outs",
    "mails",
    "webhooks",
    "requests",
)
# Ids as long as a real tool's, so that a client which mixes up row numbers and ids is caught.
_FIRST_RECORD_ID = 20_000_000_000


def instant(seconds: float) -> str:
    """Epoch seconds as ISO 8601 UTC with milliseconds, the form the vendors answer with."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """One SQLite file (WAL), one connection, usable from several threads.

    Writers use `transaction()`, one per request, so that a batch of 100 costs one commit.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The file holds (synthetic, but person-shaped) data: readable by its owner only.
        path.touch(mode=0o600, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.executescript(_SCHEMA)
            self._seed()
        except sqlite3.Error:
            self._db.close()
            raise

    def _seed(self) -> None:
        self._db.execute(
            "insert into sqlite_sequence(name, seq) select 'records', ?"
            " where not exists (select 1 from sqlite_sequence where name = 'records')",
            (_FIRST_RECORD_ID,),
        )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed at the end, rolled back on any exception."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def number(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """The single whole number a counting query returns."""
        return int(self.rows(sql, parameters)[0][0])

    def tally(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, int]:
        """A (name, count) query as a dict."""
        return {str(row[0]): int(row[1]) for row in self.rows(sql, parameters)}

    def reset(self) -> None:
        """Forget everything received; definitions of the portal file stay."""
        with self.transaction() as db:
            for table in _TABLES:
                db.execute(f"delete from {table}")  # noqa: S608 - names from the constant above
            db.execute("delete from sqlite_sequence")
            self._seed()

    def close(self) -> None:
        with self._lock:
            self._db.close()
