"""Decisions over days: the project's own SQL, run in DuckDB over random histories."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import yaml

from tests.built_warehouse import BuiltWarehouse

TRIGGERS = ["feature_unused", "survey_due", "health_dropped", "onboarding_low_usage"]
FIRST_DAY, DAYS = date(2026, 3, 2), 21

UPSTREAM = """
create schema if not exists marts; create schema if not exists triggers;
create schema if not exists intermediate;
create table marts.contacts (contact_id varchar, customer_id varchar, time_zone varchar,
    country varchar, is_bounced boolean, is_unsubscribed boolean);
create table marts.contact_consents (contact_id varchar, channel varchar, purpose varchar,
    is_allowed boolean, basis varchar, stopped_by varchar);
create table marts.customer_touch_plan (customer_id varchar, queue_status varchar);
create table marts.touchpoints (customer_id varchar, contact_id varchar, is_commercial boolean,
    direction varchar, channel varchar, source_name varchar, occurred_at timestamp);
create table triggers.trigger_episodes (event_id varchar, is_silent boolean);
create table triggers.trigger_decisions_history (event_id varchar, trigger_name varchar,
    customer_id varchar, contact_id varchar, channel varchar, occurred_at timestamp,
    decision varchar, reason varchar, decision_if_live varchar, send_not_before timestamp,
    expires_at timestamp, decided_at timestamp, is_final boolean);
"""
TRIGGER_TABLE = """
create table triggers.trg_{name} (event_id varchar, customer_id varchar, contact_id varchar,
    occurred_at timestamp)
"""


@dataclass(frozen=True)
class Compiled:
    """The project's own SQL for one day, run in DuckDB as often as a test likes."""

    warehouse: Path
    decisions: str
    history: str
    episodes: str

    def on(self, sql: str, day: date) -> str:
        """The SQL as the clock of that day would have compiled it."""
        return sql.replace(str(FIRST_DAY), str(day))


def compile_decisions(folder: Path) -> Compiled:
    """Seeds, empty tables of what is upstream, and the models as dbt compiles them."""
    built = BuiltWarehouse(folder)
    built.folder.mkdir(exist_ok=True)
    variables = yaml.safe_load((built.project / "dbt_project.yml").read_text())["vars"]
    with duckdb.connect(str(built.file)) as connection:
        connection.execute(UPSTREAM)
        for name in variables["triggers"]:
            connection.execute(TRIGGER_TABLE.format(name=name))
    built.build(str(FIRST_DAY), "resource_type:seed")
    # two commercial ones that compete, and no third beside them
    built.run("update rules.playbooks set state = 'live' where trigger_name = 'survey_due'")
    models = ("trigger_decisions", "trigger_decisions_history", "trigger_episodes")
    built.dbt(str(FIRST_DAY), "compile", "--select", *models)
    texts = [
        next((built.folder / "target/compiled").rglob(f"{model}.sql")).read_text()
        for model in models
    ]
    assert "trigger_decisions_history" in texts[0], "decisions remember what was decided before"
    return Compiled(built.file, *texts)


@dataclass
class World:
    """Customers, their contacts, what others send them, and the triggers that fire."""

    connection: duckdb.DuckDBPyConnection
    compiled: Compiled
    random: random.Random
    episodes: list[tuple[str, str, str, str | None, datetime]] = field(default_factory=list)

    def people(self) -> None:
        zones = ["Asia/Tokyo", "America/New_York", "Europe/Berlin", None]
        for customer in range(6):
            plan = self.random.choice(["in_touch", "waiting", None, None, None])
            self.insert("marts.customer_touch_plan", (f"c{customer}", plan))
            for number in range(4):
                contact = f"c{customer}_{number}"
                bounced, out = self.random.random() < 0.1, self.random.random() < 0.1
                country = self.random.choice(["Japan", "Germany", None])
                zone = self.random.choice(zones)
                self.insert(
                    "marts.contacts", (contact, f"c{customer}", zone, country, bounced, out)
                )
                for purpose in ("research", "onboarding"):
                    allowed = self.random.random() < 0.8 and not bounced and not out
                    stopped = "bounced" if bounced else "unsubscribed" if out else None
                    basis = self.random.choice(["opt_in", "soft_opt_in", "contract"])
                    self.insert(
                        "marts.contact_consents",
                        (contact, "email", purpose, allowed, basis, stopped),
                    )

    def live(self, days: int = DAYS) -> Iterator[date]:
        """Day after day: campaigns of others, new episodes, decisions, their memory."""
        for offset in range(days):
            day = FIRST_DAY + timedelta(days=offset)
            at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).replace(tzinfo=None)
            for _ in range(self.random.randrange(6)):
                contact = f"c{self.random.randrange(6)}_{self.random.randrange(4)}"
                self.insert(
                    "marts.touchpoints",
                    (contact[:2], contact, True, "outbound", "email", "hubspot", at),
                )
            for _ in range(self.random.randrange(14)):
                trigger = self.random.choice(TRIGGERS)
                contact = f"c{self.random.randrange(6)}_{self.random.randrange(4)}"
                who = None if trigger == "health_dropped" else contact
                event = f"{trigger}_{len(self.episodes)}"
                self.episodes.append((trigger, event, contact[:2], who, at))
                self.insert("triggers.trigger_episodes", (event, self.random.random() < 0.05))
            self.open_on(day)
            yield day

    def open_on(self, day: date) -> None:
        """The candidates that a build of this day finds."""
        for trigger in TRIGGERS:
            self.connection.execute(f"delete from triggers.trg_{trigger}")
        for trigger, event, customer, who, opened in self.episodes:
            if day - timedelta(days=7) < opened.date() <= day:
                self.insert(f"triggers.trg_{trigger}", (event, customer, who, opened))

    def decide(self, day: date) -> dict[str, dict[str, Any]]:
        """Build trigger_decisions, then append to its history; the decisions by event."""
        sql = self.compiled.on(self.compiled.decisions, day)
        self.connection.execute(f"create or replace table triggers.trigger_decisions as {sql}")
        appended = self.compiled.on(self.compiled.history, day)
        self.connection.execute(
            f"insert into triggers.trigger_decisions_history by name {appended}"
        )
        rows = self.rows("select * from triggers.trigger_decisions")
        return {row["event_id"]: row for row in rows}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        cursor = self.connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def insert(self, table: str, values: tuple[Any, ...]) -> None:
        """One row, its values in the order of the columns."""
        places = ", ".join("?" for _ in values)
        self.connection.execute(f"insert into {table} values ({places})", list(values))
