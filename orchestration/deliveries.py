"""This system's own deliveries, exported from the ledger as raw data at the start of a run.

So the warehouse knows every touch, its own too, and the graph has no circle: what is sent today is
read tomorrow.
"""

import dagster as dg

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
        description="Every delivery of a trigger that came to an end, from the ledger.",
    )
    def exported(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        settings = settings_of(context)
        ledger = Ledger(settings.ledger_url)
        try:
            deliveries = ledger.settled_triggers()
        finally:
            ledger.close()
        with connected(settings.warehouse_path, read_only=False) as connection:
            connection.begin()
            connection.execute(f'create schema if not exists "{schema}"')
            connection.register("from_the_ledger", deliveries)
            connection.execute(
                f'create or replace table "{schema}".deliveries as'  # noqa: S608 - from the manifest
                " select *, cast(now() at time zone 'UTC' as timestamp) as _loaded_at"
                " from from_the_ledger"
            )
            connection.commit()
        return dg.MaterializeResult(metadata={"dagster/row_count": deliveries.num_rows})

    return exported
