"""One org of Salesforce: how it is called, queried and written to, and the fields it has.

Contract: the REST API (sObject collections, query, describe) and OAuth client credentials; see
salesforce.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import Feedback, FeedbackKind
from reverse_etl.errors import DestinationFault, NotSent, QuotaSpent, Refused, Unknown
from reverse_etl.http import Answer, HttpClient
from reverse_etl.naming import plain
from reverse_etl.oauth import ClientCredentials
from reverse_etl.once import Once
from reverse_etl.outcomes import Outcome, Status, in_order, silent
from reverse_etl.paging import pages
from reverse_etl.rate import RateBudget
from reverse_etl.values import as_text

MOST_RECORDS = 200
"""A call may hold."""
LOST = frozenset({"INVALID_CROSS_REFERENCE_KEY", "ENTITY_IS_DELETED"})
"""Codes that say that an id leads nowhere."""
LOCK_PAUSES = (0.2, 0.8, 2.4)
"""Seconds before a record is tried again that somebody else held; a lock lasts seconds."""
OPTED_OUT = "HasOptedOutOfEmail"
_LOCKED = "UNABLE_TO_LOCK_ROW"
_REPEATABLE = frozenset({_LOCKED, "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})


class Org:
    """Asks for a client when it is called, so that making it connects to nothing."""

    def __init__(self, config: DestinationConfig, client: Callable[[], HttpClient]) -> None:
        self._config, self._client = config, client
        self.login = ClientCredentials(config, "/services/oauth2/token", client, {"401"})
        self._described = Once[dict[str, dict[str, Any]]]()

    @property
    def daily_share(self) -> float:
        """Of the day's calls, after which to stop."""
        return options.number(self._config, "daily_share", 0.9)

    def fields(self, object_: str) -> dict[str, dict[str, Any]]:
        """Writable fields by plain name; a standard field wins over a custom one of the name."""

        def ask() -> dict[str, dict[str, Any]]:
            described = self.call("GET", f"/sobjects/{object_}/describe")["fields"]
            usable = [f for f in described if f["createable"] or f["updateable"]]
            customs_first = sorted(usable, key=lambda field: not field["custom"])
            return {plain(field["name"]): field for field in customs_first}

        return self._described.of(object_, ask)

    def external_id(self, object_: str, column: str) -> str:
        """The name of the external id field of a column's name; empty where there is none."""
        field = self.fields(object_).get(plain(column), {})
        return str(field["name"]) if field.get("externalId") else ""

    def rows(self, object_: str, fields: str, *conditions: str) -> list[dict[str, Any]]:
        """All pages of a query; conditions hold all together."""
        soql = " ".join(("SELECT", fields, "FROM", object_, "WHERE", " AND ".join(conditions)))

        def following(page: Mapping[str, Any]) -> str:
            is_last = page.get("done", True)
            return "" if is_last else str(page["nextRecordsUrl"]).partition(self._data)[2]

        first = f"/query?{urlencode({'q': soql})}"
        found = pages(lambda path: self.call("GET", path), following, first)
        return [row for page in found for row in page["records"]]

    def feedback(self, since: datetime) -> Iterator[Feedback]:
        """Contacts that opted out, and addresses that bounced. Clicks stay with who mails."""
        at = as_text(since)
        for contact in self.rows(
            "Contact",
            f"Id, Email, {OPTED_OUT}, EmailBouncedDate, EmailBouncedReason, SystemModstamp",
            f"SystemModstamp >= {at}",
            "Email != null",
            f"({OPTED_OUT} = true OR EmailBouncedDate >= {at})",
        ):
            if contact.get(OPTED_OUT):
                yield _feedback("unsubscribed", contact, contact["SystemModstamp"])
            if bounced := contact.get("EmailBouncedDate"):
                yield _feedback("bounced", contact, bounced, contact.get("EmailBouncedReason"))

    def write(
        self, method: str, path: str, object_: str, records: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Outcome], dict[str, str]]:
        """An outcome for each record, and Salesforce's ids of those written. A record that was
        locked surely was not written, and is tried again by itself."""
        outcomes: dict[str, Outcome] = {}
        ids: dict[str, str] = {}
        open_ = dict(records)
        for pause in (*LOCK_PAUSES, None):
            if not open_:
                break
            typed = [{"attributes": {"type": object_}, **record} for record in open_.values()]
            try:
                results = self.call(method, path, {"allOrNone": False, "records": typed})
            except DestinationFault as fault:
                if not outcomes:
                    raise
                if isinstance(fault, Unknown):  # of the others the outcome is known
                    lost = Outcome("", "unknown", fault.code, str(fault))
                    outcomes |= {key: lost.of(key) for key in open_}
                break
            outcomes |= in_order("Salesforce", list(open_), results, reading)
            pairs = zip(open_, results, strict=False)
            ids |= {key: str(r["id"]) for key, r in pairs if r.get("success")}
            open_ = {key: r for key, r in open_.items() if outcomes[key].code == _LOCKED}
            if open_ and pause is not None:
                time.sleep(pause)
        return {key: outcomes.get(key, silent("Salesforce")).of(key) for key in records}, ids

    def delete(self, ids: Sequence[str]) -> dict[str, Outcome]:
        """Delete, and an outcome by id; who is gone already counts as deleted."""
        query = urlencode({"ids": ",".join(ids), "allOrNone": "false"})
        results = self.call("DELETE", f"/composite/sobjects?{query}")
        told = in_order("Salesforce", ids, results, reading)
        return {
            id_: Outcome(id_, "delivered") if outcome.code in LOST else outcome
            for id_, outcome in told.items()
        }

    @property
    def _data(self) -> str:
        return f"/services/data/v{self._config.option('api_version', '62.0')}"

    def call(self, method: str, path: str, payload: Any = None) -> Any:
        """What a call is answered with."""

        def exchange(headers: Mapping[str, str]) -> Answer:
            return self._client().request(method, self._data + path, payload, headers=headers)

        try:
            answer = self.login.tried(exchange)
        except Refused as refused:
            if _LOCKED in str(refused):
                raise NotSent(str(refused), code=_LOCKED) from None
            raise
        except QuotaSpent as spent:
            words = (
                f"{spent} The rest is left to others: {self._config.origin}.options.daily_share."
            )
            pause = spent.retry_after
            raise QuotaSpent(words, code="daily limit", retry_after=pause) from None
        return answer.json() if answer.body else None

    def learn(self, headers: Mapping[str, str], budget: RateBudget) -> None:
        """What is used of the day, of the part that is ours to use."""
        usage = re.search(r"api-usage=(\d+)/(\d+)", headers.get("Sforce-Limit-Info", ""))
        if usage and int(usage[2]):
            ours = int(int(usage[2]) * self.daily_share)
            budget.learn_daily(ours, ours - int(usage[1]))


def reading(result: Mapping[str, Any]) -> Outcome:
    """What became of one record."""
    if result.get("success"):
        return Outcome("", "delivered")
    error = next(iter(result.get("errors") or []), {"statusCode": "", "message": "No reason."})
    code = str(error["statusCode"])
    status: Status = "retryable" if code in _REPEATABLE else "rejected"
    return Outcome("", status, code, str(error["message"]))


def _feedback(
    kind: FeedbackKind, contact: Mapping[str, Any], at: str, detail: str | None = None
) -> Feedback:
    """An opt-out is a state of the contact: told again with every later change, it is one fact."""
    fact = f"{kind}:{contact['Id']}" + (f":{at}" if kind == "bounced" else "")
    instant = datetime.fromisoformat(at)
    return Feedback(fact, kind, str(contact["Email"]).lower(), instant, detail or "")


def quoted(text: str) -> str:
    """A text in a query."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def listed(texts: Iterable[str]) -> str:
    """Texts in a query's IN."""
    return ", ".join(quoted(text) for text in texts)
