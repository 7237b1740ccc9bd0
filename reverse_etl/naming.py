"""How our names meet a tool's: columns and its fields, segments and its lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reverse_etl.planner import Change
from reverse_etl.spec import Sync


def plain(name: str) -> str:
    """A name as it is compared with a tool's field: lower case, only letters and digits, without
    the ``__c`` that Salesforce ends custom names with."""
    return re.sub(r"[\W_]", "", re.sub(r"__c$", "", name)).lower()


def list_name(sync: Sync, group: str | None) -> str:
    """The name of a segment's list; each group has a list of its own."""
    return f"{sync.list_name}: {group}" if group else sync.list_name


def by_group(changes: Iterable[Change]) -> dict[str | None, list[Change]]:
    """Changes of a segment by the value of its group_key."""
    groups: dict[str | None, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.group, []).append(change)
    return groups


def address(change: Change) -> str:
    """The row's e-mail address in lower case; empty where it has none."""
    return str(change.payload.get("email") or "").strip().lower()


def totals(
    counts: Mapping[Sync, Mapping[str, int]], profiles: Mapping[str, str], lists: str, events: str
) -> dict[str, Any]:
    """Acknowledged rows in a tool's words: ``profiles`` by object (contact, customer), ``lists``
    and ``events`` by their names."""
    found: dict[str, Any] = {**dict.fromkeys(profiles.values(), 0), lists: {}, events: {}}
    for sync, groups in counts.items():
        if sync.spec.kind == "profile":
            found[profiles[sync.spec.object]] += sum(groups.values())
        elif sync.spec.kind == "trigger":
            found[events][sync.event_name] = sum(groups.values())
        else:
            found[lists] |= {list_name(sync, group or None): n for group, n in groups.items()}
    return found
