"""Braze: users, events, API-triggered messages, and what became of mails.

Contract: Braze's REST API reference. /users/track answers 201 with what it refused, by array and
place, and 400 where nothing was left to take. What names nobody it knows is taken without a word
and lost. Nothing tells a repeated event from a second one. Every answer names the limit; a 429
names its pause in `X-Ratelimit-Retry-After` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson

from reverse_etl.sandbox.people import People
from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool, is_let_in
from reverse_etl.sandbox.vendor import Context, Windows

_BODY_BYTES, _OBJECT_BYTES, _ENTRY_BYTES = 4_000_000, 100_000, 50_000
_RECIPIENTS = _IDS = 50
_ARRAYS = ("attributes", "events", "purchases")
_IDENTITIES = ("external_id", "user_alias", "braze_id", "email", "phone")
_WINDOWS = {"track": [(3_000, 3.0)], "send": [(250_000, 3_600.0)], "export": [(250, 60.0)]}
_OTHER = [(20_000, 60.0)]


class Braze(Tool):
    """One workspace."""

    name = "braze"

    def __init__(self, context: Context) -> None:
        self._store, self._clock = context.store, context.clock
        self._people = People(self._store, self.name)
        portal = context.portal
        self._key = f"Bearer {portal['api_key']}" if "api_key" in portal else None
        self._most = int(portal.get("objects_a_call", 75))
        self._messages = {
            kind: {str(one["id"]): one for one in portal.get(kind, [])}
            for kind in ("canvas", "campaigns")
        }
        self._bounces = list(portal.get("hard_bounces", []))
        super().__init__(context)

    def table(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/users/track", self.paced("track", self._track)),
            ("POST", "/users/export/ids", self.paced("export", self._export)),
            ("POST", "/users/delete", self.paced("delete", self._delete)),
            ("POST", "/canvas/trigger/send", self.paced("send", self._enter_canvas)),
            ("POST", "/campaigns/trigger/send", self.paced("send", self._send_campaign)),
            ("GET", "/canvas/details", self.paced("details", self._show_canvas)),
            ("GET", "/campaigns/details", self.paced("details", self._show_campaign)),
            ("POST", "/email/status", self.paced("email", self._set_status)),
            ("GET", "/email/unsubscribes", self.paced("email", self._show_unsubscribes)),
            ("GET", "/email/hard_bounces", self.paced("email", self._show_bounces)),
        ]

    def refusal(self, reason: Reason, message: str) -> Answer:
        return Answer(404) if reason == "nowhere" else _fatal(message).answer

    def _admit(self) -> None:
        """Calls are counted by group: see `let_in`."""

    def let_in(self, call: Call, group: str) -> None:
        """Every group of calls has limits of its own."""
        if not is_let_in(call, self._key):
            raise Refusal(Answer(401, {"message": "Invalid API key"}))
        pause = self._window(group).admit()
        if pause is not None:
            headers = {"X-Ratelimit-Retry-After": str(int(pause) + 1)}
            answer = Answer(429, {"message": "Rate limit exceeded"}, headers)
            raise Refusal(answer, f"rate limit {group}")

    def _window(self, group: str) -> Windows:
        if group not in self._windows:
            limit, portal = self.limit, self.portal
            limits = portal.get("windows", {}).get(group) or _WINDOWS.get(group, _OTHER)
            if limit.calls is not None and group == "track":
                limits = [(limit.calls, limit.window_seconds)]
            self._windows[group] = Windows([tuple(pair) for pair in limits], self._clock)
        return self._windows[group]

    def headers_of(self, group: str) -> Mapping[str, str]:
        calls, remaining, reset = self._window(group).longest()
        return {
            "x-ratelimit-limit": str(calls),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(int(self._clock() + reset)),
        }

    # Users

    def _track(self, call: Call) -> Answer:
        body = call.body
        if not isinstance(body, dict) or not set(body) <= {*_ARRAYS, "partner"}:
            raise _fatal("attributes, events or purchases are expected")
        arrays = {name: body[name] for name in _ARRAYS if name in body}
        if not all(isinstance(items, list) for items in arrays.values()):
            raise _fatal("attributes, events and purchases are arrays")
        if call.size > _BODY_BYTES or sum(map(len, arrays.values())) > self._most:
            raise _fatal(f"more than {self._most} objects, or 4 MB", "batch size")
        errors, taken = [], {}
        for array, items in arrays.items():
            faults = [_fault_of(array, item) for item in items]
            errors += [
                {"type": words, "input_array": array, "index": place}
                for place, words in enumerate(faults)
                if words
            ]
            taken[array] = [i for i, words in zip(items, faults, strict=True) if not words]
        if not any(taken.values()):
            message = "Valid data must be provided in the 'attributes' or 'events' fields."
            raise Refusal(Answer(400, {"message": message, "errors": errors}))
        with self._store.transaction() as db:
            for item in taken.get("attributes", []):
                self._write(db, item, call.now)
            for item in taken.get("events", []):
                self._record(db, item, call.now)
        answer: dict[str, Any] = {"message": "success"}
        answer |= {f"{array}_processed": len(items) for array, items in taken.items()}
        return Answer(201, answer | ({"errors": errors} if errors else {}))

    def _found(self, item: Mapping[str, Any]) -> int | None:
        if "external_id" in item:
            return self._people.found("external_id", [item["external_id"]]).get(item["external_id"])
        if "braze_id" in item:
            number = str(item["braze_id"]).removeprefix("bz")
            return int(number) if number.isdigit() and self._people.has(int(number)) else None
        return next(iter(self._of_address(str(item.get("email")))), None)

    def _of_address(self, email: str) -> list[int]:
        """Several users may have one address."""
        every = ((record, self._people.attributes(record)) for record in self._people.all())
        return [record for record, known in every if known.get("email") == email.lower()]

    def _write(self, db: Any, item: Mapping[str, Any], now: str) -> int | None:
        found = self._found(item)
        if found is None and item.get("_update_existing_only"):
            return None
        known = {} if found is None else self._people.attributes(found)
        for name, value in item.items():
            if name in ("_update_existing_only", "user_alias", "braze_id"):
                continue
            if value is None:
                known.pop(name, None)
            elif isinstance(value, dict) and set(value) <= {"add", "remove"}:
                kept = [v for v in known.get(name, []) if v not in value.get("remove", [])]
                known[name] = kept + [v for v in value.get("add", []) if v not in kept]
            else:
                known[name] = value.lower() if name == "email" else value
        identity = {"external_id": item["external_id"]} if "external_id" in item else {}
        return self._people.put(db, found, known, identity, now)

    def _record(self, db: Any, item: Mapping[str, Any], now: str) -> None:
        found = self._found(item)
        if found is None:
            shape = {n: item[n] for n in ("external_id", "_update_existing_only") if n in item}
            found = self._write(db, shape, now)
        outcome = "dropped" if found is None else "accepted"
        properties = orjson.dumps(item.get("properties", {})).decode()
        self._event(db, item["name"], found, item["time"], now, properties, outcome)

    def _event(
        self,
        db: Any,
        name: str,
        person: int | None,
        at: str,
        now: str,
        properties: str,
        outcome: str,
    ) -> None:
        db.execute(
            "insert into events(vendor, name, record_id, occurred_at, received_at, properties,"
            " outcome) values (?, ?, ?, ?, ?, ?, ?)",
            (self.name, name, person, at, now, properties, outcome),
        )

    def _export(self, call: Call) -> Answer:
        ids = call.body.get("external_ids", []) if isinstance(call.body, dict) else None
        fields = call.body.get("fields_to_export") if isinstance(call.body, dict) else None
        if not isinstance(ids, list) or len(ids) > _IDS:
            raise _fatal("at most 50 external_ids", "batch size")
        if not fields:
            raise _fatal("fields_to_export is required", "shape")
        records = list(self._people.found("external_id", ids).values())
        if email := call.body.get("email_address"):
            records += self._of_address(str(email))
        known = {self._people.identifier(record, "external_id") for record in records}
        answer: dict[str, Any] = {"message": "success"}
        answer["users"] = [self._shown(record, fields) for record in records]
        unknown = [value for value in ids if value not in known]
        return Answer(201, answer | ({"invalid_user_ids": unknown} if unknown else {}))

    def _shown(self, record: int, fields: list[str]) -> dict[str, Any]:
        every = {**self._people.attributes(record), "braze_id": f"bz{record}"}
        return {name: every[name] for name in fields if name in every}

    def _delete(self, call: Call) -> Answer:
        named = [n for n in ("external_ids", "user_aliases", "braze_ids") if call.body.get(n)]
        if len(named) != 1 or len(call.body[named[0]]) > _IDS:
            raise _fatal("at most 50 of one kind of id", "batch size")
        field = named[0].removesuffix("s")
        found = [self._found({field: value}) for value in call.body[named[0]]]
        with self._store.transaction() as db:
            for record in found:
                if record is not None:
                    self._people.remove(db, record)
        return Answer(201, {"deleted": len(found), "message": "success"})

    # Messages

    def _enter_canvas(self, call: Call) -> Answer:
        return self._send(call, "canvas", "canvas_id", "canvas_entry_properties")

    def _send_campaign(self, call: Call) -> Answer:
        return self._send(call, "campaigns", "campaign_id", "trigger_properties")

    def _send(self, call: Call, kind: str, key: str, field: str) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        if "broadcast" in body or "audience" in body:  # would reach who was not asked for
            raise _fatal("broadcast to everybody", "broadcast")
        number, recipients = str(body.get(key)), body.get("recipients")
        if number not in self._messages[kind]:
            raise _fatal(f"Invalid {key}")
        if not isinstance(recipients, list) or not 1 <= len(recipients) <= _RECIPIENTS:
            raise _fatal("1 to 50 recipients", "batch size")
        for one in recipients:
            allowed = {"external_user_id", field, "send_to_existing_only", "attributes"}
            if (
                not isinstance(one, dict)
                or not set(one) <= allowed
                or "external_user_id" not in one
            ):
                raise _fatal("a recipient has an external_user_id", "shape")
            if len(orjson.dumps(one.get(field, {}))) > _ENTRY_BYTES:
                raise _fatal(f"{field} is larger than 50 KB")
        with self._store.transaction() as db:
            for one in recipients:
                found = self._found({"external_id": one["external_user_id"]})
                outcome = "dropped" if found is None else "accepted"
                given = orjson.dumps(one.get(field, {})).decode()
                self._event(db, f"{kind}:{number}", found, call.now, call.now, given, outcome)
        return Answer(201, {"dispatch_id": f"d{call.size}", "message": "success"})

    def _show_canvas(self, call: Call) -> Answer:
        return self._details(call, "canvas", "canvas_id")

    def _show_campaign(self, call: Call) -> Answer:
        return self._details(call, "campaigns", "campaign_id")

    def _details(self, call: Call, kind: str, key: str) -> Answer:
        found = self._messages[kind].get(call.query.get(key, ""))
        if found is None:
            raise _fatal(f"Invalid {key}")
        shown = {n: found.get(n, False) for n in ("enabled", "draft", "archived")}
        return Answer(200, {"message": "success", "name": found["name"], **shown})

    # Mail

    def _set_status(self, call: Call) -> Answer:
        emails, state = call.body.get("email"), call.body.get("subscription_state")
        emails = [emails] if isinstance(emails, str) else emails
        if not isinstance(emails, list) or not 1 <= len(emails) <= _IDS:
            raise _fatal("1 to 50 addresses", "batch size")
        if state not in ("subscribed", "unsubscribed", "opted_in"):
            raise _fatal("subscription_state does not exist", "shape")
        with self._store.transaction() as db:
            for email in emails:
                row = (self.name, email.lower(), call.now)
                if state == "unsubscribed":
                    sql = "insert or ignore into opt_outs values (?, ?, 'unsubscribed', ?)"
                else:
                    sql = "delete from opt_outs where vendor = ? and address = ? and at <= ?"
                db.execute(sql, row)
        return Answer(201, {"message": "success"})

    def _show_unsubscribes(self, call: Call) -> Answer:
        rows = self._store.rows(
            "select address, at from opt_outs where vendor = 'braze' order by at desc, address"
        )
        items = [{"email": row["address"], "unsubscribed_at": row["at"]} for row in rows]
        return self._of_days(call, items, "unsubscribed_at")

    def _show_bounces(self, call: Call) -> Answer:
        return self._of_days(call, self._bounces, "hard_bounced_at")

    def _of_days(self, call: Call, items: list[Any], field: str) -> Answer:
        limit, offset = int(call.query.get("limit", 100)), int(call.query.get("offset", 0))
        try:
            first, last = (date.fromisoformat(call.query[n]) for n in ("start_date", "end_date"))
        except (KeyError, ValueError):
            raise _fatal("start_date and end_date are days", "shape") from None
        if first >= last or not 1 <= limit <= 500:
            raise _fatal("start_date is before end_date, limit at most 500", "shape")
        found = [i for i in items if first <= _day(i[field]) < last]
        return Answer(200, {"emails": found[offset : offset + limit], "message": "success"})

    def counts(self) -> dict[str, Any]:
        """What the workspace holds, and how often a client broke the contract."""
        event = "select count(*) from events where vendor = 'braze' and outcome = 'dropped'"
        flags: dict[str, int] = {}
        for record in self._people.all():
            for name, value in self._people.attributes(record).items():
                if value is True:
                    flags[name] = flags.get(name, 0) + 1
        return {
            "people": self._people.count(),
            "flags": flags,
            "events": self._store.tally(
                "select name, count(*) from events"
                " where vendor = 'braze' and outcome = 'accepted' group by 1 order by 1"
            ),
            "events_dropped": self._store.number(event),
            "unsubscribed": self._store.number(
                "select count(*) from opt_outs where vendor = 'braze'"
            ),
            **super().counts(),
        }

    def forget(self) -> None:
        """The store has been emptied: so are the windows."""
        self._windows: dict[str, Windows] = {}


def _fault_of(array: str, item: Any) -> str:
    """What is wrong with one object; empty where nothing is."""
    if not isinstance(item, dict) or sum(name in item for name in _IDENTITIES[:3]) > 1:
        return "exactly one of external_id, user_alias, braze_id is accepted"
    if not any(item.get(name) for name in _IDENTITIES):
        return "one of external_id, user_alias, braze_id, email, phone is required"
    if len(orjson.dumps(item)) > _OBJECT_BYTES:
        return "object is larger than 100 KB"
    if array == "events":
        return _fault_of_event(item)
    email = item.get("email")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(email)):
        return "'email' is not valid"
    for name, value in item.items():
        if len(name) > 255 or name.startswith("$"):
            return f"attribute name {name[:20]!r} is not valid"
        if name == "email_subscribe" and value not in ("opted_in", "unsubscribed", "subscribed"):
            return "'email_subscribe' is not valid"
    return ""


def _fault_of_event(item: Mapping[str, Any]) -> str:
    if not isinstance(item.get("name"), str) or not 1 <= len(item["name"]) <= 255:
        return "'name' is required, of at most 255 characters"
    try:
        at = datetime.fromisoformat(item["time"])
    except (KeyError, TypeError, ValueError):
        return "'time' is required, in ISO 8601"
    properties = item.get("properties", {})
    if at.tzinfo is None or not isinstance(properties, dict):
        return "'time' needs a zone, 'properties' is an object"
    if any(name.startswith("$") for name in properties):
        return "names of properties do not begin with $"
    return "" if len(orjson.dumps(properties)) <= _ENTRY_BYTES else "properties exceed 50 KB"


def _day(at: str) -> date:
    return datetime.fromisoformat(at).astimezone(UTC).date()


def _fatal(message: str, violation: str | None = None) -> Refusal:
    body = {"message": message, "errors": [{"type": message}]}
    return Refusal(Answer(400, body), violation)


VENDOR = Braze
