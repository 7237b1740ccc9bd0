"""HubSpot: contacts and companies by batch upsert, list membership, custom events.

Contract: HubSpot's API specification, date version 2026-09 (objects, lists, custom events). A
profile's columns are sent as the properties of the same names; its key is a custom unique property.
A trigger becomes the custom event ``pe<portal_id>_<event>`` of its contact.

Options: ``portal_id`` (needed for triggers).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import (
    ROUTING,
    Action,
    Destination,
    ExternalIds,
    Feedback,
    Limits,
    Outcome,
    Person,
    Status,
    unknown_option,
)
from reverse_etl.errors import Refused, Unknown, UserError
from reverse_etl.http import HttpClient
from reverse_etl.naming import by_list, totals
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_text, as_utc

VERSION = "2026-09"
Learn = Callable[[Mapping[str, str], RateBudget], None]
_OBJECTS = {"contact": ("contacts", "0-1"), "customer": ("companies", "0-2")}
_CALLS_IN_10_S = {"free": 100, "starter": 100, "professional": 190, "enterprise": 190, "addon": 250}
_CALLS_A_DAY = {
    "free": 250_000,
    "starter": 250_000,
    "professional": 650_000,
    "enterprise": 1_000_000,
    "addon": 2_000_000,
}
_ROWS: dict[Kind, int] = {"profile": 100, "segment": 1_000, "trigger": 500}
_RECORDS_A_CALL = 100
_SEARCHED = 200
_BOUNCED = "hs_email_hard_bounce_reason_enum"
_REPEATABLE_CATEGORIES = frozenset({"RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"})
_LIMIT_HEADERS = tuple(
    f"X-HubSpot-RateLimit-{name}" for name in ("Max", "Interval-Milliseconds", "Remaining")
)
_DAILY_HEADERS = tuple(f"X-HubSpot-RateLimit-{name}" for name in ("Daily", "Daily-Remaining"))


class HubSpot(Destination):
    """One portal."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear", "archive"}),
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }
    dedupe_field = "uuid"

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._lists: dict[str, str] = {}
        self._lists_lock = threading.Lock()

    def limits(self, kind: Kind) -> Limits:
        """100 records, 500 events or (our choice) 1,000 members a call; calls in 10 s and a day
        by tier, until the portal's headers tell its own."""
        tier = self.config.plan_tier or "professional"
        if tier not in _CALLS_IN_10_S:
            raise unknown_option(self.config, "plan_tier", tier, _CALLS_IN_10_S)
        window = Window(_CALLS_IN_10_S[tier], 10.0)
        daily = _CALLS_A_DAY[tier]
        return Limits(batch_rows=_ROWS[kind], windows=(window,), concurrency=4, daily=daily)

    @property
    def account(self) -> str:
        """Portals differ by their id where it is configured."""
        return f"{super().account}:{self.config.option('portal_id', '')}"

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the portal counts: contacts, companies, lists by name, events by name."""
        profiles = {object_: kind for object_, (kind, _) in _OBJECTS.items()}
        return totals(counts, profiles, "lists", "events", self._event_name)

    # What must exist beforehand

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Unique keys, properties and event definitions. Missing lists are made while sending."""
        missing = []
        properties: dict[str, dict[str, bool]] = {}
        for sync in syncs:
            if sync.spec.kind == "trigger":
                missing += self._missing_of_event(sync)
                continue
            kind, _ = _OBJECTS[sync.spec.object]
            if kind not in properties:
                listed = self._client.request("GET", f"/crm/properties/{VERSION}/{kind}").json()
                properties[kind] = {
                    item["name"]: bool(item.get("hasUniqueValue")) for item in listed["results"]
                }
            missing += self._missing_of_object(sync, kind, properties[kind])
        return missing

    def verify(self, syncs: Sequence[Sync]) -> list[str]:
        """Also asks where no sync would: the token alone is tried then."""
        if not any(sync.spec.kind != "trigger" for sync in syncs):
            self._client.request("GET", f"/crm/properties/{VERSION}/contacts")
        return self.check(syncs)

    def _missing_of_object(self, sync: Sync, kind: str, known: Mapping[str, bool]) -> list[str]:
        place = f"HubSpot: Settings > Properties > {kind.capitalize()}"
        if not known.get(sync.spec.key):
            return [
                f"{sync.file}: {kind} have no property {sync.spec.key!r} with unique values. "
                f"Create it under {place} (rule: require unique values)."
            ]
        absent = [name for name in self.sent_columns(sync) if name not in known]
        if absent:
            return [
                f"{sync.file}: {kind} have no property {', '.join(absent)}. Create under {place}, "
                "or remove the column from the model."
            ]
        return []

    def _missing_of_event(self, sync: Sync) -> list[str]:
        name = self._event_name(sync)
        place = "HubSpot: Data Management > Custom Events"
        path = f"/events/custom/{VERSION}/event-definitions/{name}"
        try:
            definition = self._client.request("GET", path).json()
        except Refused as refused:
            if refused.code != "404":
                raise
            return [f"{sync.file}: there is no custom event {name}. Create it under {place}."]
        known = {item["name"] for item in definition.get("properties", [])}
        absent = [c for c in sync.columns if c not in ROUTING and c not in known]
        if absent:
            return [
                f"{sync.file}: the custom event {name} has no property {', '.join(absent)}. "
                f"Add under {place}, or remove the column from the model."
            ]
        return []

    # Sending

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "trigger":
            return self._send_events(sync, batch)
        if sync.spec.kind == "segment":
            lists = by_list(sync, batch).items()
            return [o for name, some in lists for o in self._change_list(sync, name, some)]
        gone = [change for change in batch if change.action == "remove"]
        written = [change for change in batch if change.action != "remove"]
        if sync.spec.mode == "update":
            return self._update(sync, written) + self._remove(sync, gone)
        return self._upsert(sync, _records(written)) + self._remove(sync, gone)

    def _update(self, sync: Sync, written: Sequence[Change]) -> list[Outcome]:
        """Mode update never creates: what the portal does not have is refused here."""
        there = self._record_ids(sync.spec.object, sync.spec.key, [c.identity for c in written])
        absent = [
            Outcome(c.key, "rejected", "absent", "HubSpot has no such record; update makes none.")
            for c in written
            if c.identity not in there
        ]
        present = [change for change in written if change.identity in there]
        return absent + self._upsert(sync, _records(present))

    def _remove(self, sync: Sync, gone: Sequence[Change]) -> list[Outcome]:
        if not gone:
            return []
        spec = sync.spec
        there = self._record_ids(spec.object, spec.key, [change.identity for change in gone])
        done = [Outcome(c.key, "delivered") for c in gone if c.identity not in there]
        present = [change for change in gone if change.identity in there]
        if spec.removal == "clear":
            cleared = {name: "" for name in sync.columns if name != spec.key}
            return done + self._upsert(sync, {change.key: cleared for change in present})
        if present:
            kind, _ = _OBJECTS[spec.object]
            body = {"inputs": [{"id": there[change.identity]} for change in present]}
            self._client.request("POST", f"/crm/objects/{VERSION}/{kind}/batch/archive", body)
        return done + [Outcome(change.key, "delivered") for change in present]

    def _upsert(self, sync: Sync, records: Mapping[str, Mapping[str, str]]) -> list[Outcome]:
        """One outcome per record: answers are matched by trace id, or by the key they repeat.

        A 200 that mentions a record neither as a result nor as an error has not written it.
        """
        if not records:
            return []
        kind, _ = _OBJECTS[sync.spec.object]
        inputs = [
            {"id": key, "idProperty": sync.spec.key, "objectWriteTraceId": key, "properties": given}
            for key, given in records.items()
        ]
        path = f"/crm/objects/{VERSION}/{kind}/batch/upsert"
        answer = self._client.request("POST", path, {"inputs": inputs}).json()
        outcomes: dict[str, Outcome] = {}
        external_ids = {}
        for result in answer.get("results", []):
            own = result.get("properties", {}).get(sync.spec.key)
            key = result.get("objectWriteTraceId") or own
            outcomes[key] = Outcome(key, "delivered")
            external_ids[key] = str(result["id"])
        for error in answer.get("errors", []):
            status: Status = (
                "retryable" if error.get("category") in _REPEATABLE_CATEGORIES else "rejected"
            )
            for key in error.get("context", {}).get("objectWriteTraceId", []):
                outcomes[key] = Outcome(key, status, error["category"], error["message"])
        if answer.get("errors") and not outcomes.keys() >= records.keys():
            raise Refused(answer["errors"][0]["message"], code="207")  # no row named: halve
        self.ids.remember_external_ids(self.account, kind, external_ids)
        silent = Outcome("", "unknown", "silent", "HubSpot answered without a word on this record.")
        return [
            outcomes.get(key) or Outcome(key, silent.status, silent.code, silent.message)
            for key in records
        ]

    def _change_list(self, sync: Sync, name: str, changes: Sequence[Change]) -> list[Outcome]:
        spec = sync.spec
        kind, type_id = _OBJECTS[spec.object]
        ids = self._record_ids(spec.object, spec.key, [change.identity for change in changes])
        absent = [c for c in changes if c.action != "remove" and c.identity not in ids]
        refused: dict[str, Outcome] = {}
        for start in range(0, len(absent), _RECORDS_A_CALL):
            some = {
                c.identity: _address(spec.key, c) for c in absent[start : start + _RECORDS_A_CALL]
            }
            refused |= {o.key: o for o in self._upsert(sync, some) if o.status != "delivered"}
        ids |= self.ids.external_ids(self.account, kind, [change.identity for change in absent])
        known = [change for change in changes if change.identity in ids]
        body = {
            "recordIdsToAdd": [ids[c.identity] for c in known if c.action != "remove"],
            "recordIdsToRemove": [ids[c.identity] for c in known if c.action == "remove"],
        }
        path = f"/crm/lists/{VERSION}/{self._list_id(name, type_id)}/memberships/add-and-remove"
        answer = self._client.request("PUT", path, body).json()
        missing = set(answer["recordIdsMissing"])
        outcomes = []
        for change in changes:
            failed = refused.get(change.identity)
            if failed:
                outcomes.append(Outcome(change.key, failed.status, failed.code, failed.message))
            elif change.action != "remove" and ids.get(change.identity) in missing:
                words = "HubSpot no longer has this record; its profile has to be sent again."
                outcomes.append(Outcome(change.key, "rejected", "missing", words))
            else:
                outcomes.append(Outcome(change.key, "delivered"))
        return outcomes

    def _send_events(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """An event of somebody unknown is dropped by HubSpot without a word: it is refused here."""
        people = [str(c.payload["contact_id"]) for c in batch if c.payload.get("contact_id")]
        ids = self._record_ids("contact", "contact_id", people)
        events, outcomes = [], []
        for change in batch:
            record_id = ids.get(str(change.payload.get("contact_id")))
            if record_id is None:
                words = "HubSpot has no such contact; its profile has to be sent first."
                outcomes.append(Outcome(change.key, "rejected", "absent", words))
                continue
            outcomes.append(Outcome(change.key, "delivered"))
            event = {
                "eventName": self._event_name(sync),
                "objectId": record_id,
                "uuid": str(uuid5(NAMESPACE_URL, f"event:{change.key}")),
                "properties": {
                    name: as_text(value)
                    for name, value in change.payload.items()
                    if name not in ROUTING and value is not None
                },
            }
            if change.payload.get("occurred_at") is not None:
                event["occurredAt"] = as_text(change.payload["occurred_at"])
            events.append(event)
        if events:
            path = f"/events/custom/{VERSION}/send/batch"
            answer = self._client.request("POST", path, {"inputs": events})
            if answer.status != 204:
                words = f"HubSpot answers events with 204, and this was {answer.status}."
                raise Unknown(words, code=str(answer.status))
        return outcomes

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """GDPR deletion, by our external id and by address: HubSpot then keeps the address out."""
        known = self.ids.external_ids(self.account, "contacts", [p.contact_id for p in people])
        outcomes = []
        for person in people:
            asked = [{"objectId": known[person.contact_id]}] if person.contact_id in known else []
            if person.email:
                asked.append({"objectId": person.email, "idProperty": "email"})
            found = [self._gdpr_delete(body) for body in asked]
            code = "erased" if any(found) else "not there"
            outcomes.append(Outcome(person.contact_id, "delivered", code))
        return outcomes

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """From every subscription and channel of the portal."""
        addresses = [person.email for person in people if person.email]
        path = f"/communication-preferences/{VERSION}/statuses/batch/unsubscribe-all?channel=EMAIL"
        for start in range(0, len(addresses), _RECORDS_A_CALL):
            body = {"inputs": addresses[start : start + _RECORDS_A_CALL]}
            self._client.request("POST", path, body)
        return [Outcome(person.contact_id, "delivered") for person in people]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Contacts that opted out of all mail, and those whose address bounced for good, as they
        stand. Which mail was clicked the CRM does not tell. Pages go by id, as a search reaches
        10,000 results and no further."""
        last = "0"
        while True:
            found = self._searched(since, last)
            for contact in found:
                last, told = str(contact["id"]), contact["properties"]
                at, email = datetime.fromisoformat(told["lastmodifieddate"]), told.get("email")
                if email and told.get("hs_email_optout") == "true":
                    yield Feedback(f"unsubscribed:{last}", "unsubscribed", email.lower(), at)
                if email and (reason := told.get(_BOUNCED)):
                    yield Feedback(f"bounced:{last}", "bounced", email.lower(), at, reason)
            if len(found) < _SEARCHED:
                return

    def _searched(self, since: datetime, last: str) -> list[dict[str, Any]]:
        changed = str(int(as_utc(since).timestamp() * 1000))
        recent = [
            {"propertyName": "lastmodifieddate", "operator": "GTE", "value": changed},
            {"propertyName": "hs_object_id", "operator": "GT", "value": last},
        ]
        out = {"propertyName": "hs_email_optout", "operator": "EQ", "value": "true"}
        bounced = {"propertyName": _BOUNCED, "operator": "HAS_PROPERTY"}
        body = {
            "filterGroups": [{"filters": [out, *recent]}, {"filters": [bounced, *recent]}],
            "sorts": ["hs_object_id"],
            "properties": ["email", "hs_email_optout", _BOUNCED, "lastmodifieddate"],
            "limit": _SEARCHED,
            "after": "0",
        }
        answer = self._searcher.request("POST", f"/crm/objects/{VERSION}/contacts/search", body)
        found: list[dict[str, Any]] = answer.json()["results"]
        return found

    def _gdpr_delete(self, body: Mapping[str, str]) -> bool:
        """Whether the portal had somebody by that name."""
        try:
            path = f"/crm/objects/{VERSION}/contacts/gdpr-delete"
            self._client.request("POST", path, dict(body))
        except Refused as refused:
            if refused.code != "404":
                raise
            return False
        return True

    # The portal's own ids

    def _record_ids(self, object_: str, key: str, keys: Sequence[str]) -> dict[str, str]:
        """HubSpot's ids by our key: from the ledger, else asked for."""
        kind, _ = _OBJECTS[object_]
        found = self.ids.external_ids(self.account, kind, keys)
        asked = [value for value in dict.fromkeys(keys) if value not in found]
        learned: dict[str, str] = {}
        for start in range(0, len(asked), _RECORDS_A_CALL):
            body = {
                "inputs": [{"id": value} for value in asked[start : start + _RECORDS_A_CALL]],
                "idProperty": key,
                "properties": [key],
                "propertiesWithHistory": [],
            }
            path = f"/crm/objects/{VERSION}/{kind}/batch/read"
            for record in self._client.request("POST", path, body).json()["results"]:
                learned[record["properties"][key]] = str(record["id"])
        self.ids.remember_external_ids(self.account, kind, learned)
        return found | learned

    def _list_id(self, name: str, type_id: str) -> str:
        """The list of that name, made (MANUAL) where there is none."""
        with self._lists_lock:
            if name not in self._lists:
                found = self._find_list(name, type_id) or self._make_list(name, type_id)
                if found["processingType"] == "DYNAMIC":
                    raise Refused(f"List {name!r} fills itself (DYNAMIC); rename one of the two.")
                self._lists[name] = str(found["listId"])
            return self._lists[name]

    def _find_list(self, name: str, type_id: str) -> dict[str, Any] | None:
        path = f"/crm/lists/{VERSION}/object-type-id/{type_id}/name/{quote(name, safe='')}"
        try:
            found: dict[str, Any] = self._client.request("GET", path).json()["list"]
        except Refused as refused:
            if refused.code == "404":
                return None
            raise
        return found

    def _make_list(self, name: str, type_id: str) -> dict[str, Any]:
        body = {"name": name, "objectTypeId": type_id, "processingType": "MANUAL"}
        made = self._client.request("POST", f"/crm/lists/{VERSION}", body).json()
        found: dict[str, Any] = made["list"]
        return found

    def _event_name(self, sync: Sync) -> str:
        portal = self.config.option("portal_id")
        if not portal:
            raise UserError(
                f"{self.config.origin}.options.portal_id is missing; custom events need it. "
                "HubSpot shows it beside the account's name."
            )
        return f"pe{portal}_{sync.event_name}"

    @cached_property
    def _client(self) -> HttpClient:
        return self._new_client(self.budget)

    @cached_property
    def _searcher(self) -> HttpClient:
        """Searches are counted apart: 5 a second."""
        pace = self.budgets.budget(self.account, "search", [Window(5, 1.0)], None)
        return self._new_client(pace, lambda headers, budget: None)

    def _new_client(self, pace: RateBudget, learn: Learn | None = None) -> HttpClient:
        token = self.config.credential("access_token")
        return HttpClient(
            self.config.base_url,
            pace,
            headers={"Authorization": f"Bearer {token}"},
            secrets=[token],
            read_seconds=self.limits("profile").timeout,
            learn=learn or _learn,
        )


def _records(changes: Sequence[Change]) -> dict[str, dict[str, str]]:
    return {c.key: {name: as_text(v) for name, v in c.payload.items()} for c in changes}


def _address(key: str, change: Change) -> dict[str, str]:
    """The least that makes a record: its key and, for a contact, its address."""
    given = {key: change.identity}
    if change.payload.get("email"):
        given["email"] = as_text(change.payload["email"])
    return given


def _learn(headers: Mapping[str, str], budget: RateBudget) -> None:
    calls, milliseconds, remaining = (headers.get(name, "") for name in _LIMIT_HEADERS)
    if calls.isdigit() and milliseconds.isdigit() and remaining.isdigit():
        budget.learn(int(calls), int(milliseconds) / 1000, int(remaining))
    daily, left = (headers.get(name, "") for name in _DAILY_HEADERS)
    if daily.isdigit() and left.isdigit():
        budget.learn_daily(int(daily), int(left))
