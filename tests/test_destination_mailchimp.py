"""Mailchimp: what the sandbox's strict audience makes of our calls, row by row."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from reverse_etl.destinations.base import Person
from reverse_etl.errors import UserError
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.one_tool import OneTool
from tests.small_project import AUTOMATED, CONTACT_PROFILES, contacts_sql

KEY, AUDIENCE = "sandbox-key-us1", "a1b2c3d4e5"
PROFILES = "mailchimp/contact_profiles"
SEGMENT = "mailchimp/seg_champions"
TRIGGER = "mailchimp/trg_onboarding_low_usage"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> OneTool:
    return a_project(tmp_path, sandbox)


def a_project(path: Path, sandbox: Sandbox, **options: Any) -> OneTool:
    entry = {
        "base_url": f"{sandbox.http_url}/mailchimp/3.0",
        "credentials": {"api_key": KEY},
        "options": {"audience_id": AUDIENCE} | options,
    }
    return OneTool(path, sandbox, tool="mailchimp", entry=entry)


def contacts(project: OneTool, count: int, **sync: Any) -> None:
    declared = CONTACT_PROFILES | {"destinations": ["mailchimp"]} | sync
    project.model("marts", "contact_profiles", declared, contacts_sql(count))


def champions(project: OneTool, *numbers: int) -> None:
    project.champions(*numbers, destinations=["mailchimp"])


def counts(sandbox: Sandbox) -> dict[str, Any]:
    found = sandbox.counts()["mailchimp"]
    assert found["violations"] == 0
    assert found["resubscribed"] == 0
    return found


def members(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    rows = sandbox._store.rows("select properties from records where object = 'contacts'")
    found = [json.loads(row["properties"]) for row in rows]
    return {member["email_address"]: member for member in found}


def by_hand(sandbox: Sandbox, method: str, path: str, body: Any = None) -> requests.Response:
    url = f"{sandbox.http_url}/mailchimp/3.0/lists/{AUDIENCE}{path}"
    answer = requests.request(method, url, json=body, auth=("any", KEY), timeout=5)
    assert answer.ok, answer.text
    return answer


def opt_out(sandbox: Sandbox, member: dict[str, Any]) -> None:
    by_hand(sandbox, "PATCH", f"/members/{member['id']}", {"status": "unsubscribed"})


def test_values_arrive_as_mailchimp_writes_them(project: OneTool, sandbox: Sandbox) -> None:
    project.model(
        "marts",
        "contact_profiles",
        CONTACT_PROFILES | {"destinations": ["mailchimp"]},
        "select 'c_1' as contact_id, 'Hanako.Yamada@Customer.example' as email, '山田' as lastname,"
        " null::varchar as jobtitle, 1200000.00::decimal(18, 2) as mrr,"
        " timestamp '2026-10-01 00:00:00' as last_active_at, 'ja' as language",
    )
    assert project.apply()[PROFILES].delivered == 1
    member = members(sandbox)["hanako.yamada@customer.example"]
    assert member["status"] == "transactional"
    assert member["language"] == "ja"
    assert member["merge_fields"] == {
        "LNAME": "山田",
        "JOBTITLE": "",
        "MRR": 1200000.0,
        "ACTIVEAT": "2026-10-01T00:00:00.000Z",
    }


def test_an_opt_out_is_never_written_over(tmp_path: Path, sandbox: Sandbox) -> None:
    project = a_project(tmp_path / "one", sandbox, status_if_new="subscribed")
    contacts(project, 3)
    project.apply()
    opt_out(sandbox, members(sandbox)["p1@customer.example"])
    project.run("update marts.contact_profiles set jobtitle = 'Lead'")
    assert project.apply()[PROFILES].delivered == 3
    forgetful = a_project(tmp_path / "two", sandbox, status_if_new="subscribed")  # no ledger yet
    contacts(forgetful, 3)
    forgetful.run("update marts.contact_profiles set jobtitle = 'Lead'")
    assert forgetful.apply()[PROFILES].delivered == 3
    assert members(sandbox)["p1@customer.example"]["status"] == "unsubscribed"
    assert members(sandbox)["p1@customer.example"]["merge_fields"]["JOBTITLE"] == "Lead"
    assert counts(sandbox)["unsubscribed"] == 1


def test_an_opt_out_that_was_archived_stays_one(project: OneTool, sandbox: Sandbox) -> None:
    project.write_destinations(
        sandbox, options={"audience_id": AUDIENCE, "status_if_new": "subscribed"}
    )
    contacts(project, 2)
    project.apply()
    opt_out(sandbox, members(sandbox)["p1@customer.example"])
    by_hand(sandbox, "DELETE", f"/members/{members(sandbox)['p1@customer.example']['id']}")
    project.run("update marts.contact_profiles set jobtitle = 'Lead'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (1, 1)
    assert members(sandbox)["p1@customer.example"]["status"] == "archived"


def test_a_member_deleted_meanwhile_is_made_again(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    project.apply()
    by_hand(sandbox, "DELETE", f"/members/{members(sandbox)['p1@customer.example']['id']}")
    project.run("update marts.contact_profiles set jobtitle = 'Lead'")
    assert project.apply()[PROFILES].delivered == 2
    assert members(sandbox)["p1@customer.example"]["status"] == "transactional"


def test_a_200_with_errors_is_read_row_by_row(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 4)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_2'")
    project.run("update marts.contact_profiles set email = null where contact_id = 'c_3'")
    project.run(
        "update marts.contact_profiles set email = 'P1@Customer.example' where contact_id = 'c_4'"
    )
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (1, 3)
    letters = {d["key"]: d for d in project.ledger.dead_letters(PROFILES).to_pylist()}
    assert "fake or invalid" in letters["c_2"]["message"]
    assert "no e-mail address" in letters["c_3"]["message"]
    assert "Another row" in letters["c_4"]["message"]
    assert counts(sandbox)["members"] == 1


def test_a_changed_address_keeps_the_member(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 1)
    project.apply()
    opt_out(sandbox, members(sandbox)["p1@customer.example"])
    project.run("update marts.contact_profiles set email = 'new@customer.example'")
    assert project.apply()[PROFILES].delivered == 1
    assert list(members(sandbox)) == ["new@customer.example"]
    assert members(sandbox)["new@customer.example"]["status"] == "unsubscribed"


def test_a_segment_too_moves_a_member_whose_address_changed(
    project: OneTool, sandbox: Sandbox
) -> None:
    champions(project, 1, 2)
    project.apply()
    opt_out(sandbox, members(sandbox)["p1@customer.example"])
    champions(project, 1, 2)
    project.run(
        "update segments.seg_champions set email = 'new@customer.example' where contact_id = 'c_1'"
    )
    project.ledger.intend("run", SEGMENT, [("c_1", "add", "")], 1)
    assert project.apply()[SEGMENT].delivered == 1
    assert set(members(sandbox)) == {"new@customer.example", "p2@customer.example"}
    assert members(sandbox)["new@customer.example"]["status"] == "unsubscribed"


def test_a_baseline_fills_segments_without_starting_automations(
    project: OneTool, sandbox: Sandbox
) -> None:
    champions(project, 1, 2, 3)
    assert project.apply()[SEGMENT].delivered == 3
    assert counts(sandbox)["segments"] == {"Champions": 3}
    assert counts(sandbox)["events"] == {}
    champions(project, 1, 2, 3, 4)
    assert project.apply()[SEGMENT].delivered == 1
    assert counts(sandbox)["events"] == {"automation: tag added": 1}


def test_leaving_a_segment_is_no_opt_out(project: OneTool, sandbox: Sandbox) -> None:
    champions(project, *range(1, 8))
    project.apply()
    opt_out(sandbox, members(sandbox)["p7@customer.example"])
    champions(project, *range(2, 7))
    result = project.apply()[SEGMENT]
    assert result.delivered == 2
    found = counts(sandbox)
    assert (found["segments"], found["members"], found["unsubscribed"]) == ({"Champions": 5}, 7, 1)


def test_a_member_already_in_the_segment_counts_and_one_who_is_gone_does_not(
    project: OneTool, sandbox: Sandbox
) -> None:
    champions(project, 1)
    project.apply()
    champions(project, 1, 2)
    assert project.apply()[SEGMENT].delivered == 1
    project.ledger.intend("run", SEGMENT, [("c_1", "add", ""), ("c_2", "add", "")], 1)
    by_hand(sandbox, "DELETE", f"/members/{members(sandbox)['p2@customer.example']['id']}")
    result = project.apply()[SEGMENT]
    assert (result.delivered, result.rejected) == (1, 1)
    [letter] = project.ledger.dead_letters(SEGMENT).to_pylist()
    assert (letter["key"], letter["code"]) == ("c_2", "absent")


def fired(project: OneTool, count: int, **sync: Any) -> None:
    project.episodes("trg_onboarding_low_usage", AUTOMATED | sync, count)


def test_a_trigger_is_an_event_of_its_member(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    fired(project, 0)
    project.apply()
    fired(project, 3)
    result = project.apply()[TRIGGER]
    assert (result.delivered, result.rejected) == (2, 1)
    assert counts(sandbox)["events"] == {"onboarding_low_usage": 2}
    [row, _] = sandbox._store.rows("select properties, occurred_at from events order by id")
    assert json.loads(row["properties"])["active_days_7d"] == "1"
    assert row["occurred_at"] == "2026-10-27T10:00:00.000Z"
    [letter] = project.ledger.dead_letters(TRIGGER).to_pylist()
    assert "profile has to be sent first" in letter["message"]


def test_a_trigger_starts_the_journey_that_is_configured(
    project: OneTool, sandbox: Sandbox
) -> None:
    journeys = {"onboarding_low_usage": "301/1201"}
    project.write_destinations(sandbox, options={"audience_id": AUDIENCE, "journeys": journeys})
    contacts(project, 1)
    fired(project, 0)
    project.apply()
    fired(project, 1)
    assert project.apply()[TRIGGER].delivered == 1
    assert counts(sandbox)["events"] == {"journey 301/1201": 1}


@pytest.mark.parametrize("journeys", [{"onboarding_low_usage": "301"}, ["301/1201"]])
def test_a_journey_step_that_is_none_is_named(
    project: OneTool, sandbox: Sandbox, journeys: Any
) -> None:
    project.write_destinations(sandbox, options={"audience_id": AUDIENCE, "journeys": journeys})
    contacts(project, 1)
    with pytest.raises(UserError, match=r"options\.journeys"):
        project.apply()


def test_an_event_whose_answer_was_lost_is_never_repeated(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 2)
    fired(project, 0)
    project.apply()
    fired(project, 2)
    fault = Fault(vendor="mailchimp", kind="reset_after", path="/events")
    sandbox.faults.armed.append(fault)
    result = project.apply()[TRIGGER]
    assert (result.delivered, result.unknown) == (1, 1)
    assert project.apply()[TRIGGER].planned == 0
    assert counts(sandbox)["events"] == {"onboarding_low_usage": 2}


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "truncate", "status"])
def test_profiles_arrive_whatever_breaks(project: OneTool, sandbox: Sandbox, kind: Any) -> None:
    contacts(project, 5)
    project.engine.plan()
    value = 503 if kind == "status" else 0
    path = f"/lists/{AUDIENCE}"
    sandbox.faults.armed += [Fault(vendor="mailchimp", kind=kind, value=value, path=path)] * 2
    assert project.apply()[PROFILES].delivered == 5
    assert counts(sandbox)["members"] == 5


def test_eleven_connections_would_be_refused_and_eight_are_used(tmp_path: Path) -> None:
    portal = tmp_path / "portal.yml"
    own = (Path(__file__).parents[1] / "reverse_etl/sandbox/portal.yml").read_text()
    portal.write_text(own.replace("mailchimp:\n", "mailchimp:\n  latency_seconds: 0.05\n", 1))
    with Sandbox(tmp_path / "sandbox.db", portal=portal) as sandbox:
        entry = {
            "base_url": f"{sandbox.http_url}/mailchimp/3.0",
            "credentials": {"api_key": KEY},
            "options": {"audience_id": AUDIENCE},
        }
        project = OneTool(tmp_path / "project", sandbox, tool="mailchimp", entry=entry)
        champions(project, *range(1, 41))
        assert project.apply()[SEGMENT].delivered == 40
        counts(sandbox)


def test_what_is_missing_is_named(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 1)
    project.run("alter table marts.contact_profiles add column mood varchar")
    with pytest.raises(UserError, match=r"no merge field for mood.*Audience fields"):
        project.apply()
    project.run("alter table marts.contact_profiles drop column mood")
    project.run("alter table marts.contact_profiles add column status varchar")
    with pytest.raises(UserError, match="opt-outs go one way"):
        project.apply()
    contacts(project, 1, object="customer")
    with pytest.raises(UserError, match="takes people here"):
        project.apply()
    project.write_destinations(sandbox, options={})
    with pytest.raises(UserError, match=r"options\.audience_id is missing"):
        project.apply()


def test_on_removal_archives_or_clears(project: OneTool, sandbox: Sandbox) -> None:
    for removal in ("archive", "clear"):
        contacts(project, 4, on_removal=removal)
        project.apply()
        contacts(project, 3, on_removal=removal)
        assert project.apply()[PROFILES].delivered == 1
        gone = members(sandbox)["p4@customer.example"]
        assert gone["status"] == ("archived" if removal == "archive" else "transactional")
        assert removal == "archive" or set(gone["merge_fields"].values()) == {""}


def test_people_are_erased_and_unsubscribed(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 3)
    project.apply()
    destination = project.destination
    people = [Person("c_1", "p1@customer.example"), Person("c_9", "p9@customer.example")]
    assert {o.status for o in destination.erase(people)} == {"delivered"}
    assert {o.status for o in destination.unsubscribe(people[:1])} == {"delivered"}
    stranger = Person("c_8", "p8@customer.example")
    assert {
        o.status for o in destination.unsubscribe([Person("c_2", "p2@customer.example"), stranger])
    }
    assert {a: m["status"] for a, m in members(sandbox).items()} == {
        "p2@customer.example": "unsubscribed",
        "p3@customer.example": "transactional",
        "p8@customer.example": "unsubscribed",
    }
    refused, done = destination.unsubscribe([Person("c_0", "nonsense"), people[0]])
    assert (refused.status, done.status) == ("rejected", "delivered")
    project.run("update marts.contact_profiles set jobtitle = 'Lead'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (2, 1)
    assert "permanently deleted" in project.ledger.dead_letters(PROFILES).to_pylist()[0]["message"]


def test_what_people_did_comes_back(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 3)
    project.apply()
    opt_out(sandbox, members(sandbox)["p1@customer.example"])
    by_hand(
        sandbox,
        "PATCH",
        f"/members/{members(sandbox)['p2@customer.example']['id']}",
        {"status": "cleaned"},
    )
    at = "2026-10-27T10:00:00+00:00"
    vendor = sandbox._vendors["mailchimp"]
    put = vendor.records.put  # type: ignore[attr-defined]
    put("abuse_reports", {"email_address": "P3@customer.example", "date": at}, at, unique={})
    put("campaigns", {"id": "m1", "list_id": AUDIENCE, "send_time": at}, at, unique={})
    did = [{"action": "open", "timestamp": at}, {"action": "click", "timestamp": at, "url": "u"}]
    person = {"campaign_id": "m1", "email_id": "e", "email_address": "p3@customer.example"}
    put("activity", person | {"activity": did}, at, unique={})
    facts = list(project.destination.pull(datetime(2026, 10, 1, tzinfo=UTC)))
    assert {(fact.kind, fact.email) for fact in facts} == {
        ("unsubscribed", "p1@customer.example"),
        ("bounced", "p2@customer.example"),
        ("complained", "p3@customer.example"),
        ("opened", "p3@customer.example"),
        ("clicked", "p3@customer.example"),
    }
    assert len({fact.feedback_id for fact in facts}) == 5
    assert facts == list(project.destination.pull(datetime(2026, 10, 1, tzinfo=UTC)))


def test_a_wrong_key_stops_before_anything_is_sent(project: OneTool, sandbox: Sandbox) -> None:
    project.write_destinations(sandbox, credentials={"api_key": "wrong"})
    contacts(project, 2)
    result = project.apply()[PROFILES]
    assert "API key may be invalid" in result.error
    assert sandbox.counts()["mailchimp"]["members"] == 0


def test_the_twin_refuses_what_the_contract_does_not_allow(sandbox: Sandbox) -> None:
    url = f"{sandbox.http_url}/mailchimp/3.0/lists/{AUDIENCE}"
    member = {"email_address": "p1@customer.example", "status": "subscribed"}
    for path, body in (
        ("", {"members": [member] * 501}),
        ("", {"members": [member | {"fname": "x"}]}),
        ("/segments", {"name": "only a name"}),
        ("/nowhere", {}),
    ):
        answer = requests.post(url + path, json=body, auth=("any", KEY), timeout=5)
        assert answer.status_code in (400, 404)
    assert sandbox.counts()["mailchimp"]["violations"] == 4
    assert requests.get(url, timeout=5).status_code == 401
