"""kill -9 in the middle of a push, then the same command again: nothing lost, nothing twice."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reverse_etl.sandbox.server import Sandbox
from reverse_etl.status import read_status
from tests.small_project import ALERTED, AUTOMATED, MAILED, SmallProject

EVENTS = 24


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


def push(project: SmallProject, kill_at: str = "", count: int = 0) -> int:
    """Run ``reverse-etl apply``; its process is killed when the tool has so much of ``kill_at``."""
    process = subprocess.Popen(
        project.command("apply", "--json"),
        env=project.process_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert project.sandbox is not None
    while kill_at and process.poll() is None:
        counts = project.sandbox.counts()
        has = {
            "contacts": counts["hubspot"]["contacts"],
            "mails": counts["smtp"]["mails"],
            "alerts": counts["webhook"]["received"],
        }
        if has[kill_at] >= count:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    return process.wait()


@pytest.mark.parametrize(("kill_at", "count"), [("contacts", 1), ("mails", 3), ("alerts", 12)])
def test_a_killed_push_continues_and_each_trigger_arrives_once(
    tmp_path: Path, shared: Sandbox, kill_at: str, count: int
) -> None:
    shared.reset()
    project = SmallProject(tmp_path, shared)
    slow = {"mails_per_second": 80, "calls_per_second": 80}
    mail_options = {
        "sender_email": "success@vendor.example",
        "sender_name": "Customer Success",
        "postal_address": "1 Example Street",
        "unsubscribe_url": "https://vendor.example/unsubscribe",
    }
    project.write_destinations(
        shared, webhook={"options": slow}, smtp={"options": mail_options | slow}
    )

    def build(events: int) -> None:
        project.contacts(400)
        project.champions(*range(1, 200))
        project.episodes("trg_feature_unused", MAILED, events)
        project.episodes("trg_onboarding_low_usage", AUTOMATED, events)
        project.episodes("trg_health_dropped", ALERTED, events)

    build(0)
    project.apply("trg_*")  # their baselines; profiles and list are filled by the killed push
    build(EVENTS)

    assert push(project, kill_at, count) == -signal.SIGKILL
    assert push(project) in (0, 1)

    counts = shared.counts()
    assert counts["hubspot"]["contacts"] == 400
    assert counts["hubspot"]["lists"] == {"Champions": 199}
    assert list(counts["hubspot"]["events"].values()) == [EVENTS]
    assert counts["hubspot"]["violations"] == 0
    assert counts["webhook"]["received"] == EVENTS

    # Mail servers recognise no repeat: a mail whose outcome the kill hid is shown, not repeated.
    mails = [row[0] for row in shared._store.rows("select message_id from mails")]
    assert len(set(mails)) == len(mails)
    states = {line["sync"]: line for line in read_status(project.settings)["syncs"]}
    mail = states["smtp/trg_feature_unused"]
    assert mail["unknown"] <= 1
    assert mail["acknowledged"] + mail["unknown"] == EVENTS
    assert mail["acknowledged"] <= len(mails) <= EVENTS
    assert all(plan.size == 0 for plan in project.plan().values())
    project.apply()
    assert shared.counts()["smtp"]["mails"] == len(mails)
