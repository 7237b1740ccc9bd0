"""Whether the lift that we measure is the effect that was planted.

``python -m benchmarks.lift_recovery [--seeds N] [--customers N] [--processes N]`` lives through one
touch in as many companies: the sample generator tells the customers, untouched and touched, with
its planted effect; the project's own SQL decides who is sent to and who is held out
(``trigger_decisions``), what became of them (``trigger_outcomes``) and what it changed
(``trigger_lift``). It ends with 1 unless the 95% interval covers the truth in at least 90% of the
companies, and a planted zero is called ``works`` or ``harms`` in at most 10% of them.

The truth is the generator's: effect x (1 - share of customers that show the metric untouched).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from orchestration.manifest import DBT, dbt_environment
from reverse_etl.settings import Settings
from seeds.sample_company.calendar import DAY, Window
from seeds.sample_company.effects import EFFECTS, Touches
from seeds.sample_company.product_usage import add_usage, lapsed_people
from seeds.sample_company.rows import Rows
from seeds.sample_company.stories import Story, tell

TOUCHED_ON, JUDGED_ON = date(2026, 7, 22), date(2026, 10, 28)
"""A working day, and one on which the longest horizon after it is over."""
TOUCHED_AT = int(datetime(2026, 7, 22, 23, 59, 59, tzinfo=UTC).timestamp())
MONTHS = 8
FEATURE_EVENT = "dashboard_shared"
"""What whoever a touch wins over uses again, unless the story says another one lapsed."""
PLANTED = {one.trigger_name: one for one in EFFECTS}
TRIGGERS = ("feature_unused", "competitor_comparison_visited")
"""Of the planted ones those with an experiment: alerts and service messages hold nobody out."""
COVERED, FALSE_VERDICTS = 0.9, 0.1

TABLES = """
create schema marts; create schema triggers; create schema intermediate; create schema measurement;
create table marts.contacts (contact_id varchar, customer_id varchar, time_zone varchar,
    country varchar, is_bounced boolean, is_unsubscribed boolean);
create table marts.contact_consents (contact_id varchar, channel varchar, purpose varchar,
    is_allowed boolean, basis varchar, stopped_by varchar);
create table marts.customer_touch_plan (customer_id varchar, queue_status varchar);
create table marts.touchpoints (customer_id varchar, contact_id varchar, is_commercial boolean,
    direction varchar, channel varchar, source_name varchar, occurred_at timestamp);
create table marts.customer_journey_history (customer_id varchar, journey_stage varchar,
    entered_at timestamp);
create table intermediate.int_usage__daily (customer_id varchar, contact_id varchar,
    feature varchar, is_key_feature boolean, is_first_value boolean, uses integer,
    first_used_at timestamp, last_used_at timestamp);
create table intermediate.int_customer_spells (customer_id varchar, live_from timestamp,
    notice_at timestamp, ended_at timestamp);
create table intermediate.int_customer_months__summed (customer_id varchar, month date,
    end_mrr decimal(18, 2));
create table triggers.trigger_episodes (event_id varchar, subject varchar, is_silent boolean);
"""
EPISODES = "(event_id varchar, customer_id varchar, contact_id varchar, occurred_at timestamp)"


@dataclass(frozen=True)
class Sql:
    """The project's models as dbt compiles them for the day of the touch and that of the verdict;
    ``rules``: a DuckDB file with the seeds."""

    rules: Path
    decisions: str
    outcomes: str
    lift: str


@dataclass(frozen=True)
class Customer:
    """One customer on the day of the touch: who would hear of which feature, when it ends."""

    customer_id: str
    contact_id: str
    feature: str
    live_from: int
    notice_at: int | None
    ended_at: int | None
    used_at: Sequence[int]
    """When the contact used the feature after the touch, within its horizon."""


@dataclass(frozen=True)
class Recovery:
    """What was measured of one trigger in one company, beside the truth."""

    trigger_name: str
    seed: int
    treated: int
    held_out: int
    truth: float
    lift: float
    low: float
    high: float
    verdict: str

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


def main(arguments: list[str] | None = None) -> int:
    """Run and print; 0 when the promise holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lift_recovery")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lift_recovery_") as temporary:
        sql = compiled(Path(temporary))
        one = partial(recovered, sql, given.customers)
        with ProcessPoolExecutor(given.processes) as pool:
            found: list[Recovery] = []
            for recoveries in pool.map(one, range(1, given.seeds + 1)):
                found += recoveries
                for each in recoveries:
                    print(_told(each), flush=True)
    held = {name: _promise_holds(name, found) for name in TRIGGERS}
    return 0 if all(held.values()) else 1


def compiled(folder: Path) -> Sql:
    """What dbt makes of the models, with every one of TRIGGERS live."""
    warehouse = folder / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(TABLES)
    _dbt(folder, TOUCHED_ON, "seed")
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("update rules.playbooks set state = 'live'")
        names = connection.sql("select trigger_name from rules.playbooks").fetchall()
        for (name,) in names:
            connection.execute(f"create table triggers.trg_{name} {EPISODES}")
    _dbt(folder, TOUCHED_ON, "compile", "--select", "trigger_decisions")
    decisions = _read(folder, "trigger_decisions")
    _dbt(folder, JUDGED_ON, "compile", "--select", "trigger_outcomes", "trigger_lift")
    return Sql(
        warehouse, decisions, _read(folder, "trigger_outcomes"), _read(folder, "trigger_lift")
    )


def recovered(sql: Sql, customers: int, seed: int) -> list[Recovery]:
    """The recoveries of every trigger in the company of a seed."""
    window = Window.ending(JUDGED_ON, MONTHS)
    alone = list(_living(seed, customers, window, Touches({})))
    return [_recovery(sql, name, seed, window, alone) for name in TRIGGERS]


def _recovery(
    sql: Sql, name: str, seed: int, window: Window, alone: Sequence[tuple[int, Customer]]
) -> Recovery:
    planted = PLANTED[name]
    with tempfile.TemporaryDirectory(prefix="company_") as temporary:
        file = Path(temporary) / sql.rules.name
        shutil.copyfile(sql.rules, file)
        with duckdb.connect(str(file)) as connection:
            connection.execute("set threads = 1")
            _open_episodes(connection, name, [customer for _, customer in alone])
            connection.execute(f"create table triggers.trigger_decisions as {sql.decisions}")
            connection.execute(
                "create table triggers.trigger_decisions_history as from triggers.trigger_decisions"
            )
            sent = connection.sql(
                "select customer_id from triggers.trigger_decisions where decision = 'send'"
            ).fetchall()
            touches = Touches({(name, customer_id): TOUCHED_AT for (customer_id,) in sent})
            world = [
                _touched(seed, index, window, touches, name, customer) for index, customer in alone
            ]
            _live_on(connection, world)
            connection.execute(f"create table measurement.trigger_outcomes as {sql.outcomes}")
            query = f"select * from ({sql.lift}) where trigger_name = ?"
            found = connection.execute(query, [name]).fetchall()
            columns = [column[0] for column in connection.description or []]
    [row] = [dict(zip(columns, values, strict=True)) for values in found]
    untouched = np.mean([_shows(planted.metric, planted.horizon_days, c) for _, c in alone])
    return Recovery(
        trigger_name=name,
        seed=seed,
        treated=row["treated"],
        held_out=row["held_out"],
        truth=planted.effect * (1 - float(untouched)),
        lift=float(row["lift"]),
        low=float(row["lift_low"]),
        high=float(row["lift_high"]),
        verdict=row["verdict"],
    )


def _living(
    seed: int, customers: int, window: Window, touches: Touches
) -> Iterator[tuple[int, Customer]]:
    for index in range(customers):
        if (customer := _customer(tell(seed, index, window, touches))) is not None:
            yield index, customer


def _touched(
    seed: int, index: int, window: Window, touches: Touches, name: str, alone: Customer
) -> Customer:
    """The customer as the touch left it: as it was, unless it was won over."""
    if touches.won_over(seed, index, alone.customer_id, name) is None:
        return alone
    return _customer(tell(seed, index, window, touches)) or alone


def _customer(story: Story) -> Customer | None:
    """None where nobody could be touched: not live on the day, or nobody at work yet."""
    present = [p for p in story.people if p.product_role and p.joined_at <= TOUCHED_AT]
    live = [
        item
        for item in story.subscriptions
        if item.created_at <= TOUCHED_AT and (item.ended_at is None or item.ended_at > TOUCHED_AT)
    ]
    if not present or not live:
        return None
    person, event = next(iter(lapsed_people(story)), (present[0], FEATURE_EVENT))
    rows = Rows()
    add_usage(story, rows, 1.0)
    until = TOUCHED_AT + PLANTED["feature_unused"].horizon_days * DAY
    used_at = [
        int(at)
        for block in rows.blocks.get("segment.tracks", [])
        for at in block["timestamp"][
            (block["user_id"] == person.user_id)
            & (block["event"] == event)
            & (block["timestamp"] > TOUCHED_AT)
            & (block["timestamp"] <= until)
        ]
    ]
    return Customer(
        customer_id=story.company.stripe_id,
        contact_id=f"contact_{story.company.stripe_id}",
        feature=event,
        live_from=live[0].created_at,
        notice_at=live[0].notice_at,
        ended_at=live[0].ended_at,
        used_at=used_at,
    )


def _shows(metric: str, horizon_days: int, customer: Customer) -> bool:
    """What ``trigger_outcomes`` should find, said without SQL."""
    if metric == "key_feature_used":
        return bool(customer.used_at)
    until = TOUCHED_AT + horizon_days * DAY
    return not any(at is not None and at <= until for at in (customer.notice_at, customer.ended_at))


def _open_episodes(
    connection: duckdb.DuckDBPyConnection, name: str, customers: Sequence[Customer]
) -> None:
    features = dict(connection.sql("select event, feature from rules.features").fetchall())
    opened = datetime.combine(TOUCHED_ON, datetime.min.time())
    _insert(
        connection,
        f"triggers.trg_{name}",
        [(f"e_{c.customer_id}", c.customer_id, c.contact_id, opened) for c in customers],
    )
    is_about = {c.customer_id: features[c.feature] for c in customers}
    about = is_about if PLANTED[name].metric == "key_feature_used" else {}
    _insert(
        connection,
        "triggers.trigger_episodes",
        [(f"e_{c.customer_id}", about.get(c.customer_id, ""), False) for c in customers],
    )
    zone = "America/New_York"
    _insert(
        connection,
        "marts.contacts",
        [(c.contact_id, c.customer_id, zone, None, False, False) for c in customers],
    )
    _insert(
        connection,
        "marts.contact_consents",
        [
            (c.contact_id, "email", purpose, True, "opt_in", None)
            for c in customers
            for purpose in ("research", "marketing")
        ],
    )


def _live_on(connection: duckdb.DuckDBPyConnection, customers: Sequence[Customer]) -> None:
    features = dict(connection.sql("select event, feature from rules.features").fetchall())
    _insert(
        connection,
        "intermediate.int_usage__daily",
        [
            (c.customer_id, c.contact_id, features[c.feature], True, False, 1, _at(at), _at(at))
            for c in customers
            for at in c.used_at
        ],
    )
    _insert(
        connection,
        "intermediate.int_customer_spells",
        [(c.customer_id, _at(c.live_from), _at(c.notice_at), _at(c.ended_at)) for c in customers],
    )


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Column by column through Arrow: row by row DuckDB takes a millisecond for each."""
    names = [row[0] for row in connection.sql(f"describe {table}").fetchall()]
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    arrow = pa.table({name: pa.array(list(c)) for name, c in zip(names, columns, strict=True)})
    connection.register("new_rows", arrow)
    connection.execute(f"insert into {table} select * from new_rows")
    connection.unregister("new_rows")


def _at(second: int | None) -> datetime | None:
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the warehouse's times are UTC without a zone
    return None if second is None else epoch + timedelta(seconds=second)


def _told(one: Recovery) -> str:
    covers = "covers" if one.is_covered else "misses"
    return (
        f"seed {one.seed:>3} {one.trigger_name:<30} {one.treated:,} sent, {one.held_out:,} held out"
        f": lift {one.lift:+.4f} ({one.low:+.4f} to {one.high:+.4f}) {covers} {one.truth:+.4f}"
        f", {one.verdict}"
    )


def _promise_holds(name: str, found: Sequence[Recovery]) -> bool:
    own = [one for one in found if one.trigger_name == name]
    covered = sum(one.is_covered for one in own) / len(own)
    certain = sum(one.verdict in ("works", "harms") for one in own) / len(own)
    is_zero = PLANTED[name].effect == 0
    print(
        f"{name}, planted {PLANTED[name].effect}: the interval covers the truth in {covered:.0%} of"
        f" {len(own)} companies; called works or harms in {certain:.0%}"
    )
    return covered >= COVERED and (not is_zero or certain <= FALSE_VERDICTS)


def _dbt(folder: Path, day: date, *arguments: str) -> None:
    settings = Settings.from_environment(
        {**os.environ, "WAREHOUSE_PATH": str(folder / "warehouse.duckdb"), "AS_OF_DATE": str(day)}
    )
    environment = {**dbt_environment(settings), "DBT_TARGET_PATH": str(folder / "target")}
    project = settings.project_root / "dbt_project"
    where = ["--project-dir", str(project), "--profiles-dir", str(project)]
    finished = subprocess.run(
        [str(DBT), "--quiet", *arguments, *where],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        sys.exit(finished.stdout + finished.stderr)


def _read(folder: Path, model: str) -> str:
    return next((folder / "target/compiled").rglob(f"{model}.sql")).read_text()


if __name__ == "__main__":
    sys.exit(main())
