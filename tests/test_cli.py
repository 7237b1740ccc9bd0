"""The command line as a person or a script meets it: words, JSON and exit codes."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reverse_etl.background import SandboxProcess
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import CHAMPIONS, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SmallProject]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield SmallProject(tmp_path / "project", sandbox)


def run(project: SmallProject, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        project.command(*arguments),
        env=project.process_environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_plan_apply_and_status_speak_json(project: SmallProject) -> None:
    project.contacts(5)
    project.champions(1, 2)
    done = run(project, "plan", "--json")
    plans = json.loads(done.stdout)
    assert done.returncode == 0
    assert [plan["sync"] for plan in plans] == ["hubspot/contact_profiles", "hubspot/seg_champions"]
    for plan in plans:
        for count in ("adds", "changes", "removes", "unchanged"):
            assert type(plan[count]) is int
        assert plan["held"] is False
        assert {"destination", "kind", "reason", "baseline", "unknown", "retrying"} <= plan.keys()

    done = run(project, "apply", "--json")
    assert done.returncode == 0
    assert [result["delivered"] for result in json.loads(done.stdout)] == [5, 2]
    steps = [json.loads(line) for line in done.stderr.splitlines()]
    assert steps[0] == {"sync": "hubspot/contact_profiles", "done": 5, "total": 5}

    known = json.loads(run(project, "status", "--json").stdout)
    assert known["destinations"]["hubspot"]["lists"] == {"Champions": 2}
    table = run(project, "plan", "--select", "seg_champions").stdout
    assert "hubspot/seg_champions" in table
    assert "contact_profiles" not in table


def test_rejected_rows_exit_with_1_and_held_syncs_with_3(project: SmallProject) -> None:
    project.contacts(30)
    project.champions(*range(1, 31))
    assert run(project, "apply").returncode == 0
    project.champions(1)
    assert run(project, "apply", "-s", "seg_champions").returncode == 3
    project.run("update marts.contact_profiles set email = 'x' where contact_id = 'c_1'")
    assert run(project, "apply", "-s", "contact_profiles").returncode == 1


def test_a_mistake_is_one_message_and_exit_code_2(project: SmallProject) -> None:
    project.declare("segments", "seg_a", CHAMPIONS | {"destinations": ["nowhere"]})
    for command in ("plan", "apply", "status"):
        done = run(project, command, "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
        assert "meta.sync.destinations[0]" in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_sandbox_runs_in_the_background_once_and_stops(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path, free_port(), free_port())
    try:
        assert process.start()
        assert not process.start()
        assert requests.get(f"{process.url}/_sandbox/counts", timeout=5).ok
    finally:
        assert process.stop()
    assert not process.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(process.url, timeout=5)


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = SandboxProcess(tmp_path, taken.getsockname()[1], free_port())
        with pytest.raises(UserError, match="SANDBOX_PORT"):
            process.start()
