"""Days on which nothing was built, made up for: health and segments as they stood then.

A day is built in a warehouse of its own, from the raw tables alone and with the clock at its end,
and only what the live warehouse does not have of that day is taken over. Nothing published is
rewritten, no other table of the live warehouse is touched, and nothing is ever pushed.
"""

import subprocess
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb

from orchestration.errors import RunFailedError
from orchestration.manifest import DBT, dbt_environment
from orchestration.project import Project
from orchestration.warehouse import settings_of
from reverse_etl.settings import Settings
from reverse_etl.warehouse import connected

KEY = dg.AssetKey(["backfill", "history"])
GROUP = "backfill"
YEARS = 2
TAKEN = {
    "customer_health_history": ("marts", ("as_of_date", "rules_version")),
    "segment_sizes": ("measurement", ("as_of_date",)),
}
"""What a day leaves behind: tables, their schemas, and what tells that the day is there already."""


def backfill_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset by day; none where the project keeps no history."""
    names = {node["name"] for node in project.manifest["nodes"].values()}
    kept = [name for name in TAKEN if name in names]
    if not kept:
        return []
    last = project.settings.as_of_date
    days = dg.DailyPartitionsDefinition(
        start_date=date(last.year - YEARS, 1, 1).isoformat(), end_date=last.isoformat()
    )

    @dg.asset(
        key=KEY,
        group_name=GROUP,
        partitions_def=days,
        kinds={"dbt", "duckdb"},
        pool="warehouse",
        description="Health and sizes of segments on days that were never built, from the raw "
        "tables as they are now. A day that is there stays as it is; nothing is pushed.",
    )
    def history(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        day = date.fromisoformat(context.partition_key)
        return dg.MaterializeResult(metadata=build_day(settings_of(context), day, kept))

    return [history]


def build_day(settings: Settings, day: date, tables: list[str]) -> dict[str, int]:
    """Build a past day aside and take over what is missing of it; rows taken over, by table.

    Raises RunFailedError in dbt's words.
    """
    with tempfile.TemporaryDirectory(prefix="backfill_") as folder:
        aside = Path(folder) / "warehouse.duckdb"
        with duckdb.connect(str(aside)) as connection:
            connection.execute(f"attach '{settings.warehouse_path}' as live (read_only)")
            _copy_raw(connection)
        past = replace(
            settings,
            warehouse_path=aside,
            as_of_date=day,
            manifest_path=Path(folder) / "target/manifest.json",
        )
        _build(past, tables)
        with connected(settings.warehouse_path, read_only=False) as connection:
            connection.execute(f"attach '{aside}' as aside (read_only)")
            connection.begin()
            taken = {name: _take(connection, name, day) for name in tables}
            connection.commit()
    return taken


def _copy_raw(connection: duckdb.DuckDBPyConnection) -> None:
    tables = connection.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_catalog = 'live' and table_schema like 'raw_%'"
    ).fetchall()
    for schema, table in tables:
        connection.execute(f'create schema if not exists "{schema}"')
        connection.execute(f'create table "{schema}"."{table}" as from live."{schema}"."{table}"')


def _build(settings: Settings, tables: list[str]) -> None:
    folder = str(settings.project_root / "dbt_project")
    finished = subprocess.run(  # noqa: S603 - fixed program, no shell
        [
            *(str(DBT), "--quiet", "build", "--project-dir", folder, "--profiles-dir", folder),
            *("--exclude-resource-type", "test", "unit_test"),
            *("--select", " ".join(f"+{name}" for name in tables)),
        ],
        env=dbt_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        words = (finished.stdout + finished.stderr).strip()
        raise RunFailedError(f"{settings.as_of_date} cannot be built:\n{words}")


def _take(connection: duckdb.DuckDBPyConnection, name: str, day: date) -> int:
    schema, whole = TAKEN[name]
    same = " and ".join(f"old.{part} = new.{part}" for part in whole)
    [taken] = connection.execute(
        f"insert into {schema}.{name} by name select * from aside.{schema}.{name} as new"  # noqa: S608
        f" where new.as_of_date = ? and not exists (from {schema}.{name} as old where {same})",
        [day],
    ).fetchone() or [0]
    return int(taken)
