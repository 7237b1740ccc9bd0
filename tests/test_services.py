"""Dagster as it runs for long: its units, its memory on Postgres, and definitions that load fast
and ask nobody."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import dagster as dg
import pytest

from reverse_etl.sandbox.server import Sandbox
from tests.conftest import ROOT, ProjectCopy
from tests.dbt_run import this_project_as_json
from tests.postgres_server import binaries, running
from tests.small_graph import built, checks, failures, small_graph

UNITS = sorted((ROOT / "docs/systemd").glob("*.service"))
PLACE = "/srv/customer-success-warehouse"
LOADED = """
import json, sys, time
asked = []
sys.addaudithook(lambda name, args: asked.append([name, str(args[-1])])
    if name in ("socket.connect", "socket.getaddrinfo") else None)
from orchestration.definitions import defs
repository = defs().get_repository_def()
names = sorted(job.name for job in repository.get_all_jobs())
print(json.dumps({"cpu": time.process_time(), "asked": asked, "jobs": names}))
"""


def exec_start(unit: Path) -> list[str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    return shlex.split(parser["Service"]["ExecStart"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_units_command_exists_and_takes_its_options(unit: Path) -> None:
    program, *arguments = exec_start(unit)
    here = Path(sys.executable).parent / Path(program).name
    assert program == f"{PLACE}/.venv/bin/{here.name}"
    verbs = [word for word in arguments[:2] if not word.startswith("-")]
    told = subprocess.run(
        [str(here), *verbs, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for option in (word for word in arguments if word.startswith("--")):
        assert option in told, f"{here.name} {' '.join(verbs)} has no {option}"
    for name in ("docs/workspace.yaml",):
        assert name not in arguments or (ROOT / name).is_file()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    copies = []
    for unit in UNITS:
        text = unit.read_text().replace(PLACE, str(tmp_path)).replace("User=warehouse\n", "")
        program = exec_start(unit)[0].replace(PLACE, str(tmp_path))
        Path(program).parent.mkdir(parents=True, exist_ok=True)
        Path(program).write_text("#!/bin/sh\n")
        Path(program).chmod(0o755)
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, copies)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in found.stderr.splitlines() if "customer-success" in line] == []


@pytest.mark.slow
def test_on_postgres_a_run_is_remembered_and_the_gate_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = binaries()
    if folder is None:
        pytest.skip("Postgres is not installed here (Debian: apt-get install postgresql)")
    with (
        running(folder) as server,
        Sandbox(tmp_path / "sandbox.db") as sandbox,
        small_graph(tmp_path / "project", sandbox) as graph,
    ):
        for name in ("HOST", "PORT", "USER", "DATABASE"):
            monkeypatch.setenv(f"DAGSTER_PG_{name}", server.environment[f"PG{name}"])
        monkeypatch.setenv("DAGSTER_PG_PASSWORD", "")
        shutil.copy2(ROOT / "docs/dagster.postgres.yaml", graph.root / "dagster.yaml")
        monkeypatch.chdir(graph.root)
        with dg.DagsterInstance.from_config(str(graph.root)) as instance:
            graph.instance = instance
            first = graph.run()
            assert first.success, failures(first)
            graph.know(p11=805)
            second = graph.run()
            assert not checks(second)["syncs/hubspot/seg_second:upstream_checks_passed"]
            assert "syncs/hubspot/seg_first" in built(second)
        # another process finds it all again
        with dg.DagsterInstance.from_config(str(graph.root)) as instance:
            graph.instance = instance
            alone = graph.sync_alone("syncs", "hubspot", "seg_second")
            assert "second_is_in_order failed" in failures(alone)["syncs__hubspot"]


def test_definitions_load_within_five_seconds_and_ask_nobody(project_copy: ProjectCopy) -> None:
    target = project_copy.root / "dbt_project/target"
    target.mkdir()
    (target / "manifest.json").write_text(this_project_as_json())
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED],
        cwd=project_copy.root,
        env=project_copy.environment | {"DAGSTER_HOME": str(project_copy.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["asked"] == []
    # the processor's seconds: how busy a machine is says nothing about the definitions
    assert found["cpu"] < 5
    expected = {"everything", "baseline", "fast_lane", "approve", "measurement", "backfill"}
    assert expected <= set(found["jobs"])
