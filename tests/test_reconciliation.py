"""Decisions and deliveries, row by row: random days decided by the project's own SQL, sent by the
whole engine to the sandbox, with faults and people who opt out on the way."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import duckdb
import pytest

from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.decided_world import Compiled, World, compile_decisions
from tests.small_project import ALERTED, AUTOMATED, CONTACT_PROFILES, MAILED, SmallProject

DAYS = 12
SYNCS = {
    "feature_unused": ("smtp/trg_feature_unused", MAILED),
    "survey_due": ("smtp/trg_survey_due", MAILED),
    "health_dropped": ("webhook/trg_health_dropped", ALERTED),
    "onboarding_low_usage": ("hubspot/trg_onboarding_low_usage", AUTOMATED),
}
FAULTS = (
    {"vendor": "smtp", "kind": "status", "value": 451},
    {"vendor": "smtp", "kind": "reset_before"},
    {"vendor": "smtp", "kind": "reset_after"},
    {"vendor": "webhook", "kind": "status", "value": 503, "times": 6},
    {"vendor": "webhook", "kind": "truncate"},
    {"vendor": "webhook", "kind": "duplicate"},
    {"vendor": "hubspot", "kind": "reset_after"},
    {"vendor": "hubspot", "kind": "status", "value": 500},
)
PEOPLE = "contact_id || '@customer.example'"
SHOWN = {
    "feature_unused": {"email": PEOPLE, "contact_name": "'Example'", "feature_name": "'Reports'",
                       "days_unused": "45"},
    "survey_due": {"email": PEOPLE, "contact_name": "'Example'", "feature_name": "'Reports'",
                   "days_unused": "45"},
    "health_dropped": {"owner_email": "'csm@vendor.example'", "owner_name": "'Owner'"},
    "onboarding_low_usage": {"email": PEOPLE, "active_days_7d": "1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_decisions(tmp_path_factory.mktemp("decisions"))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield sandbox


class Days:
    """A world that is decided and sent from day to day."""

    def __init__(self, folder: Path, sandbox: Sandbox, compiled: Compiled, seed: int) -> None:
        self.random = random.Random(seed)
        self.sandbox = sandbox
        self.project = SmallProject(folder, sandbox)
        shutil.copyfile(compiled.warehouse, self.project.warehouse)
        # the tool does not know the last of each customer's four
        self.project.model(
            "marts",
            "contact_profiles",
            CONTACT_PROFILES,
            f"select *, {PEOPLE} as email from (select 'c' || customer || '_' || number as"
            " contact_id from range(6) as c(customer), range(3) as n(number))",
        )
        for name, (_, sync) in SYNCS.items():
            shown = {"language": "'en'", "customer_name": "'Customer'", **SHOWN[name]}
            derived = ", ".join(
                f"{column} {'integer' if sql.isdigit() else 'varchar'}"
                f" generated always as ({sql}) virtual"
                for column, sql in shown.items()
            )
            self.project.run(f"drop table triggers.trg_{name}")
            self.project.run(
                f"create table triggers.trg_{name} (event_id varchar, customer_id varchar,"
                f" contact_id varchar, occurred_at timestamp, {derived})"
            )
            self.project.declare("triggers", f"trg_{name}", sync)
        with duckdb.connect(str(self.project.warehouse)) as connection:
            self.world = World(connection, compiled, self.random)
            self.world.people()

    def live(self) -> None:
        """Decide and send, day by day; then a run long after, without faults."""
        days = self.world.live(DAYS)
        for number in range(DAYS):
            with duckdb.connect(str(self.project.warehouse)) as connection:
                self.world.connection = connection
                day = next(days)
                self.world.decide(day)
            if number:
                self.disturb()
            self.send(day)
        self.sandbox.faults.armed.clear()
        self.send(day + timedelta(days=30))

    def disturb(self) -> None:
        """A fault or two, and now and then somebody who opts out."""
        for fault in self.random.sample(FAULTS, self.random.randrange(3)):
            self.sandbox.faults.armed.append(Fault.model_validate(fault))
        if self.random.random() < 0.5:
            who = f"c{self.random.randrange(6)}_{self.random.randrange(4)}"
            self.project.ledger.suppress(who, "unsubscribed", "a tool")

    def send(self, day: date) -> None:
        """A run in the first minute after the day."""
        self.project.environment["AS_OF_DATE"] = str(day)
        self.project.now = datetime.combine(day, time(0, 0, 30), UTC) + timedelta(days=1)
        self.project.apply()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(self.project.warehouse)) as connection:
            self.world.connection = connection
            return self.world.rows(sql)

    def received(self, name: str, event: str) -> int:
        """How often the tool itself has the event."""
        rows = self.sandbox._store.rows
        sync, _ = SYNCS[name]
        if sync.startswith("smtp"):
            identity = hashlib.sha256(f"{sync}\n{event}".encode()).hexdigest()[:32]
            return len(rows(f"select 1 from mails where message_id like '%{identity}%'"))
        if sync.startswith("webhook"):
            return len(rows(f"select 1 from webhooks where webhook_id = '{event}'"))
        uuid = uuid5(NAMESPACE_URL, f"event:{event}")
        accepted = "select 1 from events where outcome = 'accepted' and uuid"
        return len(rows(f"{accepted} = '{uuid}'"))


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_every_decision_to_send_has_one_end_and_nothing_else_is_sent(
    tmp_path: Path, sandbox: Sandbox, compiled: Compiled, seed: int
) -> None:
    days = Days(tmp_path / "project", sandbox, compiled, seed)
    days.live()
    history = days.rows("select * from triggers.trigger_decisions_history")
    decided = {row["event_id"]: row for row in history if row["decision"] == "send"}
    ledger, ends = days.project.ledger, Counter[str]()
    try:
        for event, name in {row["event_id"]: row["trigger_name"] for row in history}.items():
            sync, _ = SYNCS[name]
            attempts = [row["status"] for row in ledger.deliveries(sync, {event}, 100)]
            states = [row["state"] for row in ledger.rows_of(sync, {event})]
            refused = ledger.letters_of(sync, {event})
            received = days.received(name, event)
            if event not in decided:
                assert (attempts, refused, received) == ([], [], 0), (event, attempts)
                assert states in ([], ["seen"]), "what is not to be sent is no more than seen"
                continue
            [end] = states or [""]
            if end == "acknowledged":
                assert attempts.count("delivered") == 1
                assert received == 1
                assert not refused
            elif end == "unknown":
                assert "delivered" not in attempts
                assert received <= 1
            else:
                assert "delivered" not in attempts
                assert received == 0
                assert end in ("", "seen", "suppressed", "expired")
                # what has no other end was refused until it expired
                assert end or set(attempts) <= {"rejected", "retryable"}
                assert end or attempts
            ends[end or ("refused" if refused else "too late")] += 1
    finally:
        ledger.close()
    print(f"\n{len(decided)} of {len(history)} decided to be sent: {dict(ends)}")
    assert sum(ends.values()) == len(decided)
    assert ends["acknowledged"] > 10
    mails = days.sandbox._store.rows("select message_id from mails")
    assert len(mails) == len({row[0] for row in mails})
