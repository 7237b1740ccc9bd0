"""What the ledger remembers of a tool's account: calls of the day, pauses, the tool's own ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, select, update

from reverse_etl import schema
from reverse_etl.clock import as_instant
from reverse_etl.database import Database, in_pieces
from reverse_etl.quota import Lot

_QUOTA = ("account", "day", "used", "allowed")


class Accounts:
    """See quota.QuotaMemory and destinations.base.ExternalIds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_calls(self, account: str, day: str, calls: int, allowed: int | None) -> Lot:
        """See QuotaMemory."""
        with self._database.writing() as connection:
            used, told = self._calls(connection, account, day)
            most = allowed if told is None else told
            taken = calls if most is None else max(0, min(calls, most - used))
            row = (account, day, used + taken, told)
            self._database.put(connection, schema.quotas, _QUOTA, [row])
        return Lot(taken, used + taken, most)

    def learn_calls(self, account: str, day: str, used: int, allowed: int) -> None:
        """See QuotaMemory."""
        with self._database.writing() as connection:
            most = max(used, self._calls(connection, account, day)[0])
            self._database.put(connection, schema.quotas, _QUOTA, [(account, day, most, allowed)])

    def return_calls(self, account: str, day: str, calls: int) -> None:
        """See QuotaMemory."""
        t = schema.quotas
        with self._database.writing() as connection:
            own = update(t).where(t.c.account == account, t.c.day == day)
            connection.execute(own.values(used=t.c.used - calls))

    def calls_of(self, day: str) -> dict[str, tuple[int, int | None]]:
        """Calls made on a day by account, and the day's limit where the tool told one."""
        t = schema.quotas
        query = select(t.c.account, t.c.used, t.c.allowed).where(t.c.day == day)
        with self._database.reading() as connection:
            return {row.account: (row.used, row.allowed) for row in connection.execute(query)}

    def paused_until(self, account: str) -> datetime | None:
        """See QuotaMemory."""
        t = schema.pauses
        with self._database.reading() as connection:
            text = connection.scalar(select(t.c.paused_until).where(t.c.account == account))
        return datetime.fromisoformat(text) if text else None

    def pause_until(self, account: str, instant: datetime) -> None:
        """See QuotaMemory."""
        row = (account, as_instant(instant))
        with self._database.writing() as connection:
            self._database.put(connection, schema.pauses, ("account", "paused_until"), [row])

    def external_ids(self, account: str, object_: str, keys: Iterable[str]) -> dict[str, str]:
        """The tool's own ids by our key, as far as they were ever told."""
        t = schema.external_ids
        asked = select(t.c.key, t.c.external_id).where(
            t.c.account == account, t.c.object == object_
        )
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for some in in_pieces(keys, 500):
                rows = connection.execute(asked.where(t.c.key.in_(some)))
                found.update((row.key, row.external_id) for row in rows)
        return found

    def remember_external_ids(self, account: str, object_: str, ids: Mapping[str, str]) -> None:
        """Keep the tool's own ids, by our key."""
        names = ("account", "object", "key", "external_id")
        rows = [(account, object_, key, external_id) for key, external_id in ids.items()]
        if rows:
            with self._database.writing() as connection:
                self._database.put(connection, schema.external_ids, names, rows)

    @staticmethod
    def _calls(connection: Connection, account: str, day: str) -> tuple[int, int | None]:
        t = schema.quotas
        query = select(t.c.used, t.c.allowed).where(t.c.account == account, t.c.day == day)
        row = connection.execute(query).one_or_none()
        return (row.used, row.allowed) if row else (0, None)
