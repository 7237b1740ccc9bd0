"""Jobs and schedules. Everything is off until somebody switches it on in the UI."""

from __future__ import annotations

import dagster as dg

everything = dg.define_asset_job(
    "everything", selection=dg.AssetSelection.all(), executor_def=dg.in_process_executor
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

daily = dg.ScheduleDefinition(
    name="daily",
    job=everything,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
