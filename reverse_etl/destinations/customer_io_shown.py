"""What Customer.io shows of people and of the messages they were sent.

Contract: Customer.io's App API and reporting webhooks; see customer_io.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import Feedback, FeedbackKind
from reverse_etl.http import HttpClient
from reverse_etl.paging import pages
from reverse_etl.values import as_address

_MEANING: dict[str, FeedbackKind] = {
    "unsubscribed": "unsubscribed",
    "bounced": "bounced",
    "spammed": "complained",
    "opened": "opened",
    "clicked": "clicked",
}
_PULLED = ("bounced", "spammed", "clicked")
_MAIL_IS_ANSWERED_WITHIN_S = 30 * 86_400


class Shown:
    """``app`` gives the client of the App API."""

    def __init__(self, app: Callable[[], HttpClient]) -> None:
        self._app = app

    def customers(self, id_type: str, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """What the App API shows of people; those it does not know it leaves out."""
        path = f"/v1/customers/attributes?id_type={id_type}"
        told = (self._app().request("POST", path, {"ids": some}) for some in in_pieces(ids, 100))
        return [customer for answer in told for customer in answer.json()["customers"]]

    def feedback(self, since: datetime) -> Iterator[Feedback]:
        """Opt-outs as they stand on people, whatever made them; the rest from the messages of the
        30 days before ``since``, which is how late a mail may be answered."""
        is_out = {"field": "unsubscribed", "operator": "eq", "value": "true"}
        body = {"filter": {"attribute": is_out}}
        found = self._pages("POST", "/v1/customers?limit=1000", "identifiers", body)
        for person in self.customers("cio_id", [str(one["cio_id"]) for one in found]):
            email = person["attributes"].get("email")
            at = datetime.fromtimestamp(int(person["timestamps"].get("unsubscribed", 0)), UTC)
            if email and at >= since:
                told = f"{person['identifiers']['cio_id']}:unsubscribed:{int(at.timestamp())}"
                yield Feedback(told, "unsubscribed", as_address(email), at)
        sent_after = int(since.timestamp()) - _MAIL_IS_ANSWERED_WITHIN_S
        for metric in _PULLED:
            path = f"/v1/messages?type=email&metric={metric}&start_ts={sent_after}&limit=1000"
            for message in self._pages("GET", path, "messages"):
                at = datetime.fromtimestamp(int(message["metrics"][metric]), UTC)
                if at >= since and "@" in str(message.get("recipient")):
                    told, subject = f"{message['id']}:{metric}", str(message.get("subject") or "")
                    email = as_address(message["recipient"])
                    yield Feedback(told, _MEANING[metric], email, at, subject)

    def _pages(
        self, method: str, path: str, items: str, body: Any = None
    ) -> Iterator[Mapping[str, Any]]:
        def ask(start: str) -> Any:
            more = f"&start={quote(start, safe='')}" if start else ""
            return self._app().request(method, path + more, body).json()

        for page in pages(ask, lambda page: page.get("next")):
            yield from page.get(items) or []


def told_by_webhook(told: Mapping[str, Any]) -> list[Feedback]:
    """The fact in a reporting webhook, if it is one of those that are kept."""
    data = told.get("data") or {}
    named = [data.get("recipient"), data.get("email_address")]
    named.append((data.get("identifiers") or {}).get("email"))
    email = next((value for value in named if "@" in str(value)), None)
    kind = _MEANING.get(str(told.get("metric")))
    if kind is None or not email or told.get("object_type") not in ("email", "customer"):
        return []
    at = datetime.fromtimestamp(int(told["timestamp"]), UTC)
    number, detail = str(told["event_id"]), str(data.get("href") or "")
    return [Feedback(number, kind, as_address(email), at, detail)]
