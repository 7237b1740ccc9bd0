"""Contacts that HubSpot's search finds: who opted out of all mail, and whose address bounced.

Contract: CRM search of HubSpot's API specification; see hubspot. Which mail was clicked the CRM
does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from reverse_etl.destinations.base import Feedback
from reverse_etl.paging import pages
from reverse_etl.values import as_utc

_SEARCHED = 200
_BOUNCED = "hs_email_hard_bounce_reason_enum"


def feedback(search: Callable[[Mapping[str, Any]], Any], since: datetime) -> Iterator[Feedback]:
    """Contacts changed since, as they stand. Pages go by id, as a search reaches 10,000 results and
    no further."""

    def ask(last: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = search(_question(since, last))["results"]
        return found

    def following(found: Sequence[Mapping[str, Any]]) -> str:
        return str(found[-1]["id"]) if len(found) == _SEARCHED else ""

    for found in pages(ask, following, "0"):
        for contact in found:
            own, told = str(contact["id"]), contact["properties"]
            at, email = datetime.fromisoformat(told["lastmodifieddate"]), told.get("email")
            if email and told.get("hs_email_optout") == "true":
                yield Feedback(f"unsubscribed:{own}", "unsubscribed", email.lower(), at)
            if email and (reason := told.get(_BOUNCED)):
                yield Feedback(f"bounced:{own}", "bounced", email.lower(), at, reason)


def _question(since: datetime, last: str) -> dict[str, Any]:
    changed = str(int(as_utc(since).timestamp() * 1000))
    recent = [
        {"propertyName": "lastmodifieddate", "operator": "GTE", "value": changed},
        {"propertyName": "hs_object_id", "operator": "GT", "value": last},
    ]
    out = {"propertyName": "hs_email_optout", "operator": "EQ", "value": "true"}
    bounced = {"propertyName": _BOUNCED, "operator": "HAS_PROPERTY"}
    return {
        "filterGroups": [{"filters": [out, *recent]}, {"filters": [bounced, *recent]}],
        "sorts": ["hs_object_id"],
        "properties": ["email", "hs_email_optout", _BOUNCED, "lastmodifieddate"],
        "limit": _SEARCHED,
        "after": "0",
    }
