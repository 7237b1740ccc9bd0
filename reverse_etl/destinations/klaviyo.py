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

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import Feedback, FeedbackKind, Limits, Outcome, Person
from reverse_etl.errors import NotSent, Refused, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.naming import properties
from reverse_etl.outcomes import DELIVERED, of_each
from reverse_etl.paging import pages
from reverse_etl.people_tool import PeopleTool, Row
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget
from reverse_etl.signatures import require_recent, require_signature
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_address, as_json, as_plain, as_text, as_utc

REVISION = "2026-07-15"
_JOBS = "/api/profile-bulk-import-jobs"
_FIELDS = frozenset(
    {"email", "phone_number", "first_name", "last_name", "organization", "locale", "title", "image"}
)
_PLACE = frozenset({"address1", "address2", "city", "country", "region", "zip", "timezone"})
_LOOKED_UP, _OPTED_OUT = 100, 100
_POLL_SECONDS = (0.2, 5.0)
_PLACE_IN_JOB = re.compile(r"/profiles/data/(\d+)(?:/|$)")
_POLICY = re.compile(r"(\d+);w=(\d+)")
_MEANING: dict[str, FeedbackKind] = {
    "unsubscribed from email marketing": "unsubscribed",
    "bounced email": "bounced",
    "marked email as spam": "complained",
    "clicked email": "clicked",
}


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
            self._call("lists", "l", "GET", "/api/lists?page[size]=1")
            return []
        told = list(self._pages("lists", "l", "/api/lists?include=flow-triggers&page[size]=10"))
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
        twin = Outcome("", "rejected", "duplicate", shared)
        return of_each(twin, profiles.keys() - sent) + (self._job(sent) if sent else [])

    def _job(self, profiles: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
        """Hand over a job, and wait until it is complete: 202 says nothing about its rows."""
        attributes = {"profiles": {"data": list(profiles.values())}}
        body = _data("profile-bulk-import-job", attributes)
        job = self._call("import", "m", "POST", _JOBS, body)["data"]
        deadline = time.monotonic() + float(self.config.option("job_seconds", 600))
        pause, longest = _POLL_SECONDS
        while job["attributes"]["status"] in ("queued", "processing"):
            if time.monotonic() > deadline:
                words = f"Import {job['id']} was not complete within the time-out."
                return of_each(Outcome("", "unknown", "job", words), profiles)
            time.sleep(pause)
            pause = min(pause * 1.5, longest)
            try:
                job = self._call("job", "m", "GET", f"{_JOBS}/{job['id']}")["data"]
            except (NotSent, Unknown):
                continue  # the job goes on, whatever became of the question
        if job["attributes"]["status"] != "complete":
            raise Unknown(f"Import {job['id']} was {job['attributes']['status']}.", code="job")
        failed = int(job["attributes"].get("failed_count") or 0)
        errors = self._import_errors(str(job["id"]), list(profiles)) if failed else {}
        return [errors.get(key, DELIVERED).of(key) for key in profiles]

    def _import_errors(self, job: str, keys: Sequence[str]) -> dict[str, Outcome]:
        """Refused rows, by their place in the job or by what they held. Raises Refused when one
        cannot be told: then the job is halved."""
        known, errors = set(keys), {}
        for page in self._pages("errors", "m", f"{_JOBS}/{job}/import-errors?page[size]=100"):
            for error in page["data"]:
                told = error["attributes"]
                place = _PLACE_IN_JOB.search((told.get("source") or {}).get("pointer") or "")
                held = told.get("original_payload") or {}
                key = (held.get("attributes") or held).get("external_id")
                if place and int(place[1]) < len(keys):
                    key = keys[int(place[1])]
                if key not in known:
                    raise Refused(str(told["detail"]), code=str(told["code"]))
                errors[key] = Outcome(key, "rejected", str(told["code"]), str(told["detail"]))
        if not errors:
            raise Refused("Rows of the import failed and are not told.", code="import")
        return errors

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """202 is all that a bulk of events is ever answered with."""
        is_baseline = sync.id in self.baselines
        items = [_event(sync, change, own, is_baseline) for change, own in events.values()]
        body = _data("event-bulk-create-job", {"events-bulk-create": {"data": items}})
        self._answer("events", "m", "POST", "/api/event-bulk-create-jobs", body)
        return of_each(DELIVERED, events)

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Klaviyo's ids by ours."""
        found = self._found("external_id", identities)
        return {str(one["attributes"]["external_id"]): str(one["id"]) for one in found}

    def find_list(self, object_: str, name: str) -> str | None:
        """The list of that name, the oldest of several."""
        wanted = quote(f"equals(name,{as_json([name]).decode()})", safe="")
        found = self._call("lists", "l", "GET", f"/api/lists?filter={wanted}&sort=created")["data"]
        return str(found[0]["id"]) if found else None

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool."""
        body = _data("list", {"name": name})
        return str(self._call("make list", "m", "POST", "/api/lists", body)["data"]["id"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """Neither grants consent nor takes it away."""
        path = f"/api/lists/{list_id}/relationships/profiles"
        for operation, method, people in (("remove", "DELETE", leaving), ("add", "POST", joining)):
            if people:
                body = {"data": [{"type": "profile", "id": own} for own in people]}
                self._answer(operation, "m", method, path, body)
        return {}

    def _found(self, field: str, values: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        for some in in_pieces(values, _LOOKED_UP):
            wanted = quote(f"any({field},{as_json(some).decode()})", safe="")
            for page in self._pages(
                "profiles", "l", f"/api/profiles?filter={wanted}&page[size]=100"
            ):
                yield from page["data"]

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """A deletion job for each profile that has the id or the address."""
        for person in people:
            own = {str(p["id"]) for p in self._found("external_id", [person.contact_id])}
            own |= {
                str(p["id"]) for p in self._found("email", [person.email] if person.email else [])
            }
            for number in sorted(own):
                profile = {"data": {"type": "profile", "id": number, "attributes": {}}}
                body = _data("data-privacy-deletion-job", {"profile": profile})
                self._answer("erase", "s", "POST", "/api/data-privacy-deletion-jobs", body)
        return of_each(DELIVERED, [person.contact_id for person in people])

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """From all e-mail marketing, which is what naming no list means; it makes nobody."""
        addresses = [person.email for person in people if person.email]
        there = [str(profile["attributes"]["email"]) for profile in self._found("email", addresses)]
        consent = {"subscriptions": {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}}
        for some in in_pieces(there, _OPTED_OUT):
            profiles = [
                {"type": "profile", "attributes": {"email": email, **consent}} for email in some
            ]
            body = _data("profile-subscription-bulk-delete-job", {"profiles": {"data": profiles}})
            path = "/api/profile-subscription-bulk-delete-jobs"
            self._answer("unsubscribe", "l", "POST", path, body)
        return of_each(DELIVERED, [person.contact_id for person in people])

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Events of Klaviyo's own metrics. A soft bounce is no bounce: the address may be good."""
        for page in self._pages("metrics", "m", "/api/metrics"):
            for metric in page["data"]:
                kind = _MEANING.get(str(metric["attributes"]["name"]).lower())
                if kind and metric["attributes"]["integration"].get("name") == "Klaviyo":
                    yield from self._pulled(str(metric["id"]), kind, since)

    def _pulled(self, metric: str, kind: FeedbackKind, since: datetime) -> Iterator[Feedback]:
        late = f"greater-or-equal(datetime,{as_utc(since).isoformat(timespec='seconds')})"
        wanted = quote(f'equals(metric_id,"{metric}"),{late}', safe="")
        path = f"/api/events?filter={wanted}&include=profile&sort=datetime&page[size]=1000"
        for page in self._pages("read events", "xl", path):
            emails = {one["id"]: one["attributes"].get("email") for one in page.get("included", [])}
            for event in page["data"]:
                email = emails.get(event["relationships"]["profile"]["data"]["id"])
                yield from _fact(str(event["id"]), kind, email, event)

    def receive(self, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
        """A system webhook: HMAC-SHA256 over the body and the timestamp, at most five minutes old.
        Addresses that it does not hold are asked for."""
        given = {name.lower(): value for name, value in headers.items()}
        stamp = given.get("klaviyo-timestamp", "")
        secret = self.config.credential("webhook_secret")
        require_signature(secret, body + stamp.encode(), given.get("klaviyo-signature", ""))
        require_recent(stamp)
        told = []
        for item in orjson.loads(body)["data"]:
            name = str(item["topic"]).removeprefix("event:klaviyo.").replace("_", " ")
            if kind := _MEANING.get(name):
                event, included = item["payload"]["data"], item["payload"].get("included", [])
                profile = event["relationships"]["profile"]["data"]["id"]
                emails = {one["id"]: one["attributes"].get("email") for one in included}
                told.append((str(item["external_id"]), kind, event, profile, emails.get(profile)))
        unknown = [profile for *_, profile, email in told if not email]
        asked = {p["id"]: p["attributes"].get("email") for p in self._found("id", unknown)}
        return [
            fact
            for number, kind, event, profile, email in told
            for fact in _fact(number, kind, email or asked.get(profile), event)
        ]

    # Calls

    def _call(self, operation: str, tier: str, method: str, path: str, body: Any = None) -> Any:
        return self._answer(operation, tier, method, path, body).json()

    def _answer(self, operation: str, tier: str, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else as_json(body)
        headers = {} if body is None else {"Content-Type": "application/vnd.api+json"}
        client = self._client(operation, tier)
        return client.request(method, path, content=content, headers=headers)

    def _pages(self, operation: str, tier: str, path: str) -> Iterator[Mapping[str, Any]]:
        def following(page: Mapping[str, Any]) -> str:
            link = str(page.get("links", {}).get("next") or "")
            return link[link.index("/api/") :] if link else ""

        return pages(lambda at: self._call(operation, tier, "GET", at), following, path)

    def _client(self, operation: str, tier: str) -> HttpClient:
        """Every operation has limits of its own."""
        key = self.config.credential("api_key")
        headers = {
            "Authorization": f"Klaviyo-API-Key {key}",
            "Accept": "application/vnd.api+json",
            "revision": REVISION,
        }
        return self.client_of(operation, headers, [key], _learn, tier=tier)


def _data(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": {"type": kind, "attributes": attributes}}


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


def _fact(
    number: str, kind: FeedbackKind, email: str | None, event: Mapping[str, Any]
) -> Iterator[Feedback]:
    given = event["attributes"].get("event_properties") or {}
    if email and str(given.get("Bounce Type", "")).lower() != "soft":
        at = as_utc(datetime.fromisoformat(event["attributes"]["datetime"]))
        detail = str(given.get("URL") or given.get("Subject") or "")
        yield Feedback(number, kind, email.lower(), at, detail)


def _learn(headers: Mapping[str, str], budget: RateBudget) -> None:
    """``RateLimit-Limit: 150, 10;w=1, 150;w=60``; what remains is of the longest window."""
    policies = [(int(n), int(w)) for n, w in _POLICY.findall(headers.get("RateLimit-Limit", ""))]
    remaining = headers.get("RateLimit-Remaining", "")
    if policies and remaining.isdigit():
        calls, seconds = max(policies, key=lambda policy: policy[1])
        budget.learn(calls, float(seconds), int(remaining))
