"""Salesforce: what the sandbox's strict org makes of our calls, record by record."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from reverse_etl.destinations import salesforce_org
from reverse_etl.destinations.base import Person
from reverse_etl.destinations.salesforce_org import LOCK_PAUSES
from reverse_etl.errors import UserError
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.salesforce_query import MalformedQueryError, parsed
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.one_tool import OneTool
from tests.small_project import ALERTED, CONTACT_PROFILES, CUSTOMER_PROFILES, contacts_sql

PROFILES = "salesforce/contact_profiles"
CAMPAIGN = "salesforce/seg_champions"
TASKS = "salesforce/trg_health_dropped"
CREDENTIALS = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}


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


def a_project(path: Path, sandbox: Sandbox) -> OneTool:
    entry = {"base_url": f"{sandbox.http_url}/salesforce", "credentials": CREDENTIALS}
    return OneTool(path, sandbox, tool="salesforce", entry=entry)


def contacts(project: OneTool, count: int, **sync: Any) -> None:
    declared = CONTACT_PROFILES | {"destinations": ["salesforce"]} | sync
    project.model("marts", "contact_profiles", declared, contacts_sql(count))


def champions(project: OneTool, *numbers: int) -> None:
    project.champions(*numbers, destinations=["salesforce"])


def alerts(project: OneTool, count: int) -> None:
    project.episodes("trg_health_dropped", ALERTED, count)


def counts(sandbox: Sandbox) -> dict[str, Any]:
    found = sandbox.counts()["salesforce"]
    assert found["violations"] == 0
    return found


def vendor(sandbox: Sandbox) -> Any:
    return sandbox._vendors["salesforce"]


def records(sandbox: Sandbox, object_: str) -> list[dict[str, Any]]:
    return [record for _, record in vendor(sandbox).records.all(object_)]


def test_values_arrive_as_salesforce_types(project: OneTool, sandbox: Sandbox) -> None:
    project.model(
        "marts",
        "customer_profiles",
        CUSTOMER_PROFILES | {"destinations": ["salesforce"]},
        "select 'cus_1' as customer_id, '株式会社例' as name, 1200000.00::decimal(18, 2) as mrr,"
        " 'JPY' as mrr_currency, 41.5::decimal(5, 2) as health_score, 30 as seats_bought,"
        " date '2027-03-31' as renewal_date, null::varchar as domain",
    )
    assert project.apply()["salesforce/customer_profiles"].delivered == 1
    [account] = records(sandbox, "companies")
    assert account | {"CreatedById": "", "CreatedDate": "", "SystemModstamp": ""} == {
        "Customer_Id__c": "cus_1",
        "Name": "株式会社例",
        "MRR__c": 1200000.0,
        "MRR_Currency__c": "JPY",
        "Health_Score__c": 41.5,
        "Seats_Bought__c": 30,
        "Renewal_Date__c": "2027-03-31",
        "Domain__c": None,
        "CreatedById": "",
        "CreatedDate": "",
        "SystemModstamp": "",
    }
    counts(sandbox)


def test_contacts_hang_on_accounts_that_are_made_where_missing(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 3)
    project.run(
        "update marts.contact_profiles set customer_id = 'cus_1', customer_name = 'Customer 1'"
        " where contact_id = 'c_2'"
    )
    assert project.apply()[PROFILES].delivered == 3
    assert counts(sandbox)["accounts"] == 2
    linked = [contact["AccountId"] for contact in records(sandbox, "contacts")]
    assert linked[0] == linked[1] != linked[2]
    assert {account["Name"] for account in records(sandbox, "companies")} == {
        "Customer 1",
        "Customer 3",
    }


def test_a_contact_waits_for_an_account_that_cannot_be_made(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 2)
    project.run("update marts.contact_profiles set customer_name = null where contact_id = 'c_2'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (1, 1)
    project.model(
        "marts",
        "customer_profiles",
        CUSTOMER_PROFILES | {"destinations": ["salesforce"]},
        "select 'cus_2' as customer_id, 'Customer 2' as name",
    )
    project.now += timedelta(days=1)
    project.apply()
    project.now += timedelta(days=1)
    project.apply()
    assert counts(sandbox)["contacts"] == 2


def test_ids_that_lead_nowhere_any_more_are_asked_for_again(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 2)
    champions(project, 1)
    project.apply()
    for object_ in ("contacts", "companies"):
        number = max(number for number, _ in vendor(sandbox).records.all(object_))
        vendor(sandbox).records.delete(number)
    champions(project, 1, 2)
    project.run("update marts.contact_profiles set role = 'admin'")
    first = project.apply()
    assert first[PROFILES].rejected == first[CAMPAIGN].rejected == 1
    for _ in range(2):
        project.now += timedelta(days=1)
        project.apply()
    found = counts(sandbox)
    assert (found["contacts"], found["accounts"], found["campaigns"]) == (2, 2, {"Champions": 2})


def test_a_record_that_fails_does_not_take_its_call_down(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 4)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_2'")
    project.run("update marts.contact_profiles set lastname = null where contact_id = 'c_3'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (2, 2)
    codes = {d["key"]: d["code"] for d in project.ledger.dead_letters(PROFILES).to_pylist()}
    assert codes == {"c_2": "INVALID_EMAIL_ADDRESS", "c_3": "REQUIRED_FIELD_MISSING"}


def test_a_locked_record_is_tried_again_by_itself(
    project: OneTool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = tuple(pause / 10 for pause in LOCK_PAUSES)
    monkeypatch.setattr(salesforce_org, "LOCK_PAUSES", pauses)
    contacts(project, 3)
    vendor(sandbox).locked["c_2"] = 2
    assert project.apply()[PROFILES].delivered == 3
    vendor(sandbox).locked["c_2"] = 99
    project.run("update marts.contact_profiles set role = 'admin'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.retryable) == (2, 1)
    vendor(sandbox).locked.clear()
    assert project.apply()[PROFILES].delivered == 1


def test_a_session_that_ends_is_renewed(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    destination = project.destination
    [plan] = project.engine.plan()
    assert destination.check([plan.sync]) == []
    vendor(sandbox).expire_tokens()
    assert {o.status for o in destination.send(plan.sync, list(plan))} == {"delivered"}
    assert counts(sandbox)["contacts"] == 2


def test_wrong_credentials_stop_the_destination(project: OneTool, sandbox: Sandbox) -> None:
    project.write_destinations(sandbox, credentials=CREDENTIALS | {"client_secret": "wr0ng"})
    contacts(project, 1)
    result = project.apply()[PROFILES]
    assert "invalid_client" in result.error
    assert "wr0ng" not in result.error


def test_the_days_calls_are_learned_and_left_to_others(tmp_path: Path) -> None:
    limits = {"salesforce": RateLimit(None, 1, 40)}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        project = a_project(tmp_path / "project", sandbox)
        project.write_destinations(sandbox, options={"daily_share": 0.5})
        contacts(project, 4_000)
        result = project.apply()[PROFILES]
        assert result.error.startswith("daily limit: ")
        assert "daily_share" in result.error
        found = sandbox.counts()["salesforce"]
        assert found["contacts"] == result.delivered > 0
        assert found["violations"] == 0
        assert found["requests"] <= 20


def test_a_segment_is_a_campaign_and_only_our_members_leave(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 6)
    project.apply()
    champions(project, 1, 2, 3, 4)
    assert project.apply()[CAMPAIGN].delivered == 4
    assert counts(sandbox)["campaigns"] == {"Champions": 4}
    for number, member in list(vendor(sandbox).records.all("CampaignMember"))[:1]:
        by_hand = member | {"CreatedById": "005000000000099AAA"}
        vendor(sandbox).records.put("CampaignMember", by_hand, "2026", unique={}, record_id=number)
    champions(project, 3, 4, 5)
    project.model(
        "segments",
        "seg_champions",
        {
            "kind": "segment",
            "key": "contact_id",
            "destinations": ["salesforce"],
            "list": "Champions",
            "budget": {"share": 1},
        },
        "select * from segments.seg_champions",
    )
    assert project.apply()[CAMPAIGN].delivered == 3
    assert counts(sandbox)["campaigns"] == {"Champions": 4}


def test_a_member_who_is_there_already_counts(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    project.apply()
    champions(project, 1, 2)
    project.apply()
    project.ledger.intend("run", CAMPAIGN, [("c_1", "add", "")], 1)
    assert project.apply()[CAMPAIGN].delivered == 1
    assert counts(sandbox)["campaigns"] == {"Champions": 2}


def test_a_member_without_a_contact_is_refused_with_advice(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 1)
    project.apply()
    champions(project, 1, 9)
    result = project.apply()[CAMPAIGN]
    assert (result.delivered, result.rejected) == (1, 1)
    [letter] = project.ledger.dead_letters(CAMPAIGN).to_pylist()
    assert "profile has to be sent first" in letter["message"]


def test_a_trigger_is_a_task_of_its_owner(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 1)
    alerts(project, 0)
    project.apply()
    alerts(project, 3)
    project.run(
        "update triggers.trg_health_dropped set owner_email = case customer_id"
        " when 'cus_1' then 'CSM@vendor.example' when 'cus_2' then 'left@vendor.example' end"
    )
    result = project.apply()[TASKS]
    assert (result.delivered, result.rejected) == (1, 2)
    [task] = records(sandbox, "Task")
    assert task["Subject"] == "Health dropped: Customer 1"
    assert task["ActivityDate"] == "2026-10-30"
    assert task["Description"] == (
        "Health score: 41.50\nPrevious health score: 72.25\nHealth band: red\nReason: usage fell"
    )
    assert task["WhatId"].startswith("001")
    letters = project.ledger.dead_letters(TASKS).to_pylist()
    assert {letter["code"] for letter in letters} == {"owner"}


@pytest.mark.parametrize(
    ("path", "expected"), [("/composite/sobjects", (0, 2)), ("/query", (2, 0))]
)
def test_only_a_lost_answer_of_the_insert_itself_is_unknown(
    project: OneTool, sandbox: Sandbox, path: str, expected: tuple[int, int]
) -> None:
    alerts(project, 0)
    project.apply()
    alerts(project, 2)
    sandbox.faults.armed.append(Fault(vendor="salesforce", kind="reset_after", path=path))
    result = project.apply()[TASKS]
    assert (result.delivered, result.unknown) == expected
    assert project.apply()[TASKS].planned == 0
    assert counts(sandbox)["tasks"] == 2


@pytest.mark.parametrize(
    ("kind", "expected"), [("status", "retryable"), ("reset_after", "unknown")]
)
def test_what_breaks_on_the_way_to_a_locked_record_repeats_no_task_that_was_made(
    project: OneTool,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    expected: str,
) -> None:
    alerts(project, 0)
    project.apply()
    alerts(project, 3)
    vendor(sandbox).locked["Health dropped: Customer 2"] = 1
    pause = time.sleep

    def broken(seconds: float) -> None:
        if seconds in LOCK_PAUSES:
            fault = Fault(vendor="salesforce", kind=kind, value=503, path="/composite/sobjects")
            sandbox.faults.armed.append(fault)
        pause(seconds)

    monkeypatch.setattr(time, "sleep", broken)
    result = project.apply()[TASKS]
    assert (result.delivered, getattr(result, expected)) == (2, 1)
    project.apply()
    assert counts(sandbox)["tasks"] == 3


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "truncate", "status"])
def test_profiles_arrive_whatever_breaks(project: OneTool, sandbox: Sandbox, kind: Any) -> None:
    contacts(project, 5)
    value = 503 if kind == "status" else 0
    path = "/composite/sobjects/Contact"
    sandbox.faults.armed += [Fault(vendor="salesforce", kind=kind, value=value, path=path)] * 2
    assert project.apply()[PROFILES].delivered == 5
    assert counts(sandbox)["contacts"] == 5


def test_update_creates_nobody_and_clear_keeps_the_contact(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 4, on_removal="clear")
    project.apply()
    contacts(project, 3, on_removal="clear")
    assert project.apply()[PROFILES].delivered == 1
    [cleared] = [c for c in records(sandbox, "contacts") if c["Contact_Id__c"] == "c_4"]
    assert (cleared["LastName"], cleared["Email"], cleared["Role__c"]) == ("山田", None, None)
    contacts(project, 8, mode="update")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (1, 4)
    assert counts(sandbox)["contacts"] == 4


def test_what_is_missing_is_named(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 1)
    project.run("alter table marts.contact_profiles add column mood varchar")
    with pytest.raises(UserError, match=r"Contact has no field mood.*Object Manager"):
        project.apply()
    project.run("alter table marts.contact_profiles drop column mood")
    project.run("alter table marts.contact_profiles add column has_opted_out_of_email boolean")
    with pytest.raises(UserError, match="opt-outs go one way"):
        project.apply()
    contacts(project, 1, key="email")
    with pytest.raises(UserError, match="no external id field for 'email'"):
        project.apply()
    contacts(project, 1)
    for option in ({"daily_share": "most"}, {"daily_share": -1}):
        project.write_destinations(sandbox, options=option)
        with pytest.raises(UserError, match=r"options\.daily_share is .*a number above 0"):
            project.apply()


def test_an_erased_contact_leaves_nothing_in_the_recycle_bin(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 3)
    project.apply()
    people = [Person("c_1", "p1@customer.example"), Person("c_9", "o'neil@customer.example")]
    outcomes = project.destination.erase(people)
    assert {(o.key, o.status) for o in outcomes} == {("c_1", "delivered"), ("c_9", "delivered")}
    assert counts(sandbox)["contacts"] == 2
    binned = json.dumps(records(sandbox, "deleted Contact"), ensure_ascii=False)
    assert "erased" in binned
    assert "p1@" not in binned
    assert "山田" not in binned
    assert "c_1" not in binned


@pytest.mark.parametrize("person", [Person("", "nobody@customer.example"), Person("c_9", "")])
def test_who_is_known_by_half_takes_nobody_along_who_lacks_the_other_half(
    project: OneTool, sandbox: Sandbox, person: Person
) -> None:
    contacts(project, 2)
    project.apply()
    put = sandbox._vendors["salesforce"].records.put  # type: ignore[attr-defined]
    put("contacts", {"LastName": "Without address or our id"}, "2026", unique={})
    for wish in (project.destination.unsubscribe, project.destination.erase):
        assert [o.status for o in wish([person])] == ["delivered"]
    found = counts(sandbox)
    assert (found["contacts"], found["unsubscribed"]) == (3, 0)


def test_an_opt_out_is_set_and_never_written_over(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    project.apply()
    person = Person("c_1", "p1@customer.example")
    assert [o.status for o in project.destination.unsubscribe([person])] == ["delivered"]
    project.run("update marts.contact_profiles set role = 'admin'")
    assert project.apply()[PROFILES].delivered == 2
    assert counts(sandbox)["unsubscribed"] == 1
    facts = list(project.destination.pull(datetime(2020, 1, 1, tzinfo=UTC)))
    assert [(fact.kind, fact.email) for fact in facts] == [("unsubscribed", "p1@customer.example")]


def test_the_twin_refuses_what_the_contract_does_not_allow(sandbox: Sandbox) -> None:
    base = f"{sandbox.http_url}/salesforce"
    form = CREDENTIALS | {"grant_type": "client_credentials"}
    token = requests.post(f"{base}/services/oauth2/token", data=form, timeout=5).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    url = f"{base}/services/data/v62.0/composite/sobjects"
    contact = {"attributes": {"type": "Contact"}, "LastName": "Example"}
    for body in (
        {"allOrNone": False, "records": [contact] * 201},
        {"allOrNone": False, "records": [contact | {"Mood": "good"}]},
        {"allOrNone": False, "records": [contact | {"HasOptedOutOfEmail": "false"}]},
        {"records": [contact]},
    ):
        assert requests.post(url, json=body, headers=headers, timeout=5).status_code == 400
    assert sandbox.counts()["salesforce"]["violations"] == 4
    assert requests.post(url, json={}, timeout=5).status_code == 401


def test_the_twin_reads_quoted_texts_and_refuses_others() -> None:
    query = parsed(r"SELECT Id FROM Contact WHERE Name = 'O\'Neil \\ Co' AND Email != null")
    assert query.condition({"Name": "o'neil \\ co", "Email": "x"})
    assert not query.condition({"Name": "O'Neil \\ Co", "Email": None})
    for text in ("SELECT Id FROM Contact WHERE Name = 'O'Neil'", "SELECT Id", "DROP TABLE x"):
        with pytest.raises(MalformedQueryError):
            parsed(text)
