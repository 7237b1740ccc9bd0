"""Transactions, locks and versions of the ledger's database: SQLite, or Postgres."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from reverse_etl import schema
from reverse_etl.errors import BusyError, UserError

T = TypeVar("T")


class Database:
    """One database, shared by a run's threads; writes are serialised in this process.

    Raises UserError when it cannot be opened or written, or was written by a newer version.
    """

    def __init__(self, url: str) -> None:
        self._mutex = threading.Lock()
        try:
            self.shown = make_url(url).render_as_string(hide_password=True)
            self._engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise UserError(
                f"LEDGER_URL is not usable ({error}). Write sqlite:///<absolute path> or "
                "postgresql+psycopg://user@host/database (with `pip install psycopg`)."
            ) from None
        except OSError as error:
            raise UserError(
                f"The ledger {self.shown} cannot be opened: {error.strerror}. "
                "Check LEDGER_URL and the permissions of its folder."
            ) from None
        self._migrate()

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: durable when the block ends, gone when it raises."""
        writer = self._engine.execution_options(immediate=True)
        with self._explained(), self._mutex, writer.begin() as connection:
            yield connection

    def put(self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert, or overwrite exactly the given columns of what has the same primary key."""
        if not rows:
            return
        dialect = sqlite if self._is_sqlite else postgresql
        statement = dialect.insert(table)
        keys = {column.name for column in table.primary_key}
        given = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        connection.execute(
            statement.on_conflict_do_update(index_elements=sorted(keys), set_=given), rows
        )

    def arrow(self, query: Select[Any]) -> pa.Table:
        """A query's rows as an Arrow table of text columns."""
        names = [column.name for column in query.selected_columns]
        fields = pa.schema([(name, pa.string()) for name in names])
        with self.reading() as connection:
            batches = [
                pa.record_batch([pa.array(c, pa.string()) for c in zip(*some, strict=True)], fields)
                for some in connection.execute(query).partitions(50_000)
            ]
        return pa.Table.from_batches(batches, fields)

    @contextmanager
    def lock(self, sync: str) -> Iterator[None]:
        """Hold a sync for this process. Raises BusyError when another one has it."""
        with self._file_lock(sync) if self._is_sqlite else self._server_lock(sync):
            yield

    @contextmanager
    def _file_lock(self, sync: str) -> Iterator[None]:
        folder = Path(f"{self._engine.url.database}.locks")
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder / re.sub(r"[^\w.-]", "_", sync), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise _busy(sync) from None
        finally:
            os.close(handle)

    @contextmanager
    def _server_lock(self, sync: str) -> Iterator[None]:
        number = zlib.crc32(sync.encode())
        with self.reading() as connection:
            if not connection.scalar(select(func.pg_try_advisory_lock(number))):
                raise _busy(sync)
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(number)))

    @property
    def _is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def _migrate(self) -> None:
        with self.writing() as connection:
            version = _version(connection)
            if version > schema.VERSION:
                raise UserError(
                    f"The ledger {self.shown} was written by a newer version (schema {version}, "
                    f"this one knows {schema.VERSION}). Update the project, or point LEDGER_URL "
                    "to another ledger."
                )
            for step in schema.MIGRATIONS[version:]:
                step(connection)
            if version < schema.VERSION:
                row = {"name": "schema_version", "value": str(schema.VERSION)}
                self.put(connection, schema.ledger_meta, [row])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise UserError(
                f"The ledger {self.shown} cannot be used: {cause}. Check LEDGER_URL, the file's "
                "permissions and the free space; what was acknowledged so far is kept."
            ) from error


def in_pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items: statements have a limit of parameters."""
    remaining = iter(items)
    while piece := list(islice(remaining, size)):
        yield piece


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name != "sqlite":
        return engine
    path = Path(engine.url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))

    @event.listens_for(engine, "connect")
    def durable(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy alone begins and commits
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer asks for its lock at once: an upgrade half-way would fail instead of waiting.
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _version(connection: Connection) -> int:
    t = schema.ledger_meta
    if not inspect(connection).has_table(t.name):
        return 0
    return int(connection.scalar(select(t.c.value).where(t.c.name == "schema_version")) or 0)


def _busy(sync: str) -> BusyError:
    return BusyError(
        f"Sync {sync} is being pushed by another process. Wait until that ends, then run again."
    )
