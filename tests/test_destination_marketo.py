"""Marketo: what the sandbox's strict instance, and the vendor's own specification, make of our
calls."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest

from reverse_etl.destinations import marketo_instance
from reverse_etl.destinations.base import Person
from reverse_etl.destinations.marketo_instance import InFlight
from reverse_etl.errors import UserError
from reverse_etl.push import Retries
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.marketo import _FIRST
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.one_tool import OneTool
from tests.small_project import (
    ALERTED,
    AUTOMATED,
    CONTACT_PROFILES,
    CUSTOMER_PROFILES,
    contacts_sql,
)

SPEC = Path(__file__).parents[2] / "shared" / "vendor_specs" / "marketo_rest.json"
PROFILES = "marketo/contact_profiles"
LIST = "marketo/seg_champions"
TRIGGER = "marketo/trg_onboarding_low_usage"
ENTRY = {
    "credentials": {"client_id": "sandbox-client", "client_secret": "sandbox-secret"},
    "options": {"calls_in_20_s": 10_000, "list_folder": 12},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    path = tmp_path_factory.mktemp("sandbox") / "sandbox.db"
    with Sandbox(path, limits={"marketo": RateLimit(10_000, 20, 50_000)}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> OneTool:
    return a_project(tmp_path, sandbox)


def a_project(path: Path, sandbox: Sandbox, **options: Any) -> OneTool:
    entry = ENTRY | {"base_url": f"{sandbox.http_url}/marketo"}
    entry["options"] = ENTRY["options"] | options  # type: ignore[operator]
    return OneTool(path, sandbox, tool="marketo", entry=entry)


def contacts(project: OneTool, count: int, **sync: Any) -> None:
    declared = CONTACT_PROFILES | {"destinations": ["marketo"]} | sync
    project.model("marts", "contact_profiles", declared, contacts_sql(count))


def champions(project: OneTool, *numbers: int, **sync: Any) -> None:
    project.champions(*numbers, destinations=["marketo"], **sync)


def fired(project: OneTool, count: int, **sync: Any) -> None:
    project.episodes("trg_onboarding_low_usage", AUTOMATED | sync, count)


def counts(sandbox: Sandbox) -> dict[str, Any]:
    found = sandbox.counts()["marketo"]
    assert found["violations"] == 0
    return found


def leads(sandbox: Sandbox) -> dict[int, dict[str, Any]]:
    rows = sandbox._store.rows("select id, properties from records where object = 'contacts'")
    return {row["id"]: json.loads(row["properties"]) for row in rows}


def calls(sandbox: Sandbox, path: str) -> int:
    query = "select count(*) from requests where vendor = 'marketo' and path like ?"
    return sandbox._store.number(query, (f"%{path}",))


def test_values_arrive_as_marketo_writes_them(project: OneTool, sandbox: Sandbox) -> None:
    project.model(
        "marts",
        "contact_profiles",
        CONTACT_PROFILES | {"destinations": ["marketo"]},
        "select 'c_1' as contact_id, 'Hanako@Customer.example' as email, '山田' as last_name,"
        " true as is_champion, 1200000.00::decimal(18, 2) as mrr, null::varchar as job_title,"
        " timestamp '2026-10-01 00:00:00' as last_active_at",
    )
    assert project.apply()[PROFILES].delivered == 1
    assert list(leads(sandbox).values()) == [
        {
            "contactId": "c_1",
            "email": "hanako@customer.example",
            "lastName": "山田",
            "isChampion": True,
            "mrr": 1200000.0,
            "lastActiveAt": "2026-10-01T00:00:00.000Z",
        }
    ]
    counts(sandbox)


def test_a_changed_address_moves_the_lead_and_makes_no_second(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 1)
    project.apply()
    project.run("update marts.contact_profiles set email = 'new@customer.example'")
    assert project.apply()[PROFILES].delivered == 1
    assert [lead["email"] for lead in leads(sandbox).values()] == ["new@customer.example"]


def test_a_lead_deleted_meanwhile_is_made_again(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    project.apply()
    sandbox._vendors["marketo"].records.delete(min(leads(sandbox)))  # type: ignore[attr-defined]
    project.run("update marts.contact_profiles set role = 'admin'")
    assert project.apply()[PROFILES].delivered == 2
    assert len(leads(sandbox)) == 2


def test_skipped_records_are_refused_in_marketos_words(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 3)
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_2'")
    project.run("update marts.contact_profiles set email = null where contact_id = 'c_3'")
    result = project.apply()[PROFILES]
    assert (result.delivered, result.rejected) == (1, 2)
    letters = {d["key"]: d for d in project.ledger.dead_letters(PROFILES).to_pylist()}
    assert letters["c_2"]["code"] == "1003"
    assert "not valid" in letters["c_2"]["message"]
    assert "no e-mail address" in letters["c_3"]["message"]


def test_a_token_that_ends_between_two_calls_is_renewed(
    project: OneTool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts(project, 2_500)
    vendor: Any = sandbox._vendors["marketo"]
    during, ended = vendor.during, []

    @contextmanager
    def ending(call: Any) -> Iterator[None]:
        with during(call):
            yield
        if "input" in (call.body or {}) and not ended:
            ended.append(call)
            vendor.expire_tokens()

    monkeypatch.setattr(vendor, "during", ending)
    assert project.apply()[PROFILES].delivered == 2_500
    assert ended
    assert counts(sandbox)["leads"] == 2_500


def test_an_ended_token_costs_one_more_call_and_no_row(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    destination = project.destination
    [plan] = project.engine.plan()
    assert destination.check([plan.sync]) == []
    sandbox._vendors["marketo"].expire_tokens()  # type: ignore[attr-defined]
    assert {o.status for o in destination.send(plan.sync, list(plan))} == {"delivered"}
    assert calls(sandbox, "/identity/oauth/token") == 2
    assert counts(sandbox)["leads"] == 2


def test_wrong_credentials_stop_the_destination(project: OneTool, sandbox: Sandbox) -> None:
    wrong = {"client_id": "sandbox-client", "client_secret": "wr0ng"}
    project.write_destinations(sandbox, credentials=wrong)
    contacts(project, 2)
    result = project.apply()[PROFILES]
    assert result.error
    assert "wr0ng" not in result.error
    assert counts(sandbox)["leads"] == 0


def test_the_days_quota_stops_and_the_rest_waits(tmp_path: Path) -> None:
    limits = {"marketo": RateLimit(100, 20, 6)}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        project = a_project(tmp_path / "project", sandbox)
        contacts(project, 9_000)
        result = project.apply()[PROFILES]
        assert result.error.startswith("607: The day's quota is used up")
        assert result.rejected == 0
        found = sandbox.counts()["marketo"]
        assert found["leads"] == result.delivered > 0
        assert found["violations"] <= 8  # those under way when the first was refused


def test_calls_beyond_the_rate_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a hundredth of the 20 s window, and of the pause that goes with it
    monkeypatch.setitem(marketo_instance._PAUSES, "606", marketo_instance._PAUSES["606"] / 100)
    with Sandbox(tmp_path / "sandbox.db", limits={"marketo": RateLimit(4, 0.2, 1_000)}) as sandbox:
        project = a_project(tmp_path / "project", sandbox)
        project.retries = Retries(tries=6, first_pause=0.01, longest_pause=15)
        contacts(project, 1_500)
        started = time.monotonic()
        result = project.apply()[PROFILES]
        assert result.delivered == 1_500
        assert time.monotonic() - started < 60


@pytest.mark.slow
def test_the_advised_rate_is_used_and_not_passed(tmp_path: Path) -> None:
    """A portal that takes only the 50 calls in 20 s which Marketo advises: of 108 calls 50 go at
    once, the others fill two more windows."""
    with Sandbox(tmp_path / "sandbox.db", limits={"marketo": RateLimit(50, 20, 1_000)}) as sandbox:
        project = a_project(tmp_path / "project", sandbox, calls_in_20_s=50)
        contacts(project, 105 * 300)
        started = time.monotonic()
        assert project.apply()[PROFILES].delivered == 105 * 300
        seconds = time.monotonic() - started
        found = sandbox.counts()["marketo"]
        assert found["violations"] == 0
        assert found["requests"] > 100
        assert 40 <= seconds <= 40 / 0.97 + 4  # planning and the last calls included


def test_a_list_is_made_in_its_folder_and_mirrored(project: OneTool, sandbox: Sandbox) -> None:
    champions(project, *range(1, 8))
    assert project.apply()[LIST].delivered == 7
    champions(project, *range(3, 9))
    assert project.apply()[LIST].delivered == 3
    assert counts(sandbox)["lists"] == {"Champions": 6}
    assert counts(sandbox)["leads"] == 8
    assert counts(sandbox)["unsubscribed"] == 0


def test_a_list_that_cannot_be_made_is_named(tmp_path: Path, sandbox: Sandbox) -> None:
    project = a_project(tmp_path, sandbox, list_folder=None)
    champions(project, 1)
    with pytest.raises(UserError, match=r"no static list 'Champions'.*list_folder"):
        project.apply()


def test_a_list_heals_from_a_lead_that_is_gone(project: OneTool, sandbox: Sandbox) -> None:
    champions(project, 1, 2)
    project.apply()
    sandbox._vendors["marketo"].records.delete(max(leads(sandbox)))  # type: ignore[attr-defined]
    project.ledger.intend("run", LIST, [("c_2", "add", "")], 1)
    assert project.apply()[LIST].rejected == 1
    project.now += timedelta(days=1)
    assert project.apply()[LIST].delivered == 1
    assert counts(sandbox)["lists"] == {"Champions": 2}


def test_rows_with_the_same_tokens_share_a_call_and_others_have_their_own(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 6)
    fired(project, 0)
    project.apply()
    fired(project, 6)
    project.run(
        "update triggers.trg_onboarding_low_usage set customer_name = '株式会社例', language = 'ja'"
        " where contact_id <> 'c_6'"
    )
    assert project.apply()[TRIGGER].delivered == 6
    assert counts(sandbox)["campaigns"] == {"onboarding_low_usage": 6}
    assert calls(sandbox, "/trigger.json") == 2
    rows = sandbox._store.rows("select properties from events order by id")
    tokens = [json.loads(row["properties"])["{{my.customer_name}}"] for row in rows]
    assert sorted(tokens) == ["Customer 6"] + ["株式会社例"] * 5


def test_a_contacts_second_episode_enters_the_campaign_a_second_time(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 1)
    fired(project, 0)
    project.apply()
    fired(project, 2)
    project.run(
        "update triggers.trg_onboarding_low_usage set contact_id = 'c_1', language = 'ja',"
        " email = 'p1@customer.example', customer_name = 'Customer'"
    )
    assert project.apply()[TRIGGER].delivered == 2
    assert counts(sandbox)["campaigns"] == {"onboarding_low_usage": 2}


def test_a_trigger_of_somebody_unknown_is_refused_alone(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 2)
    fired(project, 0)
    project.apply()
    fired(project, 3)
    result = project.apply()[TRIGGER]
    assert (result.delivered, result.rejected) == (2, 1)


def test_one_lead_gone_does_not_stop_the_others_of_its_call(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 5)
    fired(project, 0)
    project.apply()
    sandbox._vendors["marketo"].records.delete(min(leads(sandbox)))  # type: ignore[attr-defined]
    fired(project, 5)
    project.run("update triggers.trg_onboarding_low_usage set customer_name = 'C', language = 'ja'")
    result = project.apply(TRIGGER)[TRIGGER]
    assert (result.delivered, result.rejected) == (4, 1)
    assert counts(sandbox)["campaigns"] == {"onboarding_low_usage": 4}


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [("reset_after", "/trigger.json", (1, 1)), ("reset_after", "/campaigns.json", (2, 0))],
)
def test_only_a_lost_answer_of_the_request_itself_is_unknown(
    project: OneTool, sandbox: Sandbox, kind: Any, path: str, expected: tuple[int, int]
) -> None:
    contacts(project, 2)
    fired(project, 0)
    project.apply()
    fired(project, 2)
    sandbox.faults.armed.append(Fault(vendor="marketo", kind=kind, path=path))
    result = project.apply()[TRIGGER]
    assert (result.delivered, result.unknown) == expected
    assert project.apply()[TRIGGER].planned == 0
    assert counts(sandbox)["campaigns"] == {"onboarding_low_usage": 2}


def test_two_calls_never_write_one_key_at_the_same_time() -> None:
    in_flight, together, most = InFlight(), [0], [0]

    def write(keys: list[str]) -> None:
        with in_flight.alone(keys):
            together[0] += 1
            most[0] = max(most[0], together[0])
            time.sleep(0.01)
            together[0] -= 1

    shared = [["a@x.example", f"{n}@x.example"] for n in range(4)]
    threads = [threading.Thread(target=write, args=(keys,)) for keys in shared]
    threads.append(threading.Thread(target=write, args=(["A@x.example"],)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_contacts_that_share_an_address_make_one_lead(tmp_path: Path) -> None:
    portal = tmp_path / "portal.yml"
    own = (Path(__file__).parents[1] / "reverse_etl/sandbox/portal.yml").read_text()
    portal.write_text(own.replace("marketo:\n", "marketo:\n  latency_seconds: 0.05\n", 1))
    with Sandbox(tmp_path / "sandbox.db", portal=portal) as sandbox:
        project = a_project(tmp_path / "project", sandbox)
        contacts(project, 1_200)
        project.run("update marts.contact_profiles set email = 'one@customer.example'")
        assert project.apply()[PROFILES].delivered == 1_200
        assert counts(sandbox)["leads"] == 1


def test_customers_are_companies(project: OneTool, sandbox: Sandbox) -> None:
    project.model(
        "marts",
        "customer_profiles",
        CUSTOMER_PROFILES | {"destinations": ["marketo"]},
        "select 'cus_1' as customer_id, '株式会社例' as name, 1200000.00::decimal(18, 2) as mrr,"
        " 'JPY' as mrr_currency, date '2027-03-31' as renewal_date",
    )
    assert project.apply()["marketo/customer_profiles"].delivered == 1
    [row] = sandbox._store.rows("select properties from records where object = 'companies'")
    assert json.loads(row["properties"]) == {
        "externalCompanyId": "cus_1",
        "company": "株式会社例",
        "mrr": 1200000.0,
        "mrrCurrency": "JPY",
        "renewalDate": "2027-03-31",
    }


def test_a_company_that_is_gone_is_not_made_again_to_be_cleared(
    project: OneTool, sandbox: Sandbox
) -> None:
    sync = CUSTOMER_PROFILES | {"destinations": ["marketo"], "on_removal": "clear"}
    rows = "select 'cus_' || n as customer_id, 'Example' as name from range(1, {end}) t(n)"
    project.model("marts", "customer_profiles", sync, rows.format(end=4))
    project.apply()
    [first, *_] = sandbox._store.rows("select id from records where object = 'companies'")
    sandbox._vendors["marketo"].records.delete(first["id"])  # type: ignore[attr-defined]
    project.model("marts", "customer_profiles", sync, rows.format(end=2).replace("_' ||", "_9' ||"))
    assert project.apply()["marketo/customer_profiles"].delivered == 4
    kept = sandbox._store.rows("select properties from records where object = 'companies'")
    told = sorted(json.loads(row["properties"])["externalCompanyId"] for row in kept)
    assert told == ["cus_2", "cus_3", "cus_91"]


def test_what_is_missing_is_named(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 1)
    project.run("alter table marts.contact_profiles add column mood varchar")
    with pytest.raises(UserError, match=r"no field mood.*Field Management"):
        project.apply()
    project.run("alter table marts.contact_profiles drop column mood")
    project.run("alter table marts.contact_profiles add column unsubscribed boolean")
    with pytest.raises(UserError, match="opt-outs go one way"):
        project.apply()
    contacts(project, 1)
    fired(project, 0, event="no_such_campaign")
    project.apply()
    fired(project, 1, event="no_such_campaign")
    with pytest.raises(UserError, match="no active smart campaign 'no_such_campaign'"):
        project.apply()


def test_a_trigger_about_nobody_in_person_is_named(project: OneTool) -> None:
    project.episodes("trg_health_dropped", ALERTED, 0)
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 1)
    with pytest.raises(UserError, match="needs the column email"):
        project.apply()


def test_clear_empties_the_fields_and_keeps_the_lead(project: OneTool, sandbox: Sandbox) -> None:
    contacts(project, 4, on_removal="clear")
    project.apply()
    contacts(project, 3, on_removal="clear")
    assert project.apply()[PROFILES].delivered == 1
    assert {"email": "p4@customer.example"} in [
        {k: v for k, v in lead.items() if k != "contactId"} for lead in leads(sandbox).values()
    ]


def test_people_are_erased_and_unsubscribed_duplicates_too(
    project: OneTool, sandbox: Sandbox
) -> None:
    contacts(project, 3)
    project.apply()
    put = sandbox._vendors["marketo"].records.put  # type: ignore[attr-defined]
    put("contacts", {"email": "P1@Customer.example"}, "2026", unique={})
    destination = project.destination
    people = [Person("c_1", "p1@customer.example"), Person("c_9", "p9@customer.example")]
    assert {o.status for o in destination.erase(people)} == {"delivered"}
    assert len(leads(sandbox)) == 2
    opted_out = [Person("c_2", "p2@customer.example"), Person("c_8", "p8@customer.example")]
    assert {o.status for o in destination.unsubscribe(opted_out)} == {"delivered"}
    project.run("update marts.contact_profiles set role = 'admin'")
    assert project.apply()[PROFILES].delivered == 3
    assert [lead["email"] for lead in leads(sandbox).values() if lead.get("unsubscribed")] == [
        "p2@customer.example"
    ]


def test_what_people_did_comes_back_over_pages(
    project: OneTool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts(project, 1)
    project.apply()
    [lead] = leads(sandbox)
    vendor = sandbox._vendors["marketo"]
    monkeypatch.setattr(vendor, "portal", vendor.portal | {"activity_page": 2})  # type: ignore[attr-defined]
    for kind in (8, 9, 10, 11, 12):
        activity = {
            "leadId": lead - _FIRST,
            "activityTypeId": kind,
            "activityDate": "2026-10-27T10:00:00Z",
            "primaryAttributeValue": "Mail",
        }
        vendor.records.put("activities", activity, "2026", unique={})  # type: ignore[attr-defined]
    facts = list(project.destination.pull(datetime(2026, 10, 1, tzinfo=UTC)))
    assert [fact.kind for fact in facts] == ["bounced", "unsubscribed", "opened", "clicked"]
    assert {fact.email for fact in facts} == {"p1@customer.example"}
    assert facts[0].occurred_at == datetime(2026, 10, 27, 10, tzinfo=UTC)


def test_a_token_in_the_address_is_refused(sandbox: Sandbox) -> None:
    url = f"{sandbox.http_url}/marketo/rest/v1/leads/describe2.json?access_token=x"
    assert requests.get(url, timeout=5).json()["errors"][0]["code"] == "600"


@pytest.mark.skipif(not SPEC.is_file(), reason="the vendor's specification is not at hand")
def test_every_call_is_as_the_vendors_specification_describes_it(
    project: OneTool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[requests.PreparedRequest] = []
    send = requests.Session.send

    def noted(self: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        sent.append(request)
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", noted)
    contacts(project, 3)
    champions(project, 1, 2, 3, 4)
    fired(project, 0)
    project.apply()
    champions(project, 2, 3, 4)
    project.run("update marts.contact_profiles set role = 'admin'")
    fired(project, 3)
    project.apply()
    test_customers_are_companies(project, sandbox)
    destination = project.destination
    list(destination.pull(datetime(2026, 10, 1, tzinfo=UTC)))
    destination.unsubscribe([Person("c_2", "p2@customer.example")])
    destination.erase([Person("c_1", "p1@customer.example")])
    checked = [request for request in sent if "/rest/v1/" in str(request.url)]
    assert {request.method for request in checked} == {"GET", "POST", "DELETE"}
    api = OpenAPI.from_dict(
        as_version_3(f"{sandbox.http_url}/marketo"), Config(spec_validator_cls=None)
    )
    for request in sent:
        assert "sandbox-secret" not in str(request.url)
    for request in checked:
        api.validate_request(RequestsOpenAPIRequest(request))


def as_version_3(server: str) -> dict[str, Any]:
    """The specification is written in version 2; openapi-core reads 3: bodies and types of
    parameters move, nothing else."""
    spec = json.loads(SPEC.read_text().replace("#/definitions/", "#/components/schemas/"))
    for operations in spec["paths"].values():
        for operation in operations.values():
            given = operation.pop("parameters", [])
            operation["parameters"] = [_parameter(p) for p in given if p["in"] in ("query", "path")]
            for body in (p for p in given if p["in"] == "body"):
                content = {"application/json": {"schema": body["schema"]}}
                operation["requestBody"] = {"required": body["required"], "content": content}
            operation["responses"] = {"200": {"description": "an answer"}}
            operation.pop("consumes", None)
            operation.pop("produces", None)
    schemas = spec.pop("definitions")
    info = {"title": "Marketo", "version": "1"}
    return {
        "openapi": "3.0.3",
        "info": info,
        "servers": [{"url": server}],
        "paths": spec["paths"],
        "components": {"schemas": schemas},
    }


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in parameter.items() if k in ("name", "in", "required", "description")}
    schema = {k: v for k, v in parameter.items() if k in ("type", "items", "format", "enum")}
    return kept | {"schema": schema}
