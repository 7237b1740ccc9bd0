"""What a person agreed to, and how large things were when they were last in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from sqlalchemy import delete, select, update

from reverse_etl import schema
from reverse_etl.clock import Clock, as_instant
from reverse_etl.database import Database, in_pieces

_ROW = ("sync", "key", "action", "fingerprint")


class Approvals:
    """An approval is for the very rows of a plan: less may be sent under it, never more."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def approve(
        self, sync: str, digest: str, by: str, rows: Sequence[tuple[str, str, str]]
    ) -> None:
        """A person agrees to a held plan: its (key, action, fingerprint). An approval replaces what
        was agreed to before."""
        t, names = schema.approved_rows, ("sync", "digest", "approved_by", "approved_at", "used_at")
        with self._database.writing() as connection:
            row = (sync, digest, by, as_instant(self._clock()), None)
            self._database.put(connection, schema.approvals, names, [row])
            connection.execute(delete(t).where(t.c.sync == sync))
            for some in in_pieces(rows, 10_000):
                self._database.put(connection, t, _ROW, [(sync, *one) for one in some])

    def rows(self, sync: str) -> pa.Table:
        """Columns key, action, fingerprint: what is agreed to and not yet carried out."""
        t = schema.approved_rows
        query = select(t.c.key, t.c.action, t.c.fingerprint).where(t.c.sync == sync)
        return self._database.arrow(query)

    def use_up(self, sync: str) -> None:
        """What was agreed to has been carried out."""
        t, rows = schema.approvals, schema.approved_rows
        with self._database.writing() as connection:
            connection.execute(delete(rows).where(rows.c.sync == sync))
            unused = update(t).where(t.c.sync == sync, t.c.used_at.is_(None))
            connection.execute(unused.values(used_at=as_instant(self._clock())))

    def upstream_rows(self, sync: str) -> dict[str, int]:
        """Rows by relation when the sync last ran through."""
        t = schema.upstream_rows
        with self._database.reading() as connection:
            found = connection.execute(select(t.c.relation, t.c.rows).where(t.c.sync == sync))
            return {str(row.relation): int(row.rows) for row in found}

    def remember_upstream(self, sync: str, rows: Mapping[str, int]) -> None:
        """The sync ran through while things were this large."""
        t = schema.upstream_rows
        with self._database.writing() as connection:
            connection.execute(delete(t).where(t.c.sync == sync))
            names = ("sync", "relation", "rows")
            found = [(sync, relation, count) for relation, count in rows.items()]
            self._database.put(connection, t, names, found)
