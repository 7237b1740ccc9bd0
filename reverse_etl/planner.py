"""The difference between a model's rows and what a destination already has.

Rows are compared by fingerprint: md5 over the names and values that are sent. Both the hashing and
the join run inside DuckDB, so that rows without a change cost no Python.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache

import duckdb
import pyarrow as pa

from reverse_etl.clock import as_instant
from reverse_etl.errors import UserError
from reverse_etl.plans import Change, Plan
from reverse_etl.spec import GROUP_MARK, Sync
from reverse_etl.warehouse import EXPIRES_AT, NOT_BEFORE, Rows

__all__ = ["GROUP_MARK", "Change", "Known", "Plan", "baseline_of_trigger", "canary", "plan_sync"]
DEFAULT_SHARE = 0.3
SMALLEST_SHARED = 20
"""Shares of fewer rows than this say nothing, so they hold nothing."""
MOVING = "action in ('add', 'change', 'remove')"


@dataclass(frozen=True)
class Known:
    """What the planner is told about a sync's past. ``repeatable``: a row may be sent twice.

    ``approved`` holds the rows a person agreed to (key, action, fingerprint), ``rows_before`` how
    many the model had when the sync last ran through, ``revenue`` the customer and MRR of each
    person, ``tombstones`` the salted hashes of people who were erased.
    """

    acknowledged: pa.Table
    dead_letters: pa.Table
    is_baseline: bool
    repeatable: bool
    now: datetime
    decided_by: datetime | None = None
    """When it is for what was decided to be sent between two instants; ``now`` by default."""
    approved: pa.Table | None = None
    rows_before: int | None = None
    revenue: pa.Table | None = None
    tombstones: Collection[str] = ()
    salt: str = ""


def plan_sync(sync: Sync, rows: Rows, sent: Sequence[str], known: Known) -> Plan:
    """Compare rows with the ledger, where the rows lie: only what changed is taken out. ``sent``
    names the columns the destination transmits.

    Raises UserError when the key is missing, null or not unique.
    """
    connection = rows.connection
    connection.execute("set timezone = 'UTC'")
    connection.register("acknowledged", known.acknowledged)
    connection.register("dead_letters", known.dead_letters)
    try:
        _require_columns(sync, rows.schema.names)
        connection.execute(_candidates(sync, rows.schema, sent, known))
        _check_key(connection, sync)
        connection.execute(_compared(sync, known))
        return _summary(connection, sync, known)
    except duckdb.Error as error:
        words = str(error).splitlines()[0]
        raise UserError(f"{sync.file}: the model's rows cannot be read: {words}") from None


def baseline_of_trigger(sync: Sync, keys: Sequence[str]) -> Plan:
    """A trigger's first run: nothing fires, what happened so far is recorded as seen."""
    reason = f"first run: {len(keys)} past events are recorded as seen, none is sent"
    return Plan(sync, baseline=True, reason=reason, seen=tuple(keys))


@cache
def canary() -> str:
    """The fingerprint of fixed values of every type. It must never change for one ledger."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        row = connection.sql(
            "select 1::bigint as a, 2.50::decimal(18, 2) as b, 0.1::double as c,"
            " null::varchar as d, '' as e, '日本' as f, true as g, date '2026-01-31' as h,"
            " timestamp '2026-01-31 01:02:03.456' as i,"
            " timestamptz '2026-01-31 01:02:03+09:00' as j, [1, 2] as k, 1e21::double as l"
        ).to_arrow_table()
        connection.register("fixed", row)
        query = f"select {_fingerprint(list(row.schema))} from fixed"  # noqa: S608
        [(fingerprint,)] = connection.sql(query).fetchall()
    return str(fingerprint)


def _require_columns(sync: Sync, names: Sequence[str]) -> None:
    for setting, column in (("key", sync.spec.key), ("group_key", sync.spec.group_key)):
        if column and column not in names:
            raise UserError(
                f"{sync.file}: meta.sync.{setting}: the model has no column {column!r}. "
                f"Its columns: {', '.join(names)}."
            )


def _check_key(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    columns = [sync.spec.key] + ([sync.spec.group_key] if sync.spec.group_key else [])
    [(count, nulls, unreadable)] = connection.sql(
        "select count(*), count(*) filter (key is null),"
        " min(key) filter (contains(key, chr(29)) or contains(key, chr(30))) from candidates"
    ).fetchall()
    if unreadable:
        raise UserError(
            f"{sync.file}: meta.sync.key: {unreadable!r} contains a control character (29 or 30), "
            "which the ledger needs for itself. Clean the key in the model."
        )
    if nulls:
        for column, setting in zip(columns, ("key", "group_key"), strict=False):
            [(own,)] = connection.sql(
                f"select count(*) from model_rows where {_quoted(column)} is null"  # noqa: S608
            ).fetchall()
            if own:
                raise UserError(
                    f"{sync.file}: meta.sync.{setting}: {column} is null in {own} of "
                    f"{count} rows. Filter those rows out, or choose another key."
                )
    twice = connection.sql(
        "select key, count(*) as times from candidates group by key having count(*) > 1"
        " order by key limit 1"
    ).fetchall()
    if twice:
        raise UserError(
            f"{sync.file}: meta.sync.key: {' and '.join(columns)} must be unique, but "
            f"{twice[0][0].replace(GROUP_MARK, ' in ')} occurs {twice[0][1]} times. "
            "Make the model one row per key."
        )


def _candidates(sync: Sync, schema: pa.Schema, sent: Sequence[str], known: Known) -> str:
    """The model's rows by key. ``hold``: why a row is not to be sent at all, whatever it says."""
    fingerprint = _fingerprint([schema.field(n) for n in sorted(set(sent) & set(schema.names))])
    now = f"timestamptz '{as_instant(known.decided_by or known.now)}'"
    reasons = []
    if erased := _erased(schema.names, known):
        reasons.append(f"when {erased} then 'erased'")
    if EXPIRES_AT in schema.names:
        reasons.append(f"when {EXPIRES_AT} <= {now} then 'expired'")
        reasons.append(f"when {NOT_BEFORE} > {now} then 'early'")
    hold = f"case {' '.join(reasons)} end" if reasons else "null::varchar"
    return (
        f"create temp table candidates as select {_key(sync)} as key, {hold} as hold,"  # noqa: S608
        f" {fingerprint} as fingerprint from model_rows"
    )


def _erased(names: Sequence[str], known: Known) -> str:
    """SQL that is true for a row of somebody who was erased."""
    if not known.tombstones:
        return ""
    listed = ", ".join(f"'{who}'" for who in known.tombstones)
    people = {"contact_id": "{}::varchar", "email": "lower({}::varchar)"}
    named = [
        f"coalesce(sha256('{known.salt}' || {sql.format(_quoted(name))}) in ({listed}), false)"
        for name, sql in people.items()
        if name in names
    ]
    return f"({' or '.join(named)})" if named else ""


def _compared(sync: Sync, known: Known) -> str:
    """One row per key of either side, with what should happen to it and how it was refused."""
    spec = sync.spec
    if spec.kind == "trigger":
        again = "coalesce(c.hold, 'add')" if known.repeatable else "'unknown'"
        # An event is sent once: whatever the ledger knows about it settles the question.
        action = (
            "case when c.key is null and a.state in ('unknown', 'pending') then 'unknown'"
            " when c.key is null then 'gone'"
            " when a.key is null then coalesce(c.hold, 'add')"
            f" when a.state = 'pending' then {again}"
            " when a.state = 'unknown' then 'unknown' else 'unchanged' end"
        )
    else:
        removed = "remove" if spec.kind == "segment" or spec.removal != "ignore" else "gone"
        action = (
            f"case when c.key is null then '{removed}'"
            " when c.hold is not null then c.hold"
            " when a.state in ('acknowledged', 'dismissed') and a.fingerprint = c.fingerprint"
            " then 'unchanged'"
            " when coalesce(a.is_there, '') = '' then 'add' else 'change' end"
        )
    return f"""
        create temp table compared as
        with both_sides as (
            select
                coalesce(c.key, a.key) as key,
                coalesce(c.fingerprint, '') as fingerprint,
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


def _summary(connection: duckdb.DuckDBPyConnection, sync: Sync, known: Known) -> Plan:
    now_moving = f"{MOVING} and not is_waiting"
    counts = {"retrying": f"{now_moving} and was_refused", "waiting": f"{MOVING} and is_waiting"}
    for figure in ("unchanged", "unknown", "early", "expired", "erased"):
        counts[figure] = f"action = '{figure}'"
    for figure, action in (("adds", "add"), ("changes", "change"), ("removes", "remove")):
        counts[figure] = f"action = '{action}' and not is_waiting"
    counted = ", ".join(f"count(*) filter ({where})" for where in counts.values())
    [found] = connection.sql(f"select {counted} from compared").fetchall()  # noqa: S608
    figures = dict(zip(counts, found, strict=True))
    connection.execute(
        "create temp table moving as select key, action, fingerprint from compared"  # noqa: S608
        f" where {now_moving} order by key"
    )
    [(digest,)] = connection.sql(
        "select md5(? || string_agg(key || action || fingerprint, ' ' order by key)) from moving",
        params=[sync.id],
    ).fetchall()
    # the members of a list side by side: a batch then is of few lists, and each is a call
    group = "split_part(moving.key, chr(31), 2), " if sync.spec.group_key else ""
    payload = connection.sql(
        "select moving.key as _key, moving.action as _action, moving.fingerprint as _fingerprint,"  # noqa: S608
        f" model_rows.* from moving left join model_rows on {_key(sync)} = moving.key"
        f" order by {group}moving.key"
    ).to_arrow_table()
    [(row_count,)] = connection.sql("select count(*) from candidates").fetchall()
    moot = connection.sql(
        "select key from dead_letters where key not in"  # noqa: S608
        f" (select key from compared where {MOVING})"
    ).fetchall()
    plan = Plan(
        sync=sync,
        **figures,
        row_count=row_count,
        baseline=known.is_baseline,
        digest=digest or "",
        mrr=_mrr(connection, sync, payload, known),
        moot=tuple(key for (key,) in moot),
        rows=payload,
    )
    reason, shrunk = _judged(plan, known, row_count)
    if reason and _is_approved(connection, known):
        return replace(plan, reason=f"approved although {reason}")
    return replace(plan, held=bool(reason), shrunk=shrunk, reason=reason or _in_words(plan))


def _mrr(
    connection: duckdb.DuckDBPyConnection, sync: Sync, moving: pa.Table, known: Known
) -> Decimal | None:
    """Each customer counts once, however many of their contacts are added or removed."""
    if sync.spec.budget.mrr is None:
        return None
    if known.revenue is None:
        raise UserError(
            f"{sync.file}: meta.sync.budget.mrr needs marts.customers with customer_id and mrr, "
            "which the warehouse does not have. Build it, or remove the budget."
        )
    connection.register("moving_rows", moving)
    connection.register("revenue", known.revenue)
    own = "customer_id" in moving.column_names
    person = "coalesce(customer_id::varchar, split_part(_key, chr(31), 1))" if own else ""
    [(mrr,)] = connection.sql(
        "select coalesce(sum(mrr), 0)::decimal(18, 2) from (select distinct customer_id, mrr"  # noqa: S608
        " from revenue where person in (select"
        f" {person or 'split_part(_key, chr(31), 1)'} from moving_rows"
        " where _action <> 'change'))"
    ).fetchall()
    return Decimal(mrr)


def _is_approved(connection: duckdb.DuckDBPyConnection, known: Known) -> bool:
    """Whether a person agreed to every row: to this plan, or to one of which this is the rest."""
    if known.approved is None or not known.approved.num_rows:
        return False
    connection.register("approved", known.approved)
    [(foreign,)] = connection.sql(
        "select count(*) from moving anti join approved using (key, action, fingerprint)"
    ).fetchall()
    return not foreign


def _judged(plan: Plan, known: Known, row_count: int) -> tuple[str, bool]:
    """Why a plan is beyond its budget, empty where it is within; and whether the model shrank."""
    sync, spec, moved = plan.sync, plan.sync.spec, plan.adds + plan.removes
    fix = f"Check the model, or raise meta.sync.budget in {sync.file}"
    counted = known.acknowledged.column("state").value_counts().to_pylist()
    already = sum(c["counts"] for c in counted if c["values"] in ("acknowledged", "seen"))
    if spec.budget.rows is not None and moved > spec.budget.rows:
        words = f"{moved} rows exceed the budget of {spec.budget.rows}. {fix}"
        return words, plan.removes > plan.adds
    if plan.mrr is not None and plan.mrr > Decimal(str(spec.budget.mrr)):
        words = f"its customers pay {plan.mrr} a month, the budget is {spec.budget.mrr}. {fix}"
        return words, plan.removes > plan.adds
    if known.is_baseline:
        return "", False
    if spec.kind == "trigger":
        share = spec.budget.share  # most triggers are rare: no share is assumed for them
    else:
        share = DEFAULT_SHARE if spec.budget.share is None else spec.budget.share
        if not row_count and already:
            return f"the model is empty, the destination has {already} rows. {fix}", True
        before = known.rows_before or 0
        if before >= SMALLEST_SHARED and before - row_count > share * before:
            return f"the model has {row_count} rows, it had {before} before. {fix}", True
    if share is not None and already >= SMALLEST_SHARED and moved > share * already:
        return (
            f"{plan.adds} adds and {plan.removes} removes are {moved / already:.0%} of {already} "
            f"rows, the budget is {share:.0%}. {fix}"
        ), plan.removes > plan.adds
    return "", False


def _in_words(plan: Plan) -> str:
    parts = []
    if plan.baseline:
        parts.append("first run: all rows are sent, no share budget applies")
    elif not plan.size:
        parts.append("nothing changed")
    for count, words in (
        (plan.waiting, "refused rows wait for their next try"),
        (plan.unknown, "outcomes are unknown and are not repeated"),
        (plan.early, "events wait for their time"),
        (plan.expired, "events came too late to be sent"),
        (plan.erased, "rows are of people who were erased"),
    ):
        if count:
            parts.append(f"{count} {words}")
    return "; ".join(parts)


def _key(sync: Sync) -> str:
    key = f"{_quoted(sync.spec.key)}::varchar"
    group = sync.spec.group_key
    return f"{key} || chr(31) || {_quoted(group)}::varchar" if group else key


def _fingerprint(columns: Sequence[pa.Field]) -> str:
    """SQL for the md5 of all columns. Each value carries its column and its length, so that no two
    rows are written alike and null differs from empty."""
    parts = [
        f"'{name.replace(chr(39), chr(39) * 2)}' || coalesce(strlen({text}) || ':' || {text}, '-')"
        for name, text in ((f.name, _text(f)) for f in columns)
    ]
    return f"md5(concat({', '.join(parts)}))" if parts else "''"


def _text(column: pa.Field) -> str:
    name = _quoted(column.name)
    if pa.types.is_timestamp(column.type):
        return f"epoch_us({name})::varchar"  # one instant, one text, whatever zone it is shown in
    return f"{name}::varchar"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
