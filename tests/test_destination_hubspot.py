"""HubSpot: what the sandbox's strict portal makes of our calls, row by row."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from reverse_etl.destinations import hubspot_search
from reverse_etl.destinations.base import Person
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import PORTAL, Sandbox
from tests.one_tool import OneTool, exchanges_with
from tests.small_project import AUTOMATED, CONTACT_PROFILES, SmallProject, contacts_sql
from tests.vendor_spec import SPECS, violations


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


def test_every_value_arrives_as_hubspot_writes_it(project: SmallProject, sandbox: Sandbox) -> None:
    import json

    project.contacts(1)
    project.run("update marts.contact_profiles set jobtitle = null")
    assert project.apply()["hubspot/contact_profiles"].is_clean
    [(packed,)] = sandbox._store.rows("select properties from records")
    properties = json.loads(packed)
    assert properties["lastname"] == "山田"
    assert properties["is_champion"] == "false"
    assert properties["last_active_at"] == "2026-10-01T00:00:00.000Z"
    assert "jobtitle" not in properties


def test_members_without_a_profile_are_made_from_key_and_address(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.champions(1, 2)
    assert project.apply()["hubspot/seg_champions"].delivered == 2
    counts = sandbox.counts()["hubspot"]
    assert (counts["contacts"], counts["lists"], counts["violations"]) == (2, {"Champions": 2}, 0)


def test_a_member_hubspot_refuses_does_not_stop_the_others(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.champions(1, 2, 3)
    project.run("update segments.seg_champions set email = 'nonsense' where contact_id = 'c_2'")
    result = project.apply()["hubspot/seg_champions"]
    assert (result.delivered, result.rejected) == (2, 1)
    assert sandbox.counts()["hubspot"]["lists"] == {"Champions": 2}


def test_update_creates_nobody(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(2)
    project.apply()
    sync = CONTACT_PROFILES | {"mode": "update"}
    project.model("marts", "contact_profiles", sync, contacts_sql(3))
    result = project.apply()["hubspot/contact_profiles"]
    assert (result.delivered, result.rejected) == (0, 1)
    assert sandbox.counts()["hubspot"]["contacts"] == 2


def test_an_event_of_somebody_unknown_is_refused_and_not_dropped_in_silence(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(2)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 0)
    project.apply()
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 3)
    result = project.apply()["hubspot/trg_onboarding_low_usage"]
    assert (result.delivered, result.rejected) == (2, 1)
    assert sandbox.counts()["hubspot"]["events_dropped"] == 0


def test_an_event_of_somebody_deleted_meanwhile_is_refused_and_not_dropped_in_silence(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.contacts(2)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 0)
    project.apply()
    with sandbox._store.transaction() as db:  # as a person does it in the portal
        [(deleted,)] = db.execute("select min(id) from records where vendor = 'hubspot'")
        for table, column in (("records", "id"), ("unique_values", "record_id")):
            db.execute(f"delete from {table} where {column} = ?", (deleted,))
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 2)
    result = project.apply()["hubspot/trg_onboarding_low_usage"]
    assert (result.delivered, result.rejected) == (1, 1)
    assert sandbox.counts()["hubspot"]["events_dropped"] == 0


def test_a_member_deleted_meanwhile_is_made_anew(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(2)
    project.apply()
    with sandbox._store.transaction() as db:
        [(deleted,)] = db.execute("select min(id) from records where vendor = 'hubspot'")
        for table, column in (("records", "id"), ("unique_values", "record_id")):
            db.execute(f"delete from {table} where {column} = ?", (deleted,))
    project.champions(1, 2)
    first = project.apply()["hubspot/seg_champions"]
    assert (first.delivered, first.rejected) == (1, 1)
    project.engine.retry(None, None)
    assert project.apply()["hubspot/seg_champions"].rejected == 0
    assert sandbox.counts()["hubspot"]["lists"] == {"Champions": 2}


def test_a_repeated_event_is_one_event(project: SmallProject, sandbox: Sandbox) -> None:
    sync = "hubspot/trg_onboarding_low_usage"
    project.contacts(2)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 0)
    project.apply()
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 2)
    project.apply()
    project.ledger.intend("run", sync, [("trg_onboarding_low_usage-1", "add", "")], 1)
    assert project.apply()[sync].delivered == 1
    counts = sandbox.counts()["hubspot"]
    assert (list(counts["events"].values()), counts["events_duplicate"]) == ([2], 1)


def test_a_missing_event_definition_or_property_is_named(project: SmallProject) -> None:
    project.contacts(2)
    project.episodes("trg_onboarding_low_usage", AUTOMATED | {"event": "no_such_event"}, 0)
    project.apply()
    project.episodes("trg_onboarding_low_usage", AUTOMATED | {"event": "no_such_event"}, 1)
    with pytest.raises(UserError, match=r"trg_onboarding_low_usage.sql: there is no custom event"):
        project.apply()
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 1)
    project.run("alter table triggers.trg_onboarding_low_usage add column mood varchar")
    with pytest.raises(UserError, match="has no property mood"):
        project.apply()


def test_a_key_that_is_not_unique_in_the_portal_is_named(project: SmallProject) -> None:
    sync = CONTACT_PROFILES | {"key": "customer_id"}
    project.model("marts", "contact_profiles", sync, contacts_sql(2))
    with pytest.raises(UserError, match="no property 'customer_id' with unique values"):
        project.apply()


def test_an_unknown_plan_tier_lists_the_known(project: SmallProject, sandbox: Sandbox) -> None:
    project.contacts(1)
    project.write_destinations(sandbox, hubspot={"plan_tier": "gold"})
    with pytest.raises(UserError, match=r"plan_tier is 'gold'.*professional"):
        project.apply()


def test_a_missing_portal_id_is_named(project: SmallProject, sandbox: Sandbox) -> None:
    project.write_destinations(sandbox, hubspot={"options": {}})
    project.contacts(1)
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 0)
    project.apply()
    project.episodes("trg_onboarding_low_usage", AUTOMATED, 1)
    with pytest.raises(UserError, match=r"options\.portal_id is missing"):
        project.apply()


def test_opt_outs_and_bounces_come_back_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubspot_search, "_SEARCHED", 2)
    portal = yaml.safe_load(PORTAL.read_text())
    portal["hubspot"] |= {"hard_bounces": {"p4@customer.example": "UNKNOWN_USER"}}
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(tmp_path / "sandbox.db", portal=tmp_path / "portal.yml") as sandbox:
        project = OneTool(tmp_path / "project", sandbox)
        project.serve("hubspot")
        project.profiles(6)
        project.apply()
        destination = project.destination
        destination.unsubscribe([Person(f"c_{n}", f"p{n}@customer.example") for n in (1, 2, 4)])
        seen = exchanges_with(monkeypatch)
        told = list(destination.pull(datetime.now(UTC) - timedelta(hours=1)))
        assert sorted((fact.kind, fact.email[:2]) for fact in told) == [
            ("bounced", "p4"),
            ("unsubscribed", "p1"),
            ("unsubscribed", "p2"),
            ("unsubscribed", "p4"),
        ]
        assert len({fact.feedback_id for fact in told}) == 4
        assert list(destination.pull(datetime.now(UTC) + timedelta(hours=1))) == []
        destination.close()
        assert sandbox.counts()["hubspot"]["violations"] == 0
        if SPECS.exists():
            file, mount = "hubspot_contacts_2026-09.json", "/hubspot"
            assert list(violations(file, "https://api.hubapi.com", mount, seen)) == []
