"""Runs of the whole engine: real DuckDB, real SQLite, the sandbox over sockets."""

import sqlite3
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests

from reverse_etl.errors import BusyError, UserError
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.status import read_status
from tests.small_project import (
    ALERTED,
    AUTOMATED,
    CHAMPIONS,
    CUSTOMER_PROFILES,
    MAILED,
    PORTAL,
    SmallProject,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> SmallProject:
    return SmallProject(tmp_path, sandbox)


def rows(sandbox: Sandbox, query: str) -> list[Any]:
    return [tuple(row) for row in sandbox._store.rows(query)]


def everything(project: SmallProject, events: int) -> None:
    project.contacts(30)
    project.champions(1, 2, 3)
    project.episodes("trg_feature_unused", MAILED, events)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, events)
    project.episodes("trg_health_dropped", ALERTED, events)


def changes(project: SmallProject) -> int:
    return sum(plan.size for plan in project.plan().values())


def test_a_first_run_fills_and_fires_nothing_and_the_next_fires_what_is_new(
    project: SmallProject, sandbox: Sandbox
) -> None:
    everything(project, 4)
    first = project.apply()
    assert all(result.baseline and result.is_clean for result in first.values())
    counts = sandbox.counts()
    assert (counts["hubspot"]["contacts"], counts["hubspot"]["lists"]) == (30, {"Champions": 3})
    assert (counts["hubspot"]["events"], counts["smtp"]["mails"]) == ({}, 0)
    assert counts["webhook"]["received"] == 0

    everything(project, 10)
    second = project.apply()
    assert {r.sync: r.delivered for r in second.values() if r.delivered} == {
        "hubspot/trg_onboarding_low_usage": 6,
        "smtp/trg_feature_unused": 6,
        "webhook/trg_health_dropped": 6,
    }
    counts = sandbox.counts()
    assert counts["hubspot"]["events"] == {f"pe{PORTAL}_onboarding_low_usage": 6}
    assert counts["smtp"]["by_language"] == {"en": 3, "ja": 3}
    assert counts["webhook"]["by_type"] == {"trigger.health_dropped": 6}
    assert counts["hubspot"]["violations"] == 0

    assert changes(project) == 0
    assert all(result.planned == 0 for result in project.apply().values())
    assert sandbox.counts()["smtp"]["mails"] == 6


def test_the_status_agrees_with_what_the_tools_count(
    project: SmallProject, sandbox: Sandbox
) -> None:
    everything(project, 2)
    project.apply()
    everything(project, 5)
    project.apply()
    totals, counts = read_status(project.settings)["destinations"], sandbox.counts()
    for name in ("contacts", "companies", "lists", "events"):
        assert totals["hubspot"][name] == counts["hubspot"][name]
    for name in ("mails", "by_sync"):
        assert totals["smtp"][name] == counts["smtp"][name]
    for name in ("received", "by_type"):
        assert totals["webhook"][name] == counts["webhook"][name]


def test_only_a_changed_row_travels(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(30)
    project.apply()
    project.run("update marts.contact_profiles set health_band = 'red' where contact_id = 'c_7'")
    plan = project.plan()["hubspot/contact_profiles"]
    assert (plan.adds, plan.changes, plan.removes, plan.unchanged) == (0, 1, 0, 29)
    assert project.apply()["hubspot/contact_profiles"].delivered == 1
    found = rows(sandbox, "select properties from records where properties like '%\"red\"%'")
    assert len(found) == 1


def test_a_removed_member_leaves_and_members_of_others_stay(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(30)
    project.champions(1, 2, 3)
    project.apply()
    [(list_id,)] = rows(sandbox, "select id from lists")
    [(foreign,)] = rows(sandbox, "select id from records where properties like '%\"c_9\"%'")
    headers = {"Authorization": "Bearer sandbox-token"}
    url = f"{sandbox.http_url}/hubspot/crm/lists/2026-09/{list_id}/memberships/add"
    requests.put(url, json=[str(foreign)], headers=headers, timeout=5).raise_for_status()

    project.champions(2, 3, 4)
    plan = project.plan()["hubspot/seg_champions"]
    assert (plan.adds, plan.removes, plan.unchanged) == (1, 1, 2)
    project.apply()
    members = rows(
        sandbox,
        "select json_extract(properties, '$.contact_id') from memberships"
        " join records on records.id = record_id order by 1",
    )
    assert members == [("c_2",), ("c_3",), ("c_4",), ("c_9",)]


def test_a_reason_that_changes_moves_no_member(project: SmallProject) -> None:
    project.contacts(5)
    project.champions(1, 2)
    project.apply()
    project.run("update segments.seg_champions set reason = 'other words'")
    assert project.plan()["hubspot/seg_champions"].size == 0


def test_a_group_key_makes_a_list_per_value(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(5)
    project.champions(1, 2, 3, group_key="language")
    project.apply()
    lists = sandbox.counts()["hubspot"]["lists"]
    assert lists == {"Champions: en": 2, "Champions: ja": 1}
    project.run("update segments.seg_champions set language = 'ja' where contact_id = 'c_1'")
    project.apply()
    lists = sandbox.counts()["hubspot"]["lists"]
    assert lists == {"Champions: en": 1, "Champions: ja": 2}
    assert read_status(project.settings)["destinations"]["hubspot"]["lists"] == lists


def test_customers_are_companies_and_can_be_cleared_or_archived(
    project: SmallProject, sandbox: Sandbox
) -> None:
    select = (
        "select 'cus_' || i as customer_id, '株式会社' || i as name, 12.50::decimal(18, 2) as mrr,"
        " date '2027-01-31' as renewal_date, 10 as seats_bought from range(1, 4) as t(i)"
    )
    sync = CUSTOMER_PROFILES | {"on_removal": "clear", "budget": {"share": 1.0}}
    project.model("marts", "customer_profiles", sync, select)
    assert project.apply()["hubspot/customer_profiles"].delivered == 3
    project.run("delete from marts.customer_profiles where customer_id = 'cus_1'")
    assert project.apply()["hubspot/customer_profiles"].delivered == 1
    [(cleared,)] = rows(sandbox, "select properties from records where properties like '%cus_1%'")
    assert "mrr" not in cleared
    sync = CUSTOMER_PROFILES | {"mode": "mirror"}
    project.model("marts", "customer_profiles", sync, f"{select} where i > 2")
    assert project.apply()["hubspot/customer_profiles"].delivered == 1
    assert sandbox.counts()["hubspot"]["companies"] == 2


def test_only_what_was_decided_to_be_sent_is_sent(project: SmallProject, sandbox: Sandbox) -> None:
    project.episodes("trg_health_dropped", ALERTED, 1)
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 5, decision="no_consent")
    assert project.apply()["webhook/trg_health_dropped"].planned == 0
    project.episodes("trg_health_dropped", ALERTED, 5)
    assert project.apply()["webhook/trg_health_dropped"].delivered == 4


def test_a_baseline_sees_events_that_were_not_decided_to_be_sent(project: SmallProject) -> None:
    project.episodes("trg_health_dropped", ALERTED, 5, decision="outranked")
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 6)
    assert project.apply()["webhook/trg_health_dropped"].delivered == 1


def test_nobody_suppressed_since_the_decision_is_reached(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    project.episodes("trg_feature_unused", MAILED, 4)
    project.ledger.suppress("P2@Customer.Example", "unsubscribed", "test")
    project.ledger.suppress("c_3", "complained", "test")
    result = project.apply()["smtp/trg_feature_unused"]
    assert (result.delivered, result.suppressed) == (2, 2)
    recipients = {to for (to,) in rows(sandbox, "select recipients from mails")}
    assert recipients == {'["p1@customer.example"]', '["p4@customer.example"]'}
    assert changes(project) == 0


def test_one_bad_row_is_isolated_told_in_the_tools_words_and_comes_back(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(250)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_77'")
    result = project.apply()["hubspot/contact_profiles"]
    assert (result.delivered, result.rejected) == (249, 1)
    [letter] = project.ledger.dead_letters("hubspot/contact_profiles").to_pylist()
    assert letter["key"] == "c_77"
    assert "INVALID_EMAIL" in letter["message"]
    plan = project.plan()["hubspot/contact_profiles"]
    assert (plan.size, plan.waiting) == (0, 1)
    project.now += timedelta(minutes=16)
    assert project.plan()["hubspot/contact_profiles"].retrying == 1
    project.run(
        "update marts.contact_profiles set email = 'p77@customer.example' where contact_id = 'c_77'"
    )
    assert project.apply()["hubspot/contact_profiles"].delivered == 1
    assert changes(project) == 0


def test_a_batch_refused_as_a_whole_is_halved_until_the_bad_row_stands_alone(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(40)
    project.run("update marts.contact_profiles set contact_id = 'C_5' where contact_id = 'c_6'")
    # Ids that differ by case only are one id for HubSpot, which then refuses the whole batch.
    result = project.apply()["hubspot/contact_profiles"]
    assert result.delivered + result.rejected == 40
    assert result.rejected <= 1


def test_a_limit_is_respected_without_one_refusal(tmp_path: Path) -> None:
    from reverse_etl.sandbox.vendor import RateLimit

    limits = {"hubspot": RateLimit(calls=12, window_seconds=1.0)}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        project = SmallProject(tmp_path / "project", sandbox)
        project.contacts(3000)
        result = project.apply()["hubspot/contact_profiles"]
        counts = sandbox.counts()
    assert result.delivered == 3000
    assert (counts["hubspot"]["contacts"], counts["hubspot"]["violations"]) == (3000, 0)
    assert result.seconds < 4  # 31 calls at 12 a second


FAULTS = [
    {"kind": "status", "value": 503, "times": 2},
    {"kind": "status", "value": 429, "times": 1},
    {"kind": "reset_before", "times": 2},
    {"kind": "reset_after", "times": 2},
    {"kind": "truncate", "times": 1},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('value')}")
def test_a_passing_fault_loses_and_doubles_nothing(
    project: SmallProject, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    project.episodes("trg_health_dropped", ALERTED, 0)
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 8)
    armed = requests.post(
        f"{sandbox.http_url}/_sandbox/faults", json={"vendor": "webhook", **fault}, timeout=5
    )
    assert armed.ok, armed.text
    for _ in range(3):
        project.apply()
    assert sandbox.counts()["webhook"]["received"] == 8
    assert changes(project) == 0


def test_a_dead_destination_stops_no_other(project: SmallProject, sandbox: Sandbox) -> None:
    everything(project, 0)
    project.write_destinations(sandbox, webhook={"base_url": "http://127.0.0.1:9/webhook"})
    project.apply()
    everything(project, 5)
    results = project.apply()
    assert results["webhook/trg_health_dropped"].error
    assert results["webhook/trg_health_dropped"].delivered == 0
    assert results["smtp/trg_feature_unused"].delivered == 5
    project.write_destinations(sandbox)
    assert project.apply()["webhook/trg_health_dropped"].delivered == 5


def test_wrong_credentials_stop_the_destination_with_the_tools_words(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(3)
    project.write_destinations(sandbox, hubspot={"credentials": {"access_token": "wrong-secret"}})
    result = project.apply()["hubspot/contact_profiles"]
    assert "not valid or has expired" in result.error
    assert "wrong-secret" not in str(result)


def test_a_held_plan_sends_nothing_until_that_very_plan_is_approved(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(40)
    project.champions(*range(1, 31))
    project.apply()
    project.champions(*range(1, 11))
    held = project.apply()["hubspot/seg_champions"]
    assert (held.held, held.delivered) == (True, 0)
    assert sandbox.counts()["hubspot"]["lists"] == {"Champions": 30}
    plan = project.plan()["hubspot/seg_champions"]
    project.engine.approve(plan.id, "somebody")
    assert project.apply()["hubspot/seg_champions"].delivered == 20
    assert sandbox.counts()["hubspot"]["lists"] == {"Champions": 10}


def test_a_mistake_in_one_sync_stops_all_before_anything_is_sent(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(3)
    project.model("segments", "seg_bad", CHAMPIONS, "select 'c_1' as contact_id from range(2)")
    with pytest.raises(UserError, match="c_1 occurs 2 times"):
        project.apply()
    project.declare("segments", "seg_bad", CHAMPIONS | {"key": "nope"})
    with pytest.raises(UserError, match=r"seg_bad.sql: meta.sync.key"):
        project.apply()
    assert sandbox.counts()["hubspot"]["requests"] == 0


def test_an_unset_credential_stops_apply_and_not_plan(
    project: SmallProject, sandbox: Sandbox
) -> None:
    everything(project, 0)
    project.apply()
    everything(project, 3)
    project.contacts(31)
    project.write_destinations(sandbox, webhook={"credentials": {"secret": "${NO_SUCH_SECRET}"}})
    assert changes(project) == 10
    with pytest.raises(UserError, match="NO_SUCH_SECRET is not set"):
        project.apply()
    assert sandbox.counts()["smtp"]["mails"] == 0
    assert sandbox.counts()["hubspot"]["contacts"] == 30


def test_what_the_tool_lacks_is_named_with_where_to_create_it(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(3)
    project.run("alter table marts.contact_profiles add column favourite_colour varchar")
    with pytest.raises(UserError, match=r"no property favourite_colour. Create under HubSpot: Set"):
        project.apply()
    assert sandbox.counts()["hubspot"]["contacts"] == 0


def test_a_lost_ledger_is_a_first_run(project: SmallProject, sandbox: Sandbox) -> None:
    everything(project, 3)
    project.apply()
    for file in (project.root / "data").glob("ledger.db*"):
        if file.is_file():
            file.unlink()
    everything(project, 6)
    project.apply()
    assert sandbox.counts()["smtp"]["mails"] == 0
    assert sandbox.counts()["webhook"]["received"] == 0


def test_another_portal_is_a_first_run_too(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(3)
    project.apply()
    project.write_destinations(sandbox, hubspot={"options": {"portal_id": "2"}})
    plan = project.plan()["hubspot/contact_profiles"]
    assert (plan.baseline, plan.adds) == (True, 3)


def test_a_sync_that_is_being_pushed_is_left_to_that_process(project: SmallProject) -> None:
    project.contacts(3)
    with project.ledger.lock("hubspot/contact_profiles"), pytest.raises(BusyError):
        project.apply()


def test_an_outcome_nobody_knows_is_never_repeated_by_mail_and_is_shown(
    project: SmallProject,
) -> None:
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    project.episodes("trg_feature_unused", MAILED, 2)
    # The process died after this intent, and before the server's answer was written down.
    project.ledger.intend(
        "run", "smtp/trg_feature_unused", [("trg_feature_unused-1", "add", "")], 1
    )
    plan = project.plan()["smtp/trg_feature_unused"]
    assert (plan.adds, plan.unknown) == (1, 1)
    assert project.apply()["smtp/trg_feature_unused"].delivered == 1
    [status] = read_status(project.settings)["syncs"]
    assert (status["acknowledged"], status["unknown"]) == (1, 1)


def test_a_missing_warehouse_or_model_tells_what_to_run(project: SmallProject) -> None:
    project.contacts(3)
    project.run("drop table marts.contact_profiles")
    with pytest.raises(UserError, match=r"contact_profiles.sql: .*dbt build"):
        project.plan()
    project.warehouse.unlink()
    with pytest.raises(UserError, match="make demo"):
        project.plan()


def test_a_reader_waits_for_the_builder_of_the_warehouse(project: SmallProject) -> None:
    project.contacts(3)
    script = (
        f"import duckdb, time; c = duckdb.connect({str(project.warehouse)!r});"
        " print('open', flush=True); time.sleep(0.8)"
    )
    import subprocess
    import sys

    builder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "open\n"
    assert project.plan()["hubspot/contact_profiles"].adds == 3
    builder.wait()


def test_the_warehouse_is_free_while_a_push_runs(project: SmallProject) -> None:
    project.contacts(200)
    project.engine  # noqa: B018
    written = threading.Event()

    def build(_: object) -> None:
        with duckdb.connect(str(project.warehouse)) as connection:
            connection.execute("create or replace table marts.scratch as select 1 as a")
        written.set()

    project.engine.apply(None, build)
    assert written.is_set()


def test_payloads_and_secrets_are_not_in_the_ledger(project: SmallProject) -> None:
    project.contacts(3)
    project.apply()
    content = b"".join(
        p.read_bytes() for p in (project.root / "data").glob("ledger.db*") if p.is_file()
    )
    assert b"c_1" in content
    for canary in (b"customer.example", "山田".encode(), b"sandbox-token"):
        assert canary not in content
    with sqlite3.connect(project.root / "data/ledger.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
