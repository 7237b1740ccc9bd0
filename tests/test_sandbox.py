"""The sandbox, spoken to over real sockets by plain clients that know the vendors' documents."""

import base64
import hashlib
import hmac
import json
import re
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from email.message import EmailMessage
from pathlib import Path

import jsonschema
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from reverse_etl.sandbox import Sandbox, SandboxError
from reverse_etl.sandbox.vendor import RateLimit

SPECS = Path(__file__).parents[2] / "shared" / "vendor_specs"
CONTACTS = "/crm/objects/2026-09/contacts"
COMPANIES = "/crm/objects/2026-09/companies"
LISTS = "/crm/lists/2026-09"
EVENTS = "/events/custom/2026-09"
PORTAL = "48650001"
SECRET = "whsec_c2FuZGJveC1zZWNyZXQtdGhhdC1pcy1ub3Qtc2VjcmV0"


class Portal(requests.Session):
    """A HubSpot client of one line per call."""

    def __init__(self, sandbox, token="sandbox-token"):
        super().__init__()
        self.base = f"{sandbox.http_url}/hubspot"
        self.headers["Authorization"] = f"Bearer {token}"

    def call(self, method, path, body=None, **options):
        if body is not None:
            options["json"] = body
        return self.request(method, self.base + path, timeout=10, **options)

    def upsert(self, rows, path=CONTACTS, by="contact_id", trace=True):
        inputs = [
            {"id": key, "idProperty": by, "properties": properties}
            | ({"objectWriteTraceId": key} if trace else {})
            for key, properties in rows.items()
        ]
        return self.call("POST", f"{path}/batch/upsert", {"inputs": inputs})

    def read(self, ids, properties, path=CONTACTS, **extra):
        body = {
            "inputs": [{"id": one} for one in ids],
            "properties": properties,
            "propertiesWithHistory": [],
        }
        return self.call("POST", f"{path}/batch/read", body | extra)

    def list_of(self, name, **extra):
        body = {"name": name, "objectTypeId": "0-1", "processingType": "MANUAL"} | extra
        return self.call("POST", LISTS, body)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    path = tmp_path_factory.mktemp("sandbox") / "sandbox.db"
    with Sandbox(path, limits={"hubspot": RateLimit(100_000, 10, 1_000_000)}) as running:
        yield running


@pytest.fixture
def sandbox(shared):
    shared.reset()
    return shared


@pytest.fixture
def portal(sandbox):
    with Portal(sandbox) as session:
        yield session


def refused(answer, status, category, words=""):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["category"] == category
    assert words in body["message"]
    assert re.fullmatch(r"[0-9a-f-]{36}", body["correlationId"])
    return body


# --- authentication, shapes, limits


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic c2FuZGJveA==", "Bearer", ""])
def test_a_missing_or_wrong_token_is_refused_as_hubspot_does(portal, header):
    del portal.headers["Authorization"]
    if header is not None:
        portal.headers["Authorization"] = header
    refused(portal.upsert({"c1": {}}), 401, "INVALID_AUTHENTICATION")


def test_anything_but_json_is_refused(portal, sandbox):
    url = f"{portal.base}{CONTACTS}/batch/upsert"
    form = portal.post(url, data="inputs=1", headers={"Content-Type": "text/plain"})
    refused(form, 415, "VALIDATION_ERROR")
    broken = portal.post(url, data=b'{"inputs": [', headers={"Content-Type": "application/json"})
    refused(broken, 400, "VALIDATION_ERROR", "Invalid input JSON")
    latin = '{"inputs": ["é"]}'.encode("latin-1")
    wrong = portal.post(url, data=latin, headers={"Content-Type": "application/json"})
    refused(wrong, 400, "VALIDATION_ERROR", "Invalid input JSON")
    assert sandbox.counts()["hubspot"]["violations"] == 3


@pytest.mark.parametrize(
    "path", ["/crm/v3/objects/contacts/batch/upsert", "/contacts/v1/contact", "/", "/crm/objects"]
)
def test_legacy_paths_do_not_exist(portal, path):
    refused(portal.call("POST", path, {"inputs": []}), 404, "OBJECT_NOT_FOUND")


def test_a_batch_of_101_is_refused_and_one_of_100_is_not(portal, sandbox):
    rows = {f"c{number}": {"email": f"p{number}@example.com"} for number in range(101)}
    refused(portal.upsert(rows), 400, "VALIDATION_ERROR", "is 100, received 101")
    assert sandbox.counts()["hubspot"]["contacts"] == 0
    del rows["c100"]
    answer = portal.upsert(rows).json()
    assert {row["objectWriteTraceId"] for row in answer["results"]} == set(rows)
    order = [row["objectWriteTraceId"] for row in answer["results"]]
    assert order != list(rows), "answers must not come in the order of the request"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"properties": {"firstname": 1}}, "not a string"),
        ({"properties": {"is_champion": True}}, "not a string"),
        ({"properties": None}, "not of type"),
        ({"id": 7}, "not of type"),
        ({"idProperty": "firstname"}, "non-unique 0-1 property firstname"),
        ({"idProperty": "nowhere"}, "non-unique 0-1 property nowhere"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_a_malformed_input_refuses_the_whole_batch(portal, sandbox, change, words):
    item = {"id": "c1", "idProperty": "contact_id", "properties": {}, "objectWriteTraceId": "c1"}
    answer = portal.call("POST", f"{CONTACTS}/batch/upsert", {"inputs": [item | change]})
    refused(answer, 400, "VALIDATION_ERROR", words)
    assert sandbox.counts()["hubspot"]["contacts"] == 0


def test_an_id_property_is_required_and_the_domain_of_a_company_is_none(portal):
    plain = {"inputs": [{"id": "c1", "properties": {}}]}
    answer = portal.call("POST", f"{CONTACTS}/batch/upsert", plain)
    refused(answer, 400, "VALIDATION_ERROR", "idProperty is required")
    rows = {"a.example": {"name": "A"}}
    answer = portal.upsert(rows, COMPANIES, by="domain")
    refused(answer, 400, "VALIDATION_ERROR", "non-unique 0-2 property domain")


def test_an_id_twice_in_a_batch_refuses_it_and_email_ignores_case(portal, sandbox):
    answer = portal.upsert({"A@example.com": {}, "a@Example.com": {}}, by="email")
    refused(answer, 400, "VALIDATION_ERROR", "Duplicate IDs found in batch input")
    assert sandbox.counts()["hubspot"]["contacts"] == 0


def test_every_answer_reports_the_limits_and_the_window_is_kept(tmp_path):
    clock = [1_000_000.0]
    limits = {"hubspot": RateLimit(calls=5, window_seconds=10, daily=8)}
    with (
        Sandbox(tmp_path / "s.db", limits=limits, clock=lambda: clock[0]) as own,
        Portal(own) as portal,
    ):
        path = "/crm/properties/2026-09/contacts"
        remaining = []
        for _ in range(5):
            answer = portal.call("GET", path)
            remaining.append(answer.headers["X-HubSpot-RateLimit-Remaining"])
        assert remaining == ["4", "3", "2", "1", "0"]
        assert answer.headers["X-HubSpot-RateLimit-Max"] == "5"
        assert answer.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
        assert answer.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "3"
        clock[0] += 9.9
        over = portal.call("GET", path)
        assert refused(over, 429, "RATE_LIMITS")["policyName"] == "TEN_SECONDLY_ROLLING"
        assert over.headers["X-HubSpot-RateLimit-Remaining"] == "0"
        clock[0] += 0.2
        assert [portal.call("GET", path).status_code for _ in range(3)] == [200, 200, 200]
        assert refused(portal.call("GET", path), 429, "RATE_LIMITS")["policyName"] == "DAILY"
        assert own.counts()["hubspot"]["violations"] == 2
        clock[0] += 86_400
        assert portal.call("GET", path).status_code == 200


# --- contacts and companies


def test_a_bad_row_is_named_by_its_trace_id_and_the_others_are_written(portal, sandbox):
    answer = portal.upsert(
        {
            "c1": {"email": "one@example.com"},
            "c2": {"email": "not an address"},
            "c3": {"email": "three@example.com", "no_such_property": "1"},
            "c4": {"email": "four@example.jp", "health_score": "high"},
            "c5": {"is_champion": "yes"},
            "c6": {"last_active_at": "yesterday"},
            "c7": {"hs_object_id": "1"},
        }
    )
    assert answer.status_code == 200
    body = answer.json()
    assert [row["objectWriteTraceId"] for row in body["results"]] == ["c1"]
    codes = {
        error["context"]["objectWriteTraceId"][0]: error["errors"][0]["code"]
        for error in body["errors"]
    }
    assert codes == {
        "c2": "INVALID_EMAIL",
        "c3": "PROPERTY_DOESNT_EXIST",
        "c4": "INVALID_NUMBER",
        "c5": "INVALID_OPTION",
        "c6": "INVALID_DATE",
        "c7": "READ_ONLY_VALUE",
    }
    assert body["numErrors"] == 6
    assert sandbox.counts()["hubspot"]["contacts"] == 1
    assert sandbox.counts()["hubspot"]["violations"] == 0, "bad data is no breach of the contract"


def test_without_trace_ids_one_bad_row_refuses_the_batch_and_nothing_is_written(portal, sandbox):
    rows = {f"c{number}": {"email": f"p{number}@example.com"} for number in range(20)}
    rows["c19"]["nope"] = "1"
    refused(portal.upsert(rows, trace=False), 400, "VALIDATION_ERROR", "PROPERTY_DOESNT_EXIST")
    assert sandbox.counts()["hubspot"]["contacts"] == 0


def test_an_upsert_merges_and_clears_and_says_what_is_new(portal):
    portal.upsert({"c1": {"email": "Taro@Example.jp", "firstname": "太郎", "role": "admin"}})
    second = portal.upsert({"c1": {"lastname": "山田", "role": "", "firstname": None}})
    assert second.json()["results"][0]["new"] is False
    names = ["email", "firstname", "lastname", "role"]
    held = portal.read(["c1"], names, idProperty="contact_id").json()["results"][0]["properties"]
    assert {name: held[name] for name in names} == {
        "email": "taro@example.jp",
        "firstname": None,
        "lastname": "山田",
        "role": None,
    }


def test_two_contacts_never_share_an_address_but_may_hand_it_over(portal):
    portal.upsert({"c1": {"email": "one@example.com"}})
    clash = portal.upsert({"c2": {"email": "ONE@example.com"}}).json()
    assert clash["errors"][0]["category"] == "CONFLICT"
    within = portal.upsert({"c3": {"email": "x@example.com"}, "c4": {"email": "x@example.com"}})
    assert len(within.json()["results"]) == len(within.json()["errors"]) == 1
    portal.upsert({"c1": {"email": "moved@example.com"}})
    assert "errors" not in portal.upsert({"c2": {"email": "one@example.com"}}).json()


def test_companies_are_upserted_by_customer_id(portal, sandbox):
    rows = {"cus_1": {"name": "株式会社サンプル", "mrr": "120000", "renewal_date": "2026-12-31"}}
    assert portal.upsert(rows, COMPANIES, by="customer_id").status_code == 200
    bad = portal.upsert({"cus_2": {"renewal_date": "31/12/2026"}}, COMPANIES, by="customer_id")
    assert bad.json()["errors"][0]["errors"][0]["code"] == "INVALID_DATE"
    assert sandbox.counts()["hubspot"]["companies"] == 1


def test_reading_names_what_is_missing(portal):
    portal.upsert({"c1": {"email": "one@example.com"}})
    body = portal.read(["one@example.com", "two@example.com"], [], idProperty="email").json()
    assert [row["properties"]["email"] for row in body["results"]] == ["one@example.com"]
    assert body["errors"][0]["context"]["ids"] == ["two@example.com"]
    record = body["results"][0]["id"]
    assert portal.call("GET", f"{CONTACTS}/{record}?properties=contact_id").json()["properties"][
        "contact_id"
    ] == ("c1")


def test_a_created_unique_property_identifies_records_even_after_a_restart(tmp_path):
    path = tmp_path / "s.db"
    new = {
        "name": "external_key",
        "label": "External key",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
        "hasUniqueValue": True,
    }
    with Sandbox(path) as first, Portal(first) as portal:
        refused(portal.upsert({"k1": {}}, by="external_key"), 400, "VALIDATION_ERROR")
        made = portal.call("POST", "/crm/properties/2026-09/contacts", new)
        assert (made.status_code, made.json()["hasUniqueValue"]) == (201, True)
        again = portal.call("POST", "/crm/properties/2026-09/contacts", new)
        refused(again, 409, "CONFLICT")
        assert portal.upsert({"k1": {"email": "k@example.com"}}, by="external_key").ok
    with Sandbox(path) as second, Portal(second) as portal:
        assert second.counts()["hubspot"]["contacts"] == 1
        assert portal.upsert({"k1": {}}, by="external_key").json()["results"][0]["new"] is False


def test_erasure_removes_the_person_everywhere_and_blocks_the_address(portal, sandbox):
    made = portal.upsert({"c1": {"email": "gone@example.com"}}).json()["results"][0]["id"]
    list_id = portal.list_of("All").json()["list"]["listId"]
    portal.call("PUT", f"{LISTS}/{list_id}/memberships/add", [made])
    event = {"eventName": f"pe{PORTAL}_feature_unused", "objectId": made, "properties": {}}
    portal.call("POST", f"{EVENTS}/send", event)
    body = {"objectId": "gone@example.com", "idProperty": "email"}
    assert portal.call("POST", f"{CONTACTS}/gdpr-delete", body).status_code == 204
    counts = sandbox.counts()["hubspot"]
    assert (counts["contacts"], counts["lists"], counts["events"]) == (0, {"All": 0}, {})
    back = portal.upsert({"c1": {"email": "gone@example.com"}}).json()
    assert "GDPR" in back["errors"][0]["message"]


def test_unsubscribe_all_is_counted_once_per_address(portal, sandbox):
    path = "/communication-preferences/2026-09/statuses/batch/unsubscribe-all"
    for _ in range(2):
        assert portal.call("POST", path, {"inputs": ["a@example.com", "b@example.com"]}).ok
    assert sandbox.counts()["hubspot"]["unsubscribed"] == 2
    refused(portal.call("POST", path, {"inputs": ["nobody"]}), 400, "VALIDATION_ERROR")


values = st.dictionaries(
    st.sampled_from(["firstname", "lastname", "jobtitle", "role"]),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), values), max_size=6))
def test_any_series_of_upserts_ends_like_a_dict_would(shared, batches):
    shared.reset()
    expected = {}
    with Portal(shared) as portal:
        for batch in filter(None, batches):
            assert "errors" not in portal.upsert(batch).json()
            for key, given_ in batch.items():
                merged = expected.get(key, {}) | given_
                expected[key] = {name: value for name, value in merged.items() if value}
        if not expected:
            return
        names = ["contact_id", "firstname", "lastname", "jobtitle", "role"]
        results = portal.read(list(expected), names, idProperty="contact_id").json()["results"]
    held = {}
    for row in results:
        properties = {name: row["properties"][name] for name in names if row["properties"][name]}
        held[properties.pop("contact_id")] = properties
    assert held == expected


def test_ten_thousand_contacts_do_not_crawl(portal, sandbox):
    started = time.perf_counter()
    for batch in range(100):
        keys = [f"c{batch}-{row}" for row in range(100)]
        portal.upsert({key: {"email": f"{key}@example.com", "firstname": "A"} for key in keys})
    assert sandbox.counts()["hubspot"]["contacts"] == 10_000
    assert time.perf_counter() - started < 10, "about 1 s on an idle machine"


# --- lists


def test_members_come_and_go_and_unknown_ids_are_missing(portal, sandbox):
    results = portal.upsert({f"c{n}": {"email": f"p{n}@example.com"} for n in range(3)}).json()
    ids = sorted(row["id"] for row in results["results"])
    list_id = portal.list_of("チャンピオン / 100%").json()["list"]["listId"]
    path = f"{LISTS}/{list_id}/memberships"
    added = portal.call("PUT", f"{path}/add", [*ids, "99", "c1"]).json()
    assert sorted(added["recordsIdsAdded"]) == ids
    assert added["recordIdsMissing"] == ["99", "c1"]
    again = portal.call("PUT", f"{path}/add", ids).json()
    assert again["recordsIdsAdded"] == []
    both = {"recordIdsToAdd": [], "recordIdsToRemove": ids[:1]}
    changed = portal.call("PUT", f"{path}/add-and-remove", both).json()
    assert changed["recordIdsRemoved"] == ids[:1]
    first = portal.call("GET", f"{path}?limit=1").json()
    rest = portal.call("GET", f"{path}?after={first['paging']['next']['after']}").json()
    seen = [row["recordId"] for row in first["results"] + rest["results"]]
    assert seen == ids[1:]
    assert "paging" not in rest
    assert sandbox.counts()["hubspot"]["lists"] == {"チャンピオン / 100%": 2}
    named = portal.call("GET", f"{LISTS}/object-type-id/0-1/name/チャンピオン %2F 100%25")
    assert named.json()["list"]["listId"] == list_id
    query = {
        "query": "チャンピ",
        "additionalProperties": [],
        "listIds": [],
        "offset": 0,
        "processingTypes": ["MANUAL"],
    }
    found = portal.call("POST", f"{LISTS}/search", query).json()
    assert (found["total"], found["lists"][0]["listId"]) == (1, list_id)


def test_lists_refuse_what_the_vendor_refuses(portal):
    made = portal.list_of("One").json()["list"]
    twice = refused(portal.list_of("One"), 400, "VALIDATION_ERROR")
    assert twice["subCategory"] == "ILS.DUPLICATE_LIST_NAMES"
    refused(portal.list_of("Two", processingType="STATIC"), 400, "VALIDATION_ERROR")
    refused(portal.list_of("Two", objectTypeId="contacts"), 400, "VALIDATION_ERROR")
    dynamic = portal.list_of("Three", processingType="DYNAMIC", filterBranch={}).json()["list"]
    path = f"{LISTS}/{dynamic['listId']}/memberships/add"
    refused(portal.call("PUT", path, ["1"]), 400, "VALIDATION_ERROR", "DYNAMIC")
    refused(portal.call("GET", f"{LISTS}/424242"), 404, "OBJECT_NOT_FOUND")
    path = f"{LISTS}/{made['listId']}/memberships"
    refused(portal.call("PUT", f"{path}/add", [1]), 400, "VALIDATION_ERROR", "array of strings")
    refused(portal.call("PUT", f"{path}/add", {"ids": []}), 400, "VALIDATION_ERROR")
    half = {"recordIdsToAdd": []}
    refused(portal.call("PUT", f"{path}/add-and-remove", half), 400, "VALIDATION_ERROR")


# --- events


def occurrence(**change):
    return {
        "eventName": f"pe{PORTAL}_feature_unused",
        "email": "one@example.com",
        "occurredAt": "2026-09-01T09:00:00Z",
        "uuid": "u1",
        "properties": {"feature": "reports"},
    } | change


def test_the_first_event_of_a_uuid_wins_and_unknown_people_are_dropped(portal, sandbox):
    portal.upsert({"c1": {"email": "one@example.com"}})
    inputs = [
        occurrence(),
        occurrence(properties={"feature": "late"}),
        occurrence(uuid="u2", email="nobody@example.com"),
        occurrence(uuid="u3", email="", objectId="5"),
    ]
    answer = portal.call("POST", f"{EVENTS}/send/batch", {"inputs": inputs})
    assert (answer.status_code, answer.content) == (204, b"")
    assert portal.call("POST", f"{EVENTS}/send", occurrence()).status_code == 204
    counts = sandbox.counts()["hubspot"]
    assert counts["events"] == {f"pe{PORTAL}_feature_unused": 1}
    assert (counts["events_duplicate"], counts["events_dropped"]) == (2, 2)
    assert counts["contacts"] == 1
    kept = sandbox._store.rows("select properties from events where outcome = 'accepted'")
    assert json.loads(kept[0][0]) == {"feature": "reports"}


@pytest.mark.parametrize(
    "change",
    [
        {"eventName": "feature_unused"},
        {"eventName": "pe1_feature_unused"},
        {"properties": {"undeclared": "1"}},
        {"properties": {"days_unused": 3}},
        {"email": ""},
        {"occurredAt": "2026-09-01 09:00"},
        {"occurredAt": 1788253200000},
    ],
)
def test_one_bad_event_refuses_the_whole_batch(portal, sandbox, change):
    portal.upsert({"c1": {"email": "one@example.com"}})
    inputs = [occurrence(), occurrence(uuid="u2") | change]
    answer = portal.call("POST", f"{EVENTS}/send/batch", {"inputs": inputs})
    refused(answer, 400, "VALIDATION_ERROR")
    assert sandbox.counts()["hubspot"]["events"] == {}


def test_501_events_are_too_many(portal):
    inputs = [occurrence(uuid=str(number)) for number in range(501)]
    answer = portal.call("POST", f"{EVENTS}/send/batch", {"inputs": inputs})
    refused(answer, 400, "VALIDATION_ERROR", "is 500, received 501")


def test_an_event_can_be_defined_through_the_api(portal):
    body = {
        "label": "Trial ends",
        "name": "trial_ends",
        "includeDefaultProperties": False,
        "propertyDefinitions": [{"label": "days", "name": "days", "type": "number"}],
    }
    made = portal.call("POST", f"{EVENTS}/event-definitions", body)
    assert made.status_code == 201
    name = made.json()["fullyQualifiedName"]
    assert name == f"pe{PORTAL}_trial_ends"
    assert portal.call("GET", f"{EVENTS}/event-definitions/{name}").ok
    good = occurrence(eventName=name, properties={"days": "3"})
    assert portal.call("POST", f"{EVENTS}/send", good).status_code == 204


# --- the vendor's own specification


def validator(file, schema):
    """A JSON Schema validator of one OpenAPI 3.0 component that allows no unknown fields."""
    document = json.loads((SPECS / file).read_text())

    def converted(node):
        if isinstance(node, list):
            return [converted(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {key: converted(value) for key, value in node.items() if key != "example"}
        if node.pop("nullable", False) and "type" in node:
            node["type"] = [node["type"], "null"]
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        return node

    root = {"$ref": f"#/components/schemas/{schema}"}
    components = {"components": {"schemas": converted(document["components"]["schemas"])}}
    return jsonschema.Draft4Validator(root | components)


@pytest.mark.skipif(not SPECS.exists(), reason="../shared/vendor_specs is not on this machine")
def test_answers_and_requests_have_the_shapes_of_the_official_specification(portal):
    contacts, lists = "hubspot_contacts_2026-09.json", "hubspot_lists_2026-09.json"
    events = "hubspot_events_2026-09.json"

    def check(file, schema, value):
        errors = [
            f"{error.json_path}: {error.message}"
            for error in validator(file, schema).iter_errors(value)
        ]
        assert errors == [], (schema, errors)

    def sent(answer):
        return json.loads(answer.request.body)

    mixed = portal.upsert({"c1": {"email": "one@example.com"}, "c2": {"email": "bad"}})
    check(contacts, "BatchInputSimplePublicObjectBatchInputUpsert", sent(mixed))
    check(contacts, "BatchResponseSimplePublicUpsertObject", mixed.json())
    read = portal.read(["c1", "none"], ["email"], idProperty="contact_id")
    check(contacts, "BatchReadInputSimplePublicObjectId", sent(read))
    check(contacts, "BatchResponseSimplePublicObject", read.json())
    record = read.json()["results"][0]["id"]
    one = portal.call("GET", f"{CONTACTS}/{record}").json()
    check(contacts, "SimplePublicObjectWithAssociations", one)
    made = portal.list_of("One")
    check(lists, "ListCreateRequest", sent(made))
    check(lists, "ListCreateResponse", made.json())
    list_id = made.json()["list"]["listId"]
    fetched = portal.call("GET", f"{LISTS}/object-type-id/0-1/name/One").json()
    check(lists, "ListFetchResponse", fetched)
    changed = portal.call("PUT", f"{LISTS}/{list_id}/memberships/add", [record, "9"]).json()
    check(lists, "MembershipsUpdateResponse", changed)
    members = portal.call("GET", f"{LISTS}/{list_id}/memberships").json()
    check(lists, "ApiCollectionResponseJoinTimeAndRecordId", members)
    query = {"additionalProperties": [], "listIds": [], "offset": 0, "processingTypes": []}
    found = portal.call("POST", f"{LISTS}/search", query)
    check(lists, "ListSearchRequest", sent(found))
    check(lists, "ListSearchResponse", found.json())
    known = portal.call("GET", f"{EVENTS}/event-definitions").json()
    check(events, "CollectionResponseWithTotalExternalBehavioralEventTypeDefinition", known)
    batch = portal.call("POST", f"{EVENTS}/send/batch", {"inputs": [occurrence()]})
    check(events, "BatchedBehavioralEventHttpCompletionRequest", sent(batch))
    for answer in (
        portal.call("GET", f"{LISTS}/999"),
        portal.upsert({"c1": {"nope": ""}}, trace=False),
        portal.call("POST", f"{EVENTS}/send", {}),
    ):
        body = answer.json()
        assert body.pop("status") == "error"  # answered in practice, not in the specification
        check(contacts, "Error", body)


# --- signed webhooks


def webhook(sandbox, identity="msg_1", endpoint="owner-alert", at=None, payload=None, **headers):
    body = payload or {"type": "trigger.health_dropped", "timestamp": "2026-09-01T00:00:00Z"} | {
        "data": {"名前": "山田"}
    }
    raw = json.dumps(body, ensure_ascii=False).encode()
    stamp = str(int(at or time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, f"{identity}.{stamp}.".encode() + raw, hashlib.sha256).digest()
    signed = {
        "content-type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    signed |= {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{sandbox.http_url}/webhook/{endpoint}"
    return requests.post(url, data=raw, headers=signed, timeout=10)


def test_a_signed_message_is_kept_once_however_often_it_comes(sandbox):
    assert [webhook(sandbox).status_code for _ in range(3)] == [200, 200, 200]
    assert webhook(sandbox, "msg_2").ok
    counts = sandbox.counts()["webhook"]
    assert (counts["received"], counts["duplicates"]) == (2, 2)
    assert counts["by_type"] == {"trigger.health_dropped": 2}


def test_the_official_library_signs_what_the_receiver_accepts(sandbox):
    from datetime import UTC, datetime

    now, body = datetime.now(UTC), '{"type":"t","timestamp":"now","data":{}}'
    headers = {
        "webhook-id": "msg_lib",
        "webhook-timestamp": str(int(now.timestamp())),
        # While a secret is rotated, several signatures are listed.
        "webhook-signature": "v1,AAAA v1a,xyz " + Webhook(SECRET).sign("msg_lib", now, body),
    }
    url = f"{sandbox.http_url}/webhook/any"
    assert requests.post(url, data=body, headers=headers, timeout=10).ok


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook_signature": "v1,AAAA"},
        {"webhook_signature": "nonsense"},
        {"webhook_signature": ""},
        {"webhook_timestamp": "soon"},
        {"webhook_timestamp": "²"},
        {"webhook_id": "another"},
    ],
)
def test_a_bad_signature_is_refused(sandbox, headers):
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert webhook(sandbox, **encoded).status_code == 401
    assert sandbox.counts()["webhook"]["received"] == 0


def test_an_old_message_and_a_closed_endpoint_are_refused(sandbox):
    assert webhook(sandbox, at=time.time() - 301).status_code == 401
    assert webhook(sandbox, at=time.time() + 301).status_code == 401
    assert webhook(sandbox, at=time.time() - 290).status_code == 200
    assert webhook(sandbox, endpoint="gone").status_code == 410


# --- mail


def mail(subject="Hello", html=None, **headers):
    message = EmailMessage()
    message["Subject"], message["From"] = subject, "サポート <support@example.jp>"
    message["To"], message["Message-ID"] = "taro@example.jp", "<m1@example.jp>"
    message.set_content("本文です。\n")
    if html:
        message.add_alternative(html, subtype="html")
    # After the content, which replaces every Content-* header.
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


def test_a_japanese_mail_is_kept_decoded(sandbox):
    html = "<h1>こんにちは</h1>"
    letter = mail(
        "ご利用状況のお知らせ", html, Content_Language="ja", X_Sync="smtp/trg_feature_unused"
    )
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "10000000"
        client.login("sandbox", "sandbox")
        assert client.send_message(letter) == {}
    kept = dict(sandbox._store.rows("select * from mails")[0])
    assert kept["subject"] == "ご利用状況のお知らせ"
    assert kept["from_"] == "サポート <support@example.jp>"
    assert (kept["text"].strip(), kept["html"].strip()) == ("本文です。", html)
    assert kept["message_id"] == "<m1@example.jp>"
    assert sandbox.counts()["smtp"] == {
        "mails": 1,
        "by_sync": {"smtp/trg_feature_unused": 1},
        "by_language": {"ja": 1},
    }


def test_recipients_bounce_or_are_busy_by_domain(sandbox):
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port) as client:
        recipients = ["a@bounce.example", "b@Busy.Example", "c@example.com"]
        letter = mail().as_bytes()
        failed = client.sendmail("support@example.jp", recipients, letter)
        assert {address: code for address, (code, _) in failed.items()} == {
            "a@bounce.example": 550,
            "b@Busy.Example": 451,
        }
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("sandbox", "wrong")
    kept = sandbox._store.rows("select recipients from mails")
    assert [json.loads(row[0]) for row in kept] == [["c@example.com"]]


def test_broken_mail_is_kept_whatever_it_holds(sandbox):
    broken = [
        b"",
        bytes(range(1, 256)),
        b"From: \x00\r\nTo: a@b, =?x?q?=00?=, [;:\r\nContent-Type: ;;;=\r\n\r\n\x00",
        b"\xff\xfe no headers at all",
        b"Subject: =?utf-8?b?broken\r\nTo: <<>>,;@\r\nMessage-ID: <\r\n\r\n\xe3\x81",
        b"Content-Type: text/html; charset=no-such\r\nSubject: \xe3\x81\r\n\r\n<p>\xe3",
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n",
    ]
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port) as client:
        for raw in broken:
            client.sendmail("a@example.com", ["b@example.com"], raw)
    assert sandbox.counts()["smtp"]["mails"] == len(broken)
    for row in sandbox._store.rows("select id from mails"):
        url = f"{sandbox.http_url}/?view=mails&id={row[0]}"
        assert requests.get(url, timeout=10).status_code == 200


def test_a_mail_over_the_size_is_refused(sandbox):
    with (
        smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port) as client,
        pytest.raises(smtplib.SMTPSenderRefused) as refusal,
    ):
        client.sendmail("a@example.com", ["b@example.com"], b"x" * 10_000_001)
    assert refusal.value.smtp_code == 552


# --- faults


def arm(sandbox, **fault):
    return requests.post(f"{sandbox.http_url}/_sandbox/faults", json=fault, timeout=10)


@pytest.mark.parametrize(
    ("kind", "applied"), [("reset_before", 0), ("reset_after", 1), ("truncate", 1)]
)
def test_a_broken_connection_applies_the_request_or_not(portal, sandbox, kind, applied):
    assert arm(sandbox, vendor="hubspot", kind=kind).ok
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        portal.upsert({"c1": {"email": "one@example.com"}})
    assert sandbox.counts()["hubspot"]["contacts"] == applied
    assert portal.upsert({"c1": {}}).ok, "the fault was armed for one request"


def test_latency_and_status_faults_last_as_many_requests_as_asked(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="status", times=2, value=503)
    arm(sandbox, vendor="hubspot", kind="latency", value=0.3)
    assert [portal.upsert({"c1": {}}).status_code for _ in range(2)] == [503, 503]
    assert sandbox.counts()["hubspot"]["contacts"] == 0
    started = time.perf_counter()
    assert portal.upsert({"c1": {}}).ok
    assert time.perf_counter() - started >= 0.3
    assert requests.get(f"{sandbox.http_url}/_sandbox/faults", timeout=10).json() == []


def test_a_fault_may_wait_for_one_kind_of_request(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="status", value=500, path="/send/batch")
    assert portal.upsert({"c1": {}}).ok
    assert (
        portal.call("POST", f"{EVENTS}/send/batch", {"inputs": [occurrence()]}).status_code == 500
    )


def test_a_storm_names_its_pause_in_the_spelling_asked_for(portal, sandbox):
    arm(
        sandbox,
        vendor="hubspot",
        kind="storm",
        value=2,
        times=2,
        spelling="X-Ratelimit-Retry-After",
    )
    for _ in range(2):
        answer = portal.upsert({"c1": {}})
        assert (answer.status_code, answer.headers["x-ratelimit-retry-after"]) == (429, "2")
    assert portal.upsert({"c1": {}}).ok
    assert sandbox.counts()["hubspot"]["violations"] == 0, "it was no breach of a limit"


def test_a_token_can_run_out_for_a_while(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="expired_token")
    assert portal.upsert({"c1": {}}).status_code == 401
    assert portal.upsert({"c1": {}}).ok


def test_a_hollow_answer_is_a_200_that_did_nothing(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="hollow")
    answer = portal.upsert({"c1": {}})
    assert (answer.status_code, answer.json()) == (200, {})
    assert sandbox.counts()["hubspot"]["contacts"] == 0


def test_errors_inside_a_2xx_name_what_was_not_done(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="errors_inside")
    answer = portal.upsert({f"c{n}": {} for n in range(7)})
    told = answer.json()
    assert answer.ok
    failed = {key for error in told["errors"] for key in error["context"]["objectWriteTraceId"]}
    assert failed == {"c0", "c3", "c6"}
    assert sandbox.counts()["hubspot"]["contacts"] == 4


def test_a_duplicated_request_is_applied_twice_and_answered_once(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="duplicate")
    assert portal.upsert({"c1": {}}).ok
    assert sandbox.counts()["hubspot"]["contacts"] == 1


def test_a_slow_body_takes_its_time_and_is_whole(portal, sandbox):
    arm(sandbox, vendor="hubspot", kind="slow_body", value=0.3)
    started = time.monotonic()
    assert portal.upsert({"c1": {}}).json()["results"]
    assert time.monotonic() - started > 0.25


def test_a_clock_that_is_off_refuses_signatures_and_is_right_again(sandbox):
    from reverse_etl.destinations.webhook import sign

    def post():
        key = base64.b64decode("c2FuZGJveC1zZWNyZXQtdGhhdC1pcy1ub3Qtc2VjcmV0")
        body = b'{"type": "a", "timestamp": "now", "data": {}}'
        now = str(int(time.time()))
        headers = {"webhook-id": "1", "webhook-timestamp": now}
        headers["webhook-signature"] = sign(key, "1", now, body)
        url = f"{sandbox.http_url}/webhook/alerts"
        return requests.post(url, data=body, headers=headers, timeout=10).status_code

    arm(sandbox, vendor="webhook", kind="clock_skew", value=-600)
    assert post() == 401
    assert post() == 200


def test_a_wrong_fault_is_refused(sandbox):
    assert arm(sandbox, vendor="hubspot", kind="earthquake").status_code == 400
    assert arm(sandbox, vendor="nobody", kind="latency").status_code == 400
    assert arm(sandbox, vendor="hubspot", kind="status", value=200).status_code == 400


# --- the server and the page


def test_a_taken_port_is_named_with_the_variable_to_set(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError, match=f"port {port} .*SANDBOX_PORT"):
            Sandbox(tmp_path / "a.db", http_port=port).__enter__()
        with pytest.raises(SandboxError, match=f"port {port} .*SANDBOX_SMTP_PORT"):
            Sandbox(tmp_path / "b.db", smtp_port=port).__enter__()


def test_a_broken_store_or_portal_file_is_named(tmp_path):
    (tmp_path / "s.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(SandboxError, match=r"s\.db"):
        Sandbox(tmp_path / "s.db").__enter__()
    (tmp_path / "portal.yml").write_text("- a\n- list\n")
    with pytest.raises(SandboxError, match=r"portal\.yml"):
        Sandbox(tmp_path / "t.db", portal=tmp_path / "portal.yml").__enter__()
    (tmp_path / "portal.yml").write_text("hubspot: {limits: {call: 3}}\n")
    with pytest.raises(SandboxError, match=r"portal\.yml.*call"):
        Sandbox(tmp_path / "t.db", portal=tmp_path / "portal.yml").__enter__()


SERVE = """
import sys
from pathlib import Path
from reverse_etl.sandbox import Sandbox
sandbox = Sandbox(Path(sys.argv[1]))
sandbox.serve_forever(lambda: print(sandbox.http_url, flush=True))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
def test_the_process_ends_on_a_signal_and_keeps_what_it_acknowledged(tmp_path, number, status):
    path = tmp_path / "s.db"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().strip()
        with requests.Session() as session:
            session.headers["Authorization"] = "Bearer sandbox-token"
            body = {"inputs": [{"id": "c1", "idProperty": "contact_id", "properties": {}}]}
            answer = session.post(f"{url}/hubspot{CONTACTS}/batch/upsert", json=body, timeout=10)
            assert answer.status_code == 200
            process.send_signal(number)
            assert process.wait(10) == status
    finally:
        process.kill()
        process.stdout.close()
    with Sandbox(path) as running:
        assert running.counts()["hubspot"]["contacts"] == 1


def test_it_starts_and_stops_without_leaving_threads_or_losing_anything(tmp_path):
    before = set(threading.enumerate())
    path = tmp_path / "s.db"
    for round_ in range(3):
        with Sandbox(path) as running, Portal(running) as portal:
            assert portal.upsert({f"c{round_}": {}}).ok
            idle = smtplib.SMTP(running.smtp_host, running.smtp_port)
        assert running.smtp_port
        idle.close()
    assert set(threading.enumerate()) == before
    with Sandbox(path) as running:
        assert running.counts()["hubspot"]["contacts"] == 3
        url = f"{running.http_url}/_sandbox"
        assert requests.get(f"{url}/counts", timeout=10).json() == running.counts()
        assert requests.post(f"{url}/reset", timeout=10).ok
        assert running.counts()["hubspot"]["contacts"] == 0
    assert path.stat().st_mode & 0o077 == 0


ATTACK = "<script>alert(1)</script>\"'--"


def test_every_view_of_the_page_shows_what_came_and_runs_none_of_it(portal, sandbox):
    made = portal.upsert({"c1": {"email": "one@example.com", "firstname": ATTACK}}).json()
    list_id = portal.list_of(ATTACK).json()["list"]["listId"]
    record = made["results"][0]["id"]
    portal.call("PUT", f"{LISTS}/{list_id}/memberships/add", [record])
    portal.upsert({"cus_1": {"name": ATTACK}}, COMPANIES, by="customer_id")
    portal.call("POST", f"{EVENTS}/send", occurrence(properties={"feature": ATTACK}))
    webhook(sandbox, payload={"type": ATTACK, "timestamp": "", "data": ATTACK})
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port) as client:
        client.send_message(mail(ATTACK, f"<p>{ATTACK}</p>", X_Sync=ATTACK))
    mail_id = sandbox._store.number("select max(id) from mails")
    views = ["", "?view=contacts", "?view=companies", "?view=events", "?view=webhooks"]
    views += ["?view=requests", f"?view=lists&id={list_id}", f"?view=mails&id={mail_id}"]
    views += [f"?view=contacts&q={ATTACK}", "?view=nonsense&page=x&id=1'", "?view=lists&id='"]
    for view in views:
        answer = requests.get(f"{sandbox.http_url}/{view}", timeout=10)
        assert answer.status_code == 200, view
        assert "<title>Sandbox — what the tools received</title>" in answer.text
        assert "<script" not in answer.text, view
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http" not in re.sub(r"<code>[^<]*</code>|&lt;.*?&gt;", "", answer.text), view
    shown = requests.get(f"{sandbox.http_url}/?view=mails&id={mail_id}", timeout=10).text
    assert '<iframe sandbox=""' in shown
    assert "alert(1)" in shown


def test_contacts_are_searched_and_paged(portal, sandbox):
    for batch in range(3):
        keys = [f"c{batch}-{row}" for row in range(50)]
        portal.upsert({key: {"email": f"{key}@example.com"} for key in keys})
    url = f"{sandbox.http_url}/?view=contacts"
    first = requests.get(url, timeout=10).text
    assert "150 found" in first
    assert "Page 1 of 2" in first
    assert first.count("<tr>") == 101
    assert requests.get(f"{url}&page=2", timeout=10).text.count("<tr>") == 51
    assert "1 found" in requests.get(f"{url}&q=c2-49@", timeout=10).text
    assert "0 found" in requests.get(f"{url}&q=%25_%25", timeout=10).text
