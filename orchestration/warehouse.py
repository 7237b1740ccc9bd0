"""Raw tables and dbt models as assets, grouped by layer."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from importlib.metadata import version
from typing import Any

import dagster as dg
from dagster._core.definitions.source_asset import (
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as NOTHING_HAPPENED,
)
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    asset_utils,
    dbt_assets,
)
from packaging.version import Version

from orchestration import landing
from orchestration.automation import DAILY, RETRY
from orchestration.errors import mistakes_are_final
from orchestration.gate import SEVERITY
from orchestration.manifest import DBT, dbt_environment
from orchestration.project import AS_OF_DATE_TAG, Project
from reverse_etl import rules
from reverse_etl.settings import Settings

# A run of more than 200 chosen resources would be dbt's on a copy of the project in a temporary
# folder, from which ../seeds/rules leads nowhere. A command line holds thousands of names.
vars(asset_utils)["_SELECTION_ARGS_THRESHOLD"] = 10_000

COMPLETE = dg.AssetKey(["run", "complete"])
"""Comes last in a job and says whether the run was in order; see verdict."""

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

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """Not blocking: that would stop every sync of the run, and none that is launched alone. The
        gate of each sync reads the severity instead."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if spec is None:
            return None
        severity = manifest["nodes"][unique_id]["config"]["severity"].lower()
        return spec._replace(blocking=False, metadata={**spec.metadata, SEVERITY: severity})


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


def settings_of(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext,
) -> Settings:
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
        command = [
            "build",
            "--exclude-resource-type",
            "unit_test",
            *_chosen_tests(context, project),
        ]
        run = dbt.cli(command, context=context, raise_on_error=False)
        missing = {key.to_python_identifier() for key in context.selected_asset_keys}
        wanted = len(missing)
        for message in run.stream_raw_events():
            for event in message.to_default_asset_events(
                project.manifest, TRANSLATOR, context, run.target_path
            ):
                if isinstance(event, dg.Output):
                    missing.discard(event.output_name)
                    event = event.with_metadata({**event.metadata, **_rows(message.raw_event)})
                yield event
        error = run.get_error()
        is_judged = COMPLETE in context.job_def.asset_layer.executable_asset_keys
        if error is not None and not (is_judged and len(missing) < wanted):
            raise error
        # What a failed test left unbuilt stops the syncs below it and no other: Dagster would skip
        # every sync of a destination for one output that is missing. Said so, it is no event.
        for key in _in_order(context.assets_def):
            name = key.to_python_identifier()
            if name in missing:
                yield dg.Output(None, name, metadata={NOTHING_HAPPENED: True})

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
            dg.AssetSpec(
                [source, table.name],
                group_name="raw",
                kinds={"csv", "duckdb"},
                description=table.description or None,
                freshness_policy=DAILY,
            )
            for table in tables
        ],
        pool="warehouse",
        retry_policy=RETRY,
    )
    def landed(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        settings = settings_of(context)
        with mistakes_are_final():
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


def _chosen_tests(context: dg.AssetExecutionContext, project: Project) -> list[str]:
    """The tests of a part of the graph by their names: dbt would leave out those that also read a
    model outside of it, and a test that was to run and did not stops the syncs below it."""
    definition = context.assets_def
    if definition.keys_by_output_name == definition.node_keys_by_output_name:
        return []
    tests = [
        ".".join(project.manifest["nodes"][spec.metadata["dagster_dbt/unique_id"]]["fqn"])
        for spec in definition.check_specs
        if spec.key in context.selected_asset_check_keys
    ]
    return ["--select", " ".join(tests)] if tests else []


def _in_order(definition: dg.AssetsDefinition) -> Iterator[dg.AssetKey]:
    """Parents before children, as Dagster wants them."""
    parents = {spec.key: [dep.asset_key for dep in spec.deps] for spec in definition.specs}
    yield from TopologicalSorter(parents).static_order()


def _rows(finished: Mapping[str, Any]) -> dict[str, int]:
    """How many rows a table now holds, where dbt says so: ``SELECT 12`` or ``CREATE 12``."""
    said = finished["data"].get("result_message") or finished["data"].get("status", "")
    found = _WRITTEN.fullmatch(said)
    return {"dagster/row_count": int(found[1])} if found else {}
