"""What two sets of rules made of the same past, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from statistics import median
from typing import Any, Literal

import duckdb
from rich.console import Console
from rich.table import Table

SHOWN = 15


@dataclass(frozen=True)
class Flag:
    """When a customer was first at risk within the days; None: never."""

    customer_id: str
    first_at_risk_a: date | None
    first_at_risk_b: date | None

    @property
    def days_earlier(self) -> int | None:
        """Days by which B came before A; negative where it came after, None where one never did."""
        if self.first_at_risk_a is None or self.first_at_risk_b is None:
            return None
        return (self.first_at_risk_a - self.first_at_risk_b).days


@dataclass(frozen=True)
class StageDifference:
    """Customers whose stage on the last day differs; None: none yet."""

    stage_a: str | None
    stage_b: str | None
    customers: int


@dataclass(frozen=True)
class Touches:
    """Episodes that a trigger opened within the days: under each set of rules, and under both.

    An episode of A and one of B are the same where each is the other's nearest of the same
    customer, contact and subject, less than the trigger's re-arm time away: a moved threshold
    moves the day on which it opens. ``days_earlier`` is the median of how much earlier B opened
    them; negative: later, None: they share none.
    """

    trigger: str
    a: int
    b: int
    both: int
    days_earlier: float | None


@dataclass(frozen=True)
class Replay:
    """Days up to ``until``; a version is that of the rules of health, the same where they are."""

    until: date
    days: int
    changed: list[str]
    version_a: str
    version_b: str
    bands_a: dict[str, int]
    bands_b: dict[str, int]
    flags: list[Flag]
    stages: list[StageDifference]
    stage_days_differing: int
    touches: list[Touches]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        flags = [asdict(flag) | {"days_earlier": flag.days_earlier} for flag in self.flags]
        return asdict(self) | {"flags": flags}


def keep(
    connection: duckdb.DuckDBPyConnection, side: Literal["a", "b"], until: date, days: int
) -> None:
    """Set aside what the build of one side made, before the other side replaces it."""
    for statement in _KEPT:
        connection.execute(statement)
    values = {"side": side, "until": until, "days": days}
    connection.execute(_KEEP_HEALTH, values)
    connection.execute(_KEEP_STAGES, {"side": side})
    connection.execute(_KEEP_REARM, {"side": side})
    for (trigger,) in connection.execute(_TRIGGERS).fetchall():
        connection.execute(_KEEP_TOUCHES.format(trigger=trigger), values)


def compared(
    connection: duckdb.DuckDBPyConnection, until: date, days: int, changed: list[str]
) -> Replay:
    """Both sides, as ``keep`` set them aside."""
    return Replay(
        until=until,
        days=days,
        changed=changed,
        version_a=_version(connection, "a"),
        version_b=_version(connection, "b"),
        bands_a=_bands(connection, "a", until),
        bands_b=_bands(connection, "b", until),
        flags=[Flag(*row) for row in connection.execute(_FLAGS).fetchall()],
        stages=[StageDifference(*row) for row in connection.execute(_STAGES).fetchall()],
        stage_days_differing=_stage_days(connection, until, days),
        touches=[Touches(*row) for row in connection.execute(_TOUCHES).fetchall()],
    )


def printed(found: Replay) -> None:
    """The tables that a person reads."""
    console = Console(highlight=False)
    same = " (the same: only stages and triggers can differ)"
    console.print(
        f"\n{found.days} days up to {found.until}, under A: seeds/rules, version"
        f" {found.version_a}, and B: with {', '.join(found.changed)}, version {found.version_b}"
        f"{same if found.version_a == found.version_b else ''}"
    )
    bands = Table("Health on the last day", "A", "B", title_justify="left")
    for band in ("healthy", "watch", "risk", "unknown"):
        bands.add_row(band, str(found.bands_a.get(band, 0)), str(found.bands_b.get(band, 0)))
    console.print(bands)
    console.print(_first_at_risk(found))
    moved = [flag for flag in found.flags if flag.days_earlier != 0]
    if moved:
        console.print(_customers(moved))
    console.print(
        f"Stages: {found.stage_days_differing} days of customers in another stage"
        + "".join(
            f"\n  on the last day {one.customers} in {one.stage_a or 'none'} under A"
            f" and {one.stage_b or 'none'} under B"
            for one in found.stages
        )
    )
    touches = Table(
        "Touches", "A", "B", "under both", "only A", "only B", "median days earlier under B"
    )
    for one in found.touches:
        numbers = (one.a, one.b, one.both, one.a - one.both, one.b - one.both)
        days = "" if one.days_earlier is None else f"{one.days_earlier:g}"
        touches.add_row(one.trigger, *map(str, numbers), days)
    console.print(touches)


def _first_at_risk(found: Replay) -> Table:
    table = Table("First at risk", "customers", "median days")
    earlier = [flag.days_earlier for flag in found.flags if flag.days_earlier is not None]
    ahead, behind = [n for n in earlier if n > 0], [-n for n in earlier if n < 0]
    table.add_row("on the same day", str(earlier.count(0)), "")
    table.add_row("earlier under B", str(len(ahead)), _median(ahead))
    table.add_row("later under B", str(len(behind)), _median(behind))
    only_a = sum(flag.first_at_risk_b is None for flag in found.flags)
    only_b = sum(flag.first_at_risk_a is None for flag in found.flags)
    table.add_row("only under A", str(only_a), "")
    table.add_row("only under B", str(only_b), "")
    return table


def _customers(moved: list[Flag]) -> Table:
    table = Table("customer", "at risk from, A", "at risk from, B", "days earlier under B")
    for flag in moved[:SHOWN]:
        table.add_row(
            flag.customer_id,
            str(flag.first_at_risk_a or "never"),
            str(flag.first_at_risk_b or "never"),
            "" if flag.days_earlier is None else str(flag.days_earlier),
        )
    if len(moved) > SHOWN:
        table.add_row(f"and {len(moved) - SHOWN} more (--json has all)", "", "", "")
    return table


def _median(days: list[int]) -> str:
    return f"{median(days):g}" if days else ""


def _version(connection: duckdb.DuckDBPyConnection, side: str) -> str:
    sql = "select max(rules_version) from replay.health where side = ?"
    [version] = connection.execute(sql, [side]).fetchone() or [None]
    return str(version)


def _bands(connection: duckdb.DuckDBPyConnection, side: str, day: date) -> dict[str, int]:
    sql = (
        "select health_band, count(*) from replay.health"
        " where side = ? and as_of_date = ? group by 1"
    )
    rows = connection.execute(sql, [side, day]).fetchall()
    return {str(band): int(count) for band, count in rows}


def _stage_days(connection: duckdb.DuckDBPyConnection, until: date, days: int) -> int:
    values = {"until": until, "days": days}
    [number] = connection.execute(_STAGE_DAYS, values).fetchone() or [0]
    return int(number)


_KEPT = (
    "create schema if not exists replay",
    "create table if not exists replay.health (side varchar, customer_id varchar, as_of_date date,"
    " health_band varchar, rules_version varchar)",
    "create table if not exists replay.stages (side varchar, customer_id varchar,"
    " journey_stage varchar, entered_on date, exited_on date)",
    "create table if not exists replay.touches (side varchar, trigger_name varchar,"
    " event_id varchar, customer_id varchar, contact_id varchar, subject varchar, opened_on date)",
    "create table if not exists replay.rearm (side varchar, trigger_name varchar,"
    " rearm_days integer)",
)

_KEEP_HEALTH = """
    insert into replay.health
    select $side, customer_id, as_of_date, health_band, rules_version
    from marts.customer_health_history
    where as_of_date between $until::date - $days::integer + 1 and $until
        and rules_version = (select max(rules_version) from marts.customer_health)
"""

_KEEP_STAGES = """
    insert into replay.stages
    select $side, customer_id, journey_stage, cast(entered_at as date), cast(exited_at as date)
    from marts.customer_journey_history
"""

_KEEP_REARM = """
    insert into replay.rearm
    select $side, 'trg_' || trigger_name, rearm_days
    from rules.playbooks
"""

_TRIGGERS = """
    select table_name from information_schema.tables
    where table_schema = 'triggers' and starts_with(table_name, 'trg_')
    order by 1
"""

_KEEP_TOUCHES = """
    insert into replay.touches
    select $side, '{trigger}', event_id, customer_id, coalesce(contact_id, ''), subject,
        cast(occurred_at as date)
    from triggers."{trigger}"
    where cast(occurred_at as date) between $until::date - $days::integer + 1 and $until
"""

# customers whom either side put at risk, the widest apart first
_FLAGS = """
    select customer_id,
        min(as_of_date) filter (side = 'a') as first_a,
        min(as_of_date) filter (side = 'b') as first_b
    from replay.health
    where health_band = 'risk'
    group by 1
    order by abs(first_a - first_b) desc nulls first, 1
"""

_STAGES = """
    select stage_a, stage_b, count(*)
    from (
        select customer_id,
            max(journey_stage) filter (side = 'a') as stage_a,
            max(journey_stage) filter (side = 'b') as stage_b
        from replay.stages
        where exited_on is null
        group by 1
    )
    where stage_a is distinct from stage_b
    group by all
    order by 3 desc, 1, 2
"""

# in which stage each customer ended each day
_STAGE_DAYS = """
    select count(*)
    from (
        select days.day, stages.customer_id,
            max(journey_stage) filter (side = 'a') as stage_a,
            max(journey_stage) filter (side = 'b') as stage_b
        from (
            select $until::date - cast(range as integer) as day from range($days::integer)
        ) as days
        inner join replay.stages as stages
            on stages.entered_on <= days.day
                and (stages.exited_on is null or stages.exited_on > days.day)
        group by all
    )
    where stage_a is distinct from stage_b
"""

_TOUCHES = """
    with pairs as (
        select trigger_name, a.event_id as event_a, b.event_id as event_b,
            date_diff('day', b.opened_on, a.opened_on) as days_earlier
        from (from replay.touches where side = 'a') as a
        inner join (from replay.touches where side = 'b') as b
            using (trigger_name, customer_id, contact_id, subject)
        inner join replay.rearm using (trigger_name)
        where rearm.side = 'a' and abs(days_earlier) < rearm_days
    ),

    shared as (
        select trigger_name, days_earlier
        from pairs
        qualify row_number() over (partition by trigger_name, event_a
                order by abs(days_earlier), event_b) = 1
            and row_number() over (partition by trigger_name, event_b
                order by abs(days_earlier), event_a) = 1
    )

    select trigger_name, count(*) filter (side = 'a'), count(*) filter (side = 'b'),
        coalesce(any_value(number), 0), any_value(median_days)
    from replay.touches
    left join (
        select trigger_name, count(*) as number, median(days_earlier) as median_days
        from shared
        group by 1
    ) using (trigger_name)
    group by 1
    order by 1
"""
