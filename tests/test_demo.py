"""``make demo`` from a fresh clone: real dbt, DuckDB, Dagster, and sockets into the sandbox."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests

from orchestration.pictures import PICTURES
from tests.conftest import ROOT, ProjectCopy
from tests.dbt_run import run_dbt, this_project


@dataclass(frozen=True)
class Demo:
    """The demo as it was run, and what the sandbox held afterwards."""

    project: ProjectCopy
    first: subprocess.CompletedProcess[str]
    received: dict[str, Any]


@pytest.fixture(scope="module")
def demo(project_copy: ProjectCopy) -> Demo:
    """The first run."""
    first = project_copy.demo()
    assert first.returncode == 0, first.stdout + first.stderr
    return Demo(project_copy, first, received_by_the_tools(project_copy))


def received_by_the_tools(project: ProjectCopy) -> dict[str, Any]:
    url = f"http://127.0.0.1:{project.http_port}/_sandbox/counts"
    counts: dict[str, Any] = requests.get(url, timeout=10).json()
    return counts


def truth(project: ProjectCopy) -> list[dict[str, str]]:
    with (project.root / "seeds/truth/customers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_first_day_is_a_baseline_and_says_that_it_is_exempt_from_the_share(demo: Demo) -> None:
    assert "2026-10-27, a silent baseline" in demo.first.stdout
    assert "exempt from the budget by share" in demo.first.stdout


def test_ends_with_stages_bands_syncs_and_the_pages_to_open(demo: Demo) -> None:
    for words in ("onboarding", "healthy", "hubspot/seg_champions", "make ui"):
        assert words in demo.first.stdout
    assert f"http://127.0.0.1:{demo.project.http_port}" in demo.first.stdout


def test_the_tools_hold_contacts_lists_events_alerts_and_mails_in_both_languages(
    demo: Demo,
) -> None:
    hubspot, mails = demo.received["hubspot"], demo.received["smtp"]
    assert hubspot["contacts"] > 2_000
    assert hubspot["companies"] == len(demo.project.query("from marts.customers"))
    members: Counter[str] = Counter()
    for name, size in hubspot["lists"].items():
        members[name.split(": ")[0]] += size
    segments = (ROOT / "dbt_project/models/segments").glob("*.sql")
    assert set(members) == {re.findall(r'"list": "(.+)"', file.read_text())[0] for file in segments}
    assert all(members.values())
    assert {"Renewal window: operators", "Renewal window: decision makers"} <= set(hubspot["lists"])
    assert sum(hubspot["events"].values()) > 0
    assert demo.received["webhook"]["received"] > 0
    assert mails["by_language"]["ja"] > 0
    assert mails["by_language"]["en"] > 0


def test_no_tool_was_spoken_to_in_a_way_its_vendor_forbids(demo: Demo) -> None:
    assert demo.received["hubspot"]["violations"] == 0
    assert demo.received["webhook"]["violations"] == 0
    assert demo.received["hubspot"]["events_dropped"] == 0


def with_members(received: Any) -> Any:
    """A count as it is; of counts by name those that are not zero."""
    if not isinstance(received, dict):
        return received
    return {name: count for name, count in received.items() if count}


def test_the_status_agrees_with_the_tools_own_counts(demo: Demo) -> None:
    told = demo.project.json("status")["destinations"]
    for destination, totals in told.items():
        for name, count in totals.items():
            if destination in demo.received:
                # a list that everybody has left since stands in the tool, empty
                received = demo.received[destination][name]
                assert with_members(received) == with_members(count), (destination, name)
    assert {"hubspot", "smtp", "webhook"} <= set(told)


def test_a_plan_in_a_bare_shell_finds_nothing_to_change(demo: Demo) -> None:
    plans = demo.project.json("plan")
    declared = (demo.project.root / "dbt_project/models").rglob("*.sql")
    assert {plan["model"] for plan in plans} == {
        file.stem for file in declared if '"sync": {' in file.read_text()
    }
    for plan in plans:
        assert (plan["adds"], plan["changes"], plan["removes"]) == (0, 0, 0), plan
        assert plan["held"] is False
        assert plan["sync"] == f"{plan['destination']}/{plan['model']}"


def test_every_customer_ever_subscribed_is_there_once_with_stage_and_band(demo: Demo) -> None:
    real = [row for row in truth(demo.project) if row["is_internal"] != "true"]
    ours = {row["stripe_customer_id"] for row in real}
    rows = demo.project.query("select customer_id, journey_stage, health_band from marts.customers")
    assert len(rows) == len({customer for customer, _, _ in rows})
    assert {customer for customer, _, _ in rows} == ours
    assert all(None not in row for row in rows)


def test_every_customer_is_linked_to_its_own_records(demo: Demo) -> None:
    real = [row for row in truth(demo.project) if row["is_internal"] != "true"]
    rows = demo.project.query(
        "select customer_id, workspace_id, hubspot_company_id from marts.customers"
    )
    names = ("stripe_customer_id", "workspace_id", "hubspot_company_id")
    assert set(rows) == {tuple(row[name] for name in names) for row in real}


def test_no_contact_stands_under_the_wrong_customer(demo: Demo) -> None:
    with (demo.project.root / "seeds/truth/identity.csv").open(newline="") as file:
        owner = {row["email"]: row["stripe_customer_id"] for row in csv.DictReader(file)}
    rows = demo.project.query("select email, customer_id from marts.contacts")
    assert len(rows) > 2_000
    assert [row for row in rows if owner.get(row[0], row[1]) != row[1]] == []


def test_churned_customers_are_those_who_really_left(demo: Demo) -> None:
    """The truth's churn is a paying customer's last day; lapsed trials end as churned too."""
    real = truth(demo.project)
    left = {row["stripe_customer_id"] for row in real if row["churned_at"]}
    rows = demo.project.query(
        "select customer_id from marts.customer_journey"
        " where journey_stage = 'churned' and not is_lapsed_trial"
    )
    found = {customer for (customer,) in rows}
    returned = {row["stripe_customer_id"] for row in real if row["archetype"] == "reactivated"}
    assert found - returned == left - returned


def test_each_trigger_reached_only_those_the_decisions_say(demo: Demo) -> None:
    rows = demo.project.query(
        "select trigger_name, count(*) from triggers.trigger_decisions"
        " where decision = 'send' and occurred_at = timestamp '2026-10-28' group by 1"
    )
    new = dict(rows)
    assert demo.received["smtp"]["mails"] == new["feature_unused"]
    assert demo.received["webhook"]["received"] == new["health_dropped"]
    assert sum(demo.received["hubspot"]["events"].values()) == new["onboarding_low_usage"]


def test_decisions_and_deliveries_of_triggers_agree_row_by_row(demo: Demo) -> None:
    rows = demo.project.query(
        "select event_id from triggers.trigger_decisions_history where decision = 'send'"
    )
    decided = {event for (event,) in rows}
    assert len(decided) == len(rows)
    with sqlite3.connect(demo.project.root / "data/ledger.db") as ledger:
        of_triggers = "sync like '%/trg\\_%' escape '\\'"
        delivered = [
            event
            for (event,) in ledger.execute(
                f"select key from deliveries where status = 'delivered' and {of_triggers}"
            )
        ]
        states = dict(ledger.execute(f"select key, state from acknowledged where {of_triggers}"))
    assert len(delivered) > 20
    assert Counter(delivered) == Counter(k for k, state in states.items() if state != "seen")
    assert set(delivered) <= decided
    # what was decided on the day of the baseline is known and not sent
    assert {states[event] for event in decided - set(delivered)} <= {"seen"}


def test_nobody_who_may_not_be_mailed_got_a_mail(demo: Demo) -> None:
    with sqlite3.connect(demo.project.root / "data/sandbox.db") as inbox:
        mailed = {
            address
            for (recipients,) in inbox.execute("select recipients from mails")
            for address in json.loads(recipients)
        }
    rows = demo.project.query("select email, may_be_mailed from marts.contacts")
    allowed = {email for email, may_be_mailed in rows if may_be_mailed}
    assert mailed
    assert len(allowed) < len(rows) - 100, "the sample has people who may not be written to"
    assert mailed <= allowed


def test_dagster_knows_the_rows_of_each_table_and_the_outcome_of_each_sync(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # dagster.yaml keeps its state under .dagster of the folder that Dagster runs in
    monkeypatch.chdir(demo.project.root)
    instance = dg.DagsterInstance.from_config(str(demo.project.root))
    with instance:
        champions = latest(instance, "syncs", "hubspot", "seg_champions")
        customers = latest(instance, "marts", "customers")
        raw = latest(instance, "raw_stripe", "customer")
    assert champions.metadata["rejected"].value == 0
    assert champions.metadata["held"].value is False
    rows = demo.project.query("select count(*) from marts.customers")[0][0]
    assert customers.metadata["dagster/row_count"].value == rows
    assert raw.metadata["dagster/row_count"].value > rows


def test_what_was_measured_is_shown_as_pictures(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.project.root)
    with dg.DagsterInstance.from_config(str(demo.project.root)) as instance:
        for one in PICTURES:
            told = latest(instance, "pictures", one.name).metadata
            assert "](data:image/svg+xml;base64," in str(told["picture"].value), one.name
            if one.name != "trigger_lift":
                assert told["rows"].value > 0, one.name


def test_the_tools_were_asked_what_they_know_of_people(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.project.root)
    with dg.DagsterInstance.from_config(str(demo.project.root)) as instance:
        told = latest(instance, "feedback", "pulled").metadata
    kept = demo.project.query("select count(*) from raw_activation.feedback")
    assert told["new"].value == kept[0][0]


def latest(instance: dg.DagsterInstance, *path: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(path))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_every_unit_test_of_the_models_passes_on_a_warehouse_that_remembers_its_past(
    demo: Demo, tmp_path: Path
) -> None:
    """They need the tables of a build, and must not read what stands in them."""
    run_dbt(
        demo.project.root / "dbt_project",
        demo.project.root / "data/warehouse.duckdb",
        "test",
        "--select",
        "test_type:unit",
        day="2026-10-28",
        target=tmp_path,
        manifest=this_project(),
    )


def test_a_second_run_skips_the_baseline_and_sends_nothing(demo: Demo) -> None:
    second = demo.project.demo()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "a silent baseline" not in second.stdout
    assert "Nothing new was sent" in second.stdout
    again = received_by_the_tools(demo.project)
    for tool in ("smtp", "webhook"):
        assert again[tool] == demo.received[tool]
    for what in ("contacts", "companies", "lists", "events"):
        assert again["hubspot"][what] == demo.received["hubspot"][what]


def test_files_with_data_are_for_their_owner_alone(demo: Demo) -> None:
    for name in ("ledger.db", "sandbox.db"):
        assert Path(demo.project.root, "data", name).stat().st_mode & 0o077 == 0, name
