"""How an older ledger becomes a current one, one step for each version."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Table, inspect

from reverse_etl import schema

Step = Callable[[Connection], None]


def _deliveries_name_people(connection: Connection) -> None:
    _add_columns(connection, "deliveries", customer_id="varchar", contact_id="varchar")


def _calls_are_counted(connection: Connection) -> None:
    schema.tables.create_all(connection, [schema.quotas, schema.pauses])


def _rows_are_kept_by_key_and_people_can_be_erased(connection: Connection) -> None:
    for name in ("deliveries_by_sync", "deliveries_by_key", "deliveries_open"):
        connection.exec_driver_sql(f"drop index if exists {name}")
    for table in (schema.acknowledged, schema.external_ids, schema.deliveries):
        _make_anew(connection, table)
    _add_columns(connection, "plans", mrr="numeric(18, 2)")
    _add_columns(connection, "approvals", used_at="varchar")
    schema.tables.create_all(connection)


def _feedback_is_kept(connection: Connection) -> None:
    new = [schema.feedback, schema.pulls, schema.opt_outs_told]
    schema.tables.create_all(connection, new)


STEPS: tuple[Step, ...] = (
    _deliveries_name_people,
    _calls_are_counted,
    _rows_are_kept_by_key_and_people_can_be_erased,
    _feedback_is_kept,
)
"""Step n brings a ledger from version n + 1 to n + 2. Steps are never edited once released."""

VERSION = len(STEPS) + 1


def _make_anew(connection: Connection, table: Table) -> None:
    """The table as it is declared now, with the rows it had."""
    old = f"old_{table.name}"
    columns = ", ".join(c["name"] for c in inspect(connection).get_columns(table.name))
    connection.exec_driver_sql(f"alter table {table.name} rename to {old}")
    table.create(connection)
    copy = f"insert into {table.name} ({columns}) select {columns} from {old}"  # noqa: S608
    connection.exec_driver_sql(copy)
    connection.exec_driver_sql(f"drop table {old}")


def _add_columns(connection: Connection, table: str, **columns: str) -> None:
    there = {column["name"] for column in inspect(connection).get_columns(table)}
    for name, kind in columns.items():
        if name not in there:
            connection.exec_driver_sql(f"alter table {table} add column {name} {kind}")
