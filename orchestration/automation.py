"""Jobs and schedules. Everything is off until somebody switches it on in the UI."""

from __future__ import annotations

import dagster as dg

everything = dg.define_asset_job(
    "everything", selection=dg.AssetSelection.all(), executor_def=dg.in_process_executor
)

daily = dg.ScheduleDefinition(
    name="daily",
    job=everything,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
