"""Customer.io: people, companies as objects, manual segments, events.

Contract: Customer.io's Track API (v2 batch, segments), App API and reporting webhooks. A profile's
columns are attributes of the same names: numbers stay numbers, instants are seconds since the
epoch, an empty text takes an attribute away. A trigger is an event of its contact; its id, a ULID
made of the event_id, is what the tool recognises a repeat by.

Credentials: ``site_id``, ``api_key`` (Track API), ``app_api_key`` (App API), ``webhook_key`` (only
for ``receive``). Options: ``workspace`` (a name of your own: another name is another memory),
``object_type_id`` (of companies, default "1"), ``calls_in_3_s`` (default 3000).
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import orjson

from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import (
    ROUTING,
    Action,
    Destination,
    ExternalIds,
    Feedback,
    FeedbackKind,
    Limits,
    Outcome,
    Person,
)
from reverse_etl.errors import NotSent, Refused
from reverse_etl.http import HttpClient
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window
from reverse_etl.signatures import require_recent, require_signature
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_number, as_utc

_LONGEST_NAME, _MOST_ATTRIBUTES = 150, 300
_CONSENT = frozenset({"unsubscribed", "cio_subscription_preferences"})
_ADDRESSING = frozenset({"recipient", "from_address", "reply_to"})
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MEANING: dict[str, FeedbackKind] = {
    "unsubscribed": "unsubscribed",
    "bounced": "bounced",
    "spammed": "complained",
    "opened": "opened",
    "clicked": "clicked",
}
_PULLED = ("bounced", "spammed", "clicked")
_MAIL_IS_ANSWERED_WITHIN_S = 30 * 86_400


class CustomerIo(Destination):
    """One workspace."""

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear"}),  # a deleted person would lose the opt-out
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }
    dedupe_field = "id"

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._baselines: set[str] = set()
        self._segments: dict[str, int] = {}
        self._lock = threading.Lock()

    def limits(self, kind: Kind) -> Limits:
        """500 KB a batch: at most 500 items, so that what surrounds a row fits too; 1,000 ids a
        segment call; 3,000 calls in 3 s, which the tool asks for and does not announce."""
        window = Window(int(self.config.option("calls_in_3_s", 3_000)), 3.0)
        rows = 1_000 if kind == "segment" else 500
        return Limits(batch_rows=rows, batch_bytes=380_000, windows=(window,), concurrency=4)

    @property
    def account(self) -> str:
        """All workspaces of a region have one address: they differ by the name given to them."""
        return f"{super().account}:{self.config.option('workspace', '')}"

    def sent_columns(self, sync: Sync) -> Sequence[str]:
        """Membership is all that a segment knows of a contact."""
        return [sync.spec.key] if sync.spec.kind == "segment" else sync.columns

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the workspace counts: people, objects, segments by name, events by name."""
        totals: dict[str, Any] = {"people": 0, "objects": 0, "segments": {}, "events": {}}
        for sync, groups in counts.items():
            if sync.spec.kind == "profile":
                kind = "people" if sync.spec.object == "contact" else "objects"
                totals[kind] += sum(groups.values())
            elif sync.spec.kind == "trigger":
                totals["events"][sync.event_name] = sum(groups.values())
            else:
                named = {sync.list_of(group or None): n for group, n in groups.items()}
                totals["segments"].update(named)
        return totals

    # What must exist beforehand

    def begin(self, sync: Sync, *, baseline: bool) -> None:
        """See Destination."""
        if baseline:
            self._baselines.add(sync.id)

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Columns the tool gives a meaning of its own, segments that fill themselves, and, on a
        first run, segments whose campaigns it would start. Missing segments are made while sending.
        """
        missing = [line for sync in syncs for line in _misplaced(sync)]
        listed = self._listed_segments()
        for sync in syncs:
            own = [s for s in listed if sync.spec.kind == "segment" and sync.owns_list(s["name"])]
            missing += [
                f"{sync.file}: segment {segment['name']!r} of Customer.io is data-driven and fills "
                "itself. Rename one of the two (meta.sync.list)."
                for segment in own
                if segment["type"] != "manual"
            ]
            if sync.id in self._baselines:
                missing += [line for segment in own for line in self._started_by(sync, segment)]
        return missing

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

    # Sending

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "segment":
            by_name: dict[str, list[Change]] = {}
            for change in batch:
                by_name.setdefault(sync.list_of(change.group), []).append(change)
            return [o for name, some in by_name.items() for o in self._change_segment(name, some)]
        if sync.spec.kind == "trigger":
            return self._send_events(sync, batch)
        return self._send_profiles(sync, batch)

    def _send_profiles(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Mode update never creates, and neither does clearing."""
        is_update = sync.spec.mode == "update"
        asked = [c.identity for c in batch if is_update or c.action == "remove"]
        there = self._there(asked) if sync.spec.object == "contact" else set(asked)
        outcomes, items = [], {}
        for change in batch:
            if change.action == "remove" and change.identity not in there:
                outcomes.append(Outcome(change.key, "delivered", "absent"))
                continue
            if is_update and change.identity not in there:
                words = "Customer.io has no such person; update makes none."
                outcomes.append(Outcome(change.key, "rejected", "absent", words))
                continue
            given = change.payload or dict.fromkeys(set(sync.columns) - {"email"})
            attributes = {n: _value(n, v) for n, v in given.items() if n != sync.spec.key}
            items[change.key] = self._identify(sync.spec.object, change.identity, attributes)
        sent = self._batch(items)
        if sync.spec.object == "contact":
            self._remember(o.key for o in sent if o.status == "delivered")
        return outcomes + sent

    def _send_events(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """An event of somebody unknown would make a person without an address: it is refused."""
        people = {c.key: str(c.payload.get("contact_id") or "") for c in batch}
        there = self._there([person for person in people.values() if person])
        absent = "Customer.io has no such person; the profile has to be sent first."
        refused = [
            Outcome(key, "rejected", "absent", absent)
            for key, person in people.items()
            if person not in there
        ]
        items = {c.key: _event(sync, c, people[c.key]) for c in batch if people[c.key] in there}
        return refused + self._batch(items)

    def _change_segment(self, name: str, changes: Sequence[Change]) -> list[Outcome]:
        """Whom the tool does not know it leaves out without a word: they are made first, and only
        those it then has are told as delivered."""
        there = self._there([change.identity for change in changes])
        made = {
            c.identity: self._identify("contact", c.identity, _address(c))
            for c in changes
            if c.action != "remove" and c.identity not in there
        }
        refused: dict[str, Outcome] = {}
        for some in in_pieces(made, self.limits("profile").batch_rows):
            sent = self._batch({key: made[key] for key in some})
            refused |= {o.key: o for o in sent if o.status != "delivered"}
        there |= self._there([key for key in made if key not in refused])
        known = [change for change in changes if change.identity in there]
        for action, path in (("remove", "remove_customers"), ("add", "add_customers")):
            ids = [c.identity for c in known if (c.action == "remove") == (action == "remove")]
            if ids:
                self._in_segment(name, path, ids)
        waiting = "Customer.io has taken this person and does not show them yet."
        outcomes = []
        for change in changes:
            if failed := refused.get(change.identity):
                outcomes.append(Outcome(change.key, failed.status, failed.code, failed.message))
            elif change.identity in there or change.action == "remove":
                outcomes.append(Outcome(change.key, "delivered"))
            else:
                outcomes.append(Outcome(change.key, "retryable", "waiting", waiting))
        return outcomes

    def _in_segment(self, name: str, path: str, ids: Sequence[str]) -> None:
        segment = self._segment_id(name)
        try:
            body = {"ids": ids}
            self._track.request("POST", f"/api/v1/segments/{segment}/{path}?id_type=id", body)
        except Refused as refused:
            if refused.code != "404":
                raise
            with self._lock:
                self._segments.pop(name, None)  # deleted meanwhile: the next try makes it anew
            raise NotSent(f"Segment {name!r} was deleted meanwhile.", code="404") from None

    def _batch(self, items: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
        """One outcome per item: a 207 names those refused by their place, all others are in."""
        if not items:
            return []
        answer = self._track.request("POST", "/api/v2/batch", {"batch": list(items.values())})
        errors: dict[int, Mapping[str, Any]] = {}
        for error in answer.json().get("errors") or []:
            position = error.get("batch_index")
            if not isinstance(position, int) or not 0 <= position < len(items):
                raise Refused(str(error.get("message")), code="207")  # no item named: halve
            errors[position] = error
        return [
            Outcome(key, "rejected", str(errors[n].get("reason")), _words(errors[n]))
            if n in errors
            else Outcome(key, "delivered")
            for n, key in enumerate(items)
        ]

    def _identify(self, kind: str, identity: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        if kind == "contact":
            shape: dict[str, Any] = {"type": "person", "identifiers": {"id": identity}}
        else:
            type_id = str(self.config.option("object_type_id", "1"))
            named = {"object_type_id": type_id, "object_id": identity}
            shape = {"type": "object", "identifiers": named}
        return {**shape, "action": "identify", "attributes": dict(attributes)}

    # Who and what the workspace knows

    def _there(self, identities: Sequence[str]) -> set[str]:
        """Those the workspace has: from the ledger, else asked for."""
        found = set(self.ids.external_ids(self.account, "people", identities))
        asked = [identity for identity in dict.fromkeys(identities) if identity not in found]
        learned = [str(customer["id"]) for customer in self._customers("id", asked)]
        self._remember(learned)
        return found | set(learned)

    def _customers(self, id_type: str, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """What the App API shows of people; those it does not know it leaves out."""
        path = f"/v1/customers/attributes?id_type={id_type}"
        pages = (self._app.request("POST", path, {"ids": some}) for some in in_pieces(ids, 100))
        return [customer for page in pages for customer in page.json()["customers"]]

    def _remember(self, identities: Iterator[str] | Sequence[str]) -> None:
        self.ids.remember_external_ids(self.account, "people", {i: i for i in identities})

    def _listed_segments(self) -> list[Mapping[str, Any]]:
        listed: list[Mapping[str, Any]] = self._app.request("GET", "/v1/segments").json()[
            "segments"
        ]
        return listed

    def _segment_id(self, name: str) -> int:
        """The manual segment of that name, made where there is none."""
        with self._lock:
            if name not in self._segments:
                manual = {s["name"]: int(s["id"]) for s in self._listed_segments()}
                self._segments[name] = manual.get(name) or self._make_segment(name)
            return self._segments[name]

    def _make_segment(self, name: str) -> int:
        body = {"segment": {"name": name, "description": "Filled by the warehouse."}}
        return int(self._app.request("POST", "/v1/segments", body).json()["segment"]["id"])

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
        outcomes = []
        for person in people:
            answer = self._app.request("GET", f"/v1/customers?email={quote(person.email, safe='')}")
            own = {str(result["cio_id"]) for result in answer.json()["results"]}
            found = self._customers("id", [person.contact_id])
            own |= {str(customer["identifiers"]["cio_id"]) for customer in found}
            items = {
                cio: {"type": "person", "identifiers": {"cio_id": cio}, "action": action, **more}
                for cio in sorted(own)
            }
            worst = [o for o in self._batch(items) if o.status != "delivered"]
            told = worst[0] if worst else Outcome("", "delivered", "" if own else "absent")
            outcomes.append(Outcome(person.contact_id, told.status, told.code, told.message))
        return outcomes

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Opt-outs as they stand on people, whatever made them; the rest from the messages of the
        30 days before ``since``, which is how late a mail may be answered."""
        yield from self._opt_outs(since)
        sent_after = int(since.timestamp()) - _MAIL_IS_ANSWERED_WITHIN_S
        for metric in _PULLED:
            path = f"/v1/messages?type=email&metric={metric}&start_ts={sent_after}&limit=1000"
            for message in self._pages("GET", path, "messages"):
                at = datetime.fromtimestamp(int(message["metrics"][metric]), UTC)
                if at >= since and "@" in str(message.get("recipient")):
                    told = f"{message['id']}:{metric}"
                    subject = str(message.get("subject") or "")
                    yield Feedback(
                        told, _MEANING[metric], _email(message["recipient"]), at, subject
                    )

    def _opt_outs(self, since: datetime) -> Iterator[Feedback]:
        is_out = {"field": "unsubscribed", "operator": "eq", "value": "true"}
        body = {"filter": {"attribute": is_out}}
        found = self._pages("POST", "/v1/customers?limit=1000", "identifiers", body)
        for person in self._customers("cio_id", [str(one["cio_id"]) for one in found]):
            email = person["attributes"].get("email")
            at = datetime.fromtimestamp(int(person["timestamps"].get("unsubscribed", 0)), UTC)
            if email and at >= since:
                told = f"{person['identifiers']['cio_id']}:unsubscribed:{int(at.timestamp())}"
                yield Feedback(told, "unsubscribed", _email(email), at)

    def _pages(
        self, method: str, path: str, items: str, body: Any = None
    ) -> Iterator[Mapping[str, Any]]:
        start = ""
        while True:
            more = f"&start={quote(start, safe='')}" if start else ""
            page = self._app.request(method, path + more, body).json()
            yield from page.get(items) or []
            start = str(page.get("next") or "")
            if not start:
                return

    def receive(self, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
        """A reporting webhook: HMAC-SHA256 over ``v0:timestamp:body``, at most five minutes old."""
        given = {name.lower(): value for name, value in headers.items()}
        stamp, signature = given.get("x-cio-timestamp", ""), given.get("x-cio-signature", "")
        signed = f"v0:{stamp}:".encode() + body
        require_signature(self.config.credential("webhook_key"), signed, signature)
        require_recent(stamp)
        told = orjson.loads(body)
        data = told.get("data") or {}
        addresses = (data.get("recipient"), data.get("email_address"))
        email = next(
            (a for a in addresses if "@" in str(a)), data.get("identifiers", {}).get("email")
        )
        kind = _MEANING.get(str(told.get("metric")))
        if kind is None or not email or told.get("object_type") not in ("email", "customer"):
            return []
        at = datetime.fromtimestamp(int(told["timestamp"]), UTC)
        return [Feedback(str(told["event_id"]), kind, _email(email), at, str(data.get("href", "")))]

    def close(self) -> None:
        """Let go of connections that were made."""
        for name in ("_track", "_app"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @cached_property
    def _track(self) -> HttpClient:
        pair = (self.config.credential("site_id"), self.config.credential("api_key"))
        basic = base64.b64encode(":".join(pair).encode()).decode()
        limits = self.limits("profile")
        return HttpClient(
            self.config.base_url,
            RateBudget(limits.windows),
            headers={"Authorization": f"Basic {basic}"},
            secrets=[*pair, basic],
            read_seconds=limits.timeout,
        )

    @cached_property
    def _app(self) -> HttpClient:
        """The App API: beside track.customer.io stands api.customer.io, with a key of its own."""
        key = self.config.credential("app_api_key")
        url = self.config.base_url
        host = urlsplit(url).hostname or ""
        if host.startswith("track"):
            url = url.replace(host, "api" + host.removeprefix("track"), 1)
        return HttpClient(
            url,
            RateBudget((Window(10, 1.0),)),
            headers={"Authorization": f"Bearer {key}"},
            secrets=[key],
        )


def ulid(key: str, at: datetime | None) -> str:
    """The same event_id always gives the same ULID: milliseconds of when it happened, then a hash.

    Contract: the ULID specification (48 bits of time, 80 of the rest, Crockford's base 32).
    """
    milliseconds = int(as_utc(at).timestamp() * 1000) if at else 0
    number = milliseconds << 80 | int.from_bytes(hashlib.sha256(key.encode()).digest()[:10])
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


def _event(sync: Sync, change: Change, person: str) -> dict[str, Any]:
    at = change.payload.get("occurred_at")
    given = {n: v for n, v in change.payload.items() if n not in ROUTING and v is not None}
    event = {
        "type": "person",
        "identifiers": {"id": person},
        "action": "event",
        "id": ulid(change.key, at),
        "name": sync.event_name,
        "attributes": {name: _value(name, value) for name, value in given.items()},
    }
    return event | ({"timestamp": int(as_utc(at).timestamp())} if at else {})


def _value(name: str, value: Any) -> Any:
    """As the tool compares values: dates and instants in seconds, nothing as an empty text."""
    if value is None:
        return ""
    if name == "email":
        return _email(value)
    if isinstance(value, datetime):
        return int(as_utc(value).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    return as_number(value)


def _address(change: Change) -> dict[str, str]:
    return {"email": _email(change.payload["email"])} if change.payload.get("email") else {}


def _email(value: Any) -> str:
    return str(value).strip().lower()


def _words(error: Mapping[str, Any]) -> str:
    return f"{error.get('field') or ''}: {error.get('message') or ''}".strip(": ")


def _misplaced(sync: Sync) -> list[str]:
    """Columns that would mean something else in the tool than in the model."""
    if sync.spec.kind == "segment":
        if sync.spec.object == "contact":
            return []
        return [f"{sync.file}: a segment of Customer.io holds people: meta.sync.object: contact."]
    taken = _ADDRESSING if sync.spec.kind == "trigger" else _CONSENT | {"id", "cio_id"}
    lines = [
        f"{sync.file}: Customer.io reads {name} as its own (who is written to, or may be). "
        "Rename the column."
        for name in sorted(taken.intersection(sync.columns) - {sync.spec.key})
    ]
    spec = sync.spec
    if spec.object == "customer" and (spec.mode == "update" or spec.removal != "ignore"):
        lines.append(
            f"{sync.file}: Customer.io cannot be asked which objects it has, so they are neither "
            "updated only nor cleared: meta.sync.mode: upsert, on_removal: ignore."
        )
    long = [name for name in sync.columns if len(name.encode()) > _LONGEST_NAME]
    if long or len(sync.columns) > _MOST_ATTRIBUTES:
        lines.append(f"{sync.file}: Customer.io takes 300 attributes with names of 150 bytes.")
    return lines
