"""What two years of daily health cost, and one more day of it.

``python -m benchmarks.health_history [--customers N] [--months M] [--from FOLDER]`` makes a
company (or takes one that ``seeds.sample_company --format parquet`` wrote), lands it, builds
everything that health needs up to the day before the last, then the last day. It prints the wall
time of each build, its part that health itself took (the sum over its models, as dbt measured
them), and the most memory that a process had. DuckDB is held to 6 GB and two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb

from orchestration.manifest import DBT, dbt_environment
from reverse_etl.settings import Settings

SELECT = ("+customer_health", "+customer_journey")
UNTIL = date(2026, 10, 28)
HEALTH = (
    "int_days",
    "int_feeds__heard",
    "int_customer_spells",
    "int_customer_days",
    "int_measure__",
    "int_health_",
    "customer_health",
    "customer_journey",
    "int_stages__curved",
)


def main() -> int:
    """Measure; prints as it goes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health_history")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--from", dest="folder", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="health_history_") as temporary:
        company = given.folder or _made(given.customers, given.months, Path(temporary))
        warehouse = Path(temporary) / "warehouse.duckdb"
        events = _land(company, warehouse)
        print(f"{events:,} product events landed", flush=True)
        _built(warehouse, UNTIL - timedelta(days=1), "history")
        _built(warehouse, UNTIL, "one more day")
    return 0


def _made(customers: int, months: int, folder: Path) -> Path:
    command = [sys.executable, "-m", "seeds.sample_company", "--seed", "23", "--format", "parquet"]
    sizes = ["--customers", str(customers), "--months", str(months), "--until", str(UNTIL)]
    subprocess.run([*command, *sizes, "--out", str(folder / "company")], check=True)
    return folder / "company"


def _land(company: Path, warehouse: Path) -> int:
    with duckdb.connect(str(warehouse)) as connection:
        for table in sorted((company / "raw").glob("*/*")):
            files = str(table / "*.parquet") if table.is_dir() else str(table)
            schema, name = f"raw_{table.parent.name}", table.name.removesuffix(".parquet")
            connection.execute(f"create schema if not exists {schema}")
            connection.execute(f"create table {schema}.{name} as from read_parquet('{files}')")
        [count] = connection.execute("select count(*) from raw_segment.tracks").fetchone() or [0]
    return int(count)


def _built(warehouse: Path, day: date, what: str) -> None:
    settings = Settings.from_environment(
        {**os.environ, "WAREHOUSE_PATH": str(warehouse), "AS_OF_DATE": day.isoformat()}
    )
    target = warehouse.parent / "target"
    environment = dbt_environment(settings) | {
        "AS_OF_DATE": day.isoformat(),
        "DBT_TARGET_PATH": str(target),
        "DUCKDB_MEMORY_LIMIT": "6GB",
    }
    project = settings.project_root / "dbt_project"
    where = ["--project-dir", str(project), "--profiles-dir", str(project)]
    untested = ["--exclude-resource-types", "test", "unit_test"]
    started = time.monotonic()
    finished = subprocess.run(
        [str(DBT), "--quiet", "build", "--select", *SELECT, *where, *untested],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if finished.returncode:
        sys.exit(finished.stdout + finished.stderr)
    results = json.loads((target / "run_results.json").read_text())["results"]
    times = {r["unique_id"].rpartition(".")[2]: float(r["execution_time"]) for r in results}
    health = sum(spent for name, spent in times.items() if name.startswith(HEALTH))
    slowest = sorted(times.items(), key=lambda item: -item[1])[:8]
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        counted = "select count(*) from marts.customer_health_history"
        [rows] = connection.execute(counted).fetchone() or [0]
    print(
        f"{what}: {seconds:.0f} s in all, {health:.0f} s of them health; {rows:,} days of customers"
        f" published; at most {gigabytes:.1f} GiB so far"
    )
    print("  slowest: " + ", ".join(f"{name} {spent:.1f} s" for name, spent in slowest), flush=True)


if __name__ == "__main__":
    sys.exit(main())
