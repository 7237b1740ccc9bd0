"""Usage grows by the day, and whatever order events and builds come in, the counts are right."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import ROOT

# a build for each step: minutes
pytestmark = pytest.mark.slow

UPSTREAM = """
create schema raw_segment; create schema intermediate; create schema rules;
create table raw_segment.tracks (id varchar, anonymous_id varchar, user_id varchar, event varchar,
    event_text varchar, "timestamp" timestamp, sent_at timestamp, received_at timestamp,
    context_group_id varchar);
create table intermediate.int_customers__identified (customer_id varchar, workspace_id varchar);
create table intermediate.int_product_users__identified
    (user_id varchar, contact_id varchar, customer_id varchar);
insert into intermediate.int_customers__identified values ('kite', 'ws_1');
insert into intermediate.int_product_users__identified
    values ('u1', 'ann', 'kite'), ('u2', 'bob', 'kite');
create table rules.features (event varchar, feature varchar, module varchar, is_key boolean,
    is_first_value boolean);
insert into rules.features values ('report_exported', 'reports', 'insight', true, false);
create table rules.thresholds (rule varchar, value decimal(18, 4));
insert into rules.thresholds values ('usage_lookback_days', 3), ('session_pause_minutes', 30);
"""

# what a full count of the raw table says, each event once, as far as it is known at the clock
FULL_COUNT = """
select customers.customer_id, users.contact_id, tracks.user_id, tracks.event,
    cast(tracks."timestamp" as date), count(distinct tracks.id)
from raw_segment.tracks as tracks
left join intermediate.int_customers__identified as customers
    on tracks.context_group_id = customers.workspace_id
left join intermediate.int_product_users__identified as users on tracks.user_id = users.user_id
where tracks.received_at < cast(? as date) + 1 and tracks."timestamp" < cast(? as date) + 1
group by all
"""


@dataclass
class Warehouse:
    """A DuckDB file with events and what usage is attributed by; dbt builds the rest."""

    folder: Path

    def run(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "w.duckdb")) as connection:
            return connection.execute(sql, list(parameters) or None).fetchall()

    def arrives(self, event: str, user: str, happened: str, received: str, **more: str) -> None:
        self.run(
            "insert into raw_segment.tracks (id, user_id, event, timestamp, received_at,"
            " context_group_id) values (?, ?, ?, ?, ?, ?)",
            *(event, user, more.get("name", "report_exported"), happened, received),
            more.get("workspace", "ws_1"),
        )

    def build(self, day: str, *arguments: str) -> None:
        finished = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "dbt"), "--quiet", "run"),
                *("--project-dir", str(ROOT / "dbt_project")),
                *("--profiles-dir", str(ROOT / "dbt_project")),
                *("-s", "stg_segment__track_arrivals", "int_usage__daily"),
                *("customer_activity_daily", *arguments),
            ],
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "WAREHOUSE_PATH": str(self.folder / "w.duckdb"),
                "DBT_TARGET_PATH": str(self.folder / "target"),
                "DBT_LOG_PATH": str(self.folder),
                "AS_OF_DATE": day,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "WARNING" not in finished.stdout

    def check(self, day: str) -> None:
        """Both tables are those of a full count at this clock."""
        counted = self.run(
            "select customer_id, contact_id, user_id, event_name, usage_date, sum(uses + errors)"
            " from intermediate.int_usage__daily group by all"
        )
        assert sorted(counted, key=str) == sorted(self.run(FULL_COUNT, day, day), key=str)
        by_day = self.run(
            "select customer_id, activity_date, events + errors from marts.customer_activity_daily"
        )
        whole = self.run(
            "select customer_id, usage_date, sum(uses + errors) from intermediate.int_usage__daily"
            " where customer_id is not null group by all"
        )
        assert sorted(by_day, key=str) == sorted(whole, key=str)

    def batches(self) -> dict[str, str]:
        """The build that counted each day last."""
        return {
            str(day): batch
            for day, batch in self.run(
                "select distinct usage_date, batch_id from intermediate.int_usage__daily"
            )
        }


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    made = Warehouse(tmp_path_factory.mktemp("usage"))
    made.run(UPSTREAM)
    for day in range(1, 10):
        happened = f"2026-03-{day:02} 10:00:00"
        made.arrives(f"a{day}", "u1", happened, happened)
        made.arrives(f"b{day}", "u2", happened, happened, name="error_encountered")
        made.arrives(f"c{day}", "u3", happened, happened, workspace="ws_2")
    made.build("2026-03-08")
    made.check("2026-03-08")
    return made


def test_a_late_event_is_counted_once_and_only_days_with_arrivals_are_counted_again(
    warehouse: Warehouse,
) -> None:
    warehouse.build("2026-03-08")
    before = warehouse.batches()
    # late by a week; twice, as loaders do; and one that landed out of order
    warehouse.arrives("late", "u1", "2026-03-02 12:00:00", "2026-03-09 08:00:00")
    warehouse.arrives("late", "u1", "2026-03-02 12:00:00", "2026-03-09 09:00:00")
    warehouse.arrives("unordered", "u2", "2026-03-07 12:00:00", "2026-03-07 12:00:01")
    warehouse.build("2026-03-09")
    warehouse.check("2026-03-09")
    after = warehouse.batches()
    same = {day for day in before if after[day] == before[day]}
    assert same == {"2026-03-01", "2026-03-03", "2026-03-04", "2026-03-05"}


def test_the_same_day_built_twice_changes_no_count(warehouse: Warehouse) -> None:
    warehouse.build("2026-03-09")
    counts = "select * exclude (batch_id) from marts.customer_activity_daily order by all"
    before = warehouse.run(counts)
    warehouse.build("2026-03-09")
    assert warehouse.run(counts) == before
    warehouse.check("2026-03-09")


def test_a_clock_turned_back_leaves_nothing_from_after_it_and_turned_forward_finds_it_again(
    warehouse: Warehouse,
) -> None:
    warehouse.arrives("much_later", "u1", "2026-02-20 12:00:00", "2026-03-09 11:00:00")
    for day in ("2026-03-09", "2026-03-02", "2026-03-09"):
        warehouse.build(day)
        warehouse.check(day)


def test_a_workspace_that_finds_its_customer_late_takes_its_past_along(
    warehouse: Warehouse,
) -> None:
    warehouse.build("2026-03-09")
    warehouse.run("insert into intermediate.int_customers__identified values ('ibex', 'ws_2')")
    warehouse.run("insert into intermediate.int_product_users__identified values ('u3','cid',null)")
    warehouse.build("2026-03-09")
    warehouse.check("2026-03-09")
    assert warehouse.run(
        "select count(*) from marts.customer_activity_daily where customer_id = 'ibex'"
    ) == [(9,)]


def test_a_full_refresh_gives_the_same_table(warehouse: Warehouse) -> None:
    warehouse.build("2026-03-09")
    counts = "select * exclude (batch_id) from intermediate.int_usage__daily order by all"
    before = warehouse.run(counts)
    warehouse.build("2026-03-09", "--full-refresh")
    assert warehouse.run(counts) == before
