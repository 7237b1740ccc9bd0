"""Transactions, locks and versions of the ledger's database: SQLite, or Postgres."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Integer,
    Select,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from reverse_etl import migrations, schema
from reverse_etl.errors import BusyError, UserError
from reverse_etl.packing import RECORD, column

T = TypeVar("T")
_Compiled = tuple[str, tuple[Any, ...], "itemgetter[Any] | None"]
"""A statement as SQLite's driver takes it, its fixed values, and the order of the parameters."""
PIECE = 200_000
"""Rows that are read at once: a text has a greatest length."""


@dataclass
class _Work:
    """What one thread wants to write."""

    work: Callable[[Connection], None]
    is_done: bool = False
    error: Exception | None = None

    def raise_error(self) -> None:
        if self.error is not None:
            raise self.error


class Database:
    """One database, shared by a run's threads; writes are serialised in this process.

    Raises UserError when it cannot be opened or written, or was written by a newer version.
    """

    def __init__(self, url: str) -> None:
        self._mutex = threading.Lock()
        self._transactions, self._waiting_mutex = threading.Lock(), threading.Lock()
        self._waiting: list[_Work] = []
        self._writer: Connection | None = None  # kept open: each batch writes twice
        self._compiled: dict[Executable, _Compiled] = {}
        self._puts: dict[tuple[str, tuple[str, ...]], Executable] = {}
        try:
            self.shown = make_url(url).render_as_string(hide_password=True)
            self._engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise UserError(
                f"LEDGER_URL is not usable ({error}). Write sqlite:///<absolute path> or "
                "postgresql://user@host/database (with `pip install psycopg2-binary`)."
            ) from None
        except OSError as error:
            raise UserError(
                f"The ledger {self.shown} cannot be opened: {error.strerror}. "
                "Check LEDGER_URL and the permissions of its folder."
            ) from None
        self._migrate()

    def close(self) -> None:
        """Let go of every connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: durable when the block ends, gone when it raises."""
        with self._explained(), self._mutex:
            if self._writer is None:
                writing = self._engine.execution_options(immediate=True)
                self._writer = writing.connect()
            with self._writer.begin():
                yield self._writer

    def together(self, work: Callable[[Connection], None]) -> None:
        """Run in one transaction with what other threads want to write at this moment, so that
        several batches wait for the disk once. Durable when this returns; raises what ``work``
        raises, and then nothing of it is left. ``work`` may be run again."""
        own = _Work(work)
        with self._waiting_mutex:
            self._waiting.append(own)
        with self._transactions:
            if own.is_done:  # by the thread that was here before
                own.raise_error()
                return
            with self._waiting_mutex:
                some, self._waiting = self._waiting, []
            try:
                with self.writing() as connection:
                    for one in some:
                        one.work(connection)
            except Exception:  # one of them: each alone tells which
                for one in some:
                    self._alone(one)
            for one in some:
                one.is_done = True
        own.raise_error()

    def _alone(self, one: _Work) -> None:
        try:
            with self.writing() as connection:
                one.work(connection)
        except Exception as error:
            one.error = error

    def put(
        self,
        connection: Connection,
        table: Table,
        names: Sequence[str],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """Insert rows of the named columns, or overwrite exactly these columns of what has the same
        primary key."""
        if not rows:
            return
        statement = self._puts.get((table.name, tuple(names)))
        if statement is None:
            statement = self._put(table, names)
            self._puts[(table.name, tuple(names))] = statement
        self.many(connection, statement, names, rows)

    def many(
        self,
        connection: Connection,
        statement: Executable,
        names: Sequence[str],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """One statement for each row of named parameters. SQLite's driver takes the rows as they
        are: SQLAlchemy's work on each of them costs more than the write."""
        if not rows:
            return
        if not self._is_sqlite:
            connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
            return
        if statement not in self._compiled:
            compiled = statement.compile(dialect=self._engine.dialect)  # type: ignore[attr-defined]
            wanted = list(compiled.positiontup)
            fixed = [name for name in wanted if name not in names]
            values = tuple(compiled.params[name] for name in fixed)
            given = [*names, *fixed]
            places = None if wanted == given else itemgetter(*map(given.index, wanted))
            self._compiled[statement] = str(compiled), values, places
        sql, values, places = self._compiled[statement]
        if values:
            rows = [(*row, *values) for row in rows]
        connection.connection.cursor().executemany(sql, list(map(places, rows)) if places else rows)

    def arrow(self, query: Select[Any]) -> pa.Table:
        """A query's rows as an Arrow table of texts and whole numbers."""
        kinds = [
            pa.int64() if isinstance(column.type, Integer) else pa.string()
            for column in query.selected_columns
        ]
        names = [column.name for column in query.selected_columns]
        fields = pa.schema(list(zip(names, kinds, strict=True)))
        with self.reading() as connection:
            cursor = connection.execute(query).cursor
            batches = []
            while cursor is not None and (some := cursor.fetchmany(50_000)):
                columns = zip(zip(*some, strict=True), kinds, strict=True)
                arrays = [pa.array(column, kind) for column, kind in columns]
                batches.append(pa.record_batch(arrays, fields))
        return pa.Table.from_batches(batches, fields)

    def packed(self, table: Table, columns: Sequence[Any], *where: Any) -> pa.Table:
        """Texts of many rows, in the order of the first column, which is a key. The database joins
        them itself: a row then costs no Python. No text may be null or contain packing.RECORD."""
        first = columns[0]
        fields = pa.schema([(one.name, pa.large_string()) for one in columns])
        batches: list[pa.RecordBatch] = []
        last: str | None = None
        with self.reading() as connection:
            while True:
                beyond = (first > last,) if last is not None else ()
                some = select(*columns).where(*where, *beyond).order_by(first).limit(PIECE)
                piece = some.subquery()
                joined = [func.aggregate_strings(one, RECORD) for one in piece.c]
                query = select(func.max(piece.c[0]), *joined)
                found = connection.execute(query).one()
                last = found[0]
                if last is None:
                    return pa.Table.from_batches(batches, fields)
                batches.append(pa.record_batch([column(text) for text in found[1:]], fields))

    @property
    def folder(self) -> Path | None:
        """Where files beside the ledger lie; None where it is on a server."""
        if not self._is_sqlite:
            return None
        folder = Path(f"{self._engine.url.database}.locks")
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def overwrite(self) -> None:
        """Leave nothing of what was deleted in the log beside the file."""
        if self._is_sqlite:
            with self._explained(), self._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert raw is not None
                raw.execute("pragma wal_checkpoint(truncate)")

    def problems(self) -> list[str]:
        """What the database itself finds wrong with its file."""
        if not self._is_sqlite:
            return []
        with self.reading() as connection:
            said = connection.scalars(text("pragma integrity_check"))
            return [line for line in said if line != "ok"]

    @contextmanager
    def lock(self, sync: str) -> Iterator[None]:
        """Hold a sync for this process. Raises BusyError when another one has it."""
        with self._file_lock(sync) if self._is_sqlite else self._server_lock(sync):
            yield

    @contextmanager
    def _file_lock(self, sync: str) -> Iterator[None]:
        assert self.folder is not None
        handle = os.open(self.folder / re.sub(r"[^\w.-]", "_", sync), os.O_RDWR | os.O_CREAT, 0o600)
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
        alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._explained(), alone.connect() as connection:
            if not connection.scalar(select(func.pg_try_advisory_lock(number))):
                raise _busy(sync)
            try:
                yield
            finally:
                connection.execute(select(func.pg_advisory_unlock(number)))

    @property
    def _is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def _put(self, table: Table, names: Sequence[str]) -> Executable:
        insert = sqlite.insert if self._is_sqlite else postgresql.insert
        statement = insert(table).values({name: bindparam(name) for name in names})
        keys = [column.name for column in table.primary_key]
        given = {name: statement.excluded[name] for name in names if name not in keys}
        if not given:
            return statement.on_conflict_do_nothing(index_elements=keys)
        return statement.on_conflict_do_update(index_elements=keys, set_=given)

    def _migrate(self) -> None:
        with self._explained(), self._engine.connect() as connection:
            version = _version(connection)
        if version > migrations.VERSION:
            raise UserError(
                f"The ledger {self.shown} was written by a newer version (schema {version}, "
                f"this one knows {migrations.VERSION}). Update the project, or point LEDGER_URL "
                "to another ledger."
            )
        if version == migrations.VERSION:
            return
        with self.writing() as connection:
            if not self._is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(0)))
            version = _version(connection)  # another process may have been first
            if not version:
                schema.tables.create_all(connection)
            for step in migrations.STEPS[version - 1 :] if version else ():
                step(connection)
            row = ("schema_version", str(migrations.VERSION))
            self.put(connection, schema.ledger_meta, ("name", "value"), [row])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
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
    if make_url(url).get_backend_name() != "sqlite":
        return _server(url)
    engine = create_engine(url)
    path = Path(engine.url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only where there is none: closing a file drops every lock that this process has on it, those
    # of SQLite's other connections too.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy alone begins and commits
        # erased means overwritten, too
        durable = ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
        for pragma in durable:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer asks for its lock at once: an upgrade half-way would fail instead of waiting.
        immediate = connection.get_execution_options().get("immediate")
        connection.connection.cursor().execute("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _server(url: str) -> Engine:
    # many rows a round trip: a server may be far away
    batched = {"executemany_mode": "values_plus_batch"}
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg2")
    is_psycopg2 = parsed.get_driver_name() == "psycopg2"
    return create_engine(parsed, pool_pre_ping=True, **(batched if is_psycopg2 else {}))


def _version(connection: Connection) -> int:
    t = schema.ledger_meta
    if not inspect(connection).has_table(t.name):
        return 0
    return int(connection.scalar(select(t.c.value).where(t.c.name == "schema_version")) or 0)


def _busy(sync: str) -> BusyError:
    return BusyError(
        f"Sync {sync} is being pushed by another process. Wait until that ends, then run again."
    )
