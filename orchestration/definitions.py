"""The one ``Definitions``: raw tables -> dbt models -> syncs."""

from __future__ import annotations

import dagster as dg

from orchestration.automation import baseline, daily, everything
from orchestration.checks import health_checks
from orchestration.deliveries import delivery_assets
from orchestration.feedback import feedback_pulled
from orchestration.holds import approval
from orchestration.pictures import picture_assets
from orchestration.progress import steps
from orchestration.project import Project, load_project
from orchestration.syncs import sync_assets, sync_gates
from orchestration.verdict import verdict
from orchestration.warehouse import dbt_resource, model_assets, raw_assets
from reverse_etl.engine import Engine


@dg.definitions
def defs() -> dg.Definitions:
    """Parses the dbt project when it changed; needs no network."""
    return build(load_project())


def build(project: Project) -> dg.Definitions:
    """The graph of a project."""
    models = model_assets(project)
    above = [*raw_assets(project), feedback_pulled, *delivery_assets(project), models]
    syncs = Engine(project.settings).syncs()
    gates = sync_gates(project, syncs, above)
    pushed = sync_assets(project, syncs, gates)
    last = [key for one in pushed or [models] for key in one.keys]
    return dg.Definitions(
        assets=[*above, *picture_assets(project), *pushed, verdict(last)],
        asset_checks=health_checks(project),
        jobs=[baseline, everything, *([approval(syncs, gates)] if syncs else [])],
        schedules=[daily],
        resources={"dbt": dbt_resource(project)},
        loggers={"steps": steps},
    )
