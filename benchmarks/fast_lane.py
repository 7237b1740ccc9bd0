"""From a new raw row to the trigger's arrival at the tool, by the fast lane: how long, and where.

``python -m benchmarks.fast_lane [--raw FOLDER] [--events 5]`` copies the project, sets one trigger
live (``detractor_answered``, an alert to the customer's owner), builds and pushes a baseline,
starts Dagster with its daemon, switches the sensor on, and then lets one person after another
answer that they would not recommend the product. ``--raw`` names other raw files than seeds/raw, as
``python -m seeds.sample_company --customers 10000 --out FOLDER`` writes them.

It prints the seconds of each part: *detect* until the sensor asked for a run, *launch* until its
first step began, *land*, *dbt*, and *push* with its plan, up to the moment at which the sandbox has
the alert; and over all events the median and the 95th percentile. No full build runs meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import dagster as dg
import duckdb
import requests
from dagster import DagsterEventType, RunsFilter

from reverse_etl.settings import Settings

COPIED = ("dbt_project", "orchestration", "reverse_etl", "seeds/rules", "destinations.yml")
TABLE = "surveys/nps_answers.csv"
TRIGGER = "detractor_answered"
PATIENCE_S = 600.0
BASELINE = """
import dagster as dg
from orchestration.definitions import defs
job = defs().resolve_job_def("baseline")
assert job.execute_in_process(instance=dg.DagsterInstance.get()).success
"""


@dataclass(frozen=True)
class Parts:
    """Seconds of one event's way; ``total`` is from the row to the alert."""

    detect: float
    launch: float
    land: float
    dbt: float
    push: float
    total: float


def main() -> int:
    """Measure and print; 1 where an event did not arrive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fast_lane")
    parser.add_argument("--raw", type=Path, help="folder of raw files (default: seeds/raw)")
    parser.add_argument("--events", type=int, default=5, help="how many events (default 5)")
    given = parser.parse_args()
    here = Settings.from_environment().project_root
    with tempfile.TemporaryDirectory(prefix="fast_lane_") as folder:
        root = Path(folder) / "project"
        _copy(here, given.raw or here / "seeds/raw", root)
        os.chdir(root)
        with _started(root) as sandbox, dg.DagsterInstance.from_config(str(root)) as instance:
            return _measure(root, sandbox, instance, given.events)


def _measure(root: Path, sandbox: str, instance: dg.DagsterInstance, events: int) -> int:
    who = _candidates(root, events)
    found = []
    print(f"{'':>8}" + "".join(f"{field.name:>9}" for field in fields(Parts)))
    for number, event in enumerate(who, start=1):
        before = _alerts(sandbox)
        known = _lane_runs(instance)
        started = time.time()
        _append(root / "seeds/raw" / TABLE, event)
        _until(lambda before=before: _alerts(sandbox) > before)  # type: ignore[misc]
        arrived = time.time()
        _until(lambda known=known: _ended(instance, known))  # type: ignore[misc]
        parts = _parts(instance, started, arrived)
        found.append(parts)
        print(f"{number:>8}" + "".join(f"{value:9.1f}" for value in astuple(parts)), flush=True)
    columns = list(zip(*(astuple(parts) for parts in found), strict=True))
    for name, of in (("median", statistics.median), ("p95", _p95)):
        print(f"{name:>8}" + "".join(f"{of(column):9.1f}" for column in columns))
    return 0


def _copy(here: Path, raw: Path, root: Path) -> None:
    ignored = shutil.ignore_patterns("target", "logs", "__pycache__")
    for name in COPIED:
        source, target = here / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy2(source, target)
    for name in ("dagster.yaml", "pyproject.toml"):
        shutil.copy2(here / name, root / name)
    (root / "seeds/__init__.py").touch()
    shutil.copytree(raw, root / "seeds/raw")
    playbooks = root / "seeds/rules/playbooks.csv"
    lines = playbooks.read_text().splitlines()
    live = [x.replace(",shadow,", ",live,") if x.startswith(TRIGGER) else x for x in lines]
    playbooks.write_text("\n".join([*live, ""]))


@contextmanager
def _started(root: Path) -> Iterator[str]:
    """The sandbox, a finished baseline, and Dagster with the sensor on; the sandbox's address."""
    ports = [_free_port() for _ in range(3)]
    os.environ |= {
        "PYTHONPATH": str(root),
        "DAGSTER_HOME": str(root),
        "SANDBOX_PORT": str(ports[0]),
        "SANDBOX_SMTP_PORT": str(ports[1]),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m"]
    subprocess.run([*command, "reverse_etl.cli", "sandbox", "--detach"], check=True)
    began = time.monotonic()
    with (root / "baseline.log").open("w") as log:
        done = subprocess.run([sys.executable, "-c", BASELINE], check=False, stdout=log, stderr=log)
    if done.returncode:
        sys.exit((root / "baseline.log").read_text()[-3000:])
    print(f"The baseline was built and pushed in {time.monotonic() - began:.0f} s.", flush=True)
    pages = [*command, "dagster", "dev", "-m", "orchestration.definitions", "--port", str(ports[2])]
    with (root / "dagster.log").open("w") as log:
        process = subprocess.Popen(pages, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{ports[2]}"
    try:
        _until(lambda: _answers(address))
        _switch_on(address)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        subprocess.run([*command, "reverse_etl.cli", "sandbox", "--stop"], check=False)


def _switch_on(address: str) -> None:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "orchestration.definitions",
        "sensorName": "fast_lane",
    }
    query = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
    told = requests.post(
        f"{address}/graphql", json={"query": query, "variables": {"s": selector}}, timeout=30
    ).json()
    assert told["data"]["startSensor"]["__typename"] == "Sensor", told
    time.sleep(12)  # its first look only remembers what there is


def _candidates(root: Path, count: int) -> list[dict[str, str]]:
    """Answers of people with an owner who gave none lately, on the clock's day."""
    settings = Settings.from_environment(project_root=root)
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        people = connection.execute(_PEOPLE, [count]).fetchall()
    with (root / "seeds/raw" / TABLE).open(newline="") as opened:
        example = next(csv.DictReader(opened))
    at = f"{settings.as_of_date} 06:00:00"
    return [
        example
        | {"id": f"fast_{number}", "email": email, "score": "0", "comment": ""}
        | dict.fromkeys(("asked_at", "answered_at", "_loaded_at"), at)
        for number, (email,) in enumerate(people)
    ]


_PEOPLE = """
    select min(contacts.email)
    from marts.contacts
    inner join marts.customers on contacts.customer_id = customers.customer_id
    where customers.csm_owner_email is not null and customers.journey_stage <> 'churned'
    group by customers.customer_id
    order by customers.customer_id
    limit ?
"""


def _append(file: Path, event: dict[str, str]) -> None:
    with file.open("a", newline="") as opened:
        names = opened_names(file)
        writer = csv.DictWriter(opened, names, extrasaction="ignore", lineterminator="\n")
        writer.writerow(event)


def opened_names(file: Path) -> list[str]:
    """The columns of a file."""
    with file.open(newline="") as opened:
        return next(csv.reader(opened))


def _parts(instance: dg.DagsterInstance, started: float, arrived: float) -> Parts:
    [run] = instance.get_run_records(RunsFilter(job_name="fast_lane"), limit=1)
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for entry in instance.all_logs(run.dagster_run.run_id):
        if entry.step_key and entry.dagster_event:
            if entry.dagster_event.event_type == DagsterEventType.STEP_START:
                began[entry.step_key] = entry.timestamp
            elif entry.dagster_event.event_type == DagsterEventType.STEP_SUCCESS:
                ended[entry.step_key] = entry.timestamp
    asked = run.create_timestamp.timestamp()
    first, dbt = min(began.values()), began["dbt_models"]
    return Parts(
        detect=asked - started,
        launch=first - asked,
        land=dbt - first,
        dbt=ended["dbt_models"] - dbt,
        push=arrived - ended["dbt_models"],
        total=arrived - started,
    )


def _lane_runs(instance: dg.DagsterInstance) -> int:
    return instance.get_runs_count(RunsFilter(job_name="fast_lane"))


def _ended(instance: dg.DagsterInstance, known: int) -> bool:
    runs = instance.get_runs(RunsFilter(job_name="fast_lane"))
    return len(runs) > known and all(run.is_finished for run in runs)


def _alerts(sandbox: str) -> int:
    counts = requests.get(f"{sandbox}/_sandbox/counts", timeout=10).json()
    return int(counts["webhook"]["received"])


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/server_info", timeout=2).ok
    except requests.RequestException:
        return False


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing happened within {PATIENCE_S:.0f} s.")
        time.sleep(0.1)


def _p95(values: tuple[float, ...]) -> float:
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
