"""Customer.io: people, companies as objects, manual segments, events.

Contract: Customer.io's Track API (v2 batch, segments), App API and reporting webhooks. A profile's
columns are attributes of the same names: numbers stay numbers, instants are seconds since the
epoch, an empty text takes an attribute away. A trigger is an event of its contact; its id, a ULID
made of the event_id, is what the tool recognises a repeat by.

Credentials: ``site_id``, ``api_key`` (Track API), ``app_api_key`` (App API), ``webhook_key`` (only
for ``receive``). Options: ``workspace`` (a name of your own: another name is another memory),
``object_type_id`` (of companies, default "1"), ``windows`` (see PeopleTool; parts track, app).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import orjson

from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import ExternalIds, Feedback, Limits, Outcome, Person
from reverse_etl.destinations.customer_io_shown import Shown, told_by_webhook
from reverse_etl.errors import Refused
from reverse_etl.http import HttpClient, basic
from reverse_etl.naming import properties
from reverse_etl.outcomes import by_place, of_person
from reverse_etl.people_tool import EVERYBODY, PEOPLE, PeopleTool, Row
from reverse_etl.planner import Change
from reverse_etl.signatures import require_recent, require_signature
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_address, as_plain, as_utc

_LONGEST_NAME, _MOST_ATTRIBUTES = 150, 300
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class CustomerIo(PeopleTool):
    """One workspace."""

    tool = "Customer.io"
    account_option = "workspace"
    dedupe_field = "id"
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": EVERYBODY,
        "segment": PEOPLE,
        "trigger": PEOPLE,
    }
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]] = {
        "track": [(3_000, 3)],
        "app": [(10, 1)],
    }
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": frozenset({"id", "cio_id", "unsubscribed", "cio_subscription_preferences"}),
        "trigger": frozenset({"recipient", "from_address", "reply_to"}),
    }

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._shown = Shown(lambda: self._app)

    def limits(self, kind: Kind) -> Limits:
        """500 KB a batch: at most 500 items, so that what surrounds a row fits too; 1,000 ids a
        segment call; 3,000 calls in 3 s, which the tool asks for and does not announce."""
        return Limits(
            batch_rows=1_000 if kind == "segment" else 500,
            batch_bytes=380_000,
            windows=self.windows("track"),
            concurrency=4,
            timeout=60.0,
        )

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """Segments that fill themselves and, on a first run, those that would start a campaign."""
        lines = [line for sync in syncs for line in _unfit(sync)]
        segments = self._segments()
        for sync in syncs:
            own = [s for s in segments if sync.spec.kind == "segment" and sync.owns_list(s["name"])]
            lines += [
                f"{sync.file}: segment {segment['name']!r} of Customer.io is data-driven and fills "
                "itself. Rename one of the two (meta.sync.list)."
                for segment in own
                if segment["type"] != "manual"
            ]
            if sync.id in self.baselines:
                lines += [line for segment in own for line in self._started_by(sync, segment)]
        return lines

    def _started_by(self, sync: Sync, segment: Mapping[str, Any]) -> list[str]:
        path = f"/v1/segments/{segment['id']}/used_by"
        used = self._app.request("GET", path).json()["used_by"].get("campaigns") or []
        campaigns = [
            self._app.request("GET", f"/v1/campaigns/{number}").json()["campaign"]
            for number in used
        ]
        return [
            f"{sync.file}: the first run would start campaign {campaign['name']!r} for all of "
            f"segment {segment['name']!r}. Stop it in Customer.io until this run is over."
            for campaign in campaigns
            if campaign["state"] == "running"
        ]

    # How the tool is spoken to

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """People or, of customers, objects: both are made where they are not there."""
        is_person = sync.spec.object == "contact"
        items = {}
        for key, row in rows.items():
            if is_person:
                shape: dict[str, Any] = {"type": "person", "identifiers": {"id": row.identity}}
            else:
                type_id = str(self.config.option("object_type_id", "1"))
                named = {"object_type_id": type_id, "object_id": row.identity}
                shape = {"type": "object", "identifiers": named}
            attributes = {name: _value(name, value) for name, value in row.attributes.items()}
            items[key] = {**shape, "action": "identify", "attributes": attributes}
        outcomes = self._batch(items)
        if is_person:
            there = [rows[o.key].identity for o in outcomes if o.status == "delivered"]
            self.remember("contact", {identity: identity for identity in there})
        return outcomes

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """See PeopleTool."""
        return self._batch({key: _event(sync, *event) for key, event in events.items()})

    def _batch(self, items: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
        """One outcome per item: a 207 names those refused by their place, all others are in."""
        answer = self._track.request("POST", "/api/v2/batch", {"batch": list(items.values())})
        errors: dict[int, tuple[str, str]] = {}
        for error in answer.json().get("errors") or []:
            position = error.get("batch_index")
            if not isinstance(position, int) or not 0 <= position < len(items):
                raise Refused(str(error.get("message")), code="207")  # no item named: halve
            errors[position] = (str(error.get("reason")), _words(error))
        return by_place(items, errors)

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """The tool knows people by our id."""
        return {str(one["id"]): str(one["id"]) for one in self._shown.customers("id", identities)}

    def _segments(self) -> list[Mapping[str, Any]]:
        answer = self._app.request("GET", "/v1/segments").json()
        listed: list[Mapping[str, Any]] = answer["segments"]
        return listed

    def find_list(self, object_: str, name: str) -> str | None:
        """See PeopleTool."""
        manual = {s["name"]: str(s["id"]) for s in self._segments() if s["type"] == "manual"}
        return manual.get(name)

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool."""
        body = {"segment": {"name": name, "description": "Filled by the warehouse."}}
        return str(self._app.request("POST", "/v1/segments", body).json()["segment"]["id"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """See PeopleTool."""
        for method, people in (("remove", leaving), ("add", joining)):
            if people:
                path = f"/api/v1/segments/{list_id}/{method}_customers?id_type=id"
                self._track.request("POST", path, {"ids": list(people)})
        return {}

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """Delete and keep out: ``suppress`` forgets the person and what would make them again."""
        return self._of_each(people, "suppress", {})

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """The global ``unsubscribed``, of people the workspace has; it makes nobody."""
        return self._of_each(people, "identify", {"attributes": {"unsubscribed": True}})

    def _of_each(
        self, people: Sequence[Person], action: str, more: Mapping[str, Any]
    ) -> list[Outcome]:
        """For whoever has the id, and whoever has the address."""
        outcomes = []
        for person in people:
            own: set[str] = set()
            if person.email:
                path = f"/v1/customers?email={quote(person.email, safe='')}"
                found = self._app.request("GET", path).json()["results"]
                own = {str(result["cio_id"]) for result in found}
            named = [person.contact_id] if person.contact_id else []
            shown = self._shown.customers("id", named)
            own |= {str(customer["identifiers"]["cio_id"]) for customer in shown}
            items = {
                cio: {"type": "person", "identifiers": {"cio_id": cio}, "action": action, **more}
                for cio in sorted(own)
            }
            told = self._batch(items) if items else [Outcome("", "delivered", "absent")]
            outcomes.append(of_person(person.contact_id, told))
        return outcomes

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See Shown."""
        return self._shown.feedback(since)

    def receive(self, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
        """A reporting webhook: HMAC-SHA256 over ``v0:timestamp:body``, at most five minutes old."""
        given = {name.lower(): value for name, value in headers.items()}
        stamp = given.get("x-cio-timestamp", "")
        signed = f"v0:{stamp}:".encode() + body
        key = self.config.credential("webhook_key")
        require_signature(key, signed, given.get("x-cio-signature", ""))
        require_recent(stamp)
        return told_by_webhook(orjson.loads(body))

    # Connections

    @property
    def _track(self) -> HttpClient:
        pair = (self.config.credential("site_id"), self.config.credential("api_key"))
        both = basic(*pair)
        return self.client_of("track", {"Authorization": f"Basic {both}"}, [*pair, both])

    @property
    def _app(self) -> HttpClient:
        """The App API: beside track.customer.io stands api.customer.io, with a key of its own."""
        key, url = self.config.credential("app_api_key"), self.config.base_url
        host = urlsplit(url).hostname or ""
        if host.startswith("track"):
            url = url.replace(host, "api" + host.removeprefix("track"), 1)
        return self.client_of("app", {"Authorization": f"Bearer {key}"}, [key], url=url)


def ulid(key: str, at: datetime | None) -> str:
    """The same event_id always gives the same ULID: milliseconds of when it happened, then a hash.

    Contract: the ULID specification (48 bits of time, 80 of the rest, Crockford's base 32).
    """
    milliseconds = int(as_utc(at).timestamp() * 1000) if at else 0
    number = milliseconds << 80 | int.from_bytes(hashlib.sha256(key.encode()).digest()[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


def _event(sync: Sync, change: Change, person: str) -> dict[str, Any]:
    at = change.payload.get("occurred_at")
    event = {
        "type": "person",
        "identifiers": {"id": person},
        "action": "event",
        "id": ulid(change.key, at),
        "name": sync.event_name,
        "attributes": properties(change, _value),
    }
    return event | ({"timestamp": int(as_utc(at).timestamp())} if at else {})


def _value(name: str, value: Any) -> Any:
    """As the tool compares values: dates and instants in seconds, nothing as an empty text."""
    if value is None:
        return ""
    if name == "email":
        return as_address(value)
    if isinstance(value, datetime):
        return int(as_utc(value).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    return as_plain(value)


def _words(error: Mapping[str, Any]) -> str:
    return f"{error.get('field') or ''}: {error.get('message') or ''}".strip(": ")


def _unfit(sync: Sync) -> list[str]:
    """What the tool cannot do of what a model asks."""
    lines, spec = [], sync.spec
    if spec.object == "customer" and (spec.mode == "update" or spec.removal != "ignore"):
        lines.append(
            f"{sync.file}: Customer.io cannot be asked which objects it has, so they are neither "
            "updated only nor cleared: meta.sync.mode: upsert, on_removal: ignore."
        )
    long = [name for name in sync.columns if len(name.encode()) > _LONGEST_NAME]
    if spec.kind == "profile" and (long or len(sync.columns) > _MOST_ATTRIBUTES):
        lines.append(f"{sync.file}: Customer.io takes 300 attributes with names of 150 bytes.")
    return lines
