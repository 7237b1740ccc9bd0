"""HubSpot's search of contacts: filters, pages, and 5 calls a second that count apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from reverse_etl.sandbox.hubspot_contract import (
    Answer,
    Call,
    Refusal,
    fields,
    invalid,
    malformed,
    not_found,
    strings,
)
from reverse_etl.sandbox.hubspot_properties import object_kind
from reverse_etl.sandbox.store import Store
from reverse_etl.sandbox.vendor import RateLimit, RollingWindow

_MOST, _GROUPS, _FILTERS, _REACH = 200, 6, 18, 10_000
_NUMBERS = frozenset({"hs_object_id", "lastmodifieddate"})


class Search:
    """Reads what others wrote; sees opt-outs and bounces as properties of their contact."""

    def __init__(self, store: Store, portal: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._store = store
        self._bounces = {str(k).lower(): v for k, v in portal.get("hard_bounces", {}).items()}
        self._window = RollingWindow(RateLimit(5, 1.0), clock)

    def search(self, call: Call) -> Answer:
        """The contacts that fit one of the groups of filters."""
        if object_kind(call) != "contacts":
            raise not_found("The sandbox searches contacts only.")
        required = {
            "after": str,
            "filterGroups": list,
            "limit": int,
            "properties": list,
            "sorts": list,
        }
        body = fields(call.body, required, {"query": str})
        names = strings(body["properties"], "properties")
        if not 1 <= body["limit"] <= _MOST:
            raise invalid("limit is from 1 to 200", "page size")
        if self._window.refusal():
            raise Refusal(
                429,
                "RATE_LIMITS",
                "You have reached your secondly limit.",
                extra={"errorType": "RATE_LIMIT", "policyName": "SECONDLY"},
                violation="rate limit search",
            )
        groups = [_filters(group) for group in body["filterGroups"]]
        if len(groups) > _GROUPS or sum(map(len, groups)) > _FILTERS:
            raise invalid("at most 6 groups and 18 filters", "filters")
        sorts = strings(body["sorts"], "sorts")
        start = int(body["after"] or 0)
        if start + body["limit"] > _REACH:
            raise invalid("only the first 10,000 results can be paged to", "paging")
        found = [one for one in self._contacts() if _fits(one, groups)]
        for sort in reversed(sorts):
            found = _sorted(found, sort)
        page = found[start : start + body["limit"]]
        answer: dict[str, Any] = {
            "total": len(found),
            "results": [_shown(one, names, call.now) for one in page],
        }
        if start + len(page) < len(found):
            answer["paging"] = {"next": {"after": str(start + len(page))}}
        return Answer(200, answer)

    def _contacts(self) -> list[dict[str, str]]:
        outs = {
            str(row["address"]): str(row["at"])
            for row in self._store.rows(
                "select address, at from opt_outs where vendor = 'hubspot'"
                " and reason = 'unsubscribed'"
            )
        }
        found = []
        for row in self._store.rows(
            "select id, properties, updated_at from records"
            " where vendor = 'hubspot' and object = 'contacts' order by id"
        ):
            held = {n: str(v) for n, v in orjson.loads(row["properties"]).items() if v is not None}
            email = held.get("email", "").lower()
            changed = max(str(row["updated_at"]), outs.get(email, ""))
            held |= {"hs_object_id": str(row["id"]), "lastmodifieddate": changed}
            held |= {"hs_email_optout": "true"} if email in outs else {}
            if email in self._bounces:
                held["hs_email_hard_bounce_reason_enum"] = str(self._bounces[email])
            found.append(held)
        return found


def _filters(group: Any) -> list[Mapping[str, str]]:
    filters = fields(group, {"filters": list}, where="filterGroups[]")["filters"]
    optional = {"value": str, "values": list, "highValue": str}
    for one in filters:
        fields(one, {"operator": str, "propertyName": str}, optional, where="filters[]")
        if one["operator"] not in ("EQ", "GT", "GTE", "HAS_PROPERTY"):
            raise malformed(f"operator {one['operator']} is not spoken in the sandbox")
    return list(filters)


def _fits(contact: Mapping[str, str], groups: list[list[Mapping[str, str]]]) -> bool:
    return not groups or any(all(_holds(contact, one) for one in group) for group in groups)


def _holds(contact: Mapping[str, str], one: Mapping[str, str]) -> bool:
    name, operator = one["propertyName"], one["operator"]
    if name not in contact:
        return False
    if operator == "HAS_PROPERTY":
        return True
    held, wanted = _comparable(name, contact[name]), _comparable(name, one["value"])
    return bool({"EQ": held == wanted, "GT": held > wanted, "GTE": held >= wanted}[operator])


def _sorted(found: list[dict[str, str]], sort: str) -> list[dict[str, str]]:
    name = sort.removeprefix("-")
    return sorted(
        found,
        key=lambda one: _comparable(name, one.get(name) or "0"),
        reverse=sort.startswith("-"),
    )


def _comparable(name: str, value: str) -> Any:
    """Numbers as such; instants are compared in milliseconds, which is how filters write them."""
    if name not in _NUMBERS:
        return value
    if value.isdigit():
        return int(value)
    return int(datetime.fromisoformat(value).timestamp() * 1000)


def _shown(contact: Mapping[str, str], names: list[str], now: str) -> dict[str, Any]:
    return {
        "id": contact["hs_object_id"],
        "properties": {name: contact.get(name) for name in names},
        "createdAt": contact["lastmodifieddate"],
        "updatedAt": contact["lastmodifieddate"],
        "archived": False,
    }
