"""Rows on their way: the intent before a request leaves, the outcome after its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, delete, select, update

from reverse_etl import schema, statements
from reverse_etl.clock import Clock, as_instant
from reverse_etl.database import Database, in_pieces
from reverse_etl.history import History
from reverse_etl.packing import packed

FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(days=7)
_DELIVERY = (
    "delivery_id",
    "run_id",
    "sync",
    "key",
    "customer_id",
    "contact_id",
    "action",
    "attempt",
    "status",
    "attempted_at",
)
_BATCH = (
    "batch_id",
    "run_id",
    "sync",
    "attempt",
    "status",
    "rows",
    "packed_keys",
    "attempted_at",
)
KNOWN = ("sync", "key", "fingerprint", "state", "acknowledged_at")
_PENDING = ("sync", "key", "fingerprint", "state")


class Intent(NamedTuple):
    """A row about to be sent, and the delivery that will tell what became of it."""

    delivery_id: str
    key: str
    action: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Touched:
    """Whom a trigger's event is about."""

    customer_id: str | None = None
    contact_id: str | None = None


class Settlement(NamedTuple):
    """What became of an intent: status delivered, rejected, retryable or unknown."""

    intent: Intent
    status: str
    code: str = ""
    message: str = ""


class Journal(History):
    """The writing of rows. Shared by a run's threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database)
        self._clock = clock
        self._delivery_numbers = count(1)
        self._planned: dict[tuple[str, str], str] = {}
        self._lettered: dict[str, bool] = {}

    def plan_deliveries(
        self,
        run_id: str,
        sync: str,
        rows: Sequence[tuple[str, str]],
        touched: Mapping[str, Touched],
    ) -> None:
        """Write down what is about to be attempted, by (key, action)."""
        planned = [(self._next_delivery(run_id), key, action) for key, action in rows]
        self._planned |= {(sync, key): delivery_id for delivery_id, key, _ in planned}
        nobody = Touched()
        lines = []
        for delivery_id, key, action in planned:
            who = touched.get(key, nobody)
            people = (who.customer_id, who.contact_id)
            lines.append((delivery_id, run_id, sync, key, *people, action, 0, "planned", None))
        with self._database.writing() as connection:
            for some in in_pieces(lines, 10_000):
                self._database.put(connection, schema.deliveries, _DELIVERY, some)

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
        intents = [
            Intent(self._planned.pop((sync, row[0]), "") or self._next_delivery(run_id), *row)
            for row in rows
        ]
        lines = []
        for i in intents:
            who = touched.get(i.key, nobody)
            people = (who.customer_id, who.contact_id)
            line = (i.delivery_id, run_id, sync, i.key, *people, i.action, attempt)
            lines.append((*line, "attempted", now))
        pending = [(sync, intent.key, "", "pending") for intent in intents]

        def write(connection: Connection) -> None:
            self._database.put(connection, schema.deliveries, _DELIVERY, lines)
            self._database.put(connection, schema.acknowledged, _PENDING, pending)

        self._database.together(write)
        return intents

    def settle(self, sync: str, settlements: Sequence[Settlement], *, repeatable: bool) -> None:
        """After the answer, in one transaction: each row's outcome and what follows from it."""
        now = self._now()
        by_status: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            by_status.setdefault(settlement.status, []).append(settlement)
        names = ("to", "said", "why", "at", "id")
        outcomes = [(s.status, s.code, s.message, now, s.intent.delivery_id) for s in settlements]

        def write(connection: Connection) -> None:
            self._database.many(connection, statements.SETTLE, names, outcomes)
            self._acknowledge(connection, sync, by_status.get("delivered", []), now)
            self._bury(connection, sync, by_status.get("rejected", []))
            state = "pending" if repeatable else "unknown"
            open_ = [(sync, s.intent.key, "", state, now) for s in by_status.get("unknown", [])]
            self._database.put(connection, schema.acknowledged, KNOWN, open_)
            untaken = by_status.get("rejected", []) + by_status.get("retryable", [])
            self._each(connection, statements.FORGET_IF_NEVER_TAKEN, sync, untaken)

        self._database.together(write)

    def intend_level(
        self, run_id: str, sync: str, rows: Sequence[tuple[str, str, str]], attempt: int
    ) -> list[Intent]:
        """As ``intend``, for rows that may be sent twice: one line for the whole request. As long
        as it is open, its rows are pending."""
        batch_id = self._next_delivery(run_id)
        keys = packed((key, action) for key, action, _ in rows)
        line = (batch_id, run_id, sync, attempt, "attempted", len(rows), keys, self._now())

        def write(connection: Connection) -> None:
            self._database.put(connection, schema.batches, _BATCH, [line])

        self._database.together(write)
        return [Intent(batch_id, *row) for row in rows]

    def settle_level(self, sync: str, settlements: Sequence[Settlement]) -> None:
        """As ``settle``, for one request of ``intend_level``. What was not delivered gets a line of
        its own; what the tool surely did not take leaves what it has as it was."""
        now, t = self._now(), schema.batches
        delivered = [s for s in settlements if s.status == "delivered"]
        others = [s for s in settlements if s.status != "delivered"]
        batch_id = settlements[0].intent.delivery_id
        own = t.c.batch_id == batch_id

        def write(connection: Connection) -> None:
            self._acknowledge(connection, sync, delivered, now)
            if not others:
                row = ("delivered", now, batch_id)
                self._database.many(connection, statements.END_BATCH, ("to", "at", "id"), [row])
                return
            ended: dict[str, Any] = {"status": "delivered", "settled_at": now}
            [line] = connection.execute(select(t).where(own))
            keys = packed((s.intent.key, s.intent.action) for s in delivered)
            ended |= {"packed_keys": keys, "rows": len(delivered)}
            self._single_out(connection, line, others, now)
            self._bury(connection, sync, [s for s in others if s.status == "rejected"])
            self._keep_open(connection, sync, others, now)
            if delivered:
                connection.execute(update(t).where(own).values(ended))
            else:
                connection.execute(delete(t).where(own))

        self._database.together(write)

    def record_seen(self, sync: str, keys: Iterable[str]) -> None:
        """A trigger's first run, in one transaction: every event counts as seen, none is sent."""
        now, t = self._now(), schema.sync_state
        rows = ((sync, key, "", "seen", now) for key in keys)
        with self._database.writing() as connection:
            for some in in_pieces(rows, 10_000):
                self._database.put(connection, schema.acknowledged, KNOWN, some)
            first = update(t).where(t.c.sync == sync)
            connection.execute(first.values(baseline_at=now, last_run_at=now))

    def record_unsent(self, sync: str, keys: Iterable[str], state: str) -> None:
        """A trigger's events that are not sent, for good: ``suppressed`` because their contact must
        not be contacted, ``expired`` because their time is over, ``dismissed`` by a person."""
        now = self._now()
        rows = [(sync, key, "", state, now) for key in keys]
        with self._database.writing() as connection:
            self._database.put(connection, schema.acknowledged, KNOWN, rows)
            d = schema.deliveries
            planned = delete(d).where(d.c.sync == sync, d.c.status == "planned")
            for some in in_pieces(keys, 500):
                connection.execute(planned.where(d.c.key.in_(some)))

    def _next_delivery(self, run_id: str) -> str:
        return f"{run_id}-{next(self._delivery_numbers):08d}"

    def _single_out(
        self, connection: Connection, batch: Row[Any], others: Sequence[Settlement], now: str
    ) -> None:
        """A delivery for each row of a batch that was not delivered."""
        names = (*_DELIVERY, "code", "message", "settled_at")
        head = (batch.run_id, batch.sync)
        lines = [
            (
                *(f"{batch.batch_id}-{number}", *head, s.intent.key, None, None, s.intent.action),
                *(batch.attempt, s.status, batch.attempted_at, s.code, s.message, now),
            )
            for number, s in enumerate(others)
        ]
        self._database.put(connection, schema.deliveries, names, lines)

    def _keep_open(
        self, connection: Connection, sync: str, settlements: Sequence[Settlement], now: str
    ) -> None:
        """Rows whose outcome nobody knows are sent again, even when their value goes back."""
        unknown = [s for s in settlements if s.status == "unknown"]
        rows = [(sync, s.intent.key, "", "pending", now) for s in unknown]
        self._database.put(connection, schema.acknowledged, KNOWN, rows)

    def _take_up_batches(self, connection: Connection, sync: str, now: str) -> None:
        t, words = schema.batches, "The process ended before the answer came."
        for line, rows in self._open_batches(sync):
            lost = [
                Settlement(Intent(line.batch_id, key, action, ""), "unknown", "", words)
                for key, action in rows
            ]
            self._single_out(connection, line, lost, now)
            self._keep_open(connection, sync, lost, now)
            connection.execute(delete(t).where(t.c.batch_id == line.batch_id))

    def _acknowledge(
        self, connection: Connection, sync: str, delivered: list[Settlement], now: str
    ) -> None:
        there = [
            (sync, s.intent.key, s.intent.fingerprint, "acknowledged", now)
            for s in delivered
            if s.intent.action != "remove"
        ]
        self._database.put(connection, schema.acknowledged, KNOWN, there)
        gone = [s for s in delivered if s.intent.action == "remove"]
        self._each(connection, statements.DROP_ACKNOWLEDGED, sync, gone)
        if delivered and self._has_letters(connection, sync):
            self._each(connection, statements.DROP_DEAD_LETTER, sync, delivered)

    def _has_letters(self, connection: Connection, sync: str) -> bool:
        """Asked once for a run: most syncs have none."""
        if sync not in self._lettered:
            t = schema.dead_letters
            query = select(t.c.key).where(t.c.sync == sync).limit(1)
            self._lettered[sync] = connection.scalar(query) is not None
        return self._lettered[sync]

    def _bury(self, connection: Connection, sync: str, rejected: list[Settlement]) -> None:
        """A dead letter per row: the same payload waits longer each time, a new one starts over."""
        t = schema.dead_letters
        self._lettered[sync] = bool(rejected) or self._lettered.get(sync, True)
        names = ("sync", "key", "fingerprint", "action")
        more = ("code", "message", "attempts", "next_retry_at")
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
            retry = as_instant(self._clock() + pause)
            row = (sync, s.intent.key, s.intent.fingerprint, s.intent.action)
            letter = (*row, s.code, s.message, attempts, retry)
            self._database.put(connection, t, names + more, [letter])

    def _each(
        self, connection: Connection, statement: Executable, sync: str, rows: Sequence[Settlement]
    ) -> None:
        keys = [(sync, row.intent.key) for row in rows]
        self._database.many(connection, statement, statements.OF_ROW, keys)

    def _now(self) -> str:
        return as_instant(self._clock())
