"""Jobs, schedules and automation. Everything is off until somebody switches it on in the UI."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

everything = dg.define_asset_job(
    "everything",
    description="Reads what came back, builds and tests every model, draws, and pushes.",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups("backfill"),
    executor_def=dg.in_process_executor,
)

# What the syncs need, with its tests; and every raw table and rule, since their files hold all
# days and are read once.
baseline = dg.define_asset_job(
    "baseline",
    description="What the syncs need: a first run fills profiles and lists, and fires nothing.",
    selection=dg.AssetSelection.groups("syncs").upstream()
    | dg.AssetSelection.groups("raw", "rules", "runs"),
    executor_def=dg.in_process_executor,
)

measurement = dg.define_asset_job(
    "measurement",
    description="Backtest, lift and segments measured anew, and drawn. Sends nothing.",
    selection=dg.AssetSelection.groups("measurement"),
    executor_def=dg.in_process_executor,
)

backfill = dg.define_asset_job(
    "backfill",
    description="Past days on which nothing was built, one partition a day. Never pushes.",
    selection=dg.AssetSelection.groups("backfill"),
    executor_def=dg.in_process_executor,
)


def _schedule(name: str, job: object, cron: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=job,  # type: ignore[arg-type]
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )


daily = _schedule("daily", everything, "0 3 * * *")
weekly = _schedule("weekly_measurement", measurement, "0 6 * * 1")

follow = dg.AutomationConditionSensorDefinition(
    "syncs_follow_their_models",
    target=dg.AssetSelection.groups("syncs"),
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Runs a sync when a model that it reads was built, whoever built it.",
)

WHEN_ITS_MODEL_CHANGED = dg.AutomationCondition.eager()
"""Of each sync: once for each time that something it reads was built, and never while it runs."""

DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=48), warn_window=timedelta(hours=30)
)
"""Of what a daily run brings about."""

RETRY = dg.RetryPolicy(
    max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL
)
"""Of steps that may be repeated: what they did is kept, and what is left is done."""
