"""What the engine promises of every destination, whatever becomes of a call on the way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reverse_etl import destinations
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Person
from reverse_etl.doctor import examine
from reverse_etl.http import HttpClient
from reverse_etl.sandbox.server import PORTAL, Sandbox
from tests.one_tool import CREDENTIALS, OPTIONS, OneTool

TOOLS = destinations.names()
KINDS = {name: set(implementation(name).capabilities) for name in TOOLS}
LEVELS = [name for name in TOOLS if "segment" in KINDS[name]]
WEB = [name for name in TOOLS if name not in ("outbox", "smtp")]
TRIGGERS = {"salesforce": "trg_health_dropped", "slack": "trg_health_dropped"} | {
    "smtp": "trg_feature_unused"
}
"""The trigger that a tool is asked for, where it is not the usual one."""
FIRING = {
    "braze": "/users/track",
    "hubspot": "/send/batch",
    "klaviyo": "/event-bulk",
    "mailchimp": "/events",
    "marketo": "/trigger.json",
    "salesforce": "/composite/sobjects",
    "slack": "/chat.postMessage",
}
"""The call by which a trigger reaches the tool."""
PAUSE_HEADER = {"braze": "X-Ratelimit-Retry-After", "customer_io": "X-None", "mailchimp": "X-None"}
QUICK = ("storm", "reset_after", "truncate")
FAULTS: dict[str, dict[str, Any]] = {
    "storm": {"value": 0.1},
    "reset_after": {},
    "truncate": {},
    "reset_before": {},
    "status 500": {"value": 500},
    "status 503": {"value": 503},
    "latency": {"value": 1.2},
    "expired_token": {},
}
UNHURRIED = [[10_000, 1]]
PATIENCE_S = 0.8
PEOPLE, IN, EVENTS = 10, (1, 2, 3, 4, 5), 5
SAID_OF_A_BAD_ADDRESS = {
    "braze": "'email' is not valid",
    "customer_io": "email is not valid",
    "hubspot": "not valid|invalid",
    "klaviyo": "Invalid email address",
    "mailchimp": "fake or invalid",
    "marketo": "not valid",
    "salesforce": "invalid email address",
}


def cases() -> Iterator[Any]:
    """Every web tool under every fault of the web; mail and the file under those they know."""
    for fault in FAULTS:
        for tool in WEB:
            if fault == "expired_token" and tool not in ("marketo", "salesforce"):
                continue
            marks = () if fault in QUICK else pytest.mark.slow
            yield pytest.param(tool, fault, marks=marks, id=f"{tool}-{fault}")
    for fault in ("status 451", "reset_before", "reset_after"):
        yield pytest.param("smtp", fault, id=f"smtp-{fault}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    tiers = dict.fromkeys(("xs", "s", "m", "l", "xl"), UNHURRIED)
    portal["klaviyo"] |= {"tiers": tiers, "job_seconds": 0}
    portal["customer_io"] |= {"app_windows": UNHURRIED}
    portal["braze"] |= {"windows": dict.fromkeys(("track", "export"), UNHURRIED)}
    portal["slack"] |= {"limits": {"calls": 10_000, "window_seconds": 1}}
    (folder / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(folder / "sandbox.db", portal=folder / "portal.yml") as sandbox:
        yield sandbox


def a_project(path: Path, sandbox: Sandbox, tool: str) -> Contract:
    sandbox.reset()
    project = Contract(path, sandbox)
    documented = getattr(implementation(tool), "documented", {})
    windows = {"windows": dict.fromkeys(documented, UNHURRIED)} if documented else {}
    project.serve(tool, options=OPTIONS.get(tool, {}) | windows)
    return project


class Contract(OneTool):
    """What a tool has, read from its twin."""

    @property
    def trigger(self) -> str:
        return TRIGGERS.get(self.tool, "trg_onboarding_low_usage")

    @property
    def has_levels(self) -> bool:
        return self.tool in LEVELS

    def everybody(self) -> None:
        self.profiles(PEOPLE)

    def joined(self, *numbers: int) -> None:
        self.champions(*numbers, destinations=[self.tool], budget={"share": 1})

    def fired(self, count: int) -> None:
        sync = {"kind": "trigger", "key": "event_id", "channel": "automation"}
        if self.tool == "smtp":
            sync |= {"channel": "email", "template": "feature_unused"}
        self.episodes(self.trigger, sync, count)

    def arm_next(self, fault: str, path: str = "", times: int = 1) -> None:
        kind, _, status = fault.partition(" ")
        more = FAULTS.get(fault) or ({"value": float(status)} if status else {})
        if fault == "storm":
            more = more | {"spelling": PAUSE_HEADER.get(self.tool, "Retry-After")}
        self.arm(kind, path=path, times=times, **more)

    def lines(self) -> list[dict[str, Any]]:
        """What a tool that keeps no state was told, oldest first: kind, key, action."""
        if self.tool == "webhook":
            assert self.sandbox
            rows = self.sandbox._store.rows("select type, body from webhooks order by id")
            told = [(row["type"].split(".")[0], json.loads(row["body"])["data"]) for row in rows]
            return [{"kind": k, "key": d.get("key"), "action": d.get("action")} for k, d in told]
        files = sorted((self.root / "data/outbox").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def there(self, kind: str) -> int:
        """Rows of a log that are not taken back by a later one."""
        last = {line["key"]: line["action"] for line in self.lines() if line["kind"] == kind}
        return sum(action != "remove" for action in last.values())

    @property
    def counts(self) -> dict[str, Any]:
        return {"lines": len(self.lines())} if self.tool == "outbox" else super().counts

    @property
    def people(self) -> int:
        if self.tool in ("webhook", "outbox"):
            return self.there("profile")
        names = ("people", "contacts", "members", "leads")
        return next(int(self.counts[name]) for name in names if name in self.counts)

    @property
    def joined_there(self) -> int:
        if self.tool in ("webhook", "outbox"):
            return self.there("segment")
        names = ("lists", "flags", "segments", "campaigns")
        lists = next(self.counts[name] for name in names if name in self.counts)
        return int(lists.get("Champions", 0))

    @property
    def arrived(self) -> int:
        """Events as the tool has them, each time that it took one."""
        if self.tool in ("webhook", "outbox"):
            return sum(line["kind"] == "trigger" for line in self.lines())
        if self.tool == "marketo":
            return sum(self.counts["campaigns"].values())
        if self.tool in ("salesforce", "slack", "smtp"):
            names = {"salesforce": "tasks", "slack": "rows", "smtp": "mails"}
            return int(self.counts[names[self.tool]])
        events: dict[str, int] = self.counts["events"]
        return sum(n for name, n in events.items() if not name.endswith("(synced)"))

    @property
    def violations(self) -> int:
        return 0 if self.tool == "outbox" else int(self.counts.get("violations", 0))

    def states(self) -> dict[str, int]:
        """The trigger's events by what the ledger knows of them."""
        known = self.ledger.acknowledged(f"{self.tool}/{self.trigger}").to_pylist()
        return {s: sum(r["state"] == s for r in known) for s in {r["state"] for r in known}}

    @property
    def open_rows(self) -> int:
        return sum(plan.size for plan in self.plan().values())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is waited for less than a second."""
    original = HttpClient.__init__

    def init(self: HttpClient, *given: Any, **named: Any) -> None:
        original(self, *given, **named | {"read_seconds": PATIENCE_S})

    monkeypatch.setattr(HttpClient, "__init__", init)


@pytest.mark.parametrize(("tool", "fault"), [*cases()])
@pytest.mark.usefixtures("impatient")
def test_all_promises_hold_under_every_fault(
    tmp_path: Path, shared: Sandbox, tool: str, fault: str
) -> None:
    project = a_project(tmp_path, shared, tool)
    project.fired(EVENTS)  # of the time before the first run: seen, never sent
    if project.has_levels:
        project.everybody()
        project.joined(*IN)
        project.arm_next(fault)
    for _ in range(3):
        project.apply()
    assert project.arrived == 0
    assert project.counts.get("flows_started", 0) == 0
    if project.has_levels:
        assert (project.people, project.joined_there) == (PEOPLE, len(IN))
        project.run("update marts.contact_profiles set jobtitle = 'Lead'")
        project.joined(1, 2)
        project.arm_next(fault)
        for _ in range(2):
            project.apply()
        assert (project.people, project.joined_there) == (PEOPLE, 2)
    project.fired(2 * EVENTS)
    project.arm_next(fault, FIRING.get(tool, "") if tool != "smtp" else "")
    for _ in range(2):
        project.apply()
    held_back = project.ledger.dead_letters(f"{tool}/{project.trigger}").num_rows
    if held_back:  # 4yz: the server said not now
        project.engine.retry(None, None)
    states = project.states()
    unknown = states.get("unknown", 0)
    assert states.get("acknowledged", 0) + unknown == EVENTS
    assert states["seen"] == EVENTS
    assert EVENTS - unknown <= project.arrived <= EVENTS
    if project.destination.dedupe_field:
        assert project.arrived == EVENTS
    assert project.violations == 0
    if fault == "latency":  # a request that nobody waits for any more is counted when answered
        time.sleep(FAULTS["latency"]["value"])
    before = project.counts
    assert project.open_rows == 0
    assert all(result.planned == 0 for result in project.apply().values())
    assert project.counts == before


@pytest.mark.parametrize("tool", sorted(SAID_OF_A_BAD_ADDRESS))
def test_one_bad_row_stands_alone_with_the_tools_words(
    tmp_path: Path, shared: Sandbox, tool: str
) -> None:
    project = a_project(tmp_path, shared, tool)
    project.everybody()
    project.run("update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_3'")
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (PEOPLE - 1, 1)
    assert list(project.letters) == ["c_3"]
    words = project.letters["c_3"]
    assert re.search(SAID_OF_A_BAD_ADDRESS[tool], words), words
    secrets = [v for v in CREDENTIALS[tool].values() if len(v) > 8]
    assert not [secret for secret in secrets if secret in words]
    assert project.people == PEOPLE - 1
    assert project.violations == 0


NEEDS: dict[str, tuple[dict[str, Any], str]] = {
    "braze": ({"canvases": {"onboarding_low_usage": "none"}}, "no such canvas.*the page"),
    "customer_io": ({"list": "Active in the last week"}, "data-driven.*Rename"),
    "hubspot": ({"column": "shoe_size"}, "no property shoe_size.*Settings > Properties"),
    "klaviyo": ({"column": "consent"}, "reads consent as its own.*Rename"),
    "mailchimp": ({"column": "shoe_size"}, "no merge field for shoe_size.*Audience fields"),
    "marketo": ({"column": "shoe_size"}, "no field shoe_size.*Admin > Field Management"),
    "salesforce": ({"column": "shoe_size"}, "no field shoe_size.*Setup > Object Manager"),
    "slack": ({"channel": "C0000000002"}, "not in this channel. Invite it there"),
    "smtp": ({"template": "nowhere"}, "no template nowhere.en.j2 in reverse_etl/templates"),
    "webhook": ({"secret": "whsec_short"}, "not a webhook secret: write whsec_"),
}
"""What a sync needs and the tool does not have, and the words that say where it is made."""


@pytest.mark.parametrize("tool", sorted(NEEDS))
def test_the_doctor_names_what_is_missing_and_where_to_make_it(
    tmp_path: Path, shared: Sandbox, tool: str
) -> None:
    project = a_project(tmp_path, shared, tool)
    need, words = NEEDS[tool]
    if "secret" in need:
        project.serve(tool, credentials=need)
    elif {"canvases", "channel"} & set(need):
        project.serve(tool, options=project.entry.get("options", {}) | need)
    if project.has_levels:
        project.profiles(1, f"1 as {need['column']}" if "column" in need else "")
        named = {"list": need["list"]} if "list" in need else {}
        project.champions(1, destinations=[tool], **named)
    template = {"template": need.get("template", "feature_unused")} if tool == "smtp" else {}
    sync = {"kind": "trigger", "key": "event_id", "channel": "automation"} | template
    project.episodes(project.trigger, sync, 1)
    problems = [f.problem for f in examine(project.settings) if f.part == f"destination {tool}"]
    assert len(problems) == 1
    assert re.search(words, problems[0], re.DOTALL), problems
    assert project.violations == 0


@pytest.mark.parametrize("tool", TOOLS)
def test_everybody_asked_about_gets_an_answer(tmp_path: Path, shared: Sandbox, tool: str) -> None:
    project = a_project(tmp_path, shared, tool)
    if project.has_levels:
        project.everybody()
        project.apply()
    asked = [Person("c_1", "p1@customer.example"), Person("c_404", "nobody@customer.example")]
    destination = project.destination
    for wish in (destination.unsubscribe, destination.erase):
        outcomes = wish(asked)
        assert [outcome.key for outcome in outcomes] == ["c_1", "c_404"]
        assert {outcome.status for outcome in outcomes} == {"delivered"}
        if wish == destination.unsubscribe and project.has_levels and tool in WEB:
            assert project.counts.get("unsubscribed", 1) >= 1
    destination.close()
    if project.has_levels and tool != "webhook":  # which is told, and deletes for itself
        assert project.people == PEOPLE - 1
    assert project.violations == 0


@pytest.mark.parametrize("tool", LEVELS)
def test_who_is_known_by_half_takes_nobody_along(
    tmp_path: Path, shared: Sandbox, tool: str
) -> None:
    project = a_project(tmp_path, shared, tool)
    project.everybody()
    project.apply()
    destination = project.destination
    for wish in (destination.unsubscribe, destination.erase):
        outcomes = wish([Person("", "nobody@customer.example"), Person("c_404", "")])
        assert {outcome.status for outcome in outcomes} == {"delivered"}
    destination.close()
    assert project.people == PEOPLE
    assert project.violations == 0


@pytest.mark.parametrize("tool", LEVELS)
def test_the_tool_counts_what_the_ledger_acknowledges(
    tmp_path: Path, shared: Sandbox, tool: str
) -> None:
    project = a_project(tmp_path, shared, tool)
    project.everybody()
    project.joined(*IN)
    project.apply()
    for sync in project.engine.syncs():
        rows = project.ledger.acknowledged(sync.id).num_rows
        assert rows == (PEOPLE if sync.spec.kind == "profile" else len(IN))
    assert (project.people, project.joined_there) == (PEOPLE, len(IN))
