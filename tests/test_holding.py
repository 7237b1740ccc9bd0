"""What is held and why, what a person sees of it, and how it is released: to the very row."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import ALERTED, CONTACT_PROFILES, MAILED, SmallProject

CHAMPIONS = "hubspot/seg_champions"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, shared: Sandbox) -> SmallProject:
    shared.reset()
    return SmallProject(tmp_path, shared)


def held_champions(project: SmallProject) -> str:
    """Thirty members, of whom twenty are to go: beyond the budget. The plan's id."""
    project.contacts(40)
    project.champions(*range(1, 31))
    project.apply()
    project.champions(*range(1, 11))
    plan = project.plan()[CHAMPIONS]
    assert (plan.held, plan.removes) == (True, 20)
    return plan.id


def test_what_is_approved_is_that_very_plan_and_no_other(project: SmallProject) -> None:
    plan_id = held_champions(project)
    project.engine.approve(plan_id, "somebody")
    project.champions(*range(1, 10))  # one more is to go
    assert project.apply()[CHAMPIONS].held
    with pytest.raises(UserError, match="have changed since"):
        project.engine.approve(plan_id, "somebody")


def test_an_approval_is_used_up_by_what_it_was_for(project: SmallProject, shared: Sandbox) -> None:
    project.engine.approve(held_champions(project), "somebody")
    assert project.apply()[CHAMPIONS].delivered == 20
    project.champions(*range(1, 31))
    project.apply()
    project.champions(*range(1, 11))  # the same removals again
    assert project.apply()[CHAMPIONS].held


def test_the_rest_of_an_approved_plan_needs_no_second_approval(project: SmallProject) -> None:
    project.engine.approve(held_champions(project), "somebody")
    # As after a crash: a part has been carried out.
    done = project.engine.apply(only={CHAMPIONS: ["c_11", "c_12", "c_13"]})
    assert [result.delivered for result in done] == [3]
    rest = project.plan()[CHAMPIONS]
    assert (rest.held, rest.removes) == (False, 17)
    assert rest.reason.startswith("approved although")
    assert project.apply()[CHAMPIONS].delivered == 17


def test_apply_does_exactly_the_plan_that_was_seen_or_nothing(
    project: SmallProject, shared: Sandbox
) -> None:
    project.contacts(10)
    project.champions(1, 2)
    seen = project.plan()["hubspot/contact_profiles"].id
    project.contacts(11)
    with pytest.raises(UserError, match=f"plan {seen}"):
        project.engine.apply(plans=[seen])
    assert shared.counts()["hubspot"]["contacts"] == 0
    seen = project.plan()["hubspot/contact_profiles"].id
    [result] = project.engine.apply(plans=[seen])
    assert (result.sync, result.delivered) == ("hubspot/contact_profiles", 11)
    assert shared.counts()["hubspot"]["lists"] == {}


def test_samples_show_what_is_described_and_not_personal(project: SmallProject) -> None:
    project.contacts(10)
    node = project.nodes["model.customer_success.contact_profiles"]
    node["columns"] = {
        "email": {"tags": ["pii"]},
        "firstname": {"config": {"tags": ["pii"]}},
        "health_band": {"tags": []},
    }
    project.write_manifest()
    [plan] = [plan.as_dict() for plan in project.engine.plan()]
    assert len(plan["samples"]) == 3
    for sample in plan["samples"]:
        values = sample["values"]
        assert (values["health_band"], values["email"], values["firstname"]) == (
            *("green", "***", "***"),
        )
        assert values["lastname"] == "***"  # described nowhere
        assert values["contact_id"] == sample["key"]
    assert "customer.example" not in str(plan)


def test_a_budget_of_revenue_counts_each_customer_once(project: SmallProject) -> None:
    project.run(
        "create table marts.customers as select 'cus_' || i as customer_id,"
        " 100.00::decimal(18, 2) as mrr from range(1, 100) as t(i)"
    )
    project.run(
        "create table marts.contacts as select 'c_' || i as contact_id,"
        " 'cus_' || (i + i % 2) as customer_id from range(1, 60) as t(i)"
    )
    project.contacts(60)
    project.champions(*range(1, 51), budget={"share": 1.0, "mrr": 1000})
    first = project.plan()[CHAMPIONS]
    assert (first.held, str(first.mrr)) == (True, "5000.00")  # its own customer_id, one each
    project.engine.approve(first.id, "somebody")
    project.apply()
    project.champions(*range(1, 41), budget={"share": 1.0, "mrr": 1000})
    # The ten who leave are gone from the model: two of them at each of five customers.
    leaving = project.plan()[CHAMPIONS]
    assert (leaving.held, leaving.removes, str(leaving.mrr)) == (False, 10, "500.00")
    project.champions(*range(1, 21), budget={"share": 1.0, "mrr": 1000})
    leaving = project.plan()[CHAMPIONS]
    assert (leaving.held, str(leaving.mrr)) == (True, "1500.00")
    assert "1500.00 a month" in leaving.reason


def test_a_budget_of_revenue_needs_to_know_revenue(project: SmallProject) -> None:
    project.contacts(5)
    project.champions(1, budget={"mrr": 10})
    with pytest.raises(UserError, match=r"seg_champions.sql: meta.sync.budget.mrr needs marts"):
        project.plan()


def test_the_model_upstream_that_moved_first_is_named(project: SmallProject) -> None:
    project.run("create schema raw_crm; create table raw_crm.contact as from range(50) as t(i)")
    project.run("create schema staging; create view staging.stg_contacts as from raw_crm.contact")
    project.run("create table marts.contacts_known as from staging.stg_contacts")
    project.run("create table marts.usage as from range(70) as t(i)")
    project.contacts(50)
    project.champions(*range(1, 41))

    def declare(node: str, schema: str, name: str, *parents: str, source: bool = False) -> None:
        project.nodes[node] = {
            "resource_type": "source" if source else "model",
            "source_name": schema,
            "schema": schema,
            "name": name,
            "identifier": name,
            "original_file_path": f"{name}.sql",
            "depends_on": {"nodes": list(parents)},
        }

    declare("source.raw_crm.contact", "raw_crm", "contact", source=True)
    declare("model.stg_contacts", "staging", "stg_contacts", "source.raw_crm.contact")
    declare("model.contacts_known", "marts", "contacts_known", "model.stg_contacts")
    declare("model.usage", "marts", "usage")
    champions = project.nodes["model.customer_success.seg_champions"]
    parents = {"nodes": ["model.usage", "model.contacts_known"]}
    champions["depends_on"] = parents
    project.write_manifest()
    project.apply()

    project.run("delete from raw_crm.contact where i >= 12")
    project.run("create or replace table marts.contacts_known as from staging.stg_contacts")
    project.champions(*range(1, 11))
    project.nodes["model.customer_success.seg_champions"]["depends_on"] = parents
    project.write_manifest()
    held = project.apply()[CHAMPIONS]
    assert held.held
    assert held.reason.endswith("Upstream: raw_crm.contact has 12 rows, 50 before")


def test_a_shrunken_model_is_held_even_where_nothing_would_be_removed(
    project: SmallProject,
) -> None:
    project.contacts(50)
    project.apply()
    project.contacts(20)
    held = project.apply()["hubspot/contact_profiles"]
    assert (held.held, held.planned) == (True, 0)
    assert "the model has 20 rows, it had 50 before" in held.reason
    project.contacts(40)
    assert not project.apply()["hubspot/contact_profiles"].held


def lose(project: SmallProject) -> None:
    for file in (project.root / "data").glob("ledger.db*"):
        if file.is_file():
            file.unlink()


def test_a_lost_ledger_sends_nothing_and_asks(project: SmallProject, shared: Sandbox) -> None:
    project.contacts(10)
    project.episodes("trg_health_dropped", ALERTED, 2)
    project.apply()
    lose(project)
    project.contacts(12)
    project.episodes("trg_health_dropped", ALERTED, 4)
    results = project.apply()
    assert all(result.held for result in results.values())
    assert all("--lost-ledger" in result.reason for result in results.values())
    assert shared.counts()["hubspot"]["contacts"] == 10
    assert project.engine.accept_lost_ledger()
    results = project.apply()
    assert results["hubspot/contact_profiles"].delivered == 12
    assert results["webhook/trg_health_dropped"].seen == 4
    assert shared.counts()["webhook"]["received"] == 0
    assert not project.engine.accept_lost_ledger()
    assert not any(plan.held for plan in project.plan().values())


def test_an_old_copy_of_the_ledger_is_noticed(project: SmallProject, shared: Sandbox) -> None:
    project.episodes("trg_health_dropped", ALERTED, 0)
    project.apply()
    ledger, copy = project.root / "data/ledger.db", project.root / "copy.db"
    project.ledger.close()
    shutil.copy(ledger, copy)
    project.episodes("trg_health_dropped", ALERTED, 3)
    assert project.apply()["webhook/trg_health_dropped"].delivered == 3
    lose(project)
    shutil.copy(copy, ledger)
    held = project.apply()["webhook/trg_health_dropped"]
    assert (held.held, held.delivered) == (True, 0)  # it would have alerted a second time


def test_deliveries_that_only_the_warehouse_knows_tell_of_a_lost_ledger(
    project: SmallProject,
) -> None:
    project.contacts(3)
    project.run(
        "create schema raw_activation; create table raw_activation.deliveries as"
        " select '20260101T000000-0-00000001' as delivery_id"
    )
    project.nodes["source.x.raw_activation.deliveries"] = {
        "resource_type": "source",
        "source_name": "raw_activation",
        "schema": "raw_activation",
        "name": "deliveries",
    }
    project.write_manifest()
    assert project.apply()["hubspot/contact_profiles"].held
    assert project.engine.accept_lost_ledger()
    assert project.apply()["hubspot/contact_profiles"].delivered == 3


def test_a_clock_set_back_sends_nothing_and_says_so(project: SmallProject, shared: Sandbox) -> None:
    project.contacts(3)
    project.apply()
    project.contacts(4)
    project.now -= timedelta(days=2)
    with pytest.raises(UserError, match="Set the clock right"):
        project.apply()
    assert shared.counts()["hubspot"]["contacts"] == 3
    project.now += timedelta(days=2)
    assert project.apply()["hubspot/contact_profiles"].delivered == 1


def timed(project: SmallProject, not_before: str, expires: str) -> None:
    """Three events: one with these times, two without."""
    project.episodes("trg_feature_unused", MAILED, 3)
    for column in ("send_not_before", "expires_at"):
        project.run(
            f"alter table triggers.trigger_decisions add column if not exists {column} timestamp"
        )
    project.run(
        "update triggers.trigger_decisions set send_not_before = ?::timestamp,"
        " expires_at = ?::timestamp where event_id = 'trg_feature_unused-1'",
        not_before,
        expires,
    )


def test_an_event_waits_for_its_time_and_is_not_sent_after_it(
    project: SmallProject, shared: Sandbox
) -> None:
    sync = "smtp/trg_feature_unused"
    project.environment["AS_OF_DATE"] = f"{project.now + timedelta(days=1):%Y-%m-%d}"
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    day = f"{project.now:%Y-%m-%d %H:%M:%S}"
    later = f"{project.now + timedelta(hours=3):%Y-%m-%d %H:%M:%S}"
    timed(project, later, later)
    plan = project.plan()[sync]
    assert (plan.adds, plan.early) == (2, 1)
    timed(project, day, later)
    assert project.plan()[sync].adds == 3
    timed(project, "2020-01-01", day)
    plan = project.plan()[sync]
    assert (plan.adds, plan.expired) == (2, 1)
    assert "came too late" in plan.reason
    assert project.apply()[sync].delivered == 2
    assert shared.counts()["smtp"]["mails"] == 2


def test_an_event_that_expires_while_others_are_sent_is_let_be(
    project: SmallProject, shared: Sandbox
) -> None:
    from reverse_etl.engine import Engine

    project.environment["AS_OF_DATE"] = f"{project.now + timedelta(days=1):%Y-%m-%d}"
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    timed(project, "2020-01-01", f"{project.now + timedelta(seconds=30):%Y-%m-%d %H:%M:%S}")
    moments = iter([project.now] * 3)

    def passing() -> object:  # planned in time, sent too late
        return next(moments, project.now + timedelta(minutes=5))

    engine = Engine(project.settings, retries=project.retries, clock=passing)  # type: ignore[arg-type]
    [result] = engine.apply(["smtp/trg_feature_unused"])
    assert (result.delivered, result.expired) == (2, 1)
    assert shared.counts()["smtp"]["mails"] == 2
    assert project.plan()["smtp/trg_feature_unused"].size == 0


def test_a_trigger_does_not_wait_for_bulk_and_finds_its_contact(
    project: SmallProject, shared: Sandbox
) -> None:
    from tests.small_project import AUTOMATED

    project.contacts(5)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 0)
    project.apply()
    project.contacts(700)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 9)  # contacts 6 to 9 are new
    results = project.apply()
    assert results["hubspot/trg_onboarding_low_usage"].delivered == 9
    profiles = results["hubspot/contact_profiles"]
    assert (profiles.planned, profiles.delivered) == (695, 695)
    paths = [
        path
        for (path,) in shared._store.rows(
            "select path from requests where vendor = 'hubspot' order by id"
        )
    ]
    event = next(n for n, path in enumerate(paths) if path.endswith("send/batch"))
    upserts = [n for n, path in enumerate(paths) if path.endswith("batch/upsert")]
    before = [n for n in upserts if n < event]
    assert len(before) == 2  # the five of the first run, then those whom the trigger is about
    assert len(upserts) - len(before) == 7


def test_profiles_are_not_described_so_nothing_is_sent_twice_by_a_split(
    project: SmallProject,
) -> None:
    project.model("marts", "contact_profiles", CONTACT_PROFILES, "select 'c_1' as contact_id")
    plan = project.plan()["hubspot/contact_profiles"]
    first, rest = plan.split({"c_1"})
    assert (first.adds, rest.adds) == (1, 0)
    assert [*first] == [*plan]
