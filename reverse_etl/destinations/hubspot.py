"""HubSpot: contacts and companies by batch upsert, list membership, custom events.

Contract: HubSpot's API specification, date version 2026-09 (objects, lists, custom events). A
profile's columns are sent as the properties of the same names; its key is a custom unique property.
A trigger becomes the custom event ``pe<portal_id>_<event>`` of its contact.

Options: ``portal_id`` (needed for triggers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import (
    Action,
    ExternalIds,
    Feedback,
    Limits,
    Person,
)
from reverse_etl.destinations.hubspot_search import feedback
from reverse_etl.errors import Refused, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.naming import ROUTING, properties, totals
from reverse_etl.outcomes import DELIVERED, Outcome, Status, of_each, silent
from reverse_etl.paging import by_offset
from reverse_etl.people_tool import EVERYBODY, PeopleTool, Row, lacking
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_text

VERSION = "2026-09"
_TYPE_IDS = {"contact": "0-1", "customer": "0-2"}
_CALLS = {
    "free": (100, 250_000),
    "starter": (100, 250_000),
    "professional": (190, 650_000),
    "enterprise": (190, 1_000_000),
    "addon": (250, 2_000_000),
}
"""Calls in 10 s and in a day, by tier."""
_ROWS: dict[Kind, int] = {"profile": 100, "segment": 1_000, "trigger": 500}
_RECORDS_A_CALL = 100
_LISTED = 500
_REPEATABLE_CATEGORIES = frozenset({"RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"})
_LIMIT_HEADERS = tuple(
    f"X-HubSpot-RateLimit-{name}" for name in ("Max", "Interval-Milliseconds", "Remaining")
)
_DAILY_HEADERS = tuple(f"X-HubSpot-RateLimit-{name}" for name in ("Daily", "Daily-Remaining"))


class HubSpot(PeopleTool):
    """One portal."""

    tool = "HubSpot"
    account_option = "portal_id"
    dedupe_field = "uuid"
    tells_ids = True
    drops_events = True
    lost = frozenset({"missing"})
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        **PeopleTool.capabilities,
        "profile": frozenset({"add", "change", "clear", "archive"}),
    }
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = dict.fromkeys(_ROWS, EVERYBODY)
    words = ({"contact": "contacts", "customer": "companies"}, "lists", "events")
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]] = {"search": [(5, 1)]}

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._listed: dict[str, dict[str, Mapping[str, str]]] = {}

    def limits(self, kind: Kind) -> Limits:
        """100 records, 500 events or (our choice) 1,000 members a call; calls in 10 s and a day
        by tier, until the portal's headers tell its own."""
        calls, daily = _CALLS[options.tier(self.config, "professional", _CALLS)]
        window = Window(calls, 10.0)
        return Limits(batch_rows=_ROWS[kind], windows=(window,), concurrency=4, daily=daily)

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the portal counts: contacts, companies, lists by name, events by name."""
        return totals(counts, *self.words, self._event_name)

    def kept(self, sync: Sync) -> frozenset[str]:
        """Clearing empties every property but the key."""
        return frozenset()

    # What must exist beforehand

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """Unique keys, properties and event definitions. Missing lists are made while sending."""
        kinds = {self.words[0][s.spec.object] for s in syncs if s.spec.kind != "trigger"}
        known = {kind: self._properties(kind) for kind in kinds}
        lines = []
        for sync in syncs:
            if sync.spec.kind == "trigger":
                lines += self._missing_of_event(sync)
            else:
                kind = self.words[0][sync.spec.object]
                lines += self._missing_of_object(sync, kind, known[kind])
        return lines

    def verify(self, syncs: Sequence[Sync]) -> list[str]:
        """Also asks where no sync would: the token alone is tried then."""
        if not any(sync.spec.kind != "trigger" for sync in syncs):
            self._properties("contacts")
        return self.check(syncs)

    def _properties(self, kind: str) -> dict[str, bool]:
        """Whether each property of contacts or companies has unique values."""
        listed = self._client.request("GET", f"/crm/properties/{VERSION}/{kind}").json()["results"]
        return {item["name"]: bool(item.get("hasUniqueValue")) for item in listed}

    def _missing_of_object(self, sync: Sync, kind: str, known: Mapping[str, bool]) -> list[str]:
        place = f"HubSpot: Settings > Properties > {kind.capitalize()}"
        if not known.get(sync.spec.key):
            return [
                f"{sync.file}: {kind} have no property {sync.spec.key!r} with unique values. "
                f"Create it under {place} (rule: require unique values)."
            ]
        absent = [name for name in self.sent_columns(sync) if name not in known]
        return lacking(sync, absent, f"{kind} have no property", place)

    def _missing_of_event(self, sync: Sync) -> list[str]:
        name = self._event_name(sync)
        place = "HubSpot: Data Management > Custom Events"
        path = f"/events/custom/{VERSION}/event-definitions/{name}"
        answer = self._client.found("GET", path)
        if answer is None:
            return [f"{sync.file}: there is no custom event {name}. Create it under {place}."]
        known = {item["name"] for item in answer.json().get("properties", [])}
        absent = [c for c in sync.columns if c not in ROUTING and c not in known]
        return lacking(sync, absent, f"the custom event {name} has no property", place)

    # How the portal is spoken to

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """HubSpot's record ids."""
        learned = {}
        for some in in_pieces(identities, _RECORDS_A_CALL):
            body = {
                "inputs": [{"id": value} for value in some],
                "idProperty": key,
                "properties": [key],
                "propertiesWithHistory": [],
            }
            path = f"/crm/objects/{VERSION}/{self.words[0][object_]}/batch/read"
            for record in self._client.request("POST", path, body).json()["results"]:
                learned[record["properties"][key]] = str(record["id"])
        return learned

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Answers are matched by trace id, or by the key they repeat. A 200 that mentions a record
        neither as a result nor as an error has not written it."""
        spec = sync.spec
        inputs = [
            {
                "id": row.identity,
                "idProperty": spec.key,
                "objectWriteTraceId": key,
                "properties": _written(row, spec.key),
            }
            for key, row in rows.items()
        ]
        path = f"/crm/objects/{VERSION}/{self.words[0][spec.object]}/batch/upsert"
        answer = self._client.request("POST", path, {"inputs": inputs}).json()
        outcomes: dict[str, Outcome] = {}
        ids = {}
        for result in answer.get("results", []):
            own = result.get("properties", {}).get(spec.key)
            key = result.get("objectWriteTraceId") or own
            outcomes[key] = DELIVERED
            ids[key] = str(result["id"])
        for error in answer.get("errors", []):
            is_passing = error.get("category") in _REPEATABLE_CATEGORIES
            status: Status = "retryable" if is_passing else "rejected"
            for key in error.get("context", {}).get("objectWriteTraceId", []):
                outcomes[key] = Outcome(key, status, error["category"], error["message"])
        if answer.get("errors") and not outcomes.keys() >= rows.keys():
            raise Refused(answer["errors"][0]["message"], code="207")  # no row named: halve
        self.remember(spec.object, ids)
        return [outcomes.get(key, silent(self.tool)).of(key) for key in rows]

    def archive(self, sync: Sync, rows: Mapping[str, str]) -> list[Outcome]:
        """See PeopleTool."""
        path = f"/crm/objects/{VERSION}/{self.words[0][sync.spec.object]}/batch/archive"
        self._client.request("POST", path, {"inputs": [{"id": own} for own in rows.values()]})
        return of_each(DELIVERED, rows)

    def find_list(self, object_: str, name: str) -> str | None:
        """See PeopleTool. All lists are asked for once; a name asked for again is looked up alone.
        Raises Refused for a list that fills itself."""
        if object_ not in self._listed:
            self._listed[object_] = self._lists_of(object_)
        return self._fillable(self._listed[object_].pop(name, None))

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool. One that stands there in spite of the listing is taken."""
        body = {"name": name, "objectTypeId": _TYPE_IDS[object_], "processingType": "MANUAL"}
        try:
            made = self._client.request("POST", f"/crm/lists/{VERSION}", body).json()
        except Refused:
            path = f"/crm/lists/{VERSION}/object-type-id/{_TYPE_IDS[object_]}/name/"
            answer = self._client.found("GET", path + quote(name, safe=""))
            if answer is None or (own := self._fillable(answer.json()["list"])) is None:
                raise
            return own
        return str(made["list"]["listId"])

    def _lists_of(self, object_: str) -> dict[str, Mapping[str, str]]:
        def ask(offset: int) -> list[dict[str, str]]:
            body = {
                "objectTypeId": _TYPE_IDS[object_],
                "listIds": [],
                "processingTypes": [],
                "additionalProperties": [],
                "offset": offset,
                "count": _LISTED,
            }
            answer = self._client.request("POST", f"/crm/lists/{VERSION}/search", body)
            found: list[dict[str, str]] = answer.json()["lists"]
            return found

        return {found["name"]: found for found in by_offset(ask, _LISTED)}

    def _fillable(self, found: Mapping[str, str] | None) -> str | None:
        if found is None:
            return None
        if found["processingType"] == "DYNAMIC":
            name = found["name"]
            raise Refused(f"List {name!r} fills itself (DYNAMIC); rename one of the two.")
        return str(found["listId"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """See PeopleTool."""
        body = {"recordIdsToAdd": list(joining), "recordIdsToRemove": list(leaving)}
        path = f"/crm/lists/{VERSION}/{list_id}/memberships/add-and-remove"
        missing = self._client.request("PUT", path, body).json()["recordIdsMissing"]
        words = "HubSpot no longer has this record; its profile has to be sent again."
        gone = Outcome("", "rejected", "missing", words)
        return dict.fromkeys(set(missing).intersection(joining), gone)

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """A 204 is all that a batch of events is ever answered with."""
        inputs = [_event(self._event_name(sync), change, own) for change, own in events.values()]
        path = f"/events/custom/{VERSION}/send/batch"
        answer = self._client.request("POST", path, {"inputs": inputs})
        if answer.status != 204:
            words = f"HubSpot answers events with 204, and this was {answer.status}."
            raise Unknown(words, code=str(answer.status))
        return of_each(DELIVERED, events)

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """GDPR deletion, by our external id and by address: HubSpot then keeps the address out."""
        known = self.remembered("contact", [person.contact_id for person in people])
        path = f"/crm/objects/{VERSION}/contacts/gdpr-delete"
        outcomes = []
        for person in people:
            asked = [{"objectId": known[person.contact_id]}] if person.contact_id in known else []
            if person.email:
                asked.append({"objectId": person.email, "idProperty": "email"})
            found = [self._client.found("POST", path, body) for body in asked]
            code = "erased" if any(found) else "not there"
            outcomes.append(Outcome(person.contact_id, "delivered", code))
        return outcomes

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """From every subscription and channel of the portal."""
        addresses = [person.email for person in people if person.email]
        path = f"/communication-preferences/{VERSION}/statuses/batch/unsubscribe-all?channel=EMAIL"
        for some in in_pieces(addresses, _RECORDS_A_CALL):
            self._client.request("POST", path, {"inputs": some})
        return of_each(DELIVERED, [person.contact_id for person in people])

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See hubspot_search."""
        return feedback(self._searched, since)

    def _searched(self, body: Mapping[str, Any]) -> Any:
        path = f"/crm/objects/{VERSION}/contacts/search"
        return self._searcher.request("POST", path, body).json()

    def _event_name(self, sync: Sync) -> str:
        fix = "Custom events need it; HubSpot shows it beside the account's name."
        return f"pe{options.needed(self.config, 'portal_id', fix)}_{sync.event_name}"

    @property
    def _client(self) -> HttpClient:
        token = self.config.credential("access_token")
        return self.client({"Authorization": f"Bearer {token}"}, [token], learn=_learn)

    @property
    def _searcher(self) -> HttpClient:
        """Searches are counted apart."""
        token = self.config.credential("access_token")
        return self.client_of("search", {"Authorization": f"Bearer {token}"}, [token])


def _written(row: Row, key: str) -> dict[str, str]:
    return {key: row.identity} | {name: as_text(value) for name, value in row.attributes.items()}


def _event(name: str, change: Change, record_id: str) -> dict[str, Any]:
    event = {
        "eventName": name,
        "objectId": record_id,
        "uuid": str(uuid5(NAMESPACE_URL, f"event:{change.key}")),
        "properties": properties(change),
    }
    at = change.payload.get("occurred_at")
    return event | ({"occurredAt": as_text(at)} if at is not None else {})


def _learn(headers: Mapping[str, str], budget: RateBudget) -> None:
    calls, milliseconds, remaining = (headers.get(name, "") for name in _LIMIT_HEADERS)
    if calls.isdigit() and milliseconds.isdigit() and remaining.isdigit():
        budget.learn(int(calls), int(milliseconds) / 1000, int(remaining))
    daily, left = (headers.get(name, "") for name in _DAILY_HEADERS)
    if daily.isdigit() and left.isdigit():
        budget.learn_daily(int(daily), int(left))
