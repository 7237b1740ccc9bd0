"""The two days that ``make demo`` lives through, in Dagster, and the table at its end.

The day before the clock is a silent baseline: profiles and lists are filled, nothing fires. Then
the day itself, whose new episodes fire. A ledger that knows its baseline skips the first day.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from rich.table import Table

from orchestration import landing
from orchestration.definitions import defs
from orchestration.errors import RunFailedError
from orchestration.progress import console, watched
from orchestration.project import AS_OF_DATE_TAG, Project, load_project
from orchestration.verdict import NotAllDone
from reverse_etl import rules
from reverse_etl.engine import Engine
from reverse_etl.errors import UserError
from reverse_etl.settings import Settings
from reverse_etl.warehouse import connected


def live(settings: Settings) -> bool:
    """Live through the days; whether every row arrived. Raises UserError and RunFailedError."""
    os.environ.setdefault("DAGSTER_HOME", str(settings.project_root))
    project = load_project(settings)
    _require(project)
    # both take seconds
    with ThreadPoolExecutor() as beside:
        started = beside.submit(_start_sandbox, settings)
        repository, instance = defs(), dg.DagsterInstance.get()
    started.result()
    baseline = repository.resolve_job_def("baseline")
    everything = repository.resolve_job_def("everything")
    results: list[dg.AssetMaterialization] = []
    left: list[str] = []
    days = _days(settings)
    for day, is_baseline in days:
        console.rule(f"{day}, a silent baseline" if is_baseline else f"{day}")
        if is_baseline:
            console.print(
                "First run: profiles and lists are filled; past events are recorded, none is sent."
                "\nA baseline is exempt from the budget by share."
            )
            left += _run(baseline, instance, day)[1]
        else:
            keys = _without_files(everything) if len(days) > 1 else None
            results, undone = _run(everything, instance, day, keys)
            left += undone
    return _summarise(settings, results, left)


def _require(project: Project) -> None:
    """Everything that a person can get wrong, before anything is built or sent."""
    rules.require_valid(project.settings.project_root)
    tables = landing.raw_tables(project.manifest, project.settings.project_root)
    landing.check(tables, project.settings.project_root)
    Engine(project.settings).validate()


def _start_sandbox(settings: Settings) -> None:
    finished = subprocess.run(  # noqa: S603 - our own command
        [str(Path(sys.executable).parent / "reverse-etl"), "sandbox", "--detach"],
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.project_root,
    )
    if finished.returncode:
        raise UserError((finished.stderr or finished.stdout).strip())


def _days(settings: Settings) -> list[tuple[date, bool]]:
    today = settings.as_of_date
    if Engine(settings).has_baseline():
        return [(today, False)]
    return [(today - timedelta(days=1), True), (today, False)]


def _without_files(job: dg.JobDefinition) -> list[dg.AssetKey]:
    """The whole graph but raw tables and rules: the baseline has just read their files."""
    graph = job.asset_layer.asset_graph
    return sorted(
        key
        for key in job.asset_layer.executable_asset_keys
        if graph.get(key).group_name not in ("raw", "rules")
    )


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    day: date,
    keys: list[dg.AssetKey] | None = None,
) -> tuple[list[dg.AssetMaterialization], list[str]]:
    """Materialise these assets for a day; what their syncs came to, and what was left undone.
    Raises what went wrong with a step as a whole."""
    with watched():
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=keys,
            tags={AS_OF_DATE_TAG: day.isoformat()},
            run_config={"loggers": {"steps": {}}},
        )
    left = []
    failures = [event.step_failure_data.error for event in result.get_step_failure_events()]
    for error in failures:
        # the step's own error is the last of the chain
        while error is not None and error.cause is not None:
            error = error.cause
        if error is None:
            continue
        words = error.message.strip().removeprefix(f"{error.cls_name}: ")
        if error.cls_name == NotAllDone.__name__:
            left.append(words.removeprefix(f"{NotAllDone.__module__}.{error.cls_name}: "))
            continue
        if error.cls_name in ("UserError", "BusyError"):
            raise UserError(words.removeprefix(f"reverse_etl.errors.{error.cls_name}: "))
        raise RunFailedError(words)
    synced = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path[0] == "syncs"
    ]
    return synced, left


def _summarise(settings: Settings, results: list[dg.AssetMaterialization], left: list[str]) -> bool:
    console.rule("What came of it")
    console.print(_customers(settings))
    sent, clean = _syncs(results)
    console.print(sent)
    for words in left:
        console.print(words, style="red", markup=False)
    clean = clean and not left
    total = sum(_figure(result, "delivered") for result in results)
    if total == 0 and clean:
        console.print("Nothing new was sent: the tools already have it all.")
    port = settings.environment.get("SANDBOX_PORT") or "8725"
    console.print(f"\nWhat the tools received:  http://127.0.0.1:{port}")
    console.print("The graph and its runs:   make ui, then http://127.0.0.1:3000")
    console.print("What would change now:    .venv/bin/reverse-etl plan")
    return clean


def _customers(settings: Settings) -> Table:
    with connected(settings.warehouse_path, read_only=True) as connection:
        rows = connection.execute(
            """
            select stages.stage, customers.health_band, count(customers.customer_id)
            from (values ('presales', 1), ('onboarding', 2), ('adoption', 3), ('growth', 4),
                ('churned', 5)) as stages (stage, position)
            left join marts.customers on stages.stage = customers.journey_stage
            group by all order by any_value(stages.position)
            """
        ).fetchall()
    bands = ("healthy", "watch", "risk", "unknown")
    table = Table(title=f"Customers on {settings.as_of_date}", title_justify="left")
    table.add_column("stage")
    for band in bands:
        table.add_column(band, justify="right")
    for stage in dict.fromkeys(stage for stage, _, _ in rows):
        counts = {band: count for name, band, count in rows if name == stage}
        table.add_row(stage, *(str(counts.get(band, 0) or "·") for band in bands))
    return table


def _syncs(results: list[dg.AssetMaterialization]) -> tuple[Table, bool]:
    table = Table(title="Syncs", title_justify="left")
    table.add_column("sync", no_wrap=True)
    for name in ("delivered", "rejected", "unknown"):
        table.add_column(name, justify="right")
    table.add_column("note")
    clean = True
    quiet = 0
    for result in sorted(results, key=lambda result: tuple(result.asset_key.path)):
        figures = [_figure(result, name) for name in ("delivered", "rejected", "unknown")]
        held = bool(result.metadata["held"].value)
        clean = clean and not held and not any(figures[1:]) and not _figure(result, "retryable")
        note = str(result.metadata["reason"].value)
        if not held and not _figure(result, "planned"):
            quiet += 1
            continue
        table.add_row("/".join(result.asset_key.path[1:]), *map(str, figures), note)
    table.caption, table.caption_justify = f"and {quiet} syncs with nothing to send", "left"
    return table, clean


def _figure(result: dg.AssetMaterialization, name: str) -> int:
    return int(str(result.metadata[name].value))
