"""Raw tables and dbt models as assets, grouped by layer."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    asset_utils,
    dbt_assets,
)
from packaging.version import Version

from orchestration import landing
from orchestration.manifest import DBT, dbt_environment
from orchestration.project import AS_OF_DATE_TAG, Project
from reverse_etl import rules
from reverse_etl.settings import Settings

# A run of more than 200 chosen resources would be dbt's on a copy of the project in a temporary
# folder, from which ../seeds/rules leads nowhere. A command line holds thousands of names.
vars(asset_utils)["_SELECTION_ARGS_THRESHOLD"] = 10_000

_WRITTEN = re.compile(r"(?:SELECT|CREATE) (\d+)")


class LayerTranslator(DagsterDbtTranslator):
    """Groups a model by its layer, the first folder under models, and seeds under ``rules``."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """staging, intermediate, marts, segments, triggers, measurement or rules."""
        if dbt_resource_props["resource_type"] == "seed":
            return "rules"
        if dbt_resource_props["resource_type"] == "source":
            return "raw"
        return str(dbt_resource_props["fqn"][1])


class DbtCommand(DbtCliResource):
    """dbt's command line without a second dbt inside Dagster's process.

    dagster-dbt asks the executable for its version and loads an adapter before each command, which
    serves only features that open the warehouse while dbt writes it: 6 of 27 seconds of a build.
    """

    @property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None


TRANSLATOR = LayerTranslator(settings=DagsterDbtTranslatorSettings(enable_code_references=False))


def settings_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Settings:
    """The settings of a run: the environment's, with the day that the run's tag names."""
    day = context.run.tags.get(AS_OF_DATE_TAG)
    return Settings.from_environment({**os.environ, "AS_OF_DATE": day} if day else None)


def raw_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset for each raw table, landed by source; none in prod, where loaders land them."""
    if project.settings.target == "prod":
        return []
    tables = landing.raw_tables(project.manifest, project.settings.project_root)
    sources = dict.fromkeys(table.source for table in tables)
    return [
        _source_assets(source, [table for table in tables if table.source == source])
        for source in sources
    ]


def model_assets(project: Project) -> dg.AssetsDefinition:
    """Every seed, model and test of the dbt project, built by one ``dbt build``."""

    @dbt_assets(
        manifest=project.manifest,
        project=project.dbt,
        dagster_dbt_translator=TRANSLATOR,
        name="dbt_models",
        pool="warehouse",
    )
    def models(context: dg.AssetExecutionContext, dbt: DbtCommand) -> Iterator[Any]:
        settings = settings_of(context)
        rules.require_valid(settings.project_root)
        # dbt's process inherits this one's environment; the day is the run's
        os.environ.update(dbt_environment(settings))
        # unit tests try the SQL on invented rows: that is for the test suite, not for every day
        run = dbt.cli(["build", "--exclude-resource-type", "unit_test"], context=context)
        for message in run.stream_raw_events():
            for event in message.to_default_asset_events(
                project.manifest, TRANSLATOR, context, run.target_path
            ):
                rows = _rows(message.raw_event) if isinstance(event, dg.Output) else {}
                yield event.with_metadata({**event.metadata, **rows}) if rows else event

    return models


def dbt_resource(project: Project) -> DbtCommand:
    """dbt's command line on this project."""
    return DbtCommand(
        project_dir=str(project.folder),
        profiles_dir=str(project.folder),
        target=project.settings.target,
        dbt_executable=str(DBT),
        global_config_flags=["--no-use-colors"],
    )


def _source_assets(source: str, tables: list[landing.RawTable]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=source,
        specs=[
            dg.AssetSpec([source, table.name], group_name="raw", kinds={"csv", "duckdb"})
            for table in tables
        ],
        pool="warehouse",
    )
    def landed(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        settings = settings_of(context)
        landing.check(tables, settings.project_root)
        rows = landing.land(tables, settings.warehouse_path)
        for table in tables:
            yield dg.MaterializeResult(
                asset_key=[source, table.name],
                metadata={
                    "dagster/row_count": rows[f"{table.schema}.{table.name}"],
                    "file": str(table.file.relative_to(settings.project_root)),
                },
            )

    return landed


def _rows(finished: Mapping[str, Any]) -> dict[str, int]:
    """How many rows a table now holds, where dbt says so: ``SELECT 12`` or ``CREATE 12``."""
    said = finished["data"].get("result_message") or finished["data"].get("status", "")
    found = _WRITTEN.fullmatch(said)
    return {"dagster/row_count": int(found[1])} if found else {}
