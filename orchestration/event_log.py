"""Dagster's event log in SQLite, without opening its files anew for each event.

The stock class makes an engine and a connection for every event that it stores or reads, compiles
its statements anew and waits for the disk twice: a third of the time of a build of some hundred
models. Files and format are the same, so either class reads what the other wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

_MOST_OPEN = 8


class EventLog(SqliteEventLogStorage):
    """One file for each run and one index over them; ``dagster.yaml`` names this class."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: dict[str, sqlalchemy.Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> EventLog:
        """As Dagster makes it from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def dispose(self) -> None:
        """Close every file."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sqlalchemy.Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection
            if shard != INDEX_SHARD_NAME:
                # whoever watches the run looks at this file, and what is new is in the one beside
                os.utime(self.path_for_shard(shard))

    def _engine(self, shard: str) -> sqlalchemy.Engine:
        engine = self._engines.pop(shard, None)
        if engine is None:
            engine = sqlalchemy.create_engine(
                self.conn_string_for_shard(shard),
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            sqlalchemy.event.listen(engine, "connect", _without_waiting_for_the_disk)
        # the one used last goes last; a run's file is of no interest long after it
        self._engines[shard] = engine
        if len(self._engines) > _MOST_OPEN:
            self._engines.pop(next(iter(self._engines))).dispose()
        return engine


def _without_waiting_for_the_disk(connection: Any, _: Any) -> None:
    """A power cut may cost the last events of a run that it ended anyway, and no file."""
    connection.execute("pragma synchronous = normal")
