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
from tests import forked
from tests.small_project import CHAMPIONS, MAILED, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SmallProject]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield SmallProject(tmp_path / "project", sandbox)


def run(project: SmallProject, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.reverse_etl(*arguments, environment=project.process_environment)


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
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    [step] = [
        line
        for line in lines
        if line["event"] == "progress" and line["sync"] == "hubspot/contact_profiles"
    ]
    assert (step["done"], step["total"], step["remaining_s"]) == (5, 5, 0.0)
    assert step["rate"] > 0
    assert 0 < step["quota"] < 650_000
    assert (lines[0]["event"], lines[-1]["event"]) == ("run started", "run ended")
    assert "customer.example" not in done.stderr

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


def test_a_held_plan_is_seen_approved_and_applied(project: SmallProject) -> None:
    project.contacts(30)
    project.champions(*range(1, 31))
    assert run(project, "apply").returncode == 0
    project.champions(1)
    held = next(p for p in json.loads(run(project, "plan", "--json").stdout) if p["held"])
    seen = run(project, "plan", "-s", "seg_champions").stdout
    assert f"to release it: reverse-etl approve {held['plan']}" in seen
    assert "remove c_10" in seen
    assert run(project, "apply", "--plan", held["plan"]).returncode == 3
    done = run(project, "approve", held["plan"], "--by", "the head of success")
    assert (done.returncode, "29 removes" in done.stdout) == (0, True)
    assert run(project, "apply", "--plan", held["plan"]).returncode == 0
    again = run(project, "apply", "--plan", held["plan"])
    assert again.returncode == 2
    assert "No sync would now do plan" in again.stderr
    assert run(project, "approve").returncode == 2


def test_a_refused_row_can_be_seen_retried_and_dismissed(project: SmallProject) -> None:
    project.contacts(3)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_2'")
    assert run(project, "apply").returncode == 1
    sync = "hubspot/contact_profiles"
    done = run(project, "deliveries", "-s", sync, "-k", "c_2", "--json")
    assert done.returncode == 0, done.stderr
    [refused] = json.loads(done.stdout)
    assert (refused["status"], refused["key"]) == ("rejected", "c_2")
    assert "INVALID_EMAIL" in refused["message"]
    assert "nonsense" not in refused["message"]  # the tool's own words, without our value
    assert run(project, "apply").returncode == 0  # it waits
    again = run(project, "retry", "-s", sync, "--json")
    assert again.returncode == 1
    [result] = json.loads(again.stdout)
    assert (result["planned"], result["rejected"]) == (1, 1)
    assert len(json.loads(run(project, "deliveries", "-k", "c_2", "--json").stdout)) == 2
    assert run(project, "dismiss", sync, "c_2").returncode == 0
    assert run(project, "retry", "-s", sync).returncode == 0
    [plan] = json.loads(run(project, "plan", "--json").stdout)
    assert (plan["adds"], plan["changes"], plan["waiting"]) == (0, 0, 0)
    project.run("update marts.contact_profiles set email = 'b@x.example' where contact_id = 'c_2'")
    assert run(project, "apply").returncode == 0
    assert run(project, "dismiss", sync, "c_2").returncode == 2


def test_an_unknown_event_is_sent_again_only_by_its_name(project: SmallProject) -> None:
    sync, event = "smtp/trg_feature_unused", "trg_feature_unused-1"
    project.episodes("trg_feature_unused", MAILED, 0)
    assert run(project, "apply").returncode == 0
    project.episodes("trg_feature_unused", MAILED, 1)
    assert project.sandbox is not None
    fault = {"vendor": "smtp", "kind": "reset_after"}
    requests.post(f"{project.sandbox.http_url}/_sandbox/faults", json=fault, timeout=5)
    assert run(project, "apply").returncode == 1
    assert run(project, "apply").returncode == 0
    known = json.loads(run(project, "status", "--json").stdout)["syncs"]
    assert [line["unknown"] for line in known] == [1]
    assert run(project, "retry", "-s", sync, "--unknown").returncode == 2
    assert run(project, "retry", "-s", sync, "--unknown", "-k", event).returncode == 0
    assert project.sandbox.counts()["smtp"]["mails"] == 2


def test_the_doctor_names_what_is_wrong_and_sends_nothing(project: SmallProject) -> None:
    project.contacts(3)
    project.episodes("trg_feature_unused", MAILED, 1)
    assert run(project, "doctor").returncode == 0
    assert project.sandbox is not None
    project.write_destinations(
        project.sandbox,
        hubspot={"credentials": {"access_token": "a-wrong-token"}},
        smtp={"base_url": "smtp://127.0.0.1:9"},
    )
    project.run("alter table marts.contact_profiles add column favourite varchar")
    done = run(project, "doctor", "--json")
    problems = {f["part"]: f["problem"] for f in json.loads(done.stdout) if f["problem"]}
    assert done.returncode == 2
    assert set(problems) == {"destination hubspot", "destination smtp"}
    assert "not valid or has expired" in problems["destination hubspot"]
    assert "a-wrong-token" not in done.stdout + done.stderr
    project.write_destinations(project.sandbox, smtp={"credentials": {}})
    problems = json.loads(run(project, "doctor", "--json").stdout)
    told = " ".join(finding["problem"] for finding in problems)
    assert "no property favourite" in told
    assert "credentials.unsubscribe_key is missing" in told
    counts = project.sandbox.counts()
    assert (counts["hubspot"]["contacts"], counts["smtp"]["mails"]) == (0, 0)
