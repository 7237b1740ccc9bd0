"""A small project whose only tool is one destination of the sandbox."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from typing import Any

import pytest
import requests
import urllib3
import yaml

from reverse_etl.configuration import DestinationConfig, load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination
from reverse_etl.sandbox.faults import Fault
from tests.small_project import SmallProject, contacts_sql, events_sql

CREDENTIALS = {
    "customer_io": {
        "site_id": "sandbox-site",
        "api_key": "sandbox-key",
        "app_api_key": "sandbox-app-key",
        "webhook_key": "a signing key",
    },
    "klaviyo": {"api_key": "sandbox-private-key", "webhook_secret": "a secret of 16+ characters"},
    "braze": {"api_key": "sandbox-rest-key"},
}
TRIGGER = "trg_onboarding_low_usage"


class DestinationProject(SmallProject):
    """``type`` says which tool; every channel goes through it."""

    type: str = ""

    def serve(self, type_: str, **entry: Any) -> None:
        """Configure the tool; keys of ``entry`` go into its block."""
        assert self.sandbox
        self.type = type_
        block = {
            "type": type_,
            "base_url": f"{self.sandbox.http_url}/{type_}",
            "credentials": CREDENTIALS[type_],
        }
        file = {
            "channels": {"automation": type_},
            "destinations": {"dev": {type_: block | entry}},
        }
        (self.root / "destinations.yml").write_text(yaml.safe_dump(file))

    def profiles(self, count: int, columns: str = "", **sync: Any) -> None:
        """Contacts 1 to count; ``columns`` are added to what every contact has."""
        more = f", {columns}" if columns else ""
        select = f"select *{more} from ({contacts_sql(count)})"
        spec = {"kind": "profile", "key": "contact_id", "destinations": [self.type]}
        self.model("marts", "contact_profiles", spec | sync, select)

    def members(self, *numbers: int, **sync: Any) -> None:
        """Who is in the segment Champions."""
        sync = {"destinations": [self.type]} | sync
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
        return self.apply()[f"{self.type}/{TRIGGER}"]

    def result(self, model: str) -> Any:
        """Apply, and the result of one sync."""
        return self.apply()[f"{self.type}/{model}"]

    @property
    def letters(self) -> dict[str, str]:
        """What the tool said of each refused row, by key."""
        with closing(sqlite3.connect(self.root / "data/ledger.db")) as ledger:
            return dict(ledger.execute("select key, message from dead_letters"))

    @property
    def config(self) -> DestinationConfig:
        found = load_configuration(self.settings).destination(self.type)
        assert found is not None
        return found

    @property
    def destination(self) -> Destination:
        """The destination itself, with the ledger's memory."""
        return implementation(self.type)(self.config, self.ledger)

    @property
    def counts(self) -> dict[str, Any]:
        assert self.sandbox
        counts: dict[str, Any] = self.sandbox.counts()[self.type]
        return counts

    def arm(self, kind: str, **fault: Any) -> None:
        assert self.sandbox
        self.sandbox.faults.armed.append(Fault(vendor=self.type, kind=kind, **fault))


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
