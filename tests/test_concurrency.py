"""Everything launched at once: one writer to the warehouse, one process for each account, no sync
beside itself, and a long push that holds nobody up. Dagster's own queue and daemon, real dbt."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster_graphql import DagsterGraphQLClient

from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.conftest import ROOT
from tests.dagster_pages import served
from tests.small_graph import SmallGraph, small_graph

pytestmark = pytest.mark.slow
RUNS = 3
LATENCY_S = 6.0


@dataclass(frozen=True)
class Step:
    """When one step of one run was at work, in seconds since the epoch."""

    run: str
    name: str
    start: float
    end: float

    def overlaps(self, other: Step) -> bool:
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Crowd:
    """What happened when everything was launched at once."""

    graph: SmallGraph
    runs: list[dg.DagsterRun]
    steps: list[Step]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    with (
        Sandbox(folder / "sandbox.db") as sandbox,
        small_graph(folder / "project", sandbox) as graph,
        pytest.MonkeyPatch.context() as patch,
    ):
        shutil.copy2(ROOT / "dagster.yaml", graph.root / "dagster.yaml")
        # dagster.yaml keeps its state under .dagster of the folder that Dagster runs in
        patch.chdir(graph.root)
        with dg.DagsterInstance.from_config(str(graph.root)) as instance:
            graph.instance = instance
            assert graph.run().success
        graph.know(**{f"q{number}": 60 for number in range(1, 6)})
        # every answer of the tool takes its time: whoever pushes is busy for long
        slow = Fault(vendor="hubspot", kind="latency", value=LATENCY_S, times=12)
        sandbox.faults.armed.append(slow)
        with served(graph.root, graph.root) as address:
            host, port = address.removeprefix("http://").split(":")
            client = DagsterGraphQLClient(host, int(port))
            jobs = ["everything"] * RUNS + ["measurement", "fast_lane"]
            ids = [client.submit_job_execution(job) for job in jobs]
            with dg.DagsterInstance.from_config(str(graph.root)) as instance:
                graph.instance = instance
                runs = [_ended(instance, run_id) for run_id in ids]
                yield Crowd(graph, runs, [s for run in runs for s in _steps(instance, run)])


def _ended(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    for _ in range(480):
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            return run
        time.sleep(0.5)
    pytest.fail(f"run {run_id} does not end")


def _steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[Step]:
    began: dict[str, float] = {}
    found = []
    for entry in instance.all_logs(run.run_id):
        if entry.dagster_event is None or entry.step_key is None:
            continue
        kind = entry.dagster_event.event_type
        if kind == DagsterEventType.STEP_START:
            began[entry.step_key] = entry.timestamp
        elif kind in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
            begun = began[entry.step_key]
            found.append(Step(run.run_id, entry.step_key, begun, entry.timestamp))
    return found


def beside_each_other(steps: list[Step]) -> list[tuple[Step, Step]]:
    return [
        (one, other)
        for place, one in enumerate(steps)
        for other in steps[place + 1 :]
        if one.overlaps(other)
    ]


def test_every_run_ends_well(crowd: Crowd) -> None:
    assert {run.job_name: _told(crowd, run) for run in crowd.runs if not run.is_success} == {}


def _told(crowd: Crowd, run: dg.DagsterRun) -> list[str]:
    return [
        entry.user_message or str(entry.message)
        for entry in crowd.graph.instance.all_logs(run.run_id)
        if entry.dagster_event and entry.dagster_event.is_failure
    ]


def test_nobody_writes_the_warehouse_beside_another(crowd: Crowd) -> None:
    writers = [s for s in crowd.steps if not s.name.startswith(("syncs", "feedback", "run"))]
    assert len({step.run for step in writers if step.name == "dbt_models"}) >= RUNS
    assert beside_each_other(writers) == []


@pytest.mark.parametrize("destination", ["hubspot", "webhook"])
def test_an_account_has_one_process_at_a_time(crowd: Crowd, destination: str) -> None:
    pushes = [step for step in crowd.steps if step.name == f"syncs__{destination}"]
    assert len(pushes) >= RUNS
    assert beside_each_other(pushes) == []


def test_a_long_push_does_not_hold_the_warehouse(crowd: Crowd) -> None:
    pushes = [s for s in crowd.steps if s.name == "syncs__hubspot" and s.end - s.start > LATENCY_S]
    builds = [step for step in crowd.steps if step.name == "dbt_models"]
    assert pushes, "the tool was slow"
    assert any(
        push.overlaps(build) and push.run != build.run for push in pushes for build in builds
    ), "another run builds meanwhile"


def test_each_row_arrived_once(crowd: Crowd) -> None:
    received = crowd.graph.received()
    assert received["hubspot"]["contacts"] == 15
    assert crowd.graph.lists() == {"First": 15, "Second": 15}
    assert received["hubspot"]["violations"] == 0
    assert received["webhook"] == received["webhook"] | {"received": 5, "duplicates": 0}


def test_the_files_are_let_go(crowd: Crowd, tmp_path: Path) -> None:
    assert crowd.graph.query("select count(*) from marts.contacts") == [(15,)]
