"""The memory of what each destination has: it cannot be rebuilt, so every change is durable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pyarrow as pa
from sqlalchemy import (
    Column,
    Connection,
    Executable,
    Table,
    delete,
    func,
    select,
    update,
)

from reverse_etl import schema, statements
from reverse_etl.clock import Clock, as_instant, utc_now
from reverse_etl.database import Database, in_pieces
from reverse_etl.errors import UserError
from reverse_etl.quota import Lot

FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(days=7)


@dataclass(frozen=True)
class Intent:
    """A row about to be sent, and the delivery that will tell what became of it."""

    delivery_id: str
    key: str
    action: str
    fingerprint: str


@dataclass(frozen=True)
class Touched:
    """Whom a trigger's event is about."""

    customer_id: str | None = None
    contact_id: str | None = None


@dataclass(frozen=True)
class Settlement:
    """What became of an intent: status delivered, rejected, retryable or unknown."""

    intent: Intent
    status: str
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class SyncState:
    """A sync as a whole. ``account``: the tool's account that the memory is about."""

    account: str = ""
    baseline_at: str | None = None
    last_run_at: str | None = None


class Ledger:
    """Shared by a run's threads. ``canary`` is a fingerprint of fixed values: when it differs from
    the one stored at birth, values are written differently than before and all would be resent."""

    def __init__(self, url: str, *, canary: str = "", clock: Clock = utc_now) -> None:
        self._database = Database(url)
        self._clock = clock
        self._delivery_numbers = count(1)
        if canary:
            self._compare(canary)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def lock(self, sync: str) -> AbstractContextManager[None]:
        """Hold a sync for this process. Raises BusyError when another one has it."""
        return self._database.lock(sync)

    # Reading

    def state(self, sync: str) -> SyncState:
        """The sync's state; empty before its first run."""
        t = schema.sync_state
        with self._database.reading() as connection:
            row = connection.execute(select(t).where(t.c.sync == sync)).one_or_none()
        return SyncState(row.account, row.baseline_at, row.last_run_at) if row else SyncState()

    def acknowledged(self, sync: str) -> pa.Table:
        """Columns key, fingerprint, state, acknowledged_at: all that is known of a sync's rows."""
        t = schema.acknowledged
        columns = (t.c.key, t.c.fingerprint, t.c.state, t.c.acknowledged_at)
        return self._database.arrow(select(*columns).where(t.c.sync == sync))

    def dead_letters(self, sync: str) -> pa.Table:
        """Columns key, fingerprint, next_retry_at, code, message: what the tool refused."""
        t = schema.dead_letters
        columns = (t.c.key, t.c.fingerprint, t.c.next_retry_at, t.c.code, t.c.message)
        return self._database.arrow(select(*columns).where(t.c.sync == sync))

    def settled_triggers(self) -> pa.Table:
        """Every delivery of a trigger that came to an end, as the warehouse reads it next time:
        delivery_id, sync, event_id, customer_id, contact_id, outcome, settled_at. A delivery is a
        trigger's when it names whom it is about. Keys and outcomes only, never a payload."""
        t = schema.deliveries
        columns = (
            t.c.delivery_id,
            t.c.sync,
            t.c.key.label("event_id"),
            t.c.customer_id,
            t.c.contact_id,
            t.c.status.label("outcome"),
            t.c.settled_at,
        )
        ended = t.c.status.in_(("delivered", "rejected", "unknown"))
        return self._database.arrow(
            select(*columns).where(ended, t.c.customer_id.is_not(None)).order_by(t.c.delivery_id)
        )

    def counts(self, table: Table, by: Column[Any]) -> dict[str, dict[str, int]]:
        """Rows of a table per sync and per value of one of its columns."""
        counted: dict[str, dict[str, int]] = {}
        query = select(table.c.sync, by, func.count()).group_by(table.c.sync, by)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                counted.setdefault(str(row[0]), {})[str(row[1])] = int(row[2])
        return counted

    def suppressed(self, people: Iterable[str]) -> set[str]:
        """Which of these e-mail addresses (lower case) or contact ids must not be contacted."""
        t = schema.suppressions
        found: set[str] = set()
        with self._database.reading() as connection:
            for some in in_pieces(people, 500):
                found.update(connection.scalars(select(t.c.who).where(t.c.who.in_(some))))
        return found

    def is_approved(self, sync: str, digest: str) -> bool:
        """Whether a person has agreed to this very plan."""
        t = schema.approvals
        query = select(t.c.digest).where(t.c.sync == sync, t.c.digest == digest)
        with self._database.reading() as connection:
            return connection.scalar(query) is not None

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

    # People's decisions

    def approve(self, sync: str, digest: str, by: str) -> None:
        """A person agrees to a held plan."""
        row = {"sync": sync, "digest": digest, "approved_by": by, "approved_at": self._now()}
        with self._database.writing() as connection:
            self._database.put(connection, schema.approvals, [row])

    def suppress(self, who: str, reason: str, source: str) -> None:
        """From now on no trigger reaches this e-mail address or contact id."""
        row = {"who": who.lower() if "@" in who else who, "reason": reason, "source": source}
        with self._database.writing() as connection:
            self._database.put(
                connection, schema.suppressions, [row | {"suppressed_at": self._now()}]
            )

    # A tool's limits: see quota.QuotaMemory

    def take_calls(self, account: str, day: str, calls: int, allowed: int | None) -> Lot:
        """See QuotaMemory."""
        with self._database.writing() as connection:
            used, told = self._calls(connection, account, day)
            most = allowed if told is None else told
            taken = calls if most is None else max(0, min(calls, most - used))
            row = {"account": account, "day": day, "used": used + taken, "allowed": told}
            self._database.put(connection, schema.quotas, [row])
        return Lot(taken, used + taken, most)

    def learn_calls(self, account: str, day: str, used: int, allowed: int) -> None:
        """See QuotaMemory."""
        with self._database.writing() as connection:
            most = max(used, self._calls(connection, account, day)[0])
            row = {"account": account, "day": day, "used": most, "allowed": allowed}
            self._database.put(connection, schema.quotas, [row])

    def return_calls(self, account: str, day: str, calls: int) -> None:
        """Calls that were set aside and not made."""
        t = schema.quotas
        with self._database.writing() as connection:
            own = update(t).where(t.c.account == account, t.c.day == day)
            connection.execute(own.values(used=t.c.used - calls))

    def paused_until(self, account: str) -> datetime | None:
        """When a tool takes calls again, as far as it said so."""
        t = schema.pauses
        with self._database.reading() as connection:
            text = connection.scalar(select(t.c.paused_until).where(t.c.account == account))
        return datetime.fromisoformat(text) if text else None

    def pause_until(self, account: str, instant: datetime) -> None:
        """Remember a pause that is longer than a run waits."""
        row = {"account": account, "paused_until": as_instant(instant)}
        with self._database.writing() as connection:
            self._database.put(connection, schema.pauses, [row])

    @staticmethod
    def _calls(connection: Connection, account: str, day: str) -> tuple[int, int | None]:
        t = schema.quotas
        query = select(t.c.used, t.c.allowed).where(t.c.account == account, t.c.day == day)
        row = connection.execute(query).one_or_none()
        return (row.used, row.allowed) if row else (0, None)

    # A run

    def start_run(self) -> str:
        """A new run; ids sort by time."""
        now = self._clock()
        run_id = f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
        with self._database.writing() as connection:
            row = {"run_id": run_id, "started_at": as_instant(now)}
            connection.execute(schema.runs.insert(), row)
        return run_id

    def finish_run(self, run_id: str) -> None:
        """The run came to its end, whatever its rows became."""
        t = schema.runs
        with self._database.writing() as connection:
            ended = update(t).where(t.c.run_id == run_id).values(finished_at=self._now())
            connection.execute(ended)

    def record_plan(self, run_id: str, sync: str, figures: Mapping[str, Any]) -> None:
        """What a run means to do: digest, adds, changes, removes, held, reason."""
        with self._database.writing() as connection:
            row = {"run_id": run_id, "sync": sync, **figures}
            connection.execute(schema.plans.insert(), row)

    def begin(self, sync: str, account: str, *, repeatable: bool) -> None:
        """Take up what an earlier process left open, and forget another account's memory.

        A request without an answer becomes ``unknown``: where it may be repeated the row stays
        pending and is planned again, where not it is marked and never sent by itself.
        """
        d, a, now = schema.deliveries, schema.acknowledged, self._now()
        with self._database.writing() as connection:
            t = schema.sync_state
            known = connection.scalar(select(t.c.account).where(t.c.sync == sync))
            if known not in (None, account):
                for table in (t, a, schema.dead_letters):
                    connection.execute(delete(table).where(table.c.sync == sync))
            self._database.put(connection, t, [{"sync": sync, "account": account}])
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

    # Rows

    def intend(
        self,
        run_id: str,
        sync: str,
        rows: Sequence[tuple[str, str, str]],
        attempt: int,
        touched: Mapping[str, Touched] | None = None,
    ) -> list[Intent]:
        """Before a request leaves: a delivery for each (key, action, fingerprint), and the row is
        pending. ``touched`` says by key whom a trigger's event is about."""
        now = self._now()
        nobody, touched = Touched(), touched or {}
        intents = [Intent(f"{run_id}-{next(self._delivery_numbers):08d}", *row) for row in rows]
        deliveries = [
            {
                "delivery_id": intent.delivery_id,
                "run_id": run_id,
                "sync": sync,
                "key": intent.key,
                "customer_id": touched.get(intent.key, nobody).customer_id,
                "contact_id": touched.get(intent.key, nobody).contact_id,
                "action": intent.action,
                "attempt": attempt,
                "status": "attempted",
                "attempted_at": now,
            }
            for intent in intents
        ]
        pending = [
            {"sync": sync, "key": intent.key, "fingerprint": "", "state": "pending"}
            for intent in intents
        ]
        with self._database.writing() as connection:
            connection.execute(schema.deliveries.insert(), deliveries)
            self._database.put(connection, schema.acknowledged, pending)
        return intents

    def settle(self, sync: str, settlements: Sequence[Settlement], *, repeatable: bool) -> None:
        """After the answer, in one transaction: each row's outcome and what follows from it."""
        now = self._now()
        by_status: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            by_status.setdefault(settlement.status, []).append(settlement)
        outcomes = [
            {
                "id": s.intent.delivery_id,
                "to": s.status,
                "code": s.code,
                "why": s.message,
                "at": now,
            }
            for s in settlements
        ]
        with self._database.writing() as connection:
            connection.execute(statements.SETTLE, outcomes)
            self._acknowledge(connection, sync, by_status.get("delivered", []), now)
            self._bury(connection, sync, by_status.get("rejected", []))
            self._leave_open(
                connection, sync, by_status.get("unknown", []), now, repeatable=repeatable
            )
            untaken = by_status.get("rejected", []) + by_status.get("retryable", [])
            _each_key(connection, statements.FORGET_IF_NEVER_TAKEN, sync, untaken)

    def record_seen(self, sync: str, keys: Iterable[str]) -> None:
        """A trigger's first run, in one transaction: every event counts as seen, none is sent."""
        now, t = self._now(), schema.sync_state
        rows = (_known(sync, key, "seen", now) for key in keys)
        with self._database.writing() as connection:
            for some in in_pieces(rows, 10_000):
                self._database.put(connection, schema.acknowledged, some)
            first = update(t).where(t.c.sync == sync)
            connection.execute(first.values(baseline_at=now, last_run_at=now))

    def record_suppressed(self, sync: str, keys: Iterable[str]) -> None:
        """Triggers not sent, for good, because their contact must not be contacted."""
        rows = [_known(sync, key, "suppressed", self._now()) for key in keys]
        with self._database.writing() as connection:
            self._database.put(connection, schema.acknowledged, rows)

    def forget_dead_letters(self, sync: str, keys: Iterable[str]) -> None:
        """Drop dead letters that no plan asks for any more."""
        rows = [{"of_sync": sync, "of_key": key} for key in keys]
        if rows:
            with self._database.writing() as connection:
                connection.execute(statements.DROP_DEAD_LETTER, rows)

    def remember_external_ids(self, account: str, object_: str, ids: Mapping[str, str]) -> None:
        """Keep the tool's own ids, by our key."""
        rows = [
            {"account": account, "object": object_, "key": key, "external_id": external_id}
            for key, external_id in ids.items()
        ]
        with self._database.writing() as connection:
            self._database.put(connection, schema.external_ids, rows)

    def _acknowledge(
        self, connection: Connection, sync: str, delivered: list[Settlement], now: str
    ) -> None:
        there = [
            _known(sync, s.intent.key, "acknowledged", now) | {"fingerprint": s.intent.fingerprint}
            for s in delivered
            if s.intent.action != "remove"
        ]
        self._database.put(connection, schema.acknowledged, there)
        gone = [s for s in delivered if s.intent.action == "remove"]
        _each_key(connection, statements.DROP_ACKNOWLEDGED, sync, gone)
        _each_key(connection, statements.DROP_DEAD_LETTER, sync, delivered)

    def _bury(self, connection: Connection, sync: str, rejected: list[Settlement]) -> None:
        """A dead letter per row: the same payload waits longer each time, a new one starts over."""
        t = schema.dead_letters
        for s in rejected:
            earlier = connection.scalar(
                select(t.c.attempts).where(
                    t.c.sync == sync,
                    t.c.key == s.intent.key,
                    t.c.fingerprint == s.intent.fingerprint,
                )
            )
            attempts = (earlier or 0) + 1
            pause = min(FIRST_PAUSE * 4 ** min(attempts - 1, 10), LONGEST_PAUSE)
            letter = {
                "sync": sync,
                "key": s.intent.key,
                "fingerprint": s.intent.fingerprint,
                "action": s.intent.action,
                "code": s.code,
                "message": s.message,
                "attempts": attempts,
                "next_retry_at": as_instant(self._clock() + pause),
            }
            self._database.put(connection, t, [letter])

    def _leave_open(
        self,
        connection: Connection,
        sync: str,
        unknown: list[Settlement],
        now: str,
        *,
        repeatable: bool,
    ) -> None:
        state = "pending" if repeatable else "unknown"
        rows = [_known(sync, s.intent.key, state, now) for s in unknown]
        self._database.put(connection, schema.acknowledged, rows)

    def _compare(self, canary: str) -> None:
        t = schema.ledger_meta
        with self._database.writing() as connection:
            stored = connection.scalar(select(t.c.value).where(t.c.name == "canary"))
            if stored is None:
                self._database.put(connection, t, [{"name": "canary", "value": canary}])
        if stored not in (None, canary):
            raise UserError(
                "This version of DuckDB writes values differently than the one this ledger was "
                "made with, so every row would look changed. Install the version pinned in "
                "requirements.lock."
            )

    def _now(self) -> str:
        return as_instant(self._clock())


def _known(sync: str, key: str, state: str, at: str) -> dict[str, str]:
    return {"sync": sync, "key": key, "fingerprint": "", "state": state, "acknowledged_at": at}


def _each_key(
    connection: Connection, statement: Executable, sync: str, rows: Sequence[Settlement]
) -> None:
    if rows:
        connection.execute(statement, [{"of_sync": sync, "of_key": row.intent.key} for row in rows])
