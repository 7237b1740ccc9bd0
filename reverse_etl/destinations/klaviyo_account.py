"""One account of Klaviyo: how it is called, waits for imports, and what it tells of people.

Contract: Klaviyo's API specification, revision 2026-07-15; see klaviyo.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import Feedback, FeedbackKind
from reverse_etl.errors import NotSent, Refused, Unknown
from reverse_etl.http import Answer, HttpClient
from reverse_etl.outcomes import DELIVERED, Outcome, of_each
from reverse_etl.paging import pages
from reverse_etl.rate import RateBudget
from reverse_etl.values import as_json, as_utc

REVISION = "2026-07-15"
_JOBS = "/api/profile-bulk-import-jobs"
_LOOKED_UP = 100
_POLL_SECONDS = (0.2, 5.0)
_PLACE_IN_JOB = re.compile(r"/profiles/data/(\d+)(?:/|$)")
_POLICY = re.compile(r"(\d+);w=(\d+)")
_MEANING: dict[str, FeedbackKind] = {
    "unsubscribed from email marketing": "unsubscribed",
    "bounced email": "bounced",
    "marked email as spam": "complained",
    "clicked email": "clicked",
}


class Account:
    """``client`` gives that of an operation and its tier, which has limits of its own."""

    def __init__(self, client: Callable[[str, str], HttpClient]) -> None:
        self._client = client

    def call(self, operation: str, tier: str, method: str, path: str, body: Any = None) -> Any:
        """What a call is answered with."""
        return self.answer(operation, tier, method, path, body).json()

    def answer(self, operation: str, tier: str, method: str, path: str, body: Any = None) -> Answer:
        """As ``call``, where the answer has no body."""
        content = None if body is None else as_json(body)
        headers = {} if body is None else {"Content-Type": "application/vnd.api+json"}
        client = self._client(operation, tier)
        return client.request(method, path, content=content, headers=headers)

    def pages(self, operation: str, tier: str, path: str) -> Iterator[Mapping[str, Any]]:
        """Every page of a list."""

        def following(page: Mapping[str, Any]) -> str:
            link = str(page.get("links", {}).get("next") or "")
            return link[link.index("/api/") :] if link else ""

        return pages(lambda at: self.call(operation, tier, "GET", at), following, path)

    def found(self, field: str, values: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Profiles with one of these values."""
        for some in in_pieces(values, _LOOKED_UP):
            wanted = quote(f"any({field},{as_json(some).decode()})", safe="")
            for page in self.pages(
                "profiles", "l", f"/api/profiles?filter={wanted}&page[size]=100"
            ):
                yield from page["data"]

    def import_profiles(
        self, profiles: Mapping[str, Mapping[str, Any]], seconds: float
    ) -> list[Outcome]:
        """Hand over a job, and wait so many seconds until it is complete: 202 says nothing about
        its rows."""
        attributes = {"profiles": {"data": list(profiles.values())}}
        body = resource("profile-bulk-import-job", attributes)
        job = self.call("import", "m", "POST", _JOBS, body)["data"]
        deadline = time.monotonic() + seconds
        pause, longest = _POLL_SECONDS
        while job["attributes"]["status"] in ("queued", "processing"):
            if time.monotonic() > deadline:
                words = f"Import {job['id']} was not complete within the time-out."
                return of_each(Outcome("", "unknown", "job", words), profiles)
            time.sleep(pause)
            pause = min(pause * 1.5, longest)
            try:
                job = self.call("job", "m", "GET", f"{_JOBS}/{job['id']}")["data"]
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
        for page in self.pages("errors", "m", f"{_JOBS}/{job}/import-errors?page[size]=100"):
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

    def feedback(self, since: datetime) -> Iterator[Feedback]:
        """Events of Klaviyo's own metrics. A soft bounce is no bounce: the address may be good."""
        for page in self.pages("metrics", "m", "/api/metrics"):
            for metric in page["data"]:
                kind = _MEANING.get(str(metric["attributes"]["name"]).lower())
                if kind and metric["attributes"]["integration"].get("name") == "Klaviyo":
                    yield from self._pulled(str(metric["id"]), kind, since)

    def _pulled(self, metric: str, kind: FeedbackKind, since: datetime) -> Iterator[Feedback]:
        late = f"greater-or-equal(datetime,{as_utc(since).isoformat(timespec='seconds')})"
        wanted = quote(f'equals(metric_id,"{metric}"),{late}', safe="")
        path = f"/api/events?filter={wanted}&include=profile&sort=datetime&page[size]=1000"
        for page in self.pages("read events", "xl", path):
            emails = {one["id"]: one["attributes"].get("email") for one in page.get("included", [])}
            for event in page["data"]:
                email = emails.get(event["relationships"]["profile"]["data"]["id"])
                yield from _fact(str(event["id"]), kind, email, event)

    def told_by_webhook(self, items: Sequence[Mapping[str, Any]]) -> list[Feedback]:
        """The facts of a system webhook. Addresses that it does not hold are asked for."""
        told = []
        for item in items:
            name = str(item["topic"]).removeprefix("event:klaviyo.").replace("_", " ")
            if kind := _MEANING.get(name):
                event, included = item["payload"]["data"], item["payload"].get("included", [])
                profile = event["relationships"]["profile"]["data"]["id"]
                emails = {one["id"]: one["attributes"].get("email") for one in included}
                told.append((str(item["external_id"]), kind, event, profile, emails.get(profile)))
        unknown = [profile for *_, profile, email in told if not email]
        asked = {p["id"]: p["attributes"].get("email") for p in self.found("id", unknown)}
        return [
            fact
            for number, kind, event, profile, email in told
            for fact in _fact(number, kind, email or asked.get(profile), event)
        ]


def resource(kind: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A body as JSON:API shapes it."""
    return {"data": {"type": kind, "attributes": attributes}}


def _fact(
    number: str, kind: FeedbackKind, email: str | None, event: Mapping[str, Any]
) -> Iterator[Feedback]:
    given = event["attributes"].get("event_properties") or {}
    if email and str(given.get("Bounce Type", "")).lower() != "soft":
        at = as_utc(datetime.fromisoformat(event["attributes"]["datetime"]))
        detail = str(given.get("URL") or given.get("Subject") or "")
        yield Feedback(number, kind, email.lower(), at, detail)


def learn(headers: Mapping[str, str], budget: RateBudget) -> None:
    """``RateLimit-Limit: 150, 10;w=1, 150;w=60``; what remains is of the longest window."""
    policies = [(int(n), int(w)) for n, w in _POLICY.findall(headers.get("RateLimit-Limit", ""))]
    remaining = headers.get("RateLimit-Remaining", "")
    if policies and remaining.isdigit():
        calls, seconds = max(policies, key=lambda policy: policy[1])
        budget.learn(calls, float(seconds), int(remaining))
