"""The one ``Definitions``: raw tables -> dbt models -> syncs."""

from __future__ import annotations

from typing import Any

import dagster as dg

from orchestration.alerts import alert_sensor
from orchestration.automation import (
    backfill,
    baseline,
    daily,
    everything,
    follow,
    measurement,
    weekly,
)
from orchestration.backfill import backfill_assets
from orchestration.checks import health_checks
from orchestration.deliveries import delivery_assets
from orchestration.fast_lane import fast_lane_job, fast_lane_sensor
from orchestration.feedback import feedback_pulled
from orchestration.freshness import freshness_checks
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
    jobs: list[Any] = [baseline, everything]
    schedules = [daily]
    sensors: list[dg.SensorDefinition] = [alert_sensor(project, syncs)]
    if syncs:
        jobs.append(approval(syncs, gates))
        sensors.append(follow)
    if any(sync.spec.kind == "trigger" for sync in syncs):
        jobs.append(fast_lane_job(project, syncs))
        sensors.append(fast_lane_sensor(project, syncs))
    pictures = picture_assets(project)
    if pictures:
        jobs.append(measurement)
        schedules.append(weekly)
    history = backfill_assets(project)
    if history:
        jobs.append(backfill)
    return dg.Definitions(
        assets=[
            *above,
            *pictures,
            *history,
            *pushed,
            verdict(last),
        ],
        asset_checks=[*health_checks(project), *freshness_checks(project)],
        jobs=jobs,
        schedules=schedules,
        sensors=sensors,
        executor=dg.in_process_executor,
        resources={"dbt": dbt_resource(project)},
        loggers={"steps": steps},
    )
