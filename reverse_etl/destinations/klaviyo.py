"""Klaviyo: profiles by bulk import jobs, list membership, events.

Contract: Klaviyo's API specification, revision 2026-07-15, and its guide on rate limits. A
profile's key becomes its ``external_id``; columns named as Klaviyo's own fields (``email``,
``first_name``, ``organization``, ``city``, ...) are those, every other is a custom property. A
trigger becomes an event of the metric of its name, with ``unique_id`` the event_id: without one,
two events of one second would collapse into one. Being in a list grants no consent, and leaving one
takes none away.

Credentials: ``api_key`` (private), ``webhook_secret`` (only for ``receive``). Options:
``account_id`` (its public key: another account is another memory), ``windows`` (by tier, as
``{m: [[10, 1], [150, 60]]}``), ``job_seconds`` (how long an import is waited for, default 600).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import ExternalIds, Feedback, Limits, Outcome, Person
from reverse_etl.destinations.klaviyo_account import REVISION, Account, learn, resource
from reverse_etl.http import HttpClient
from reverse_etl.naming import properties
from reverse_etl.outcomes import DELIVERED, of_each
from reverse_etl.people_tool import PeopleTool, Row
from reverse_etl.planner import Change
from reverse_etl.signatures import require_recent, require_signature
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_address, as_json, as_plain, as_text

_FIELDS = frozenset(
    {"email", "phone_number", "first_name", "last_name", "organization", "locale", "title", "image"}
)
_PLACE = frozenset({"address1", "address2", "city", "country", "region", "zip", "timezone"})
_OPTED_OUT = 100


class Klaviyo(PeopleTool):
    """One account."""

    tool = "Klaviyo"
    account_option = "account_id"
    dedupe_field = "unique_id"
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]] = {  # by tier
        "s": [(3, 1), (60, 60)],
        "m": [(10, 1), (150, 60)],
        "l": [(75, 1), (700, 60)],  # 750 in the specification, 700 in the guide
        "xl": [(350, 1), (3_500, 60)],
    }
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": frozenset(
            {"id", "external_id", "_kx", "subscriptions", "consent", "$consent", "$consent_method"}
        )
    }

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._account = Account(self._client)

    def limits(self, kind: Kind) -> Limits:
        """10,000 profiles, 1,000 events or members a call, 5 MB with what surrounds the rows; 10
        calls a second and 150 a minute."""
        rows = 10_000 if kind == "profile" else 1_000
        return Limits(rows, 3_300_000, self.windows("m"), concurrency=4, timeout=60.0)

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """On a first run, lists whose flows it would start. A metric is made by its first event.
        Asking for a list tells whether address and key are right."""
        filled = [s for s in syncs if s.spec.kind == "segment" and s.id in self.baselines]
        if not filled:
            self._account.call("lists", "l", "GET", "/api/lists?page[size]=1")
            return []
        told = list(
            self._account.pages("lists", "l", "/api/lists?include=flow-triggers&page[size]=10")
        )
        flows = {one["id"]: one["attributes"] for page in told for one in page.get("included", [])}
        lines = []
        for one in (one for page in told for one in page["data"]):
            name = str(one["attributes"]["name"])
            started = one.get("relationships", {}).get("flow-triggers", {}).get("data", [])
            live = [flows[f["id"]]["name"] for f in started if flows[f["id"]]["status"] == "live"]
            lines += [
                f"{sync.file}: the first run would start {', '.join(live)} for everybody added to "
                f"list {name!r}. Set the flow to draft in Klaviyo (Flows) until this run is over."
                for sync in filled
                if live and sync.owns_list(name)
            ]
        return lines

    # How the tool is spoken to

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """One outcome per profile. Rows of a job are processed in no order: who shares an address
        with another is not sent beside them, as either could win."""
        profiles = {key: _profile(row) for key, row in rows.items()}
        addresses: dict[str, str] = {}
        for key, profile in profiles.items():
            if email := profile["attributes"].get("email"):
                addresses.setdefault(email, key)
        sent = {
            key: profile
            for key, profile in profiles.items()
            if addresses.get(profile["attributes"].get("email"), key) == key
        }
        shared = "Another row of this run has the same address; Klaviyo keeps one profile for it."
        seconds = options.number(self.config, "job_seconds", 600)
        twin = Outcome("", "rejected", "duplicate", shared)
        return of_each(twin, profiles.keys() - sent) + (
            self._account.import_profiles(sent, seconds) if sent else []
        )

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """202 is all that a bulk of events is ever answered with."""
        is_baseline = sync.id in self.baselines
        items = [_event(sync, change, own, is_baseline) for change, own in events.values()]
        body = resource("event-bulk-create-job", {"events-bulk-create": {"data": items}})
        self._account.answer("events", "m", "POST", "/api/event-bulk-create-jobs", body)
        return of_each(DELIVERED, events)

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Klaviyo's ids by ours."""
        found = self._account.found("external_id", identities)
        return {str(one["attributes"]["external_id"]): str(one["id"]) for one in found}

    def find_list(self, object_: str, name: str) -> str | None:
        """The list of that name, the oldest of several."""
        wanted = quote(f"equals(name,{as_json([name]).decode()})", safe="")
        found = self._account.call("lists", "l", "GET", f"/api/lists?filter={wanted}&sort=created")[
            "data"
        ]
        return str(found[0]["id"]) if found else None

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool."""
        body = resource("list", {"name": name})
        return str(self._account.call("make list", "m", "POST", "/api/lists", body)["data"]["id"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """Neither grants consent nor takes it away."""
        path = f"/api/lists/{list_id}/relationships/profiles"
        for operation, method, people in (("remove", "DELETE", leaving), ("add", "POST", joining)):
            if people:
                body = {"data": [{"type": "profile", "id": own} for own in people]}
                self._account.answer(operation, "m", method, path, body)
        return {}

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """A deletion job for each profile that has the id or the address."""
        for person in people:
            names = {"external_id": person.contact_id, "email": person.email}
            own = {
                str(profile["id"])
                for field, name in names.items()
                for profile in self._account.found(field, [name] if name else [])
            }
            for number in sorted(own):
                profile = {"data": {"type": "profile", "id": number, "attributes": {}}}
                body = resource("data-privacy-deletion-job", {"profile": profile})
                self._account.answer("erase", "s", "POST", "/api/data-privacy-deletion-jobs", body)
        return of_each(DELIVERED, [person.contact_id for person in people])

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """From all e-mail marketing, which is what naming no list means; it makes nobody."""
        addresses = [person.email for person in people if person.email]
        there = [
            str(profile["attributes"]["email"])
            for profile in self._account.found("email", addresses)
        ]
        consent = {"subscriptions": {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}}
        for some in in_pieces(there, _OPTED_OUT):
            profiles = [
                {"type": "profile", "attributes": {"email": email, **consent}} for email in some
            ]
            body = resource(
                "profile-subscription-bulk-delete-job", {"profiles": {"data": profiles}}
            )
            path = "/api/profile-subscription-bulk-delete-jobs"
            self._account.answer("unsubscribe", "l", "POST", path, body)
        return of_each(DELIVERED, [person.contact_id for person in people])

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See Account."""
        return self._account.feedback(since)

    def receive(self, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
        """A system webhook: HMAC-SHA256 over body and timestamp, at most five minutes old."""
        given = {name.lower(): value for name, value in headers.items()}
        stamp = given.get("klaviyo-timestamp", "")
        secret = self.config.credential("webhook_secret")
        require_signature(secret, body + stamp.encode(), given.get("klaviyo-signature", ""))
        require_recent(stamp)
        return self._account.told_by_webhook(orjson.loads(body)["data"])

    def _client(self, operation: str, tier: str) -> HttpClient:
        """Every operation has limits of its own."""
        key = self.config.credential("api_key")
        headers = {
            "Authorization": f"Klaviyo-API-Key {key}",
            "Accept": "application/vnd.api+json",
            "revision": REVISION,
        }
        return self.client_of(operation, headers, [key], learn, tier=tier)


def _profile(row: Row) -> dict[str, Any]:
    """Null empties a field of Klaviyo's own; a custom property is taken away by name."""
    attributes: dict[str, Any] = {"external_id": row.identity}
    properties, place, unset = {}, {}, []
    for name, value in row.attributes.items():
        if name == "email":
            attributes |= {"email": as_address(value)} if value else {}
        elif name in _FIELDS:
            attributes[name] = None if value is None else as_text(value)
        elif name in _PLACE:
            place[name] = None if value is None else as_text(value)
        elif value is None:
            unset.append(name)
        else:
            properties[name] = as_plain(value)
    attributes |= {"location": place} if place else {}
    attributes |= {"properties": properties} if properties else {}
    profile = {"type": "profile", "attributes": attributes}
    return profile | ({"meta": {"patch_properties": {"unset": unset}}} if unset else {})


def _event(sync: Sync, change: Change, profile: str, backfill: bool) -> dict[str, Any]:
    """Columns ``value`` and ``value_currency`` are Klaviyo's own: what an event is worth, in the
    major unit."""
    row = properties(change, lambda name, value: as_plain(value))
    worth = {name: row.pop(name) for name in ("value", "value_currency") if name in row}
    metric = {"data": {"type": "metric", "attributes": {"name": sync.event_name}}}
    event = {"properties": row, "unique_id": change.key, "metric": metric, **worth}
    if change.payload.get("occurred_at") is not None:
        event["time"] = as_text(change.payload["occurred_at"])
    if backfill:
        event["backfill"] = True
    attributes = {
        "profile": {"data": {"type": "profile", "id": profile, "attributes": {}}},
        "events": {"data": [{"type": "event", "attributes": event}]},
    }
    return {"type": "event-bulk-create", "attributes": attributes}
