"""What the ledger remembers, to be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Column, Row, Select, Table, case, func, select

from reverse_etl import schema
from reverse_etl.database import Database, in_pieces
from reverse_etl.packing import unpacked
from reverse_etl.people import keyed, within
from reverse_etl.spec import GROUP_MARK

_ENDED = ("delivered", "rejected", "retryable", "unknown")


@dataclass(frozen=True)
class SyncState:
    """A sync as a whole. ``account``: the tool's account that the memory is about."""

    account: str = ""
    baseline_at: str | None = None
    last_run_at: str | None = None


class History:
    """The reading half of a ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self, sync: str) -> SyncState:
        """The sync's state; empty before its first run."""
        t = schema.sync_state
        with self._database.reading() as connection:
            row = connection.execute(select(t).where(t.c.sync == sync)).one_or_none()
        return SyncState(row.account, row.baseline_at, row.last_run_at) if row else SyncState()

    def acknowledged(self, sync: str) -> pa.Table:
        """Columns key, fingerprint, state, and is_there: 'yes' where the tool may have the row. All
        that is known of a sync's rows."""
        t = schema.acknowledged
        is_there = case((t.c.acknowledged_at.is_(None), ""), else_="yes").label("is_there")
        columns = (t.c.key, t.c.fingerprint, t.c.state, is_there)
        known = self._database.packed(t, columns, t.c.sync == sync)
        open_ = [key for _, rows in self._open_batches(sync) for key, _ in rows]
        if not open_:
            return known
        keys = pa.array(open_, pa.large_string())
        others = known.filter(pc.invert(pc.is_in(known.column("key"), keys)))
        pending = {"fingerprint": "", "state": "pending", "is_there": "yes"}
        rows = [{"key": key, **pending} for key in dict.fromkeys(open_)]
        return pa.concat_tables([others, pa.Table.from_pylist(rows, known.schema)])

    def dead_letters(self, sync: str) -> pa.Table:
        """Columns key, fingerprint, next_retry_at, code, message, action, attempts: what the tool
        refused."""
        t = schema.dead_letters
        columns = (t.c.key, t.c.fingerprint, t.c.next_retry_at, t.c.code, t.c.message)
        return self._database.arrow(
            select(*columns, t.c.action, t.c.attempts).where(t.c.sync == sync)
        )

    def deliveries(
        self, sync: str | None, keys: Collection[str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """The latest attempts of a sync (None: of all), or of some keys in it, newest first:
        delivery_id, sync, key, action, attempt, status, code, message, attempted_at, settled_at."""
        d, b = schema.deliveries, schema.batches
        names = "delivery_id sync key action attempt status code message attempted_at settled_at"
        singles = select(*(d.c[name] for name in names.split()))
        requests = select(b)
        if sync is not None:
            singles, requests = singles.where(d.c.sync == sync), requests.where(b.c.sync == sync)
        if keys is not None:
            singles = singles.where(keyed(d, keys))
            requests = requests.where(within(b.c.packed_keys, keys))
        singles = singles.order_by(d.c.delivery_id.desc()).limit(limit)
        requests = requests.order_by(b.c.batch_id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(singles)
            found = [dict(zip(names.split(), row, strict=True)) for row in rows]
            for line in connection.execute(requests):
                found += _as_deliveries(line, keys)
        return sorted(found, key=itemgetter("delivery_id"), reverse=True)[:limit]

    def rows_of(self, sync: str, keys: Iterable[str]) -> list[dict[str, str | None]]:
        """What a tool has of some keys, whole ones or the members of any group."""
        t = schema.acknowledged
        return self._lines(t, select(t).where(t.c.sync == sync), keys)

    def letters_of(self, sync: str, keys: Iterable[str]) -> list[dict[str, Any]]:
        """What a tool refused of some keys."""
        t = schema.dead_letters
        return self._lines(t, select(t).where(t.c.sync == sync), keys)

    def _lines(self, table: Table, query: Select[Any], keys: Iterable[str]) -> list[dict[str, Any]]:
        found = []
        with self._database.reading() as connection:
            for some in in_pieces(keys, 100):
                own = connection.execute(query.where(keyed(table, some)))
                found += [dict(row._mapping) for row in own]
        return found

    def ended_attempts(self) -> pa.Table:
        """Every attempt to deliver a trigger's event that came to an end, as the warehouse reads it
        next time: delivery_id, sync, event_id, customer_id, contact_id, attempt, outcome,
        attempted_at, settled_at. Keys and outcomes only, never a payload."""
        t = schema.deliveries
        columns = (
            t.c.delivery_id,
            t.c.sync,
            t.c.key.label("event_id"),
            t.c.customer_id,
            t.c.contact_id,
            t.c.attempt,
            t.c.status.label("outcome"),
            t.c.attempted_at,
            t.c.settled_at,
        )
        ended = t.c.status.in_(_ENDED), t.c.customer_id.is_not(None)
        return self._database.arrow(select(*columns).where(*ended).order_by(t.c.delivery_id))

    def counts(self, table: Table, by: Column[Any]) -> dict[str, dict[str, int]]:
        """Rows of a table per sync and per value of one of its columns."""
        counted: dict[str, dict[str, int]] = {}
        query = select(table.c.sync, by, func.count()).group_by(table.c.sync, by)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                counted.setdefault(str(row[0]), {})[str(row[1])] = int(row[2])
        return counted

    def level_rows(self) -> dict[str, int]:
        """Rows of levels that were delivered, by sync, each attempt counted."""
        t = schema.batches
        query = select(t.c.sync, func.sum(t.c.rows)).where(t.c.status == "delivered")
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(t.c.sync))
            return {str(row[0]): int(row[1]) for row in rows}

    def _open_batches(self, sync: str) -> list[tuple[Row[Any], list[tuple[str, str]]]]:
        """Requests whose answer is not in, and the (key, action) in them."""
        t = schema.batches
        query = select(t).where(t.c.sync == sync, t.c.status == "attempted")
        with self._database.reading() as connection:
            return [(line, list(unpacked(line.packed_keys))) for line in connection.execute(query)]


def _as_deliveries(line: Row[Any], keys: Collection[str] | None) -> list[dict[str, Any]]:
    """The rows of one request, as if each had a line of its own."""
    same = {"sync": line.sync, "attempt": line.attempt, "status": line.status}
    same |= {"code": "", "message": "", "attempted_at": line.attempted_at}
    return [
        {"delivery_id": line.batch_id, "key": key, "action": action, **same}
        | {"settled_at": line.settled_at}
        for key, action in unpacked(line.packed_keys)
        if keys is None or key.partition(GROUP_MARK)[0] in keys or key in keys
    ]
