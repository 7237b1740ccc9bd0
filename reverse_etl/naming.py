"""How our names meet a tool's: columns and its fields, segments and its lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from reverse_etl.planner import Change
from reverse_etl.spec import Sync
from reverse_etl.values import as_address, as_text

ROUTING = frozenset(
    {"event_id", "subject", "email", "contact_name", "occurred_at", "owner_email", "owner_name"}
)
"""Columns of a trigger that address it. Tools with fields of their own for them do not get them
again as properties of the event."""
UNSHOWN = ROUTING | {"customer_id", "contact_id", "customer_name", "language"}
"""Columns that people who read an alert or a task are not shown again, or at all."""


def plain(name: str) -> str:
    """A name as it is compared with a tool's field: lower case, only letters and digits, without
    the ``__c`` that Salesforce ends custom names with."""
    return re.sub(r"[\W_]", "", re.sub(r"__c$", "", name)).lower()


def words(name: str) -> str:
    """A name as people read it: ``seats_bought`` is Seats bought."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def told(change: Change, label: Callable[[str], str] = words) -> list[str]:
    """What an alert or a task says of a row, a line a column; none for one without a label."""
    return [
        f"{label(name)}: {as_text(value)}"
        for name, value in change.payload.items()
        if name not in UNSHOWN and value is not None and label(name)
    ]


def by_list(sync: Sync, changes: Iterable[Change]) -> dict[str, list[Change]]:
    """Changes of a segment by the name of the list that they are about."""
    lists: dict[str, list[Change]] = {}
    for change in changes:
        lists.setdefault(sync.list_of(change.group), []).append(change)
    return lists


def address(change: Change) -> str:
    """The row's e-mail address in lower case; empty where it has none."""
    return as_address(change.payload.get("email"))


def owner(change: Change) -> str:
    """The address of the customer's owner in lower case; empty where the row names none."""
    return as_address(change.payload.get("owner_email"))


def properties(
    change: Change, written: Callable[[str, Any], Any] = lambda name, value: as_text(value)
) -> dict[str, Any]:
    """What an event tells beside whom it is about: columns that have a value, as the tool writes
    them, by default as text."""
    return {
        name: written(name, value)
        for name, value in change.payload.items()
        if name not in ROUTING and value is not None
    }


def totals(
    counts: Mapping[Sync, Mapping[str, int]],
    profiles: Mapping[str, str],
    lists: str,
    events: str,
    event_name: Callable[[Sync], str] = attrgetter("event_name"),
) -> dict[str, Any]:
    """Acknowledged rows in a tool's words: ``profiles`` by object (contact, customer), ``lists``
    and ``events`` by their names. A list that everybody has left is none to a tool's counts."""
    found: dict[str, Any] = {**dict.fromkeys(profiles.values(), 0), lists: {}, events: {}}
    for sync, groups in counts.items():
        if sync.spec.kind == "profile":
            found[profiles[sync.spec.object]] += sum(groups.values())
        elif sync.spec.kind == "trigger":
            found[events][event_name(sync)] = sum(groups.values())
        else:
            found[lists] |= {sync.list_of(group or None): n for group, n in groups.items() if n}
    return found
