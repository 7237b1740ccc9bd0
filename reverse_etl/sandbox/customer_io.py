"""Customer.io: the Track API (v2 batch, manual segments) and the App API beside it.

Contract: Customer.io's Journeys Track API and App API references. Track takes 500 KB a batch and
32 KB an item, answers 207 with an error per refused item, silently ignores unknown ids in a
segment call, and keeps the first of two events with one id. The App API takes 10 calls a second.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import orjson

from reverse_etl.sandbox.people import People
from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool, is_let_in
from reverse_etl.sandbox.vendor import Context, Windows

_BATCH_BYTES, _ITEM_BYTES, _EVENT_BYTES = 500_000, 32_000, 100_000
_ID_BYTES, _NAME_BYTES, _VALUE_BYTES, _EVENT_NAME_BYTES = 150, 150, 1_000, 100
_ATTRIBUTES = 300
_SEGMENT_IDS, _LOOKED_UP = 1_000, 100
_IDENTIFIERS = ("id", "email", "cio_id")
_ACTIONS = frozenset({"identify", "event", "delete", "suppress", "unsuppress"})
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


class CustomerIo(Tool):
    """One workspace."""

    name = "customer_io"

    def __init__(self, context: Context) -> None:
        self._store, self._clock = context.store, context.clock
        self._people = People(self._store, self.name)
        self._objects = People(self._store, self.name, "objects")
        portal = context.portal
        self._credentials: dict[str, str] = {}
        if {"site_id", "api_key", "app_api_key"} <= set(portal):
            pair = base64.b64encode(f"{portal['site_id']}:{portal['api_key']}".encode()).decode()
            self._credentials = {"track": f"Basic {pair}", "app": f"Bearer {portal['app_api_key']}"}
        self._dynamic = list(portal.get("data_driven_segments", []))
        self._campaigns = list(portal.get("campaigns", []))
        self._object_types = {str(kind) for kind in portal.get("object_types", [])}
        super().__init__(context)

    def table(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/api/v2/batch", self.paced("track", self._batch)),
            ("POST", "/api/v1/segments/{id:int}/add_customers", self.paced("track", self._add)),
            (
                "POST",
                "/api/v1/segments/{id:int}/remove_customers",
                self.paced("track", self._remove),
            ),
            ("GET", "/v1/segments", self.paced("app", self._show_segments)),
            ("POST", "/v1/segments", self.paced("app", self._make_segment)),
            ("GET", "/v1/segments/{id:int}/used_by", self.paced("app", self._used_by)),
            ("GET", "/v1/campaigns/{id:int}", self.paced("app", self._show_campaign)),
            ("POST", "/v1/customers/attributes", self.paced("app", self._look_up)),
            ("GET", "/v1/customers", self.paced("app", self._by_email)),
            ("POST", "/v1/customers", self.paced("app", self._search)),
            ("GET", "/v1/messages", self.paced("app", self._messages)),
        ]

    def refusal(self, reason: Reason, message: str) -> Answer:
        return Answer(404) if reason == "nowhere" else _malformed(message).answer

    def _admit(self) -> None:
        """Calls are counted by group: see `let_in`."""

    def let_in(self, call: Call, group: str) -> None:
        """Every group of calls has limits of its own."""
        if not is_let_in(call, self._credentials.get(group)):
            raise Refusal(Answer(401, {"meta": {"error": "Unauthorized request"}}))
        if self._windows[group].admit() is not None:  # neither Retry-After nor rate headers
            answer = Answer(429, {"meta": {"error": "too many requests"}})
            raise Refusal(answer, f"rate limit {group}")

    # Track API

    def _batch(self, call: Call) -> Answer:
        items = call.body.get("batch") if isinstance(call.body, dict) else None
        if not isinstance(items, list) or not items:
            raise _malformed("batch is an array of at least one item")
        if call.size > _BATCH_BYTES:
            raise Refusal(Answer(400, _errors("batch is larger than 500 KB")), "batch size")
        errors = []
        with self._store.transaction() as db:
            for position, item in enumerate(items):
                field, message = self._fault_of(item)
                if not message:
                    field, message = self._apply(db, item, call.now)
                if message:
                    error = {"reason": "invalid", "field": field, "message": message}
                    errors.append({"batch_index": position, **error})
        return Answer(207, {"errors": errors}) if errors else Answer(200, {})

    def _fault_of(self, item: Any) -> tuple[str, str]:
        """The field and the words of what is wrong with an item; empty where nothing is."""
        if not isinstance(item, dict) or item.get("type") not in ("person", "object"):
            return "type", "type must be person or object"
        if len(orjson.dumps(item)) > _ITEM_BYTES:
            return "", "item is larger than 32 KB"
        given = item.get("identifiers")
        if not isinstance(given, dict):
            return "identifiers", "identifiers is required"
        named = [str(value) for value in given.values()]
        if item["type"] == "object":
            if set(given) != {"object_type_id", "object_id"}:
                return "identifiers", "object_type_id and object_id are required"
            if str(given["object_type_id"]) not in self._object_types:
                return "object_type_id", "there is no such object type"
        elif len(given) != 1 or next(iter(given)) not in _IDENTIFIERS:
            return "identifiers", "exactly one of id, email or cio_id is required"
        if any(not value or len(value.encode()) > _ID_BYTES for value in named):
            return "identifiers", "identifier is empty or longer than 150 bytes"
        action = item.get("action")
        if action not in _ACTIONS or (item["type"] == "object" and action == "event"):
            return "action", f"unknown action {action!r}"
        return _fault_of_event(item) if action == "event" else _fault_of_attributes(item)

    def _apply(self, db: Any, item: Mapping[str, Any], now: str) -> tuple[str, str]:
        given = {name: str(value) for name, value in item["identifiers"].items()}
        if item["type"] == "object":
            key = f"{given['object_type_id']}:{given['object_id']}"
            found = self._objects.found("id", [key]).get(key)
            self._merge(db, self._objects, found, item.get("attributes", {}), {"id": key}, now)
            return "", ""
        [(name, value)] = given.items()
        value = value.lower() if name == "email" else value
        found = self._found(name, value)
        if item["action"] in ("delete", "suppress"):
            if found is not None:
                self._people.remove(db, found)
            if item["action"] == "suppress":
                row = (self.name, value, "suppressed", now)
                db.execute("insert or ignore into opt_outs values (?, ?, ?, ?)", row)
            return "", ""
        if found is None and name == "cio_id":
            return "cio_id", "there is no such person"
        suppressed = "select count(*) from opt_outs where vendor = ? and address = ?"
        if self._store.number(suppressed, (self.name, value)):
            return "", ""  # taken without a word, and dropped
        identifiers = {} if name == "cio_id" else {name: value}
        if item["action"] == "event":
            if found is None:  # an event makes the person, with nothing but the identifier
                found = self._merge(db, self._people, None, {}, identifiers, now)
            self._record(db, item, found, now)
            return "", ""
        attributes = dict(item.get("attributes", {}))
        if email := attributes.get("email"):
            other = self._people.found("email", [str(email).lower()]).get(str(email).lower())
            if other in (None, found):
                identifiers["email"] = str(email).lower()
            else:
                attributes.pop("email")  # taken by another person: the attribute fails, silently
        self._merge(db, self._people, found, attributes, identifiers, now)
        return "", ""

    def _merge(
        self,
        db: Any,
        where: People,
        found: int | None,
        attributes: Mapping[str, Any],
        identifiers: Mapping[str, str],
        now: str,
    ) -> int:
        """An empty text removes an attribute; attributes that are not named stay."""
        known = {} if found is None else where.attributes(found)
        merged = {n: v for n, v in (known | dict(attributes)).items() if v not in ("", None)}
        return where.put(db, found, merged, identifiers, now)

    def _record(self, db: Any, item: Mapping[str, Any], person: int, now: str) -> None:
        same = "select count(*) from events where vendor = ? and uuid = ? and outcome = 'accepted'"
        twice = item.get("id") and self._store.number(same, (self.name, item["id"]))
        db.execute(
            "insert into events(vendor, name, uuid, record_id, occurred_at, received_at,"
            " properties, outcome) values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.name,
                item["name"],
                item.get("id"),
                person,
                str(item.get("timestamp", "")),
                now,
                orjson.dumps(item.get("attributes", {})).decode(),
                "duplicate" if twice else "accepted",
            ),
        )

    def _found(self, name: str, value: str) -> int | None:
        if name == "cio_id":
            return int(value) if value.isdigit() and self._people.has(int(value)) else None
        return self._people.found(name, [value]).get(value)

    def _add(self, call: Call) -> Answer:
        return self._change_members(
            call, "insert or ignore into memberships values (:segment, :person, :now)"
        )

    def _remove(self, call: Call) -> Answer:
        return self._change_members(
            call, "delete from memberships where list_id = :segment and record_id = :person"
        )

    def _change_members(self, call: Call, sql: str) -> Answer:
        segment = int(call.path["id"])
        if segment not in [row["id"] for row in self._segments()]:
            raise Refusal(Answer(404, {"meta": {"error": "segment not found"}}))
        ids = call.body.get("ids") if isinstance(call.body, dict) else None
        id_type = call.query.get("id_type", "id")
        if not isinstance(ids, list) or not all(isinstance(i, str) and i for i in ids):
            raise _malformed("ids is an array of strings")
        if not ids or len(ids) > _SEGMENT_IDS or id_type not in _IDENTIFIERS:
            raise Refusal(Answer(400, _errors("1 to 1000 ids of a known type")), "batch size")
        with self._store.transaction() as db:
            for value in ids:  # who is not known is left out without a word
                person = self._found(id_type, value)
                if person is not None:
                    db.execute(sql, {"segment": segment, "person": person, "now": call.now})
        return Answer(200, {})

    # App API

    def _segments(self) -> list[Any]:
        sql = "select id, name from lists where vendor = ? order by id"
        return self._store.rows(sql, (self.name,))

    def _show_segments(self, call: Call) -> Answer:
        manual = [_segment(row["id"], row["name"], "manual") for row in self._segments()]
        dynamic = [_segment(n + 1, name, "dynamic") for n, name in enumerate(self._dynamic)]
        return Answer(200, {"segments": dynamic + manual})

    def _make_segment(self, call: Call) -> Answer:
        given = call.body.get("segment") if isinstance(call.body, dict) else None
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise _malformed("segment.name is required")
        with self._store.transaction() as db:
            made = db.execute(
                "insert into lists(vendor, object, name, processing, created_at, updated_at)"
                " values (?, 'people', ?, 'manual', ?, ?)",
                (self.name, given["name"], call.now, call.now),
            )
        return Answer(200, {"segment": _segment(int(made.lastrowid or 0), given["name"], "manual")})

    def _used_by(self, call: Call) -> Answer:
        names = {row["id"]: row["name"] for row in self._segments()}
        name = names.get(call.path["id"])
        using = [c["id"] for c in self._campaigns if c["segment"] == name]
        used = {"campaigns": using, "sent_newsletters": [], "draft_newsletters": []}
        return Answer(200, {"used_by": used})

    def _show_campaign(self, call: Call) -> Answer:
        for campaign in self._campaigns:
            if campaign["id"] == call.path["id"]:
                return Answer(200, {"campaign": {k: campaign[k] for k in ("id", "name", "state")}})
        raise Refusal(Answer(404, _errors("not found")))

    def _look_up(self, call: Call) -> Answer:
        ids = call.body.get("ids") if isinstance(call.body, dict) else None
        if not isinstance(ids, list) or not 1 <= len(ids) <= _LOOKED_UP:
            raise Refusal(Answer(400, _errors("1 to 100 ids are required")), "batch size")
        kind = call.query.get("id_type", "id")
        found = [person for i in ids if (person := self._found(kind, str(i))) is not None]
        return Answer(200, {"customers": [self._shown(person) for person in found]})

    def _by_email(self, call: Call) -> Answer:
        email = call.query.get("email", "").lower()
        found = self._found("email", email)
        return Answer(200, {"results": [] if found is None else [self._identifiers(found)]})

    def _search(self, call: Call) -> Answer:
        condition = call.body.get("filter", {}) if isinstance(call.body, dict) else {}
        wanted = condition.get("attribute", {})
        if wanted.get("operator") != "eq" or "field" not in wanted or "value" not in wanted:
            raise _malformed("filter.attribute needs field, operator eq and value")
        limit, start = int(call.query.get("limit", 1_000)), int(call.query.get("start") or 0)
        matching = [
            person
            for person in self._people.all()
            if _text(self._people.attributes(person).get(wanted["field"])) == wanted["value"]
        ]
        page = [self._identifiers(person) for person in matching[start : start + limit]]
        more = str(start + limit) if len(matching) > start + limit else ""
        return Answer(200, {"identifiers": page, "ids": [p["id"] for p in page], "next": more})

    def _identifiers(self, person: int) -> dict[str, Any]:
        names = {name: self._people.identifier(person, name) or "" for name in ("id", "email")}
        return {**names, "cio_id": str(person)}

    def _shown(self, person: int) -> dict[str, Any]:
        attributes = self._people.attributes(person)
        [row] = self._store.rows(
            "select unixepoch(updated_at) from records where id = ?", (person,)
        )
        identifiers = self._identifiers(person)
        return {
            "id": identifiers["id"],
            "identifiers": identifiers,
            "attributes": {**{k: _text(v) for k, v in attributes.items()}, **identifiers},
            "timestamps": dict.fromkeys(attributes, row[0]),
            "unsubscribed": _text(attributes.get("unsubscribed")) == "true",
            "devices": [],
        }

    def _messages(self, call: Call) -> Answer:
        metric = call.query.get("metric", "")
        kept = [m for m in self.portal.get("messages", []) if metric in m["metrics"]]
        return Answer(200, {"messages": kept, "next": ""})

    def counts(self) -> dict[str, Any]:
        """What the workspace holds, and how often a client broke the contract."""
        event = "select count(*) from events where vendor = 'customer_io' and outcome = ?"
        return {
            "people": self._people.count(),
            "customers": self._objects.count(),
            "lists": self._store.tally(
                "select l.name, count(m.record_id) from lists l left join memberships m"
                " on m.list_id = l.id where l.vendor = 'customer_io' group by l.id order by l.name"
            ),
            "events": self._store.tally(
                "select name, count(*) from events"
                " where vendor = 'customer_io' and outcome = 'accepted' group by 1 order by 1"
            ),
            "events_duplicate": self._store.number(event, ("duplicate",)),
            **super().counts(),
        }

    def forget(self) -> None:
        """The store has been emptied: so are the windows."""
        limit, portal = self.limit, self.portal
        track = [(limit.calls, limit.window_seconds)] if limit.calls else [(3_000, 3.0)]
        app = [tuple(window) for window in portal.get("app_windows", [(10, 1.0)])]
        self._windows = {"track": Windows(track, self._clock), "app": Windows(app, self._clock)}


def _fault_of_event(item: Mapping[str, Any]) -> tuple[str, str]:
    name, event_id = item.get("name"), item.get("id")
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= _EVENT_NAME_BYTES:
        return "name", "name is required, of at most 100 bytes"
    if event_id is not None and not (isinstance(event_id, str) and _ULID.fullmatch(event_id)):
        return "id", "id must be a ULID"
    stamp = item.get("timestamp")
    if stamp is not None and (not isinstance(stamp, int) or not 0 <= stamp < 10**11):
        return "timestamp", "timestamp is whole seconds since the epoch"
    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict) or len(orjson.dumps(attributes)) > _EVENT_BYTES:
        return "attributes", "attributes is an object of at most 100,000 bytes"
    return "", ""


def _fault_of_attributes(item: Mapping[str, Any]) -> tuple[str, str]:
    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict) or len(attributes) > _ATTRIBUTES:
        return "attributes", "attributes is an object of at most 300"
    for name, value in attributes.items():
        if len(name.encode()) > _NAME_BYTES:
            return "attributes", "attribute name is longer than 150 bytes"
        if len(_text(value).encode()) > _VALUE_BYTES:
            return name, "attribute value is longer than 1000 bytes"
    email = attributes.get("email")
    if email and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(email)):
        return "email", "email is not valid"
    return "", ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _segment(number: int, name: str, kind: str) -> dict[str, Any]:
    return {"id": number, "name": name, "type": kind, "state": "finished"}


def _errors(message: str) -> dict[str, Any]:
    return {"errors": [{"reason": "invalid", "message": message}]}


def _malformed(message: str) -> Refusal:
    return Refusal(Answer(400, _errors(message)), "shape")


VENDOR = CustomerIo
