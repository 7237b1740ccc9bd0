"""What one more day costs the usage models, with the sample's history and with ten times as much.

``python -m benchmarks.daily_run`` lands the sample, copies its product events back in time, builds
the day before the clock and then the day itself. It prints, for each size of history, the seconds
of the first build and of the day (the sum over the usage models, as dbt measured them), and the
rows that the day's query of events scanned, beside those there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from orchestration.manifest import DBT, dbt_environment
from reverse_etl.settings import Settings

TIMES = (1, 10)
MODELS = ("int_usage__daily", "customer_activity_daily")
MONTHS = 18


@dataclass(frozen=True)
class Measured:
    """One size of history: rows are product events, seconds dbt's own of the usage models."""

    times: int
    events: int
    first_build: float
    day: float
    scanned: int


def main() -> int:
    """Measure each size, one after the other; prints as it goes."""
    smallest: Measured | None = None
    for times in TIMES:
        with tempfile.TemporaryDirectory(prefix="daily_run_") as folder:
            measured = _measure(times, Path(folder))
        smallest = smallest or measured
        print(
            f"{measured.times:>3}x history: {measured.events:>9,} events,"
            f" first build {measured.first_build:6.1f} s, the day {measured.day:5.1f} s"
            f" ({measured.day / smallest.day:.1f}x), {measured.scanned:,} event rows scanned",
            flush=True,
        )
    return 0


def _measure(times: int, folder: Path) -> Measured:
    here = Settings.from_environment()
    warehouse = folder / "warehouse.duckdb"
    settings = Settings.from_environment({**os.environ, "WAREHOUSE_PATH": str(warehouse)})
    environment = dbt_environment(settings) | {"DBT_TARGET_PATH": str(folder / "target")}
    _run([sys.executable, "-m", "orchestration.landing"], environment, here.project_root)
    events = _copied_back(warehouse, times)
    yesterday = (here.as_of_date - timedelta(days=1)).isoformat()
    first_build = _built(environment | {"AS_OF_DATE": yesterday}, settings, folder)
    day = _built(environment, settings, folder)
    return Measured(times, events, first_build, day, _scanned(warehouse, folder))


def _copied_back(warehouse: Path, times: int) -> int:
    """The sample's events once more for each further span of history before it."""
    with duckdb.connect(str(warehouse)) as connection:
        for copy in range(1, times):
            shift = f"to_months({copy * MONTHS})"
            connection.execute(
                "insert into raw_segment.tracks by name select * replace ("
                f" 'h{copy}_' || id as id, timestamp - {shift} as timestamp,"
                f" sent_at - {shift} as sent_at, received_at - {shift} as received_at)"
                " from raw_segment.tracks where id not like 'h%'"
            )
        [count] = connection.execute("select count(*) from raw_segment.tracks").fetchone() or [0]
    return int(count)


def _built(environment: dict[str, str], settings: Settings, folder: Path) -> float:
    project = settings.project_root / "dbt_project"
    where = ["--project-dir", str(project), "--profiles-dir", str(project)]
    select = ["--select", *(f"+{name}" for name in MODELS)]
    _run([str(DBT), "--quiet", "build", *select, *where, *_NO_TESTS], environment, project)
    results = json.loads((folder / "target/run_results.json").read_text())["results"]
    return sum(
        float(result["execution_time"])
        for result in results
        if result["unique_id"].rpartition(".")[2] in MODELS
    )


_NO_TESTS = ("--exclude-resource-types", "test", "unit_test")


def _scanned(warehouse: Path, folder: Path) -> int:
    """Rows of the raw events that the day's query read, as DuckDB's profile counts them."""
    compiled = next((folder / "target/compiled").rglob(f"{MODELS[0]}.sql")).read_text()
    profile = folder / "profile.json"
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("set enable_profiling = 'json'")
        connection.execute(f"set profiling_output = '{profile}'")
        connection.execute(compiled).fetchall()
        connection.execute("set enable_profiling = 'no_output'")
    scans = [
        node
        for top in json.loads(profile.read_text())["operator"]
        for node in _nodes(top)
        if str(node["extra_info"].get("Table", "")).endswith(".tracks")
    ]
    return sum(int(scan["rows_scanned"]) for scan in scans)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children", []):
        yield from _nodes(child)


def _run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    finished = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        sys.exit(finished.stdout + finished.stderr)


if __name__ == "__main__":
    sys.exit(main())
