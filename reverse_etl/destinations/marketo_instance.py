"""One instance of Marketo: how it is called, what its codes mean, the names it has for things.

Contract: Marketo's REST specification and its documents on authentication, limits and errors; see
marketo. Every answer is a 200; what failed is in its body.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import Feedback, FeedbackKind
from reverse_etl.errors import Denied, DestinationFault, RateLimited, Refused, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.naming import plain
from reverse_etl.oauth import FORM, ClientCredentials
from reverse_etl.once import Once
from reverse_etl.outcomes import Outcome
from reverse_etl.paging import pages
from reverse_etl.pieces import by_weight
from reverse_etl.rate import RateBudget
from reverse_etl.values import as_text

GONE = "1004"
"""There is no lead of that id: it was merged or deleted."""
_EXPIRED = frozenset({"601", "602"})
_DENIED = frozenset({"600", "603", "607"})
_PAUSES = {"606": 10.0, "615": 1.0, "608": 5.0, "713": 5.0}
"""Not taken, and the seconds after which to ask again: rate, concurrency, passing trouble."""
_UNCLEAR = frozenset({"604", "611"})
_MOST_VALUES, _LONGEST_QUERY = 300, 6_000
_ACTIVITIES: dict[int, FeedbackKind] = {
    8: "bounced",
    9: "unsubscribed",
    10: "opened",
    11: "clicked",
}
_DESCRIBED = {
    "contact": "/rest/v1/leads/describe2.json",
    "customer": "/rest/v1/companies/describe.json",
}


class Instance:
    """Asks for a client when it is called, so that making it connects to nothing."""

    def __init__(
        self,
        config: DestinationConfig,
        client: Callable[[], HttpClient],
        budget: Callable[[], RateBudget],
    ) -> None:
        self._client, self._budget = client, budget
        self._login = ClientCredentials(config, "/identity/oauth/token", client, _EXPIRED)
        self._fields = Once[dict[str, str]]()
        self._campaigns = Once[str]()

    def call(
        self, method: str, path: str, payload: Any = None, *, form: bytes | None = None
    ) -> dict[str, Any]:
        """What a call is answered with. Raises the fault that the code in the body stands for."""

        def exchange(headers: Mapping[str, str]) -> dict[str, Any]:
            given = {**headers, **(FORM if form else {})}
            client = self._client()
            answer = client.request(method, path, payload, content=form, headers=given).json()
            if answer.get("success"):
                return dict(answer)
            error = next(iter(answer.get("errors") or []), {"code": "", "message": "No reason."})
            raise self._fault(str(error["code"]), str(error["message"]))

        return self._login.tried(exchange)

    def _fault(self, code: str, message: str) -> DestinationFault:
        if code == "607":
            message = f"The day's quota is used up until midnight, US Central time. {message}"
        if code in _DENIED | _EXPIRED:
            return Denied(message, code=code)
        if code in _PAUSES:
            pause = _PAUSES[code]
            self._budget().pause(pause)
            return RateLimited(message, code=code, retry_after=pause)
        return (Unknown if code in _UNCLEAR else Refused)(message, code=code)

    def all(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every page of a list."""

        def ask(token: str) -> dict[str, Any]:
            asked = {**query, **({"nextPageToken": token} if token else {})}
            return self.call("GET", f"{path}?{urlencode(asked)}")

        found = pages(ask, lambda page: page.get("result") and page.get("nextPageToken"))
        return [item for page in found for item in page.get("result", [])]

    def leads(self, name: str, values: Iterable[str]) -> list[dict[str, Any]]:
        """Leads with one of these values, the oldest first; the address of a call stays short."""
        found = []
        short = by_weight(sorted(values), lambda v: len(v) + 3, _MOST_VALUES, _LONGEST_QUERY)
        for some in short:
            query = {"filterType": name, "filterValues": ",".join(some), "fields": "id,email"}
            found += self.all("/rest/v1/leads.json", query)
        return sorted(found, key=lambda lead: int(lead["id"]))

    def fields(self, object_: str) -> dict[str, str]:
        """API names by the plain form of API and display name."""

        def ask() -> dict[str, str]:
            fields = self.call("GET", _DESCRIBED[object_])["result"][0]["fields"]
            names = {plain(f.get("displayName") or f["name"]): f["name"] for f in fields}
            own = {"name": "company"} if object_ == "customer" else {}
            return own | names | {plain(f["name"]): f["name"] for f in fields}

        return self._fields.of(object_, ask)

    def list_id(self, name: str) -> str:
        """The static list of that name; empty where there is none."""
        return self._id("lists", name)

    def campaign(self, name: str) -> str:
        """The active campaign of that name that may be requested; empty where there is none."""
        return self._campaigns.of(name, lambda: self._id("campaigns", name, isTriggerable="true"))

    def _id(self, kind: str, name: str, **query: str) -> str:
        found = self.all(f"/rest/v1/{kind}.json", {"name": name, **query})
        fit = (item for item in found if item["name"] == name and item.get("active", True))
        return next((str(item["id"]) for item in fit), "")

    def feedback(self, since: datetime) -> Iterator[Feedback]:
        """Hard bounces, unsubscribes, opens and clicks, from the log of activities."""
        first = urlencode({"sinceDatetime": as_text(since)})
        token = self.call("GET", f"/rest/v1/activities/pagingtoken.json?{first}")["nextPageToken"]

        def ask(token: str) -> dict[str, Any]:
            query = {"nextPageToken": token, "activityTypeIds": list(_ACTIVITIES)}
            return self.call("GET", f"/rest/v1/activities.json?{urlencode(query, doseq=True)}")

        for page in pages(ask, lambda p: p.get("moreResult") and p["nextPageToken"], token):
            activities = page.get("result", [])
            leads = self.leads("id", {str(activity["leadId"]) for activity in activities})
            emails = {str(lead["id"]): lead.get("email") for lead in leads}
            for activity in activities:
                if email := emails.get(str(activity["leadId"])):
                    yield _fact(activity, email)


def reading(result: Mapping[str, Any]) -> Outcome:
    """What became of one record. The specification writes ``reason``, the instances answer
    ``reasons``."""
    if result.get("status") != "skipped":
        return Outcome("", "delivered", str(result.get("status", "")))
    reasons = result.get("reasons") or [result.get("reason") or {}]
    code, words = str(reasons[0].get("code", "")), str(reasons[0].get("message", ""))
    return Outcome("", "rejected", code, words)


class InFlight:
    """Keys being written: two calls with one key at the same time make two leads of it."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._keys: set[str] = set()

    @contextmanager
    def alone(self, keys: Iterable[str]) -> Iterator[None]:
        """Wait until nobody else writes any of these keys, and keep others off them."""
        wanted = {key.lower() for key in keys}
        with self._free:
            self._free.wait_for(lambda: not self._keys & wanted)
            self._keys |= wanted
        try:
            yield
        finally:
            with self._free:
                self._keys -= wanted
                self._free.notify_all()


def _fact(activity: Mapping[str, Any], email: str) -> Feedback:
    number = str(activity.get("marketoGUID") or activity["id"])
    at = datetime.fromisoformat(activity["activityDate"])
    mail = str(activity.get("primaryAttributeValue") or "")
    return Feedback(number, _ACTIVITIES[activity["activityTypeId"]], email.lower(), at, mail)
