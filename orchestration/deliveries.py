"""This system's own deliveries, exported from the ledger as raw data at the start of a run.

So the warehouse knows every touch, its own too, and the graph has no circle: what is sent today is
read tomorrow.
"""

import dagster as dg
import duckdb
import pyarrow as pa

from orchestration.project import Project
from orchestration.warehouse import settings_of
from reverse_etl.ledger import Ledger
from reverse_etl.warehouse import connected

KEY = dg.AssetKey(["raw_activation", "deliveries"])


def delivery_assets(project: Project) -> list[dg.AssetsDefinition]:
    """The one asset, where the project reads it (vars.sources.activation)."""
    schemas = [
        node["schema"]
        for node in project.manifest["sources"].values()
        if [node["source_name"], node["name"]] == KEY.path
    ]
    return [_delivery_asset(schema) for schema in schemas]


def _delivery_asset(schema: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=KEY,
        group_name="raw",
        kinds={"duckdb"},
        pool="warehouse",
        description="Every attempt to deliver a trigger that came to an end, from the ledger.",
    )
    def exported(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        settings = settings_of(context)
        ledger = Ledger(settings.ledger_url)
        try:
            deliveries = ledger.ended_attempts()
        finally:
            ledger.close()
        with connected(settings.warehouse_path, read_only=False) as connection:
            export(connection, schema, deliveries)
        return dg.MaterializeResult(metadata={"dagster/row_count": deliveries.num_rows})

    return exported


def export(connection: duckdb.DuckDBPyConnection, schema: str, deliveries: pa.Table) -> None:
    """Add what is not there yet. A row is never rewritten, but by an erasure."""
    table = f'"{schema}".deliveries'
    connection.register("from_the_ledger", deliveries)
    loaded = "select *, cast(now() at time zone 'UTC' as timestamp) as _loaded_at"
    connection.begin()
    connection.execute(f'create schema if not exists "{schema}"')
    connection.execute(
        f"create table if not exists {table} as {loaded} from from_the_ledger limit 0"
    )
    for field in deliveries.schema:
        kind = "bigint" if pa.types.is_integer(field.type) else "varchar"
        connection.execute(f"alter table {table} add column if not exists {field.name} {kind}")
    connection.execute(
        f"insert into {table} by name {loaded} from from_the_ledger"  # noqa: S608 - from the manifest
        f" where delivery_id not in (select delivery_id from {table})"
    )
    connection.commit()
