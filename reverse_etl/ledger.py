"""The memory of what each destination has: it cannot be rebuilt, so every change is durable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    Column,
    Connection,
    Executable,
    Row,
    Select,
    Table,
    case,
    delete,
    func,
    select,
    update,
)

from reverse_etl import schema, statements
from reverse_etl.accounts import Accounts
from reverse_etl.approvals import Approvals
from reverse_etl.clock import Clock, as_instant, utc_now
from reverse_etl.database import Database, in_pieces
from reverse_etl.errors import UserError
from reverse_etl.feedback import FeedbackLog
from reverse_etl.marker import Marker
from reverse_etl.packing import packed, unpacked
from reverse_etl.people import People, keyed, within
from reverse_etl.spec import GROUP_MARK

FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(days=7)
CLOCK_TOLERANCE = timedelta(hours=1)
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
_KNOWN = ("sync", "key", "fingerprint", "state", "acknowledged_at")
_PENDING = ("sync", "key", "fingerprint", "state")
_ACCEPTED = "accepted_delivery"
_ENDED = ("delivered", "rejected", "retryable", "unknown")


@dataclass(frozen=True, slots=True)
class Intent:
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


@dataclass(frozen=True, slots=True)
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
    the one stored at birth, values are written differently than before and all would be resent.

    ``accounts``, ``people``, ``approvals`` and ``feedback`` are its other chapters, in modules of
    their own.
    """

    def __init__(self, url: str, *, canary: str = "", clock: Clock = utc_now) -> None:
        self._database = Database(url)
        self._clock = clock
        self._delivery_numbers = count(1)
        self._planned: dict[tuple[str, str], str] = {}
        self._lettered: dict[str, bool] = {}
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

    # Reading

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

    # A run

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

    # Rows

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
        with self._database.writing() as connection:
            self._database.put(connection, schema.deliveries, _DELIVERY, lines)
            self._database.put(connection, schema.acknowledged, _PENDING, pending)
        return intents

    def settle(self, sync: str, settlements: Sequence[Settlement], *, repeatable: bool) -> None:
        """After the answer, in one transaction: each row's outcome and what follows from it."""
        now = self._now()
        by_status: dict[str, list[Settlement]] = {}
        for settlement in settlements:
            by_status.setdefault(settlement.status, []).append(settlement)
        names = ("to", "said", "why", "at", "id")
        outcomes = [(s.status, s.code, s.message, now, s.intent.delivery_id) for s in settlements]
        with self._database.writing() as connection:
            self._database.many(connection, statements.SETTLE, names, outcomes)
            self._acknowledge(connection, sync, by_status.get("delivered", []), now)
            self._bury(connection, sync, by_status.get("rejected", []))
            state = "pending" if repeatable else "unknown"
            open_ = [(sync, s.intent.key, "", state, now) for s in by_status.get("unknown", [])]
            self._database.put(connection, schema.acknowledged, _KNOWN, open_)
            untaken = by_status.get("rejected", []) + by_status.get("retryable", [])
            self._each(connection, statements.FORGET_IF_NEVER_TAKEN, sync, untaken)

    def intend_level(
        self, run_id: str, sync: str, rows: Sequence[tuple[str, str, str]], attempt: int
    ) -> list[Intent]:
        """As ``intend``, for rows that may be sent twice: one line for the whole request. As long
        as it is open, its rows are pending."""
        batch_id = self._next_delivery(run_id)
        keys = packed((key, action) for key, action, _ in rows)
        line = (batch_id, run_id, sync, attempt, "attempted", len(rows), keys, self._now())
        with self._database.writing() as connection:
            self._database.put(connection, schema.batches, _BATCH, [line])
        return [Intent(batch_id, *row) for row in rows]

    def settle_level(self, sync: str, settlements: Sequence[Settlement]) -> None:
        """As ``settle``, for one request of ``intend_level``. What was not delivered gets a line of
        its own; what the tool surely did not take leaves what it has as it was."""
        now, t = self._now(), schema.batches
        delivered = [s for s in settlements if s.status == "delivered"]
        others = [s for s in settlements if s.status != "delivered"]
        batch_id = settlements[0].intent.delivery_id
        own = t.c.batch_id == batch_id
        with self._database.writing() as connection:
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

    def record_seen(self, sync: str, keys: Iterable[str]) -> None:
        """A trigger's first run, in one transaction: every event counts as seen, none is sent."""
        now, t = self._now(), schema.sync_state
        rows = ((sync, key, "", "seen", now) for key in keys)
        with self._database.writing() as connection:
            for some in in_pieces(rows, 10_000):
                self._database.put(connection, schema.acknowledged, _KNOWN, some)
            first = update(t).where(t.c.sync == sync)
            connection.execute(first.values(baseline_at=now, last_run_at=now))

    def record_unsent(self, sync: str, keys: Iterable[str], state: str) -> None:
        """A trigger's events that are not sent, for good: ``suppressed`` because their contact must
        not be contacted, ``expired`` because their time is over, ``dismissed`` by a person."""
        now = self._now()
        rows = [(sync, key, "", state, now) for key in keys]
        with self._database.writing() as connection:
            self._database.put(connection, schema.acknowledged, _KNOWN, rows)
            d = schema.deliveries
            planned = delete(d).where(d.c.sync == sync, d.c.status == "planned")
            for some in in_pieces(keys, 500):
                connection.execute(planned.where(d.c.key.in_(some)))

    def forget_dead_letters(self, sync: str, keys: Iterable[str]) -> None:
        """Drop dead letters that no plan asks for any more."""
        rows = [(sync, key) for key in keys]
        if rows:
            with self._database.writing() as connection:
                names = statements.OF_ROW
                self._database.many(connection, statements.DROP_DEAD_LETTER, names, rows)

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
            self._database.put(connection, a, _KNOWN, [row])
            return True

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
        self._database.put(connection, schema.acknowledged, _KNOWN, rows)

    def _open_batches(self, sync: str) -> list[tuple[Row[Any], list[tuple[str, str]]]]:
        """Requests whose answer is not in, and the (key, action) in them."""
        t = schema.batches
        query = select(t).where(t.c.sync == sync, t.c.status == "attempted")
        with self._database.reading() as connection:
            return [(line, list(unpacked(line.packed_keys))) for line in connection.execute(query)]

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

    def _next_delivery(self, run_id: str) -> str:
        return f"{run_id}-{next(self._delivery_numbers):08d}"

    def _acknowledge(
        self, connection: Connection, sync: str, delivered: list[Settlement], now: str
    ) -> None:
        there = [
            (sync, s.intent.key, s.intent.fingerprint, "acknowledged", now)
            for s in delivered
            if s.intent.action != "remove"
        ]
        self._database.put(connection, schema.acknowledged, _KNOWN, there)
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

    def _now(self) -> str:
        return as_instant(self._clock())


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
