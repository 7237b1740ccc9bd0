"""A small project whose only tool is one destination of the sandbox."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import urllib3
import yaml

from reverse_etl.configuration import DestinationConfig, load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import PORTAL, SECRET, SmallProject, contacts_sql, events_sql

CREDENTIALS: dict[str, dict[str, str]] = {
    "braze": {"api_key": "sandbox-rest-key"},
    "customer_io": {
        "site_id": "sandbox-site",
        "api_key": "sandbox-key",
        "app_api_key": "sandbox-app-key",
        "webhook_key": "a signing key",
    },
    "hubspot": {"access_token": "sandbox-token"},
    "klaviyo": {"api_key": "sandbox-private-key", "webhook_secret": "a secret of 16+ characters"},
    "mailchimp": {"api_key": "sandbox-key-us1"},
    "marketo": {"client_id": "sandbox-client", "client_secret": "sandbox-secret"},
    "outbox": {},
    "salesforce": {"client_id": "sandbox-client", "client_secret": "sandbox-secret"},
    "slack": {"token": "xoxb-sandbox"},
    "smtp": {"unsubscribe_key": "a key for tests"},
    "webhook": {"secret": SECRET},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "hubspot": {"portal_id": PORTAL},
    "mailchimp": {"audience_id": "a1b2c3d4e5"},
    "marketo": {"list_folder": 12, "calls_in_20_s": 100},
    "slack": {"channel": "C0000000001"},
    "smtp": {
        "sender_email": "success@vendor.example",
        "sender_name": "Customer Success",
        "postal_address": "1 Example Street",
        "unsubscribe_url": "https://vendor.example/unsubscribe",
        "mails_per_second": 1000,
    },
    "webhook": {"calls_per_second": 1000},
}
PATHS = {"mailchimp": "mailchimp/3.0", "webhook": "webhook/alerts"}
TRIGGER = "trg_onboarding_low_usage"


@dataclass
class OneTool(SmallProject):
    """``tool`` is the destination's name and type, which also serves every channel; ``entry`` is
    the rest of its block."""

    tool: str = ""
    entry: dict[str, Any] = field(default_factory=dict)

    def serve(self, tool: str, **entry: Any) -> None:
        """Configure the tool as the sandbox expects it; keys of ``entry`` replace that."""
        assert self.sandbox
        self.tool = tool
        url = f"{self.sandbox.http_url}/{PATHS.get(tool, tool)}"
        if tool == "smtp":
            url = f"smtp://127.0.0.1:{self.sandbox.smtp_port}"
        usual: dict[str, Any] = {"credentials": CREDENTIALS[tool]}
        usual |= {"options": OPTIONS[tool]} if tool in OPTIONS else {}
        usual |= {"base_url": url} if tool != "outbox" else {}
        self.entry = usual | entry
        self.write_destinations(self.sandbox)

    def write_destinations(self, sandbox: Sandbox, **changes: Any) -> None:
        """destinations.yml; ``changes`` replace keys of the entry."""
        if not self.tool:
            return
        block = {"type": self.tool, **self.entry, **changes}
        channels = dict.fromkeys(("automation", "owner_alert", "email"), self.tool)
        file = {"channels": channels, "destinations": {"dev": {self.tool: block}}}
        (self.root / "destinations.yml").write_text(yaml.safe_dump(file, allow_unicode=True))

    def profiles(self, count: int, columns: str = "", **sync: Any) -> None:
        """Contacts 1 to count; ``columns`` are added to what every contact has."""
        more = f", {columns}" if columns else ""
        select = f"select *{more} from ({contacts_sql(count)})"
        spec = {"kind": "profile", "key": "contact_id", "destinations": [self.tool]}
        self.model("marts", "contact_profiles", spec | sync, select)

    def members(self, *numbers: int, **sync: Any) -> None:
        """Who is in the segment Champions."""
        sync = {"destinations": [self.tool]} | sync
        self.champions(*numbers, **sync)

    def events(self, count: int, columns: str = "", **sync: Any) -> None:
        """Events 1 to count of one trigger, all to be sent."""
        spec = {"kind": "trigger", "key": "event_id", "channel": "automation"} | sync
        self.episodes(TRIGGER, spec, count)
        if columns:
            select = f"select *, {columns} from ({events_sql(TRIGGER, count)})"
            self.model("triggers", TRIGGER, spec, select)

    def fire(self, count: int, columns: str = "", **sync: Any) -> Any:
        """Past the first run, ``count`` events are sent; the result of their sync."""
        self.events(0, columns, **sync)
        self.apply()
        self.events(count, columns, **sync)
        return self.apply()[f"{self.tool}/{TRIGGER}"]

    def result(self, model: str) -> Any:
        """Apply, and the result of one sync."""
        return self.apply()[f"{self.tool}/{model}"]

    @property
    def letters(self) -> dict[str, str]:
        """What the tool said of each refused row, by key."""
        with closing(sqlite3.connect(self.root / "data/ledger.db")) as ledger:
            return dict(ledger.execute("select key, message from dead_letters"))

    @property
    def config(self) -> DestinationConfig:
        found = load_configuration(self.settings).destination(self.tool)
        assert found is not None
        return found

    @property
    def destination(self) -> Destination:
        """The destination itself, with the ledger's memory."""
        return implementation(self.tool)(self.config, self.ledger)

    @property
    def counts(self) -> dict[str, Any]:
        assert self.sandbox
        counts: dict[str, Any] = self.sandbox.counts()[self.tool]
        return counts

    def arm(self, kind: str, **fault: Any) -> None:
        assert self.sandbox
        self.sandbox.faults.armed.append(Fault(vendor=self.tool, kind=kind, **fault))


def exchanges_with(monkeypatch: pytest.MonkeyPatch) -> list[requests.Response]:
    """Every answer from now on, each with the request that it answers."""
    seen: list[requests.Response] = []
    original = requests.Session.send

    def send(self: requests.Session, request: requests.PreparedRequest, **more: Any) -> Any:
        response = original(self, request, **{**more, "stream": False})
        body = io.BytesIO(response.content)  # to be read again by whoever asked for a stream
        response.raw = urllib3.HTTPResponse(body, preload_content=False)
        seen.append(response)
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    return seen
