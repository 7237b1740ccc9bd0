"""What the ledger knows, exported as raw data at the start of a run: this system's own deliveries,
and what people did with them.

So the warehouse knows every touch, its own too, and the graph has no circle: what is sent today is
read tomorrow.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import duckdb
import pyarrow as pa

from orchestration.automation import RETRY
from orchestration.errors import mistakes_are_final
from orchestration.feedback import PULLED
from orchestration.project import Project
from orchestration.warehouse import settings_of
from reverse_etl.ledger import Ledger
from reverse_etl.warehouse import connected

SOURCE = "raw_activation"


@dataclass(frozen=True)
class Export:
    """A table of the source; its first column is its key."""

    table: str
    read: Callable[[Ledger], pa.Table]
    description: str
    after: tuple[dg.AssetKey, ...] = ()


EXPORTS = (
    Export(
        "deliveries",
        lambda ledger: ledger.ended_attempts(),
        "Every attempt to deliver a trigger that came to an end, from the ledger.",
    ),
    Export(
        "feedback",
        lambda ledger: ledger.feedback.kept(),
        "Opt-outs, bounces, complaints and clicks that tools and mails told, from the ledger.",
        (PULLED,),
    ),
)


def delivery_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset for each table, where the project reads it (vars.sources.activation)."""
    schemas = {
        node["name"]: node["schema"]
        for node in project.manifest["sources"].values()
        if node["source_name"] == SOURCE
    }
    return [_asset(one, schemas[one.table]) for one in EXPORTS if one.table in schemas]


def _asset(exported: Export, schema: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey([SOURCE, exported.table]),
        deps=exported.after,
        group_name="raw",
        kinds={"duckdb"},
        pool="warehouse",
        retry_policy=RETRY,
        description=exported.description,
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        settings = settings_of(context)
        with mistakes_are_final(), closing(Ledger(settings.ledger_url)) as ledger:
            rows = exported.read(ledger)
            with connected(settings.warehouse_path, read_only=False) as connection:
                export(connection, schema, exported.table, rows)
        return dg.MaterializeResult(metadata={"dagster/row_count": rows.num_rows})

    return asset


def export(connection: duckdb.DuckDBPyConnection, schema: str, name: str, rows: pa.Table) -> None:
    """Add what is not there yet. A row is never rewritten, but by an erasure."""
    table, key = f'"{schema}"."{name}"', rows.schema.names[0]
    connection.register("from_the_ledger", rows)
    loaded = "select *, cast(now() at time zone 'UTC' as timestamp) as _loaded_at"
    connection.begin()
    connection.execute(f'create schema if not exists "{schema}"')
    connection.execute(
        f"create table if not exists {table} as {loaded} from from_the_ledger limit 0"
    )
    for field in rows.schema:
        kind = "bigint" if pa.types.is_integer(field.type) else "varchar"
        connection.execute(f"alter table {table} add column if not exists {field.name} {kind}")
    connection.execute(
        f"insert into {table} by name {loaded} from from_the_ledger"  # noqa: S608 - from the manifest
        f" where {key} not in (select {key} from {table})"
    )
    connection.commit()
