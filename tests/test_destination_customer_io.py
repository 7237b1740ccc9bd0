"""Customer.io: what the sandbox's strict workspace makes of our calls, item by item."""

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
from hypothesis import given
from hypothesis import strategies as st

from reverse_etl.destinations.base import Person
from reverse_etl.destinations.customer_io import ulid
from reverse_etl.errors import Denied, UserError
from reverse_etl.planner import Change
from reverse_etl.sandbox.server import PORTAL, Sandbox
from tests.one_tool import TRIGGER, OneTool, exchanges_with

AT = datetime(2026, 10, 27, 10, tzinfo=UTC)
CUSTOMER_IO = {"destinations": ["customer_io"]}
MESSAGES = [
    {
        "id": "m1",
        "recipient": "P1@customer.example",
        "subject": "Welcome",
        "metrics": {"sent": 1_792_000_000, "bounced": int(AT.timestamp())},
    },
    {"id": "m2", "recipient": "p2@customer.example", "metrics": {"clicked": 1_600_000_000}},
    {"id": "m3", "recipient": "+819000000000", "metrics": {"clicked": int(AT.timestamp())}},
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    portal["customer_io"]["messages"] = MESSAGES
    portal["customer_io"]["app_windows"] = [[1_000, 1]]
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
    project.serve("customer_io")
    return project


def person(sandbox: Sandbox, contact_id: str) -> dict[str, Any]:
    """A person's attributes, as the tool keeps them."""
    [row] = sandbox._store.rows(
        "select r.properties from records r join unique_values v on v.record_id = r.id"
        " where v.vendor = 'customer_io' and v.value = ?",
        (contact_id,),
    )
    found: dict[str, Any] = json.loads(row[0])
    return found


def test_every_value_arrives_as_customer_io_compares_it(project: OneTool, sandbox: Sandbox) -> None:
    columns = "98000.00::decimal(18, 2) as mrr, 'JPY' as mrr_currency, date '2026-12-01' as renewal"
    project.profiles(1, columns)
    project.run("update marts.contact_profiles set email = 'P1@Customer.example', jobtitle = null")
    assert project.result("contact_profiles").is_clean
    known = person(sandbox, "c_1")
    assert (known["mrr"], known["mrr_currency"]) == (98000, "JPY")
    assert known["renewal"] == int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert known["last_active_at"] == int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
    assert (known["lastname"], known["email"]) == ("山田", "p1@customer.example")
    assert known["is_champion"] is False
    assert "jobtitle" not in known
    assert project.counts["violations"] == 0


def test_a_value_that_became_null_is_taken_away_there(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(1)
    project.apply()
    project.run("update marts.contact_profiles set jobtitle = null")
    assert project.result("contact_profiles").delivered == 1
    assert "jobtitle" not in person(sandbox, "c_1")


def test_a_customer_is_an_object(project: OneTool) -> None:
    project.model(
        "marts",
        "customer_profiles",
        {"kind": "profile", "object": "customer", "key": "customer_id"} | CUSTOMER_IO,
        "select 'cus_1' as customer_id, '株式会社例' as name, 12.50::decimal(18, 2) as mrr",
    )
    assert project.result("customer_profiles").is_clean
    assert (project.counts["customers"], project.counts["people"]) == (1, 0)


@pytest.mark.parametrize("sync", [{"mode": "update"}, {"on_removal": "clear"}])
def test_objects_are_neither_updated_only_nor_cleared(
    project: OneTool, sync: dict[str, str]
) -> None:
    spec = {"kind": "profile", "object": "customer", "key": "customer_id"}
    select = "select 'cus_1' as customer_id, 'Example' as name"
    project.model("marts", "customer_profiles", spec | CUSTOMER_IO | sync, select)
    with pytest.raises(UserError, match="cannot be asked which objects it has"):
        project.apply()


def test_items_refused_in_a_207_do_not_take_the_others_down(project: OneTool) -> None:
    project.profiles(50)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_7'")
    project.run(
        "update marts.contact_profiles set jobtitle = repeat('職', 400) where contact_id = 'c_9'"
    )
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (48, 2)
    assert project.counts["requests"] == 2  # the segments of doctor, and one batch
    assert "email is not valid" in project.letters["c_7"]
    assert "1000 bytes" in project.letters["c_9"]


def test_batches_stay_under_500_kb_whatever_the_script(
    project: OneTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = exchanges_with(monkeypatch)
    columns = ", ".join(f"repeat('都', 300) as note_{n}" for n in range(3))
    project.profiles(600, columns)
    assert project.result("contact_profiles").delivered == 600
    sizes = [len(exchange.request.body or b"") for exchange in seen]
    assert len(sizes) > 3
    assert max(sizes) < 500_000
    assert project.counts["violations"] == 0


def test_a_segment_is_made_filled_and_left(project: OneTool) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    assert project.result("seg_champions").delivered == 3
    assert project.counts["lists"] == {"Champions": 3}
    project.members(1, 3, budget={"share": 1})
    assert project.result("seg_champions").delivered == 1
    assert project.counts["lists"] == {"Champions": 2}


def test_members_without_a_profile_are_made_and_not_left_out_in_silence(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.members(1, 2, group_key="language")
    assert project.result("seg_champions").delivered == 2
    assert project.counts["lists"] == {"Champions: en": 1, "Champions: ja": 1}
    assert person(sandbox, "c_1") == {"email": "p1@customer.example"}


def test_a_member_of_somebody_else_stays(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(3)
    project.members(1, 2)
    project.apply()
    url = f"{sandbox.http_url}/customer_io/api/v1/segments/1/add_customers"
    by_hand = requests.post(
        url, json={"ids": ["c_3"]}, auth=("sandbox-site", "sandbox-key"), timeout=5
    )
    assert by_hand.ok
    project.members(1, budget={"share": 1})
    project.apply()
    assert project.counts["lists"] == {"Champions": 2}


def test_a_segment_deleted_meanwhile_is_made_again(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2)
    project.members(1)
    project.apply()
    [sync] = project.engine.syncs(["customer_io/seg_champions"])
    destination = project.destination
    changes = [Change(f"c_{n}", "add", "", {}) for n in (1, 2)]
    destination.send(sync, changes[:1])
    with sandbox._store.transaction() as db:
        db.execute("delete from lists")
    assert destination.send(sync, changes[1:])[0].status == "delivered"
    assert project.counts["lists"] == {"Champions": 1}


def test_the_first_run_starts_no_campaign(project: OneTool, sandbox: Sandbox) -> None:
    with sandbox._store.transaction() as db:
        db.execute(
            "insert into lists(vendor, object, name, processing, created_at, updated_at)"
            " values ('customer_io', 'people', 'Already in use', 'manual', '', '')"
        )
    project.members(1, list="Already in use")
    with pytest.raises(UserError, match="would start campaign 'Welcome'"):
        project.apply()
    assert project.counts["lists"] == {"Already in use": 0}
    assert project.counts["people"] == 0


def test_a_segment_that_fills_itself_is_named(project: OneTool) -> None:
    project.members(1, list="Active in the last week")
    with pytest.raises(UserError, match=r"seg_champions\.sql: segment .* is data-driven"):
        project.apply()


@pytest.mark.parametrize("column", ["unsubscribed", "cio_subscription_preferences", "cio_id"])
def test_nobody_is_subscribed_again_by_a_column(project: OneTool, column: str) -> None:
    project.profiles(1, f"false as {column}")
    with pytest.raises(UserError, match=f"reads {column} as its own"):
        project.apply()
    assert project.counts["people"] == 0


def test_who_opted_out_there_stays_out(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2)
    project.members(1, 2)
    project.apply()
    project.destination.unsubscribe([Person("c_1", "p1@customer.example")])
    project.run("update marts.contact_profiles set jobtitle = 'Chief'")
    project.apply()
    assert person(sandbox, "c_1")["unsubscribed"] is True
    assert "unsubscribed" not in person(sandbox, "c_2")


def test_events_carry_numbers_seconds_and_a_ulid(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2)
    assert project.fire(2, "98000.00::decimal(18, 2) as amount, 'JPY' as currency").delivered == 2
    [row] = sandbox._store.rows("select * from events order by id limit 1")
    sent = json.loads(row["properties"])
    assert (sent["amount"], sent["currency"], sent["days_since_start"]) == (98000, "JPY", 12)
    assert row["occurred_at"] == str(int(AT.timestamp()))
    assert row["uuid"] == ulid(f"{TRIGGER}-1", AT.replace(tzinfo=None))
    assert "email" not in sent


def test_two_events_of_one_second_are_two_and_a_repeated_one_is_one(
    project: OneTool,
) -> None:
    project.profiles(2)
    project.fire(2)
    project.run(f"update triggers.{TRIGGER} set contact_id = 'c_1'")
    project.ledger.intend("run", f"customer_io/{TRIGGER}", [(f"{TRIGGER}-1", "add", "")], 1)
    assert project.result(TRIGGER).delivered == 1
    assert project.counts["events"] == {"onboarding_low_usage": 2}
    assert project.counts["events_duplicate"] == 1


def test_an_answer_that_never_came_makes_no_second_event(project: OneTool) -> None:
    project.profiles(2)
    project.events(0)
    project.apply()
    project.events(2)
    project.arm("reset_after", path="/api/v2/batch")
    assert project.result(TRIGGER).delivered == 2
    assert project.counts["events"] == {"onboarding_low_usage": 2}


def test_an_event_of_somebody_unknown_makes_nobody(project: OneTool) -> None:
    project.profiles(2)
    result = project.fire(3)
    assert (result.delivered, result.rejected) == (2, 1)
    assert project.counts["people"] == 2


def test_update_creates_nobody(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    project.profiles(3, mode="update")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 1)
    assert project.counts["people"] == 2


def test_clearing_leaves_the_person_and_the_address(project: OneTool, sandbox: Sandbox) -> None:
    project.profiles(2, on_removal="clear")
    project.apply()
    project.profiles(1, on_removal="clear", budget={"share": 1})
    assert project.result("contact_profiles").delivered == 1
    assert person(sandbox, "c_2") == {"email": "p2@customer.example"}


def test_archiving_is_refused_before_anything_is_sent(project: OneTool) -> None:
    project.profiles(1, mode="mirror")
    with pytest.raises(UserError, match="customer_io destination cannot archive"):
        project.apply()


def test_a_key_revoked_in_the_middle_stops_the_push_and_the_next_run_goes_on(
    project: OneTool,
) -> None:
    project.profiles(1_200)
    project.arm("latency", path="/api/v2/batch", value=0)
    project.arm("status", path="/api/v2/batch", value=401)
    result = project.result("contact_profiles")
    assert "401" in result.error
    assert result.delivered < 1_200
    assert project.result("contact_profiles").is_clean
    assert project.counts["people"] == 1_200


def test_erasing_takes_who_has_the_id_and_who_has_the_address(
    project: OneTool, sandbox: Sandbox
) -> None:
    project.profiles(3)
    project.members(1, 2, 3)
    project.apply()
    outcomes = project.destination.erase(
        [Person("c_1", "p2@customer.example"), Person("c_9", "nobody@customer.example")]
    )
    assert [outcome.status for outcome in outcomes] == ["delivered", "delivered"]
    assert project.counts["people"] == 1
    assert project.counts["lists"] == {"Champions": 1}


def test_opt_outs_bounces_and_clicks_come_back(project: OneTool) -> None:
    project.profiles(2)
    project.apply()
    destination = project.destination
    destination.unsubscribe([Person("c_2", "p2@customer.example")])
    found = {f.kind: f for f in destination.pull(AT - timedelta(days=1))}
    assert found.keys() == {"unsubscribed", "bounced"}
    assert found["unsubscribed"].email == "p2@customer.example"
    assert (found["bounced"].email, found["bounced"].occurred_at) == ("p1@customer.example", AT)
    assert not list(destination.pull(datetime.now(UTC) + timedelta(days=1)))


def signed(body: bytes, stamp: str, key: str = "a signing key") -> dict[str, str]:
    text = hmac.new(key.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-CIO-Timestamp": stamp, "X-CIO-Signature": text}


def webhook(metric: str, kind: str = "email") -> bytes:
    data = {"recipient": "P1@Customer.example", "identifiers": {"id": "c_1"}}
    return json.dumps(
        {
            "event_id": "01E4",
            "object_type": kind,
            "metric": metric,
            "timestamp": int(AT.timestamp()),
            "data": data,
        }
    ).encode()


def test_a_signed_webhook_is_a_fact(project: OneTool) -> None:
    body, now = webhook("spammed"), str(int(time.time()))
    [fact] = project.destination.receive(signed(body, now), body)
    assert (fact.feedback_id, fact.kind) == ("01E4", "complained")
    assert (fact.email, fact.occurred_at) == ("p1@customer.example", AT)


def test_other_webhooks_are_no_facts(project: OneTool) -> None:
    now = str(int(time.time()))
    for body in (webhook("delivered"), webhook("clicked", "sms")):
        assert project.destination.receive(signed(body, now), body) == []


def test_a_forged_or_old_webhook_is_denied(project: OneTool) -> None:
    body, now = webhook("unsubscribed"), str(int(time.time()))
    old = str(int(time.time()) - 3_600)
    for headers in (signed(body, now, "another"), signed(body, old), {}, signed(body + b" ", now)):
        with pytest.raises(Denied):
            project.destination.receive(headers, body)


@given(st.text(), st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_a_ulid_is_one_and_always_the_same(key: str, at: datetime) -> None:
    text = ulid(key, at)
    assert text == ulid(key, at)
    assert len(text) == 26
    assert text[0] in "01234567"
    assert set(text) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert ulid(key + "x", at)[:10] == text[:10]
    assert ulid(key + "x", at) != text
