"""The difference between a model's rows and what a destination already has.

Rows are compared by fingerprint: md5 over the names and values that are sent. Both the hashing and
the join run inside DuckDB, so that rows without a change cost no Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from reverse_etl.clock import as_instant
from reverse_etl.errors import UserError
from reverse_etl.spec import Sync

GROUP_MARK = "\x1f"
"""Joins contact and group in a grouped segment's key: a control character no name contains."""
DEFAULT_SHARE = 0.3
SMALLEST_SHARED = 20
"""Shares of fewer rows than this say nothing, so they hold nothing."""


@dataclass(frozen=True)
class Change:
    """One row to send. A removal has no payload: the row is gone."""

    key: str
    action: str
    fingerprint: str
    payload: dict[str, Any]

    @property
    def identity(self) -> str:
        """The contact or customer behind the key."""
        return self.key.partition(GROUP_MARK)[0]

    @property
    def group(self) -> str | None:
        """The value of a segment's group_key."""
        return self.key.partition(GROUP_MARK)[2] or None


@dataclass(frozen=True)
class Known:
    """What the planner is told about a sync's past. ``repeatable``: a row may be sent twice."""

    acknowledged: pa.Table
    dead_letters: pa.Table
    is_baseline: bool
    repeatable: bool
    now: datetime


@dataclass(frozen=True)
class Plan:
    """What a sync would change now.

    ``retrying`` (rows the tool refused before) is part of adds, changes and removes; ``waiting``
    (refused, and not due yet) and ``unknown`` are not.
    """

    sync: Sync
    adds: int
    changes: int
    removes: int
    unchanged: int
    unknown: int
    retrying: int
    waiting: int
    baseline: bool
    held: bool
    reason: str
    digest: str
    seen: tuple[str, ...] = ()
    """A trigger's events of before its first run: recorded, never sent."""
    moot: tuple[str, ...] = ()
    """Dead letters whose row no longer asks to be sent."""
    rows: pa.Table | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Rows that would travel."""
        return self.adds + self.changes + self.removes

    def __iter__(self) -> Iterator[Change]:
        """The rows, in the order of their keys."""
        if self.rows is None:
            return
        names = [name for name in self.rows.column_names if name not in _OWN]
        for some in self.rows.to_batches(max_chunksize=5_000):
            meta = (some.column(name).to_pylist() for name in _OWN)
            payloads = some.select(names).to_pylist()
            for key, action, fingerprint, payload in zip(*meta, payloads, strict=True):
                yield Change(key, action, fingerprint, {} if action == "remove" else payload)

    def as_dict(self) -> dict[str, Any]:
        """The plan in figures, as ``plan --json`` prints it."""
        return {
            "sync": self.sync.id,
            "model": self.sync.model,
            "destination": self.sync.destination.name,
            "kind": self.sync.spec.kind,
            "adds": self.adds,
            "changes": self.changes,
            "removes": self.removes,
            "unchanged": self.unchanged,
            "held": self.held,
            "reason": self.reason,
            "baseline": self.baseline,
            "unknown": self.unknown,
            "retrying": self.retrying,
            "waiting": self.waiting,
            "seen": len(self.seen),
        }


_OWN = ("_key", "_action", "_fingerprint")


def plan_sync(sync: Sync, rows: pa.Table, sent: Sequence[str], known: Known) -> Plan:
    """Compare rows with the ledger. ``sent`` names the columns the destination transmits.

    Raises UserError when the key is missing, null or not unique.
    """
    with _memory().cursor() as connection:
        connection.execute("set timezone = 'UTC'")
        positions = pa.array(np.arange(rows.num_rows))
        connection.register("model_rows", rows.append_column("_position", positions))
        connection.register("acknowledged", known.acknowledged)
        connection.register("dead_letters", known.dead_letters)
        _check_key(connection, sync, rows)
        connection.execute(_candidates(sync, rows, sent))
        connection.execute(_compared(sync, known))
        return _summary(connection, sync, known, rows)


def baseline_of_trigger(sync: Sync, keys: Sequence[str]) -> Plan:
    """A trigger's first run: nothing fires, what happened so far is recorded as seen."""
    reason = f"first run: {len(keys)} past events are recorded as seen, none is sent"
    return Plan(sync, 0, 0, 0, 0, 0, 0, 0, True, False, reason, "", seen=tuple(keys))


@cache
def canary() -> str:
    """The fingerprint of fixed values of every type. It must never change for one ledger."""
    with _memory().cursor() as connection:
        connection.execute("set timezone = 'UTC'")
        row = connection.sql(
            "select 1::bigint as a, 2.50::decimal(18, 2) as b, 0.1::double as c,"
            " null::varchar as d, '' as e, '日本' as f, true as g, date '2026-01-31' as h,"
            " timestamp '2026-01-31 01:02:03.456' as i,"
            " timestamptz '2026-01-31 01:02:03+09:00' as j, [1, 2] as k, 1e21::double as l"
        ).to_arrow_table()
        connection.register("fixed", row)
        query = f"select {_fingerprint(row)} from fixed"  # noqa: S608
        [(fingerprint,)] = connection.sql(query).fetchall()
    return str(fingerprint)


@cache
def _memory() -> duckdb.DuckDBPyConnection:
    """One empty database for all plans of this process: making one costs more than a small plan.
    Each plan has a cursor of its own, and with it its own views and temporary tables."""
    return duckdb.connect()


def _check_key(connection: duckdb.DuckDBPyConnection, sync: Sync, rows: pa.Table) -> None:
    columns = [sync.spec.key] + ([sync.spec.group_key] if sync.spec.group_key else [])
    for column, setting in zip(columns, ("key", "group_key"), strict=False):
        if column not in rows.column_names:
            raise UserError(
                f"{sync.file}: meta.sync.{setting}: the model has no column {column!r}. "
                f"Its columns: {', '.join(rows.column_names)}."
            )
        nulls = rows.column(column).null_count
        if nulls:
            raise UserError(
                f"{sync.file}: meta.sync.{setting}: {column} is null in {nulls} of "
                f"{rows.num_rows} rows. Filter those rows out, or choose another key."
            )
    twice = connection.sql(
        f"select {_key(sync)} as key, count(*) as times from model_rows"  # noqa: S608
        " group by 1 having count(*) > 1 order by 1 limit 1"
    ).fetchall()
    if twice:
        raise UserError(
            f"{sync.file}: meta.sync.key: {' and '.join(columns)} must be unique, but "
            f"{twice[0][0].replace(GROUP_MARK, ' in ')} occurs {twice[0][1]} times. "
            "Make the model one row per key."
        )


def _candidates(sync: Sync, rows: pa.Table, sent: Sequence[str]) -> str:
    fingerprint = _fingerprint(rows.select(sorted(set(sent) & set(rows.column_names))))
    return (
        f"create temp table candidates as select {_key(sync)} as key,"  # noqa: S608
        f" {fingerprint} as fingerprint, _position as position from model_rows"
    )


def _compared(sync: Sync, known: Known) -> str:
    """One row per key of either side, with what should happen to it and how it was refused."""
    spec = sync.spec
    if spec.kind == "trigger":
        # An event is sent once: whatever the ledger knows about it settles the question.
        action = (
            "case when c.key is null and a.state in ('unknown', 'pending') then 'unknown'"
            " when c.key is null then 'gone'"
            " when a.key is null then 'add'"
            f" when a.state = 'pending' then '{'add' if known.repeatable else 'unknown'}'"
            " when a.state = 'unknown' then 'unknown' else 'unchanged' end"
        )
    else:
        removed = "remove" if spec.kind == "segment" or spec.removal != "ignore" else "gone"
        action = (
            f"case when c.key is null then '{removed}'"
            " when a.state = 'acknowledged' and a.fingerprint = c.fingerprint then 'unchanged'"
            " when a.acknowledged_at is null then 'add' else 'change' end"
        )
    return f"""
        create temp table compared as
        with both_sides as (
            select
                coalesce(c.key, a.key) as key,
                coalesce(c.fingerprint, '') as fingerprint,
                c.position,
                {action} as action
            from candidates as c full join acknowledged as a on a.key = c.key
        )
        select
            both_sides.*,
            d.key is not null as was_refused,
            coalesce(d.next_retry_at > '{as_instant(known.now)}', false) as is_waiting
        from both_sides left join dead_letters as d
            on d.key = both_sides.key and d.fingerprint = both_sides.fingerprint
    """  # noqa: S608


def _summary(
    connection: duckdb.DuckDBPyConnection, sync: Sync, known: Known, rows: pa.Table
) -> Plan:
    moving = "action in ('add', 'change', 'remove')"
    [found] = connection.sql(
        f"""select
            count(*) filter (action = 'add' and not is_waiting),
            count(*) filter (action = 'change' and not is_waiting),
            count(*) filter (action = 'remove' and not is_waiting),
            count(*) filter (action = 'unchanged'),
            count(*) filter (action = 'unknown'),
            count(*) filter ({moving} and was_refused and not is_waiting),
            count(*) filter ({moving} and is_waiting),
            coalesce(md5(string_agg(key || action || fingerprint, ' ' order by key)
                filter ({moving} and not is_waiting)), '')
        from compared"""  # noqa: S608
    ).fetchall()
    adds, changes, removes, unchanged, unknown, retrying, waiting, digest = found
    moved = connection.sql(
        "select key as _key, action as _action, fingerprint as _fingerprint, position"  # noqa: S608
        f" from compared where {moving} and not is_waiting order by key"
    ).to_arrow_table()
    payload = rows.take(moved.column("position"))  # a removal has no position: its row is null
    for name in reversed(_OWN):
        payload = payload.add_column(0, name, moved.column(name))
    moot = connection.sql(
        "select key from dead_letters where key not in"  # noqa: S608
        f" (select key from compared where {moving})"
    ).fetchall()
    held, reason = _judged(sync, known, adds, removes, rows.num_rows)
    return Plan(
        sync=sync,
        adds=adds,
        changes=changes,
        removes=removes,
        unchanged=unchanged,
        unknown=unknown,
        retrying=retrying,
        waiting=waiting,
        baseline=known.is_baseline,
        held=held,
        reason=reason or _in_words(known, adds + changes + removes, unknown, waiting),
        digest=digest,
        moot=tuple(key for (key,) in moot),
        rows=payload,
    )


def _judged(sync: Sync, known: Known, adds: int, removes: int, row_count: int) -> tuple[bool, str]:
    """Whether the plan is within its budget, and in words why not."""
    spec, moved = sync.spec, adds + removes
    fix = f"Check the model, or raise meta.sync.budget in {sync.file}"
    counted = known.acknowledged.column("state").value_counts().to_pylist()
    already = sum(c["counts"] for c in counted if c["values"] in ("acknowledged", "seen"))
    if spec.budget.rows is not None and moved > spec.budget.rows:
        return True, f"{moved} rows exceed the budget of {spec.budget.rows}. {fix}"
    if known.is_baseline:
        return False, ""
    if spec.kind == "trigger":
        share = spec.budget.share  # most triggers are rare: no share is assumed for them
    else:
        share = DEFAULT_SHARE if spec.budget.share is None else spec.budget.share
        if not row_count and already:
            return True, f"the model is empty, the destination has {already} rows. {fix}"
    if share is not None and already >= SMALLEST_SHARED and moved > share * already:
        return True, (
            f"{adds} adds and {removes} removes are {moved / already:.0%} of {already} rows, "
            f"the budget is {share:.0%}. {fix}"
        )
    return False, ""


def _in_words(known: Known, moving: int, unknown: int, waiting: int) -> str:
    parts = []
    if known.is_baseline:
        parts.append("first run: all rows are sent, no share budget applies")
    elif not moving:
        parts.append("nothing changed")
    if waiting:
        parts.append(f"{waiting} refused rows wait for their next try")
    if unknown:
        parts.append(f"{unknown} outcomes are unknown and are not repeated")
    return "; ".join(parts)


def _key(sync: Sync) -> str:
    key = f"{_quoted(sync.spec.key)}::varchar"
    group = sync.spec.group_key
    return f"{key} || chr(31) || {_quoted(group)}::varchar" if group else key


def _fingerprint(rows: pa.Table) -> str:
    """SQL for the md5 of all columns. Each value carries its column and its length, so that no two
    rows are written alike and null differs from empty."""
    parts = [
        f"'{name.replace(chr(39), chr(39) * 2)}' || coalesce(strlen({text}) || ':' || {text}, '-')"
        for name, text in ((f.name, _text(f)) for f in rows.schema)
    ]
    return f"md5(concat({', '.join(parts)}))" if parts else "''"


def _text(column: pa.Field) -> str:
    name = _quoted(column.name)
    if pa.types.is_timestamp(column.type):
        return f"epoch_us({name})::varchar"  # one instant, one text, whatever zone it is shown in
    return f"{name}::varchar"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
