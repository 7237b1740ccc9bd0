"""The one ``Definitions``: raw tables -> dbt models -> syncs."""

from __future__ import annotations

import dagster as dg

from orchestration.automation import baseline, daily, everything
from orchestration.checks import health_checks
from orchestration.deliveries import delivery_assets
from orchestration.feedback import feedback_pulled
from orchestration.progress import steps
from orchestration.project import load_project
from orchestration.syncs import sync_assets
from orchestration.warehouse import dbt_resource, model_assets, raw_assets


@dg.definitions
def defs() -> dg.Definitions:
    """Parses the dbt project when it changed; needs no network."""
    project = load_project()
    return dg.Definitions(
        assets=[
            *raw_assets(project),
            feedback_pulled,
            *delivery_assets(project),
            model_assets(project),
            *sync_assets(project),
        ],
        asset_checks=health_checks(project),
        jobs=[baseline, everything],
        schedules=[daily],
        resources={"dbt": dbt_resource(project)},
        loggers={"steps": steps},
    )
