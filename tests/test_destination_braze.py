"""Braze: what the sandbox's strict workspace makes of our calls, object by object."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from reverse_etl.destinations.base import Person
from reverse_etl.errors import Refused, UserError
from reverse_etl.http import Answer, HttpClient
from reverse_etl.planner import Change
from reverse_etl.sandbox.server import PORTAL, Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.one_tool import TRIGGER, OneTool, exchanges_with

AT = datetime(2026, 10, 27, 10, tzinfo=UTC)
EVENT = "onboarding_low_usage"
CANVAS = "11111111-aaaa-4aaa-8aaa-111111111111"
DRAFT = "22222222-aaaa-4aaa-8aaa-222222222222"
CAMPAIGN = "33333333-aaaa-4aaa-8aaa-333333333333"
BOUNCES = [
    {"email": f"P{n}@customer.example", "hard_bounced_at": "2026-10-27T10:00:00.000Z"}
    for n in range(1_003)
] + [{"email": "old@customer.example", "hard_bounced_at": "2026-10-20T10:00:00.000Z"}]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    portal["braze"] |= {"hard_bounces": BOUNCES}
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
    project.serve("braze")
    return project


def user(sandbox: Sandbox, contact_id: str) -> dict[str, Any]:
    """A user's attributes, as the tool keeps them."""
    [row] = sandbox._store.rows(
        "select r.properties from records r join unique_values v on v.record_id = r.id"
        " where v.vendor = 'braze' and v.value = ?",
        (contact_id,),
    )
    found: dict[str, Any] = json.loads(row[0])
    return found


MONEY = "98000.00::decimal(18, 2) as mrr, 'JPY' as mrr_currency, date '2026-12-01' as renewal"


def test_every_value_arrives_as_braze_keeps_it(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(1, MONEY)
    project.run("update marts.contact_profiles set email = 'P1@Customer.Example', jobtitle = null")
    assert project.result("contact_profiles").is_clean
    known = user(sandbox, "c_1")
    assert (known["mrr"], known["mrr_currency"], known["renewal"]) == (98000, "JPY", "2026-12-01")
    assert known["last_active_at"] == "2026-10-01T00:00:00.000Z"
    assert (known["lastname"], known["email"]) == ("山田", "p1@customer.example")
    assert known["is_champion"] is False
    assert "jobtitle" not in known
    assert project.counts["violations"] == 0


def test_a_value_that_became_null_is_taken_away_there(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(1)
    project.apply()
    project.run("update marts.contact_profiles set jobtitle = null")
    assert project.result("contact_profiles").delivered == 1
    assert "jobtitle" not in user(sandbox, "c_1")


def test_objects_refused_in_a_201_do_not_take_the_others_down(project: OneTool) -> None:
    project.profiles(75)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_7'")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (74, 1)
    assert project.letters == {"c_7": "'email' is not valid"}
    assert project.counts["requests"] == 2  # doctor's, and one call


def test_a_call_of_which_nothing_is_taken_is_halved_until_each_row_is_known(
    project: OneTool,
) -> None:
    project.profiles(3)
    project.run("update marts.contact_profiles set email = 'nonsense'")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 3)
    project.run("update marts.contact_profiles set email = contact_id || '@customer.example'")
    assert project.result("contact_profiles").delivered == 3


@pytest.mark.parametrize(("tier", "calls"), [("standard", 1 + 2), ("mau", 1 + 3)])
def test_the_plan_says_how_many_objects_a_call_holds(
    project: OneTool, tier: str, calls: int
) -> None:
    project.serve("braze", plan_tier=tier)
    project.profiles(150)
    assert project.result("contact_profiles").is_clean
    assert (project.counts["requests"], project.counts["violations"]) == (calls, 0)


def test_an_unknown_plan_tier_lists_the_known(project: OneTool) -> None:
    project.profiles(1)
    project.serve("braze", plan_tier="gold")
    with pytest.raises(UserError, match=r"plan_tier is 'gold'.*standard, mau"):
        project.apply()


def test_membership_is_an_attribute_that_turns_true_and_false(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.profiles(3)
    project.members(1, 2, group_key="language")
    assert project.result("seg_champions").delivered == 2
    project.members(1, group_key="language", budget={"share": 1})
    assert project.result("seg_champions").delivered == 1
    assert user(sandbox, "c_1")["Champions: en"] is True
    assert user(sandbox, "c_2")["Champions: ja"] is False
    assert "Champions: en" not in user(sandbox, "c_3")


def test_members_without_a_profile_are_made_with_their_address(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.members(1, 2)
    assert project.result("seg_champions").delivered == 2
    assert user(sandbox, "c_1") == {
        "external_id": "c_1",
        "email": "p1@customer.example",
        "Champions": True,
    }


def test_leaving_makes_nobody(project: OneTool, sandbox: Sandbox) -> None:
    project.members(1, 2)
    project.apply()
    with sandbox._store.transaction() as db:
        db.execute("delete from records")
        db.execute("delete from unique_values")
    project.members(1, budget={"share": 1})
    assert project.result("seg_champions").delivered == 1
    assert project.counts["people"] == 0


@pytest.mark.parametrize("column", ["email_subscribe", "subscription_groups", "external_id"])
def test_nobody_is_subscribed_again_by_a_column(project: OneTool, column: str) -> None:
    project.profiles(1, f"'subscribed' as {column}")
    with pytest.raises(UserError, match=f"Braze reads {column} as its own"):
        project.apply()
    assert project.counts["people"] == 0


def test_a_trigger_is_a_custom_event(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2)
    columns = "98000.00::decimal(18, 2) as amount, 'JPY' as currency, 'ほげ' as note"
    assert project.fire(2, columns).delivered == 2
    [row] = sandbox._store.rows("select * from events order by id limit 1")
    sent = json.loads(row["properties"])
    assert (sent["amount"], sent["currency"], sent["note"]) == (98000, "JPY", "ほげ")
    assert (row["name"], row["occurred_at"]) == (EVENT, "2026-10-27T10:00:00.000Z")
    assert "email" not in sent


def test_two_events_of_one_second_are_two(project: OneTool) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.run(f"update triggers.{TRIGGER} set contact_id = 'c_1'")
    assert project.result(TRIGGER).delivered == 2
    assert project.counts["events"] == {EVENT: 2}


@pytest.mark.parametrize("option", ["", "canvases", "campaigns"])
def test_a_trigger_whose_answer_never_came_is_not_sent_again(project: OneTool, option: str) -> None:
    options = {option: {EVENT: {"canvases": CANVAS}.get(option, CAMPAIGN)}} if option else {}
    project.serve("braze", options=options)
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.arm("reset_after", path="/send" if option else "/users/track")
    result = project.result(TRIGGER)
    assert (result.delivered, result.unknown) == (0, 2)
    result = project.result(TRIGGER)
    assert (result.planned, result.delivered) == (0, 0)
    assert list(project.counts["events"].values()) == [2]


def test_a_pause_asked_for_before_an_event_was_taken_is_waited_for(
    project: OneTool,
) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.arm("reset_before", path="/users/export")
    project.arm("status", path="/users/track", value=503)
    assert project.result(TRIGGER).delivered == 2
    assert project.counts["events"] == {EVENT: 2}


@pytest.mark.parametrize(
    ("option", "number", "name"),
    [("canvases", CANVAS, f"canvas:{CANVAS}"), ("campaigns", CAMPAIGN, f"campaigns:{CAMPAIGN}")],
)
def test_a_trigger_enters_the_canvas_or_campaign_that_is_named_for_it(
    project: OneTool, sandbox: Sandbox, option: str, number: str, name: str
) -> None:
    project.serve("braze", options={option: {EVENT: number}})
    project.profiles(120)
    assert project.fire(120).delivered == 120
    assert project.counts["events"] == {name: 120}
    [row] = sandbox._store.rows("select properties from events limit 1")
    assert json.loads(row[0])["days_since_start"] == 12
    assert project.counts["violations"] == 0


@pytest.mark.parametrize(
    ("number", "told"), [("nonsense", "Braze has no such canvas"), (DRAFT, "is not live")]
)
def test_a_canvas_that_would_send_nothing_is_named(
    project: OneTool, number: str, told: str
) -> None:
    project.serve("braze", options={"canvases": {EVENT: number}})
    project.profiles(1)
    with pytest.raises(UserError, match=rf"options\.canvases\.{EVENT}: .*{told}|{told}"):
        project.fire(1)
    assert project.counts["events"] == {}


def test_an_event_of_somebody_unknown_is_refused_and_not_dropped_in_silence(
    project: OneTool,
) -> None:
    project.profiles(2)
    result = project.fire(3)
    assert (result.delivered, result.rejected) == (2, 1)
    assert (project.counts["people"], project.counts["events_dropped"]) == (2, 0)


def test_who_braze_has_and_the_ledger_does_not_is_asked_for(
    project: OneTool, sandbox: Sandbox
) -> None:
    body = {"attributes": [{"external_id": "c_1", "email": "p1@customer.example"}]}
    url = f"{sandbox.http_url}/braze/users/track"
    headers = {"Authorization": "Bearer sandbox-rest-key"}
    assert requests.post(url, json=body, headers=headers, timeout=5).status_code == 201
    assert project.fire(1).delivered == 1


ANSWERS = [
    {"message": "success", "events_processed": 1},
    {"message": "success", "events_processed": 2, "errors": [{"type": "somewhere"}]},
    {"message": "success", "events_processed": 2, "errors": [{"type": "x", "index": 9}]},
    {"message": "queued"},
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_201_that_does_not_say_which_event_failed_leaves_all_unknown(
    project: OneTool, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    [sync] = project.engine.syncs([f"braze/{TRIGGER}"])
    told = Answer(201, {}, json.dumps(answer).encode())
    monkeypatch.setattr(HttpClient, "request", lambda *args, **more: told)
    rows = {f"e{n}": {"contact_id": f"c_{n}", "occurred_at": AT} for n in (1, 2)}
    changes = [Change(key, "add", "", payload) for key, payload in rows.items()]
    assert [o.status for o in project.destination.send(sync, changes)] == ["unknown", "unknown"]


def test_a_201_that_does_not_say_which_user_failed_is_halved(
    project: OneTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.profiles(2)
    [sync] = project.engine.syncs(["braze/contact_profiles"])
    told = Answer(201, {}, b'{"message": "success", "attributes_processed": 1}')
    monkeypatch.setattr(HttpClient, "request", lambda *args, **more: told)
    with pytest.raises(Refused, match="1 of 2"):
        project.destination.send(sync, [Change(f"c_{n}", "add", "", {"a": 1}) for n in (1, 2)])


def test_update_creates_nobody(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    project.profiles(3, mode="update")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 1)
    assert project.counts["people"] == 2


def test_clearing_leaves_the_user_and_the_address(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2, on_removal="clear")
    project.apply()
    project.profiles(1, on_removal="clear", budget={"share": 1})
    assert project.result("contact_profiles").delivered == 1
    assert user(sandbox, "c_2") == {"external_id": "c_2", "email": "p2@customer.example"}


def test_a_key_revoked_in_the_middle_stops_the_push_and_the_next_run_goes_on(
    project: OneTool,
) -> None:
    project.profiles(400)
    project.arm("latency", path="/users/track")
    project.arm("status", path="/users/track", value=401)
    result = project.result("contact_profiles")
    assert "401" in result.error
    assert result.delivered < 400
    assert project.result("contact_profiles").is_clean
    assert project.counts["people"] == 400


def test_a_pause_in_brazes_own_header_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = exchanges_with(monkeypatch)
    limit = RateLimit(calls=2, window_seconds=1)
    with Sandbox(tmp_path / "sandbox.db", limits={"braze": limit}) as sandbox:
        project = OneTool(tmp_path, sandbox)
        project.serve("braze")  # which believes in 3,000 calls in 3 s
        project.profiles(75 * 5)
        assert project.result("contact_profiles").is_clean
        refused = [n for n, one in enumerate(seen) if one.status_code == 429]
        assert refused
        assert all("Retry-After" not in seen[n].headers for n in refused)
        assert len(refused) <= 8  # once for each call under way, and not again and again


def test_erasing_takes_who_has_the_id_and_who_has_the_address(project: OneTool) -> None:
    project.profiles(4)
    shared = "email = 'p2@customer.example'"
    project.run(f"update marts.contact_profiles set {shared} where contact_id = 'c_3'")
    project.apply()
    outcomes = project.destination.erase(
        [Person("c_1", "p2@customer.example"), Person("c_9", "nobody@customer.example")]
    )
    assert [outcome.status for outcome in outcomes] == ["delivered", "delivered"]
    assert project.counts["people"] == 1  # c_2 and c_3 shared the address


def test_who_opted_out_stays_out_and_it_comes_back(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    destination = project.destination
    destination.unsubscribe([Person("c_1", "P1@customer.example")])
    project.run("update marts.contact_profiles set jobtitle = 'Chief'")
    project.apply()
    assert project.counts["unsubscribed"] == 1
    found = [f for f in destination.pull(AT - timedelta(days=1)) if f.kind == "unsubscribed"]
    assert [fact.email for fact in found] == ["p1@customer.example"]


def test_bounces_come_back_page_by_page_from_the_instant_asked_for(
    project: OneTool,
) -> None:
    found = list(project.destination.pull(AT - timedelta(hours=1)))
    assert len(found) == len({fact.feedback_id for fact in found}) == 1_003
    assert {(fact.kind, fact.occurred_at) for fact in found} == {("bounced", AT)}
    assert found[0].email == "p0@customer.example"
    assert not list(project.destination.pull(AT + timedelta(hours=1)))


def test_the_days_asked_for_hold_today(project: OneTool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = exchanges_with(monkeypatch)
    list(project.destination.pull(datetime.now(UTC)))
    today: date = datetime.now(UTC).date()
    tomorrow = today + timedelta(days=1)
    assert all(f"start_date={today}&end_date={tomorrow}" in str(one.url) for one in seen)


@pytest.mark.parametrize("kind", ["reset_after", "truncate"])
def test_a_question_that_fails_before_an_event_leaves_nothing_unknown(
    project: OneTool, kind: str
) -> None:
    """The event was never sent, so it may be sent later, though Braze knows no repeat."""
    project.profiles(1)
    project.apply()
    destination = project.destination
    project.ledger.remember_external_ids(destination.account, "people", {"c_1": ""})
    project.events(0)
    project.apply()
    project.events(1)
    project.arm(kind, path="/users/export/ids", times=20)
    assert project.result(TRIGGER).unknown == 0
    assert project.sandbox is not None
    project.sandbox.faults.armed.clear()
    project.apply()
    assert list(project.counts["events"].values()) == [1]
