"""Random runs over all faults, killed at random points: afterwards everything is as it should be.

A seed tells a whole story: what changed in the warehouse before each run, which faults the tools
had armed, and when the run was killed.
"""

import json
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.runner import Runner
from tests.small_project import ALERTED, AUTOMATED, MAILED, SmallProject

PEOPLE = 230
WEB_FAULTS = (
    {"kind": "latency", "value": 0.05},
    {"kind": "status", "value": 500},
    {"kind": "status", "value": 502},
    {"kind": "status", "value": 503},
    {"kind": "storm", "value": 0.03, "times": 4},
    {"kind": "storm", "value": 0.03, "times": 2, "spelling": "X-Ratelimit-Retry-After"},
    {"kind": "storm", "value": 40, "times": 2, "spelling": "retry-after-ms"},
    {"kind": "expired_token"},
    {"kind": "reset_before", "times": 2},
    {"kind": "reset_after", "times": 2},
    {"kind": "truncate", "times": 2},
    {"kind": "slow_body", "value": 0.2},
    {"kind": "duplicate", "times": 3},
    {"kind": "clock_skew", "value": 45, "times": 5},
    {"kind": "clock_skew", "value": -45, "times": 5},
    {"kind": "clock_skew", "value": 1_000},
)
HUBSPOT_FAULTS = (*WEB_FAULTS, {"kind": "hollow"}, {"kind": "errors_inside", "times": 2})
MAIL_FAULTS = (
    {"kind": "status", "value": 451},
    {"kind": "reset_before"},
    {"kind": "reset_after"},
)


class Story:
    """One project, one sandbox, and a seed."""

    def __init__(self, folder: Path, sandbox: Sandbox, seed: int) -> None:
        self.random = random.Random(seed)
        self.sandbox = sandbox
        self.project = SmallProject(folder, sandbox)
        self.project.write_destinations(
            sandbox, hubspot={"plan_tier": "professional"}, webhook={"options": FAST_WEBHOOK}
        )
        self.bands = {f"c_{n}": "green" for n in range(1, PEOPLE + 1)}
        self.members = {f"c_{n}" for n in range(1, 60)}
        self.events = 0
        self.runner = Runner.started(self.project.process_environment)
        self.build()
        assert self.run(kill=False) == "exit 0", "the baseline has no faults"

    def build(self) -> None:
        """The warehouse as dbt would leave it."""
        project = self.project
        project.contacts(PEOPLE)
        bands = ", ".join(f"('{who}', '{band}')" for who, band in self.bands.items())
        project.run(
            "update marts.contact_profiles set health_band = known.band"
            f" from (values {bands}) as known (who, band) where contact_id = known.who"
        )
        members = sorted(int(who.removeprefix("c_")) for who in self.members)
        project.champions(*members, budget={"share": 1.0})
        project.episodes("trg_feature_unused", MAILED, self.events)
        project.episodes("trg_onboarding_low_usage", AUTOMATED, self.events)
        project.episodes("trg_health_dropped", ALERTED, self.events)

    def change(self) -> None:
        """Some people's bands, a few members, a few new events; values also go back."""
        for who in self.random.sample(sorted(self.bands), 40):
            self.bands[who] = self.random.choice(("green", "yellow", "red"))
        for who in self.random.sample(sorted(self.bands), 5):
            self.members ^= {who}
        self.events += self.random.randrange(3)
        self.build()

    def arm(self) -> None:
        """Up to four faults, somewhere among the next requests."""
        for _ in range(self.random.randrange(5)):
            vendor, faults = self.random.choice(
                (("hubspot", HUBSPOT_FAULTS), ("webhook", WEB_FAULTS), ("smtp", MAIL_FAULTS))
            )
            fault = Fault.model_validate({"vendor": vendor, **self.random.choice(faults)})
            self.sandbox.faults.armed.append(fault)

    def run(self, *, kill: bool) -> str:
        """One run, to its end or to its death."""
        process = self.runner.start(self.project.root)
        if kill:
            after = self.random.uniform(0.02, 0.9)
            killer = threading.Timer(after, _kill, [process])
            killer.start()
            ended = self.runner.ended()
            killer.cancel()
            killer.join()
            return ended
        return self.runner.ended()

    def settle(self) -> None:
        """Fair weather: a few runs, until one ends well."""
        self.sandbox.faults.armed.clear()
        for _ in range(4):
            ended = self.run(kill=False)
            assert ended in ("exit 0", "exit 1"), ended
            if ended == "exit 0":
                return
        raise AssertionError("it does not come to rest")


FAST_WEBHOOK = {"calls_per_second": 1000}


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


def told(folder: Path, sandbox: Sandbox, seed: int, runs: int) -> None:
    """A story of so many runs, looked at every five and at its end."""
    sandbox.reset()
    story = Story(folder, sandbox, seed)
    try:
        for number in range(1, runs + 1):
            story.change()
            story.arm()
            ended = story.run(kill=story.random.random() < 0.6)
            assert ended in ("exit 0", "exit 1", "signal 9"), ended
            if number % 5 == 0 or number == runs:
                story.settle()
                agrees(story)
    finally:
        story.runner.stop()


def agrees(story: Story) -> None:
    """The tools hold what the warehouse says, and no trigger took effect twice."""
    rows = story.sandbox._store.rows
    bands = {
        record["contact_id"]: record["health_band"]
        for record in (json.loads(row[0]) for row in rows("select properties from records"))
    }
    assert bands == story.bands
    members = rows(
        "select json_extract(properties, '$.contact_id') from memberships"
        " join records on records.id = record_id"
    )
    assert {row[0] for row in members} == story.members

    counts = story.sandbox.counts()
    assert list(counts["hubspot"]["events"].values()) == [story.events] * bool(story.events)
    assert counts["webhook"]["received"] == story.events  # stored once for each webhook-id

    mails = [row[0] for row in rows("select message_id from mails")]
    assert len(mails) == len(set(mails)), "a mail was sent twice"
    with closing(sqlite3.connect(story.project.root / "data/ledger.db")) as ledger:
        assert ledger.execute("pragma integrity_check").fetchone() == ("ok",)
        states = dict(
            ledger.execute(
                "select key, state from acknowledged where sync = 'smtp/trg_feature_unused'"
            )
        )
        open_ = ledger.execute(
            "select count(*) from deliveries where status in ('planned', 'attempted')"
        ).fetchone()
        open_requests = ledger.execute("select count(*) from batches where status = 'attempted'")
        assert (open_, open_requests.fetchone()) == ((0,), (0,))
    assert set(states) == {f"trg_feature_unused-{n}" for n in range(1, story.events + 1)}
    assert set(states.values()) <= {"acknowledged", "unknown"}
    acknowledged = sum(state == "acknowledged" for state in states.values())
    unknown = len(states) - acknowledged
    assert acknowledged <= len(mails) <= acknowledged + unknown
    shown = {line["sync"]: line["unknown"] for line in _status(story)}
    assert shown["smtp/trg_feature_unused"] == unknown


def _status(story: Story) -> list[dict[str, object]]:
    from reverse_etl.status import read_status

    lines: list[dict[str, object]] = read_status(story.project.settings)["syncs"]
    return lines


def test_ten_random_runs_end_in_order(tmp_path: Path, shared: Sandbox) -> None:
    told(tmp_path, shared, seed=1, runs=10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_two_hundred_random_runs_end_in_order(tmp_path: Path, shared: Sandbox, seed: int) -> None:
    told(tmp_path, shared, seed, runs=25)
