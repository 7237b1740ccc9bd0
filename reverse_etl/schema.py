"""The ledger's tables and how an older ledger becomes a current one.

Instants are ISO 8601 text in UTC, so that SQLite and Postgres store and sort the same thing.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)

tables = MetaData()

ledger_meta = Table(
    "ledger_meta", tables, Column("name", String, primary_key=True), Column("value", Text)
)

sync_state = Table(
    "sync_state",
    tables,
    Column("sync", String, primary_key=True),
    Column("account", String, nullable=False),  # another account is another memory: a first run
    Column("baseline_at", String),
    Column("last_run_at", String),
)

# What a destination has of each row. ``pending``: a request left and its answer is not in yet, so
# the fingerprint is empty and the next plan sends the row again (or, where that could reach a
# person twice, calls it unknown). ``acknowledged_at`` is null only while the tool surely has never
# had the row: an unknown outcome sets it too, so that a removal is still planned.
acknowledged = Table(
    "acknowledged",
    tables,
    Column("sync", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("state", String, nullable=False),  # acknowledged seen pending unknown suppressed
    Column("acknowledged_at", String),
)

external_ids = Table(
    "external_ids",
    tables,
    Column("account", String, primary_key=True),
    Column("object", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("external_id", String, nullable=False),
)

deliveries = Table(
    "deliveries",
    tables,
    Column("delivery_id", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("sync", String, nullable=False),
    Column("key", String, nullable=False),
    Column("customer_id", String),  # of a trigger: whom it was about, for what comes after it
    Column("contact_id", String),
    Column("action", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", String, nullable=False),  # attempted delivered rejected retryable unknown
    Column("code", String, nullable=False, default=""),
    Column("message", Text, nullable=False, default=""),
    Column("attempted_at", String, nullable=False),
    Column("settled_at", String),
)
Index("deliveries_by_sync", deliveries.c.sync, deliveries.c.status)

dead_letters = Table(
    "dead_letters",
    tables,
    Column("sync", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("action", String, nullable=False),
    Column("code", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_retry_at", String, nullable=False),
)

suppressions = Table(
    "suppressions",
    tables,
    Column("who", String, primary_key=True),  # e-mail in lower case, or contact_id
    Column("reason", String, nullable=False),
    Column("source", String, nullable=False),
    Column("suppressed_at", String, nullable=False),
)

# Calls of an account in a day (UTC), set aside before they are made.
quotas = Table(
    "quotas",
    tables,
    Column("account", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("used", Integer, nullable=False),
    Column("allowed", Integer),  # as the tool told it on that day
)

# Until when a tool takes no calls, where it asked for a pause longer than a run waits.
pauses = Table(
    "pauses",
    tables,
    Column("account", String, primary_key=True),
    Column("paused_until", String, nullable=False),
)

runs = Table(
    "runs",
    tables,
    Column("run_id", String, primary_key=True),
    Column("started_at", String, nullable=False),
    Column("finished_at", String),
)

plans = Table(
    "plans",
    tables,
    Column("run_id", String, primary_key=True),
    Column("sync", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("adds", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("removes", Integer, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
)

approvals = Table(
    "approvals",
    tables,
    Column("sync", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("approved_by", String, nullable=False),
    Column("approved_at", String, nullable=False),
)


def _first_schema(connection: Connection) -> None:
    tables.create_all(connection)


def _deliveries_name_people(connection: Connection) -> None:
    there = {column["name"] for column in inspect(connection).get_columns("deliveries")}
    for name in ("customer_id", "contact_id"):
        if name not in there:  # a ledger born today has them
            connection.exec_driver_sql(f"alter table deliveries add column {name} varchar")


def _calls_are_counted(connection: Connection) -> None:
    tables.create_all(connection, [quotas, pauses])


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _first_schema,
    _deliveries_name_people,
    _calls_are_counted,
)
"""Step n brings a ledger from version n to n + 1. Steps are never edited once released."""

VERSION = len(MIGRATIONS)
