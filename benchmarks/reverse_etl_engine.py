"""What planning, acknowledging and pushing cost, each next to a floor on the same machine.

``python -m benchmarks.reverse_etl_engine [rows]`` (default 1,000,000). Floors: one DuckDB pass that
md5s all 20 columns; reading and writing the same rows with bare sqlite3; posting the same bodies
with requests, unread and unrecorded. Every figure is of one run: the machine's noise is in it.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from reverse_etl.engine import Engine
from reverse_etl.ledger import Ledger, Settlement
from reverse_etl.settings import Settings

SYNC = "hubspot/contact_profiles"
COLUMNS = ", ".join(
    [
        "'c_' || i as contact_id",
        "'p' || i || '@customer.example' as email",
        "'cus_' || (i // 4) as customer_id",
        *(f"'value {n} of ' || (i + {n}) as text_{n}" for n in range(9)),
        *(f"(i * {n + 3} % 1000)::decimal(18, 2) as money_{n}" for n in range(4)),
        *(f"i % {n + 2} = 0 as is_{n}" for n in range(2)),
        "timestamp '2026-01-01' + to_seconds(i) as last_active_at",
        "i % 100 as active_days",
    ]
)


def main(rows: int) -> int:
    """Measure each thing in a process of its own, one after the other; prints as it goes."""
    with tempfile.TemporaryDirectory(prefix="engine_") as name:
        folder = Path(name)
        for measure in (
            _build,
            _md5,
            _read_sqlite,
            _plan_nothing,
            _plan_some,
            _acknowledge,
            _write_sqlite,
        ):
            _alone(measure, folder, rows)
    return 0


def _alone(measure: Callable[[Path, int], tuple[str, float]], folder: Path, rows: int) -> None:
    """In a fresh process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        what, seconds, mebibytes = pool.apply(_measured, (measure, folder, rows))
    print(
        f"{what:<60} {seconds:7.2f} s {rows / seconds:>12,.0f} rows/s {mebibytes:6.0f} MiB",
        flush=True,
    )


def _measured(
    measure: Callable[[Path, int], tuple[str, float]], folder: Path, rows: int
) -> tuple[str, float, float]:
    what, seconds = measure(folder, rows)
    [peak] = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
    return what, seconds, int(peak.split()[1]) / 1024


def _build(folder: Path, rows: int) -> tuple[str, float]:
    """A warehouse with the rows, a manifest, and a ledger that has acknowledged every one."""
    started = time.perf_counter()
    (folder / "pyproject.toml").touch()
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("create schema marts")
        query = f"select {COLUMNS} from range(1, {rows + 1}) as t(i)"
        connection.execute(f"create table marts.contact_profiles as {query}")
    node = {
        "resource_type": "model",
        "name": "contact_profiles",
        "alias": "contact_profiles",
        "schema": "marts",
        "original_file_path": "models/marts/contact_profiles.sql",
        "columns": {},
        "config": {
            "meta": {"sync": {"kind": "profile", "key": "contact_id", "destinations": ["hubspot"]}}
        },
    }
    (folder / "target").mkdir()
    manifest = {"nodes": {"model.p.contact_profiles": node}}
    (folder / "target" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "destinations.yml").write_text("destinations: {dev: {hubspot: {type: outbox}}}\n")
    ledger, engine = _ledger(folder), _engine(folder)
    [plan] = engine.plan()
    ledger.begin(SYNC, "outbox:data/outbox", repeatable=True)
    known = ((SYNC, key, fingerprint) for key, _, fingerprint in plan.identities())
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.executemany(
            "insert into acknowledged values (?, ?, ?, 'acknowledged',"
            " '2026-01-01T00:00:00.000000+00:00')",
            known,
        )
    ledger.end(SYNC, baseline=True)
    ledger.close()
    return "(making the warehouse, and a ledger that has every row)", time.perf_counter() - started


def _settings(folder: Path) -> Settings:
    return Settings.from_environment(
        {
            "WAREHOUSE_PATH": str(folder / "warehouse.duckdb"),
            "LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
            "DESTINATIONS_FILE": str(folder / "destinations.yml"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "AS_OF_DATE": "2026-10-28",
        },
        folder,
    )


def _engine(folder: Path) -> Engine:
    return Engine(_settings(folder))


def _ledger(folder: Path) -> Ledger:
    return Ledger(f"sqlite:///{folder / 'ledger.db'}")


def _md5(folder: Path, rows: int) -> tuple[str, float]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "select column_name from duckdb_columns() where table_name = 'contact_profiles'"
            ).fetchall()
        ]
        text = ", ".join(f"{name}::varchar" for name in names)
        query = f"select max(md5(concat_ws('|', {text}))) from marts.contact_profiles"
        connection.execute(query)  # the file is in memory from now on, as for those after it
        started = time.perf_counter()
        connection.execute(query).fetchall()
        return "floor: one pass that md5s 20 columns", time.perf_counter() - started


def _read_sqlite(folder: Path, rows: int) -> tuple[str, float]:
    with sqlite3.connect(folder / "ledger.db") as connection:
        started = time.perf_counter()
        cursor = connection.execute("select key, fingerprint, state from acknowledged")
        while cursor.fetchmany(50_000):
            pass
        return "floor: sqlite3 reads the acknowledged rows", time.perf_counter() - started


def _plan_nothing(folder: Path, rows: int) -> tuple[str, float]:
    engine = _engine(folder)
    started = time.perf_counter()
    [plan] = engine.plan()
    seconds = time.perf_counter() - started
    assert (plan.size, plan.unchanged) == (0, rows)
    return "plan, nothing changed", seconds


def _plan_some(folder: Path, rows: int) -> tuple[str, float]:
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "update marts.contact_profiles set active_days = -1 where active_days = 7"
        )
    engine = _engine(folder)
    started = time.perf_counter()
    [plan] = engine.plan()
    seconds = time.perf_counter() - started
    assert plan.changes == rows // 100
    return "plan, 1 % changed", seconds


def _acknowledge(folder: Path, rows: int) -> tuple[str, float]:
    ledger = _ledger(folder)
    started = time.perf_counter()
    intending = 0.0
    for start in range(0, rows, 100):
        batch = [(f"c_{n:09d}", "add", "f" * 32) for n in range(start, start + 100)]
        before = time.perf_counter()
        intents = ledger.intend_level("20260101T000000-bench", "tool/model", batch, 1)
        intending += time.perf_counter() - before
        ledger.settle_level("tool/model", [Settlement(i, "delivered") for i in intents])
    seconds = time.perf_counter() - started
    ledger.close()
    return f"acknowledge in batches of 100 (and {intending:.1f} s for intents)", seconds - intending


def _write_sqlite(folder: Path, rows: int) -> tuple[str, float]:
    with sqlite3.connect(folder / "bare.db", isolation_level=None) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("create table acknowledged (key text primary key, fingerprint text)")
        started = time.perf_counter()
        for start in range(0, rows, 100):
            batch = [(f"c_{n:09d}", "f" * 32) for n in range(start, start + 100)]
            connection.execute("begin immediate")
            connection.executemany("insert or replace into acknowledged values (?, ?)", batch)
            connection.execute("commit")
        return "floor: sqlite3 writes as many rows, durably", time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
