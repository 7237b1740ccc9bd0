"""The memory of what each destination has: it cannot be rebuilt, so every change is durable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, func, select, update

from reverse_etl import schema, statements
from reverse_etl.accounts import Accounts
from reverse_etl.approvals import Approvals
from reverse_etl.clock import Clock, as_instant, utc_now
from reverse_etl.database import Database
from reverse_etl.errors import UserError
from reverse_etl.feedback import FeedbackLog
from reverse_etl.history import SyncState
from reverse_etl.journal import FIRST_PAUSE, KNOWN, Intent, Journal, Settlement, Touched
from reverse_etl.marker import Marker
from reverse_etl.people import People

__all__ = ["FIRST_PAUSE", "Intent", "Ledger", "Settlement", "SyncState", "Touched"]
CLOCK_TOLERANCE = timedelta(hours=1)
_ACCEPTED = "accepted_delivery"


class Ledger(Journal):
    """Shared by a run's threads. ``canary`` is a fingerprint of fixed values: when it differs from
    the one stored at birth, values are written differently than before and all would be resent.

    ``accounts``, ``people``, ``approvals`` and ``feedback`` are its other chapters, in modules of
    their own.
    """

    def __init__(self, url: str, *, canary: str = "", clock: Clock = utc_now) -> None:
        super().__init__(Database(url), clock)
        self._marker = Marker(self._database.folder)
        self.accounts = Accounts(self._database)
        self.people = People(self._database, clock)
        self.approvals = Approvals(self._database, clock)
        self.feedback = FeedbackLog(self._database, self.people, clock)
        if canary:
            self._compare(canary)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def lock(self, sync: str) -> AbstractContextManager[None]:
        """Hold a sync for this process. Raises BusyError when another one has it."""
        return self._database.lock(sync)

    def problems(self) -> list[str]:
        """What its database finds wrong with it; empty where it is whole."""
        return self._database.problems()

    def suppress(self, who: str, reason: str, source: str) -> None:
        """See People."""
        self.people.suppress(who, reason, source)

    def suppressed(self, people: Iterable[str]) -> set[str]:
        """See People."""
        return self.people.suppressed(people)

    def external_ids(self, account: str, object_: str, keys: Iterable[str]) -> dict[str, str]:
        """See Accounts."""
        return self.accounts.external_ids(account, object_, keys)

    def remember_external_ids(self, account: str, object_: str, ids: Mapping[str, str]) -> None:
        """See Accounts."""
        self.accounts.remember_external_ids(account, object_, ids)

    def is_lost(self, last_exported: str | None = None) -> bool:
        """Whether runs are missing that were made with a ledger in this place, or that the
        warehouse knows deliveries of: the ledger was deleted, or an old copy was put back.
        ``last_exported``: the latest delivery that the warehouse was given."""
        m, r, d = schema.ledger_meta, schema.runs, schema.deliveries
        last = self._marker.read()
        with self._database.reading() as connection:
            run = connection.scalar(select(r.c.run_id).where(r.c.run_id == last))
            given = select(d.c.delivery_id).where(d.c.delivery_id == last_exported)
            delivery = connection.scalar(given)
            accepted = connection.scalar(select(m.c.value).where(m.c.name == _ACCEPTED))
        return last != run or last_exported not in (delivery, accepted)

    def accept_loss(self, last_exported: str | None) -> None:
        """A person knows that runs are missing: go on with what there is."""
        if last_exported is not None:
            with self._database.writing() as connection:
                row = (_ACCEPTED, last_exported)
                self._database.put(connection, schema.ledger_meta, ("name", "value"), [row])
        self._marker.forget()

    def start_run(self) -> str:
        """A new run; ids sort by time. Raises UserError when the clock stands before the last run's
        start: retries, quotas and what may be sent when would all be judged wrongly."""
        now, t = self._clock(), schema.runs
        run_id = f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
        with self._database.writing() as connection:
            last = connection.scalar(select(func.max(t.c.started_at)))
            if last and now + CLOCK_TOLERANCE < datetime.fromisoformat(last):
                raise UserError(
                    f"The clock says {now:%Y-%m-%d %H:%M} UTC, and the ledger's last run began "
                    f"at {last[:16].replace('T', ' ')}. Set the clock right, then run again; "
                    "nothing was sent."
                )
            row = {"run_id": run_id, "started_at": as_instant(now)}
            connection.execute(t.insert(), row)
        self._marker.write(run_id)
        return run_id

    def finish_run(self, run_id: str) -> None:
        """The run came to its end, whatever its rows became."""
        t = schema.runs
        with self._database.writing() as connection:
            ended = update(t).where(t.c.run_id == run_id).values(finished_at=self._now())
            connection.execute(ended)

    def record_plan(self, run_id: str, sync: str, figures: Mapping[str, Any]) -> None:
        """What a run means to do: digest, adds, changes, removes, mrr, held, reason."""
        with self._database.writing() as connection:
            row = {"run_id": run_id, "sync": sync, **figures}
            connection.execute(schema.plans.insert(), row)

    def begin(self, sync: str, account: str, *, repeatable: bool) -> None:
        """Take up what an earlier process left open, and forget another account's memory.

        A request without an answer becomes ``unknown``: where it may be repeated the row stays
        pending and is planned again, where not it is marked and never sent by itself. What was
        planned and never attempted is planned anew.
        """
        d, a, now = schema.deliveries, schema.acknowledged, self._now()
        with self._database.writing() as connection:
            t = schema.sync_state
            known = connection.scalar(select(t.c.account).where(t.c.sync == sync))
            if known not in (None, account):
                for table in (t, a, schema.dead_letters):
                    connection.execute(delete(table).where(table.c.sync == sync))
            self._database.put(connection, t, ("sync", "account"), [(sync, account)])
            self._lettered.pop(sync, None)
            self._take_up_batches(connection, sync, now)
            connection.execute(delete(d).where(d.c.sync == sync, d.c.status == "planned"))
            connection.execute(
                update(d)
                .where(d.c.sync == sync, d.c.status == "attempted")
                .values(
                    status="unknown",
                    message="The process ended before the answer came.",
                    settled_at=now,
                )
            )
            connection.execute(
                update(a)
                .where(a.c.sync == sync, a.c.state == "pending")
                .values(
                    state="pending" if repeatable else "unknown",
                    acknowledged_at=func.coalesce(a.c.acknowledged_at, now),
                )
            )

    def end(self, sync: str, *, baseline: bool) -> None:
        """The sync ran through. ``baseline``: it was its first run."""
        now, t = self._now(), schema.sync_state
        values = {"last_run_at": now, "baseline_at": now} if baseline else {"last_run_at": now}
        with self._database.writing() as connection:
            connection.execute(update(t).where(t.c.sync == sync).values(values))

    def make_due(self, sync: str, keys: Iterable[str] | None) -> int:
        """Refused rows (of some keys) wait no longer. Returns how many there are."""
        t = schema.dead_letters
        due = update(t).where(t.c.sync == sync).values(next_retry_at=self._now())
        with self._database.writing() as connection:
            if keys is not None:
                due = due.where(t.c.key.in_(list(keys)))
            return connection.execute(due).rowcount

    def reopen_unknown(self, sync: str, keys: Sequence[str]) -> int:
        """Events whose outcome nobody knows are to be sent again: a person decided so."""
        t = schema.acknowledged
        with self._database.writing() as connection:
            own = delete(t).where(t.c.sync == sync, t.c.state == "unknown", t.c.key.in_(keys))
            return connection.execute(own).rowcount

    def dismiss(self, sync: str, key: str) -> bool:
        """A refused row, or an event whose outcome nobody knows, is let be until it changes.
        Returns whether there was one."""
        a, t = schema.acknowledged, schema.dead_letters
        with self._database.writing() as connection:
            own = t.c.sync == sync, t.c.key == key
            fingerprint = connection.scalar(select(t.c.fingerprint).where(*own))
            unknown = (
                update(a)
                .where(a.c.sync == sync, a.c.key == key, a.c.state == "unknown")
                .values(state="dismissed")
            )
            if fingerprint is None:
                return bool(connection.execute(unknown).rowcount)
            connection.execute(delete(t).where(*own))
            row = (sync, key, fingerprint, "dismissed", self._now())
            self._database.put(connection, a, KNOWN, [row])
            return True

    def forget_dead_letters(self, sync: str, keys: Iterable[str]) -> None:
        """Drop dead letters that no plan asks for any more."""
        rows = [(sync, key) for key in keys]
        if rows:
            with self._database.writing() as connection:
                names = statements.OF_ROW
                self._database.many(connection, statements.DROP_DEAD_LETTER, names, rows)

    def _compare(self, canary: str) -> None:
        t = schema.ledger_meta
        query = select(t.c.value).where(t.c.name == "canary")
        with self._database.reading() as connection:
            stored = connection.scalar(query)
        if stored is None:
            with self._database.writing() as connection:
                self._database.put(connection, t, ("name", "value"), [("canary", canary)])
        if stored not in (None, canary):
            raise UserError(
                "This version of DuckDB writes values differently than the one this ledger was "
                "made with, so every row would look changed. Install the version pinned in "
                "requirements.lock."
            )
