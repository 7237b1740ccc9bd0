"""Klaviyo: what the sandbox's strict account, and the official specification, make of our calls."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from reverse_etl.destinations.base import Person
from reverse_etl.errors import Denied, UserError
from reverse_etl.planner import Change
from reverse_etl.sandbox.server import PORTAL, Sandbox
from tests.one_tool import TRIGGER, OneTool, exchanges_with
from tests.vendor_spec import SPECS, violations

AT = datetime(2026, 10, 27, 10, tzinfo=UTC)
FEEDBACK = [
    {"metric": "Clicked Email", "email": "P1@customer.example", "datetime": AT.isoformat()},
    {"metric": "Unsubscribed from Email Marketing", "email": "p2@customer.example"}
    | {"datetime": AT.isoformat()},
    {"metric": "Marked Email as Spam", "email": "p3@customer.example", "datetime": AT.isoformat()},
    {"metric": "Bounced Email", "email": "p4@customer.example", "datetime": AT.isoformat()}
    | {"properties": {"Bounce Type": "Hard"}},
    {"metric": "Bounced Email", "email": "p5@customer.example", "datetime": AT.isoformat()}
    | {"properties": {"Bounce Type": "Soft"}},
    {"metric": "Opened Email", "email": "p6@customer.example", "datetime": AT.isoformat()},
    {"metric": "Clicked Email", "email": "p7@customer.example"}
    | {"datetime": "2025-01-01T00:00:00+00:00"},
]
FAST = {name: [[10_000, 1]] for name in ("s", "m", "l", "xl")}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    portal["klaviyo"] |= {"feedback": FEEDBACK, "tiers": FAST, "job_seconds": 0.1}
    (folder / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(folder / "sandbox.db", portal=folder / "portal.yml") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> OneTool:
    project = OneTool(tmp_path, sandbox)
    project.serve("klaviyo", options={"windows": FAST})
    return project


def profile(sandbox: Sandbox, contact_id: str) -> dict[str, Any]:
    """A profile, as the tool keeps it."""
    [row] = sandbox._store.rows(
        "select r.properties from records r join unique_values v on v.record_id = r.id"
        " where v.vendor = 'klaviyo' and v.value = ?",
        (contact_id,),
    )
    found: dict[str, Any] = json.loads(row[0])
    return found


def call(sandbox: Sandbox, method: str, path: str, body: Any = None) -> requests.Response:
    """A plain call of somebody else who works in the same account."""
    headers = {
        "Authorization": "Klaviyo-API-Key sandbox-private-key",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
    }
    url = f"{sandbox.http_url}/klaviyo/api/{path}"
    return requests.request(
        method, url, headers=headers, data=json.dumps(body) if body else None, timeout=5
    )


NAMED = "firstname as first_name, lastname as last_name, jobtitle as title, 'Tokyo' as city"
MONEY = "98000.00::decimal(18, 2) as mrr, 'JPY' as mrr_currency"


def test_klaviyos_own_fields_are_filled_and_all_else_is_a_property(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.profiles(1, f"{NAMED}, {MONEY}")
    project.run("update marts.contact_profiles set email = 'P1@Customer.Example'")
    assert project.result("contact_profiles").is_clean
    known = profile(sandbox, "c_1")
    assert (known["email"], known["external_id"]) == ("p1@customer.example", "c_1")
    assert (known["first_name"], known["last_name"], known["title"]) == (
        "First1",
        "山田",
        "Operator",
    )
    assert known["location"] == {"city": "Tokyo"}
    own = known["properties"]
    assert (own["mrr"], own["mrr_currency"], own["is_champion"]) == (98000, "JPY", False)
    assert own["last_active_at"] == "2026-10-01T00:00:00.000Z"
    assert project.counts["violations"] == 0


def test_a_value_that_became_null_is_taken_away_there(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(1, NAMED)
    project.apply()
    project.run("update marts.contact_profiles set title = null, role = null")
    assert project.result("contact_profiles").delivered == 1
    known = profile(sandbox, "c_1")
    assert "title" not in known
    assert "role" not in known["properties"]
    assert known["properties"]["journey_stage"] == "adopting"


def test_rows_refused_by_a_job_are_told_apart(project: OneTool) -> None:
    project.profiles(250)
    project.run(
        "update marts.contact_profiles set email = 'x' || contact_id"
        " where contact_id in ('c_7', 'c_205')"
    )
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (248, 2)
    assert project.letters == dict.fromkeys(("c_7", "c_205"), "Invalid email address.")
    assert project.counts["people"] == 248


def test_rows_are_told_apart_by_what_they_held_where_no_place_is_given(
    tmp_path: Path, shared: Sandbox
) -> None:
    portal = yaml.safe_load(PORTAL.read_text())
    portal["klaviyo"] |= {"import_error_pointers": False, "tiers": FAST, "job_seconds": 0}
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(tmp_path / "sandbox.db", portal=tmp_path / "portal.yml") as sandbox:
        project = OneTool(tmp_path, sandbox)
        project.serve("klaviyo", options={"windows": FAST})
        project.profiles(5)
        project.run("update marts.contact_profiles set email = 'x' where contact_id = 'c_3'")
        result = project.result("contact_profiles")
        assert (result.delivered, result.rejected, list(project.letters)) == (4, 1, ["c_3"])


def test_more_refused_rows_than_a_page_holds_are_all_read(project: OneTool) -> None:
    project.profiles(230)
    project.run("update marts.contact_profiles set email = 'x' || contact_id")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 230)
    assert set(project.letters.values()) == {"Invalid email address."}


def test_two_rows_of_one_address_do_not_race(project: OneTool) -> None:
    project.profiles(3)
    project.run("update marts.contact_profiles set email = 'P1@customer.example'")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (1, 2)
    assert project.counts["people"] == 1
    assert "same address" in project.letters["c_2"]


def test_a_job_that_does_not_end_leaves_its_rows_unknown_and_the_next_run_sends_them_again(
    tmp_path: Path, shared: Sandbox
) -> None:
    portal = yaml.safe_load(PORTAL.read_text())
    portal["klaviyo"] |= {"tiers": FAST, "job_seconds": 1.5}
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(tmp_path / "sandbox.db", portal=tmp_path / "portal.yml") as sandbox:
        project = OneTool(tmp_path, sandbox)
        project.serve("klaviyo", options={"windows": FAST, "job_seconds": 0.3})
        project.profiles(2)
        result = project.result("contact_profiles")
        assert (result.delivered, result.unknown) == (0, 2)
        project.serve("klaviyo", options={"windows": FAST})
        assert project.result("contact_profiles").delivered == 2
        assert project.counts["people"] == 2


def test_a_question_that_fails_does_not_fail_the_job(project: OneTool) -> None:
    project.profiles(2)
    project.arm("status", path="import-jobs/01JOB", value=503)
    project.arm("reset_before", path="import-jobs/01JOB")
    assert project.result("contact_profiles").is_clean
    sql = "select count(*) from requests where method = 'POST' and path like '%import-jobs'"
    assert project.sandbox is not None
    assert project.sandbox._store.number(sql) == 1


def test_a_list_is_made_filled_and_left(project: OneTool) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    assert project.result("seg_champions").delivered == 3
    assert project.counts["lists"] == {"Champions": 3}
    project.members(1, 3, budget={"share": 1})
    assert project.result("seg_champions").delivered == 1
    assert project.counts["lists"] == {"Champions": 2}


def test_leaving_a_list_is_no_opt_out(project: OneTool, monkeypatch: pytest.MonkeyPatch) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    project.apply()
    seen = exchanges_with(monkeypatch)
    project.members(1, budget={"share": 1})
    assert project.result("seg_champions").delivered == 2
    assert not [one for one in seen if "subscription" in str(one.url)]
    assert project.counts["unsubscribed"] == 0


def test_a_member_of_somebody_else_stays(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(3)
    project.members(1, 2)
    project.apply()
    found = call(sandbox, "GET", 'profiles?filter=equals(external_id,"c_3")').json()["data"]
    body = {"data": [{"type": "profile", "id": found[0]["id"]}]}
    assert call(sandbox, "POST", "lists/L1/relationships/profiles", body).status_code == 204
    project.members(1, budget={"share": 1})
    project.apply()
    assert project.counts["lists"] == {"Champions": 2}


def test_members_without_a_profile_are_made_from_id_and_address(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.members(1, 2, group_key="language")
    assert project.result("seg_champions").delivered == 2
    assert project.counts["lists"] == {"Champions: en": 1, "Champions: ja": 1}
    assert profile(sandbox, "c_1")["email"] == "p1@customer.example"


def test_a_member_klaviyo_refuses_does_not_stop_the_others(project: OneTool) -> None:
    project.members(1, 2, 3)
    project.run("update segments.seg_champions set email = 'nonsense' where contact_id = 'c_2'")
    result = project.result("seg_champions")
    assert (result.delivered, result.rejected) == (2, 1)
    assert project.counts["lists"] == {"Champions": 2}


@pytest.mark.parametrize("gone", ["delete from lists", "delete from records"])
def test_a_list_or_profile_deleted_meanwhile_is_made_again(
    project: OneTool, sandbox: Sandbox, gone: str
) -> None:
    project.profiles(2)
    project.members(1)
    project.apply()
    [sync] = project.engine.syncs(["klaviyo/seg_champions"])
    destination = project.destination
    changes = [Change(f"c_{n}", "add", "", {"email": f"p{n}@customer.example"}) for n in (1, 2)]
    destination.send(sync, changes)
    with sandbox._store.transaction() as db:
        db.execute(gone)
        if "records" in gone:
            db.execute("delete from unique_values")
            db.execute("delete from memberships")
    outcomes = destination.send(sync, changes)
    assert [outcome.status for outcome in outcomes] == ["delivered", "delivered"]
    assert project.counts["lists"] == {"Champions": 2}


def test_the_first_run_starts_no_flow(project: OneTool, sandbox: Sandbox) -> None:
    for name in ("Draft only", "Already in use"):
        body = {"data": {"type": "list", "attributes": {"name": name}}}
        assert call(sandbox, "POST", "lists", body).status_code == 201
    project.members(1, list="Already in use")
    with pytest.raises(UserError, match=r"would start Welcome series for everybody added to list"):
        project.apply()
    assert (project.counts["people"], project.counts["flows_started"]) == (0, 0)
    project.members(1, list="Draft only")
    assert project.result("seg_champions").is_clean
    assert project.counts["flows_started"] == 0


def test_after_the_first_run_joining_a_list_may_start_its_flow(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.members(1, list="Already in use")
    project.apply()  # the list is made here: no flow can be on it yet
    started = project.counts["flows_started"]
    project.members(1, 2, list="Already in use", budget={"share": 1})
    assert project.result("seg_champions").delivered == 1
    assert project.counts["flows_started"] == started + 1


def test_an_event_of_a_first_run_starts_no_flow(project: OneTool) -> None:
    project.profiles(1)
    project.events(1)
    project.apply()
    assert project.counts["events"] == {}
    [sync] = project.engine.syncs([f"klaviyo/{TRIGGER}"])
    destination = project.destination
    destination.begin(sync, baseline=True)
    change = Change("e1", "add", "", {"contact_id": "c_1", "occurred_at": AT})
    assert destination.send(sync, [change])[0].status == "delivered"
    assert project.counts["events"] == {"onboarding_low_usage": 1}
    assert project.counts["flows_started"] == 0


@pytest.mark.parametrize("column", ["subscriptions", "external_id", '"$consent"'])
def test_nobody_is_subscribed_again_by_a_column(project: OneTool, column: str) -> None:
    project.profiles(1, f"'SUBSCRIBED' as {column}")
    with pytest.raises(UserError, match="as its own"):
        project.apply()
    assert project.counts["people"] == 0


def test_events_carry_their_worth_in_the_major_unit(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2)
    columns = "98000.00::decimal(18, 2) as value, 'JPY' as value_currency, 'ほげ' as note"
    assert project.fire(2, columns).delivered == 2
    [row] = sandbox._store.rows("select * from events order by id limit 1")
    sent = json.loads(row["properties"])
    assert (sent["value"], sent["value_currency"], sent["note"]) == (98000, "JPY", "ほげ")
    assert row["occurred_at"] == "2026-10-27T10:00:00.000Z"
    assert "email" not in sent
    assert project.counts["flows_started"] == 2


def test_two_events_of_one_second_are_two_and_a_repeated_one_is_one(
    project: OneTool,
) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.run(f"update triggers.{TRIGGER} set contact_id = 'c_1'")
    assert project.result(TRIGGER).delivered == 2
    project.ledger.intend("run", f"klaviyo/{TRIGGER}", [(f"{TRIGGER}-1", "add", "")], 1)
    assert project.result(TRIGGER).delivered == 1
    assert project.counts["events"] == {"onboarding_low_usage": 2}
    assert project.counts["events_duplicate"] == 1


def test_an_answer_that_never_came_makes_no_second_event(project: OneTool) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.arm("reset_after", path="event-bulk-create-jobs")
    assert project.result(TRIGGER).delivered == 2
    assert project.counts["events"] == {"onboarding_low_usage": 2}


def test_an_event_of_somebody_unknown_makes_nobody(project: OneTool) -> None:
    project.profiles(2)
    result = project.fire(3)
    assert (result.delivered, result.rejected) == (2, 1)
    assert (project.counts["people"], project.counts["events_dropped"]) == (2, 0)


def test_update_creates_nobody(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    project.profiles(3, mode="update")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 1)
    assert project.counts["people"] == 2


def test_clearing_leaves_the_person_and_the_address(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2, NAMED, on_removal="clear")
    project.apply()
    project.profiles(1, NAMED, on_removal="clear", budget={"share": 1})
    assert project.result("contact_profiles").delivered == 1
    left = {"external_id": "c_2", "email": "p2@customer.example", "properties": {}}
    assert profile(sandbox, "c_2") | {"location": {}} == left | {"location": {}}


def test_a_customer_is_nobody_here(project: OneTool) -> None:
    spec = {"kind": "profile", "object": "customer", "key": "customer_id"}
    select = "select 'cus_1' as customer_id, 'Example' as name"
    project.model("marts", "customer_profiles", spec | {"destinations": ["klaviyo"]}, select)
    with pytest.raises(UserError, match=r"customer_profiles\.sql: Klaviyo takes people here"):
        project.apply()


def test_a_key_revoked_in_the_middle_stops_the_push_and_the_next_run_goes_on(
    project: OneTool,
) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    project.arm("status", path="relationships/profiles", value=401)
    result = project.result("seg_champions")
    assert ("401" in result.error, result.delivered) == (True, 0)
    assert project.result("seg_champions").delivered == 3


def test_a_wrong_key_is_denied_before_anything_is_sent(project: OneTool) -> None:
    project.profiles(1)
    project.serve("klaviyo", credentials={"api_key": "another"})
    assert project.result("contact_profiles").error == "Missing or invalid private key."
    assert project.counts["people"] == 0


@pytest.mark.parametrize("windows", [[[4, 0.5], [12, 3.0]]])
def test_both_windows_of_a_tier_are_used_and_never_passed(tmp_path: Path, windows: Any) -> None:
    tiers = FAST | {"l": windows}
    portal = yaml.safe_load(PORTAL.read_text())
    portal["klaviyo"] |= {"tiers": tiers, "job_seconds": 0}
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(tmp_path / "sandbox.db", portal=tmp_path / "portal.yml") as sandbox:
        project = OneTool(tmp_path, sandbox)
        project.serve("klaviyo", options={"windows": tiers})
        project.profiles(1)
        project.apply()
        started = time.monotonic()
        list(project.destination._account.found("external_id", [f"c_{n}" for n in range(2_400)]))  # type: ignore[attr-defined]
        elapsed = time.monotonic() - started
        assert project.counts["violations"] == 0
        assert 3.0 <= elapsed <= 2 * 3.0 / 0.97 + 0.5  # 24 calls, 12 in 3 s


def test_erasing_takes_who_has_the_id_and_who_has_the_address(project: OneTool) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    project.apply()
    outcomes = project.destination.erase(
        [Person("c_1", "p2@customer.example"), Person("c_9", "nobody@customer.example")]
    )
    assert [outcome.status for outcome in outcomes] == ["delivered", "delivered"]
    assert (project.counts["people"], project.counts["lists"]) == (1, {"Champions": 1})


def test_opting_out_is_from_everything_and_makes_nobody(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    people = [Person("c_1", "p1@customer.example"), Person("c_9", "nobody@customer.example")]
    assert {o.status for o in project.destination.unsubscribe(people)} == {"delivered"}
    assert (project.counts["people"], project.counts["unsubscribed"]) == (2, 1)
    project.run("update marts.contact_profiles set jobtitle = 'Chief'")
    project.apply()
    assert project.counts["unsubscribed"] == 1


def test_what_people_did_comes_back(project: OneTool) -> None:
    found = {(f.kind, f.email) for f in project.destination.pull(AT - timedelta(days=1))}
    assert found == {
        ("clicked", "p1@customer.example"),
        ("unsubscribed", "p2@customer.example"),
        ("complained", "p3@customer.example"),
        ("bounced", "p4@customer.example"),
    }
    assert not list(project.destination.pull(AT + timedelta(days=1)))


def webhook(topic: str, profile_id: str, *, held: bool) -> bytes:
    event = {
        "type": "event",
        "id": "E1",
        "attributes": {"datetime": AT.isoformat(), "event_properties": {}},
        "relationships": {"profile": {"data": {"type": "profile", "id": profile_id}}},
    }
    included = [{"type": "profile", "id": profile_id, "attributes": {"email": "P1@a.example"}}]
    payload = {"data": event} | ({"included": included} if held else {})
    item = {"external_id": "01H8", "topic": f"event:klaviyo.{topic}", "payload": payload}
    return json.dumps({"data": [item], "meta": {"klaviyo_webhook_id": "01H8WHK"}}).encode()


def signed(body: bytes, stamp: str, key: str = "a secret of 16+ characters") -> dict[str, str]:
    text = hmac.new(key.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
    return {"Klaviyo-Signature": text, "Klaviyo-Timestamp": stamp}


def test_a_signed_webhook_is_a_fact_whoever_holds_the_address(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.profiles(1)
    project.apply()
    found = call(sandbox, "GET", 'profiles?filter=equals(external_id,"c_1")').json()["data"]
    stamp = datetime.now(UTC).isoformat()
    for held, email in ((True, "p1@a.example"), (False, "p1@customer.example")):
        body = webhook("unsubscribed_from_email_marketing", found[0]["id"], held=held)
        [fact] = project.destination.receive(signed(body, stamp), body)
        assert (fact.feedback_id, fact.kind, fact.email) == ("01H8", "unsubscribed", email)
        assert fact.occurred_at == AT
    body = webhook("received_email", "01", held=True)
    assert project.destination.receive(signed(body, stamp), body) == []


def test_a_forged_or_old_webhook_is_denied(project: OneTool) -> None:
    body, now = webhook("bounced_email", "01", held=True), str(int(time.time()))
    old = str(int(time.time()) - 3_600)
    for headers in (
        signed(body, now, "another"),
        signed(body, old),
        signed(body, "never"),
        signed(body + b" ", now),
        {},
    ):
        with pytest.raises(Denied):
            project.destination.receive(headers, body)


@pytest.mark.skipif(not SPECS.exists(), reason="../shared/vendor_specs is not on this machine")
def test_everything_sent_is_as_the_official_specification_has_it(
    project: OneTool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = exchanges_with(monkeypatch)
    project.profiles(3, f"{NAMED}, {MONEY}")
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_3'")
    project.members(1, 2)
    project.fire(2, "98000.00::decimal(18, 2) as value, 'JPY' as value_currency")
    project.run("update marts.contact_profiles set title = null, role = null")
    project.members(1, budget={"share": 1})
    project.apply()
    destination = project.destination
    destination.unsubscribe([Person("c_1", "p1@customer.example")])
    assert len(list(destination.pull(AT - timedelta(days=1)))) == 4
    destination.erase([Person("c_2", "p2@customer.example")])
    assert project.counts["violations"] == 0
    operations = {(one.request.method, str(one.url).partition("?")[0]) for one in seen}
    assert len(operations) >= 12
    vendor = "https://a.klaviyo.com"
    assert not list(violations("klaviyo_2026-07-15.json", vendor, "/klaviyo", seen))
    wrong = call(sandbox, "POST", "event-bulk-create-jobs", {"data": {"type": "event"}})
    assert list(violations("klaviyo_2026-07-15.json", vendor, "/klaviyo", [wrong]))
