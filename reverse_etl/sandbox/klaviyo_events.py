"""Klaviyo's events: a bulk that is answered with 202 alone, and what people did with mails."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from reverse_etl.sandbox.klaviyo_contract import (
    NAME,
    conditions,
    invalid,
    item_of,
    malformed,
    page,
    resource,
    resources,
)
from reverse_etl.sandbox.klaviyo_imports import Imports
from reverse_etl.sandbox.people import People
from reverse_etl.sandbox.store import Store
from reverse_etl.sandbox.tool import Answer, Call

_BULK_BYTES, _EVENTS = 5_000_000, 1_000
_OWN_METRICS = (
    "Unsubscribed from Email Marketing",
    "Bounced Email",
    "Marked Email as Spam",
    "Clicked Email",
    "Opened Email",
)


class Events:
    """`started` counts the events on which a flow of their metric would start."""

    def __init__(
        self,
        store: Store,
        people: People,
        imports: Imports,
        records: Callable[[str], int | None],
        feedback: list[dict[str, Any]],
    ) -> None:
        self._store, self._people, self._imports = store, people, imports
        self._records, self._feedback = records, feedback
        self.started = 0

    def take(self, call: Call) -> Answer:
        attributes = resource(call.body, "event-bulk-create-job", {"events-bulk-create"})
        groups = resources(attributes["events-bulk-create"], "event-bulk-create")
        taken = []
        for group in groups:
            given = group["attributes"]
            if not {"profile", "events"} <= set(given) <= {"profile", "events", "backfill"}:
                raise malformed("event-bulk-create needs profile and events")
            profile = given["profile"]["data"]
            for event in resources(given["events"], "event"):
                _require_event(event["attributes"])
                taken.append((profile, event["attributes"], given.get("backfill", False)))
        if call.size > _BULK_BYTES or not 1 <= len(taken) <= _EVENTS:
            raise invalid("1 to 1,000 events and 5 MB are accepted", "batch size")
        for profile, event, backfill in taken:
            self._record_event(profile, event, backfill, call.now)
        return Answer(202)

    def _record_event(
        self, profile: Mapping[str, Any], event: Mapping[str, Any], backfill: bool, now: str
    ) -> None:
        """What is known by nobody's identifier is accepted and lost: a bulk has no answer."""
        metric = resource(event["metric"], "metric", {"name"}, {"service"})["name"]
        record = self._records(str(profile.get("id", "")))
        if record is None and profile["attributes"]:
            self._imports.apply({"attributes": profile["attributes"]}, now)
            for name in ("external_id", "email"):
                value = str(profile["attributes"].get(name, ""))
                value = value.lower() if name == "email" else value
                record = record or self._people.found(name, [value]).get(value)
        at = str(event.get("time") or now)
        unique = event.get("unique_id") or str(int(datetime.fromisoformat(at).timestamp()))
        same = f"{record}:{metric}:{unique}"
        sql = "select count(*) from events where vendor = ? and uuid = ? and outcome = 'accepted'"
        twice = self._store.number(sql, (NAME, same))
        outcome = "dropped" if record is None else "duplicate" if twice else "accepted"
        kept = {k: event[k] for k in ("value", "value_currency") if k in event}
        with self._store.transaction() as db:
            db.execute(
                "insert into events(vendor, name, uuid, record_id, occurred_at, received_at,"
                " properties, outcome) values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    NAME,
                    metric,
                    same,
                    record,
                    at,
                    now,
                    orjson.dumps(event["properties"] | kept).decode(),
                    outcome,
                ),
            )
        if outcome == "accepted" and not (backfill or event.get("backfill")):
            self.started += 1

    def show_metrics(self, call: Call) -> Answer:
        own = dict.fromkeys(_OWN_METRICS, "Klaviyo")
        names = self._store.tally("select name, 1 from events where vendor = 'klaviyo'")
        every = own | dict.fromkeys(names, "API")
        shown = [
            item_of(
                "metric", _metric_id(name), {"name": name, "integration": {"name": integration}}
            )
            for name, integration in every.items()
        ]
        return Answer(200, page(call, shown, default=200, most=200))

    def show(self, call: Call) -> Answer:
        """What people did with Klaviyo's own mails, as portal.yml tells it."""
        asked = {
            (verb, field): values
            for verb, field, values in conditions(call.query.get("filter", ""))
        }
        [metric] = asked.get(("equals", "metric_id"), [""])
        [since] = asked.get(("greater-or-equal", "datetime"), ["1970-01-01T00:00:00+00:00"])
        shown, included = [], {}
        for number, fact in enumerate(self._feedback):
            late = datetime.fromisoformat(fact["datetime"]) >= datetime.fromisoformat(since)
            if _metric_id(fact["metric"]) != metric or not late:
                continue
            person = f"01FEEDBACK{number}"
            attributes = {
                "datetime": fact["datetime"],
                "event_properties": fact.get("properties", {}),
            }
            event = item_of("event", f"E{number}", attributes)
            event["relationships"] = {"profile": {"data": {"type": "profile", "id": person}}}
            shown.append(event)
            if call.query.get("include") == "profile":
                included[person] = item_of("profile", person, {"email": fact["email"]})
        answer = Answer(200, page(call, shown, default=200, most=1_000))
        return Answer(200, answer.body | {"included": list(included.values())})


def _require_event(event: Mapping[str, Any]) -> None:
    names = {"properties", "time", "value", "value_currency", "backfill", "metric", "unique_id"}
    if not {"properties", "metric"} <= set(event) <= names:
        raise malformed("event has unknown fields, or lacks properties or metric")
    resource(event["metric"], "metric", {"name"}, {"service"})


def _metric_id(name: str) -> str:
    return "M" + re.sub(r"\W", "", name)
