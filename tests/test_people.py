"""A person is erased everywhere by one request and does not come back; and can be explained."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reverse_etl.errors import BusyError, UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import ALERTED, CONTACT_PROFILES, MAILED, SmallProject

ADDRESS, CONTACT = "p7@customer.example", "c_7"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, shared: Sandbox) -> SmallProject:
    """Contacts in HubSpot, a list and the outbox; mails sent; alerts about contacts."""
    shared.reset()
    project = SmallProject(tmp_path, shared)
    project.run(
        "create table marts.contacts as select 'c_' || i as contact_id, 'cus_' || i as customer_id,"
        " 'p' || i || '@customer.example' as email, 'operator' as role from range(1, 30) as t(i)"
    )
    project.run(
        "create table marts.customers as select 'cus_' || i as customer_id, 'Customer ' || i as"
        " customer_name, 10.00::decimal(18, 2) as mrr from range(1, 30) as t(i)"
    )
    project.run(
        "create schema raw_crm; create table raw_crm.contact as"
        " select 'P7@Customer.example' as email, 1 as id"
    )
    build(project, 0)
    project.apply()
    build(project, 9)
    project.apply()
    return project


def build(project: SmallProject, events: int) -> None:
    project.contacts(29)
    both = CONTACT_PROFILES | {"destinations": ["hubspot", "outbox"]}
    project.declare("marts", "contact_profiles", both)
    project.champions(*range(1, 20))
    project.episodes("trg_feature_unused", MAILED, events)
    project.episodes("trg_health_dropped", ALERTED, events)
    project.nodes["source.x.raw_crm.contact"] = {
        "resource_type": "source",
        "source_name": "raw_crm",
        "schema": "raw_crm",
        "name": "contact",
    }
    for name in ("contacts", "customers"):
        project.nodes[f"model.x.{name}"] = {
            "resource_type": "model",
            "name": name,
            "schema": "marts",
            "original_file_path": f"{name}.sql",
        }
    project.write_manifest()


def everything(project: SmallProject) -> str:
    """All that this system wrote, as text: ledger, files, warehouse."""
    found = [path for path in (project.root / "data").rglob("*") if path.is_file()]
    text = "".join(
        path.read_bytes().decode(errors="replace") for path in found if "warehouse" not in path.name
    )
    import duckdb

    with duckdb.connect(str(project.warehouse)) as connection:
        for (table,) in connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables()"
            " where schema_name <> 'raw_crm'"
        ).fetchall():
            text += str(connection.execute(f"select * from {table}").fetchall())
    return text


@pytest.mark.parametrize("who", [ADDRESS, ADDRESS.upper(), CONTACT])
def test_one_request_removes_a_person_everywhere(
    project: SmallProject, shared: Sandbox, who: str
) -> None:
    assert ADDRESS in everything(project)
    request_id, receipts = project.engine.erase(who)
    hops = {receipt.hop: receipt for receipt in receipts}
    assert {"hubspot", "outbox", "smtp", "webhook", "ledger", "tombstone"} <= hops.keys()
    assert all(receipt.is_done for receipt in receipts)
    assert hops["source raw_crm.contact"].outcome == "elsewhere"
    assert hops["warehouse contact_profiles"].message == "1 rows"

    left = everything(project)
    assert ADDRESS not in left.lower()
    assert f'"{CONTACT}"' not in left
    assert f"'{CONTACT}'" not in left
    assert "p17@customer.example" in left  # who is named alike stays
    assert "'c_17'" in left
    records = [row[0] for row in shared._store.rows("select properties from records")]
    assert len(records) == 28
    assert not any(json.loads(record)["contact_id"] == CONTACT for record in records)
    assert shared.counts()["hubspot"]["lists"] == {"Champions": 18}
    stored = [row[0] for row in shared._store.rows("select body from webhooks")]
    assert not any(ADDRESS in body for body in stored)
    kept = project.ledger.people
    assert request_id.startswith("erase-")
    assert kept.tombstones()


def test_who_was_erased_does_not_come_back_with_the_next_load(
    project: SmallProject, shared: Sandbox
) -> None:
    project.engine.erase(ADDRESS)
    build(project, 12)  # the loaders still have them
    project.run("update triggers.trg_feature_unused set event_id = event_id || '-again'")
    project.run("update triggers.trigger_decisions set event_id = event_id || '-again'")
    plans = project.plan()
    assert plans["hubspot/contact_profiles"].erased == 1
    assert plans["hubspot/seg_champions"].erased == 1
    assert plans["smtp/trg_feature_unused"].erased == 1
    project.apply()
    assert shared.counts()["hubspot"]["contacts"] == 28
    assert shared.counts()["hubspot"]["lists"] == {"Champions": 18}
    to = [row[0] for row in shared._store.rows("select recipients from mails")]
    assert to.count(f'["{ADDRESS}"]') == 1  # of before


def test_a_tool_out_of_order_is_told_and_the_request_can_be_made_again(
    project: SmallProject, shared: Sandbox
) -> None:
    project.write_destinations(shared, webhook={"base_url": "http://127.0.0.1:9/webhook"})
    _, receipts = project.engine.erase(ADDRESS)
    states = {receipt.hop: receipt.outcome for receipt in receipts}
    assert (states["webhook"], states["hubspot"]) == ("retryable", "delivered")
    project.write_destinations(shared)
    _, receipts = project.engine.erase(ADDRESS)
    assert all(receipt.is_done for receipt in receipts)


def test_nobody_is_erased_while_something_is_pushed(project: SmallProject) -> None:
    with (
        project.ledger.lock("hubspot/contact_profiles"),
        pytest.raises(BusyError),
    ):
        project.engine.erase(ADDRESS)


def test_a_person_is_explained_from_facts_to_the_tools_answer(project: SmallProject) -> None:
    project.run(
        "create schema intermediate; create table intermediate.int_usage__daily as"
        " select 'c_7' as contact_id, date '2026-10-27' as usage_date, 'report' as event_name,"
        " 3 as uses"
    )
    project.run(
        "create table intermediate.int_customer_measures__scored as select 'cus_7' as customer_id,"
        " date '2026-10-28' as as_of_date, 'active_days' as measure, 12 as raw_value, 60 as points"
    )
    project.run(
        "create table marts.customer_health_history as select 'cus_7' as customer_id,"
        " date '2026-10-28' as as_of_date, 61.50 as health_score, 'watch' as health_band,"
        " 3 as rules_version"
    )
    project.run("alter table triggers.trigger_decisions add column contact_id varchar")
    project.run(
        "update triggers.trigger_decisions set contact_id = 'c_7' where event_id like '%-7'"
    )
    project.run("update marts.contact_profiles set health_band = 'red' where contact_id = 'c_7'")
    project.ledger.suppress(CONTACT, "unsubscribed", "the footer's link")
    for who in (ADDRESS, CONTACT):
        told = {s.title: " | ".join(s.lines) for s in project.engine.explain(who)}
        assert "Customer 7" in told["Who"]
        assert "must not be contacted: unsubscribed, said the footer's link" in told["Who"]
        assert "used the product: usage date 2026-10-27, event name report" in told["Raw facts"]
        assert "measure active_days, raw value 12, points 60" in told["Measures"]
        assert "health score 61.50, health band watch" in told["Health and stage"]
        assert told["Segments"] == "in seg_champions (hubspot): reason uses it daily"
        assert "decision send" in told["Decisions"]
        assert "hubspot/contact_profiles: change" in told["Plan"]
        assert "smtp/trg_feature_unused: acknowledged since" in told["What the tools have"]
        assert "attempt 1: delivered (250)" in told["Deliveries"]
        assert "hubspot/seg_champions add, attempt 1: delivered" in told["Deliveries"]
        assert ADDRESS not in str(told)
    told = {s.title: " | ".join(s.lines) for s in project.engine.explain("Customer 7")}
    assert told["Segments"] == "nothing"


def test_nobody_and_the_erased_are_told_apart(project: SmallProject) -> None:
    with pytest.raises(UserError, match="Nobody is known"):
        project.engine.explain("nobody@customer.example")
    project.engine.erase(ADDRESS)
    with pytest.raises(UserError, match="They were erased"):
        project.engine.explain(ADDRESS)
