"""What tools that keep people have in common: profiles by our id, lists of them, events about them.

A subclass says how its tool is asked and written to. What must hold whatever the tool is stands
here: nobody is made by an update, a removal or an event; who is not there is refused and not
dropped in silence; a column never changes who may be written to; a first run starts nothing.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import (
    Action,
    Destination,
    ExternalIds,
    Outcome,
    unknown_option,
)
from reverse_etl.errors import Refused, UserError
from reverse_etl.http import HttpClient
from reverse_etl.naming import by_list, totals
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window
from reverse_etl.spec import Kind, Sync


@dataclass(frozen=True)
class Row:
    """What somebody is to have: our id, and attributes by name. Null takes one away."""

    identity: str
    attributes: Mapping[str, Any]


class PeopleTool(Destination):
    """One account of such a tool. Making one neither connects nor asks for a credential."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear"}),  # who is made anew lost their opt-out
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }
    tool: ClassVar[str]
    """As its people call it."""
    account_option: ClassVar[str]
    """The option that tells accounts behind one address apart: another value, another memory."""
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {}
    """Columns that the tool reads as its own: who somebody is, or may be written to."""
    keeps_customers: ClassVar[bool] = False
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]]
    """Calls in seconds that the vendor allows, by the part of the API that they are counted for."""

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self.baselines: set[str] = set()
        """Syncs whose first run this is."""
        self._lists: dict[str, str] = {}
        self._lists_lock = threading.Lock()
        self._clients: dict[str, HttpClient] = {}
        self._clients_lock = threading.Lock()

    # How the tool is spoken to

    @abstractmethod
    def look_up(self, identities: Sequence[str]) -> dict[str, str]:
        """The tool's own ids of those people it has, by our id."""

    @abstractmethod
    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Create or change people; an outcome for each key."""

    @abstractmethod
    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """Events of people by the tool's own id; an outcome for each key."""

    def find_list(self, name: str) -> str | None:
        """The tool's id of a list that can be filled, if there is one of that name."""
        raise NotImplementedError

    def make_list(self, name: str) -> str:
        """Make a list, and give its id."""
        raise NotImplementedError

    def change_members(self, list_id: str, method: str, people: Sequence[str]) -> None:
        """``add`` or ``remove`` people, by the tool's own ids, who are in the list or not. Raises
        Refused with code 404 when the list or somebody is no longer there."""
        raise NotImplementedError

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """See check: what this tool alone asks for."""
        return []

    # What holds for all

    @property
    def account(self) -> str:
        """One address serves many accounts: they differ by what the option says."""
        return f"{super().account}:{self.config.option(self.account_option, '')}"

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the tool counts: people, customers, lists by name, events by name."""
        profiles = {"contact": "people", "customer": "customers"}
        return totals(counts, profiles, "lists", "events")

    def begin(self, sync: Sync, *, baseline: bool) -> None:
        """See Destination."""
        if baseline:
            self.baselines.add(sync.id)

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Columns that would mean something else in the tool, and what the tool itself misses.
        Missing lists are made while sending."""
        self.config.require_credentials()
        return [line for sync in syncs for line in self._misplaced(sync)] + self.missing(syncs)

    def _misplaced(self, sync: Sync) -> list[str]:
        spec = sync.spec
        if spec.object == "customer" and not (self.keeps_customers and spec.kind == "profile"):
            return [f"{sync.file}: {self.tool} takes people here: meta.sync.object: contact."]
        taken = self.reserved.get(spec.kind, frozenset()).intersection(sync.columns) - {spec.key}
        return [
            f"{sync.file}: {self.tool} reads {name} as its own (who somebody is, or may be written "
            "to). Rename the column."
            for name in sorted(taken)
        ]

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "profile":
            return self._send_profiles(sync, batch)
        if sync.spec.kind == "trigger":
            return self._send_events(sync, batch)
        lists = by_list(sync, batch).items()
        return [o for name, some in lists for o in self.change_list(sync, name, some)]

    def _send_profiles(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Mode update makes nobody, and neither does clearing."""
        spec, kept = sync.spec, {sync.spec.key, "email"}
        is_update = spec.mode == "update"
        there = self.known([c.identity for c in batch if is_update or c.action == "remove"])
        outcomes, rows = [], {}
        for change in batch:
            if change.action == "remove" and change.identity not in there:
                outcomes.append(Outcome(change.key, "delivered", "absent"))
            elif is_update and change.identity not in there:
                outcomes.append(self._absent(change.key, "update makes nobody"))
            else:
                emptied = dict.fromkeys(name for name in sync.columns if name not in kept)
                row = emptied if change.action == "remove" else change.payload
                attributes = {name: value for name, value in row.items() if name != spec.key}
                rows[change.key] = Row(change.identity, attributes)
        return outcomes + (self.write(sync, rows) if rows else [])

    def _send_events(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """An event of somebody unknown would make somebody without an address, or be dropped."""
        people = {c.key: str(c.payload.get("contact_id") or "") for c in batch}
        there = self.known([person for person in people.values() if person])
        refused = [
            self._absent(change.key, "the profile has to be sent first")
            for change in batch
            if people[change.key] not in there
        ]
        events = {c.key: (c, there[people[c.key]]) for c in batch if people[c.key] in there}
        return refused + (self.record(sync, events) if events else [])

    def change_list(
        self, sync: Sync, name: str, changes: Sequence[Change], *, is_fresh: bool = False
    ) -> list[Outcome]:
        """Who is not there is made first, of id and address; who is then not shown has to wait, as
        tools leave out in silence whom they do not know. Nobody else's members are touched."""
        ids = self.known([change.identity for change in changes], is_fresh=is_fresh)
        rows = {
            c.identity: Row(c.identity, {n: v for n, v in c.payload.items() if n == "email" and v})
            for c in changes
            if c.action != "remove" and c.identity not in ids
        }
        made = self.write(sync, rows) if rows else []
        refused = {o.key: o for o in made if o.status != "delivered"}
        ids |= self.known((i for i in rows if i not in refused), is_fresh=True)
        try:
            for method in ("remove", "add"):
                people = [
                    ids[c.identity]
                    for c in changes
                    if c.identity in ids and (c.action == "remove") == (method == "remove")
                ]
                if people:
                    self.change_members(self._list_id(name), method, people)
        except Refused as fault:
            if fault.code != "404" or is_fresh:
                raise
            with self._lists_lock:
                self._lists.pop(name, None)  # the list or somebody was deleted meanwhile
            return self.change_list(sync, name, changes, is_fresh=True)
        return [self._of_member(change, ids, refused.get(change.identity)) for change in changes]

    def _of_member(self, change: Change, ids: Mapping[str, str], failed: Outcome | None) -> Outcome:
        if failed:
            return Outcome(change.key, failed.status, failed.code, failed.message)
        if change.identity in ids or change.action == "remove":
            return Outcome(change.key, "delivered")
        words = f"{self.tool} has taken this person and does not show them yet."
        return Outcome(change.key, "retryable", "waiting", words)

    def _absent(self, key: str, why: str) -> Outcome:
        return Outcome(key, "rejected", "absent", f"{self.tool} does not have this person; {why}.")

    def known(self, identities: Iterable[str], *, is_fresh: bool = False) -> dict[str, str]:
        """The tool's own ids by ours: from the ledger, unless it was wrong, else asked for."""
        wanted = list(dict.fromkeys(identities))
        found = {} if is_fresh else self.ids.external_ids(self.account, "people", wanted)
        asked = [identity for identity in wanted if identity not in found]
        learned = self.look_up(asked) if asked else {}
        self.remember(learned)
        return found | learned

    def remember(self, ids: Mapping[str, str]) -> None:
        """Keep the tool's own ids for later runs."""
        if ids:
            self.ids.remember_external_ids(self.account, "people", ids)

    def _list_id(self, name: str) -> str:
        with self._lists_lock:
            if name not in self._lists:
                self._lists[name] = self.find_list(name) or self.make_list(name)
            return self._lists[name]

    # Connections

    def client(
        self,
        part: str,
        windows: Sequence[Window],
        headers: Mapping[str, str],
        secrets: Sequence[str],
        learn: Callable[[Mapping[str, str], RateBudget], None] = lambda headers, budget: None,
        *,
        url: str | None = None,
    ) -> HttpClient:
        """The client of a part of the API that has limits of its own. What a tool tells in whole
        seconds is coarser than the windows it documents, so it is not learned unless asked for."""
        with self._clients_lock:
            if part not in self._clients:
                self._clients[part] = HttpClient(
                    url or self.config.base_url,
                    self.budgets.budget(self.account, part, windows, None),
                    headers=headers,
                    secrets=secrets,
                    read_seconds=60.0,
                    learn=learn,
                )
            return self._clients[part]

    def windows(self, part: str) -> tuple[Window, ...]:
        """As documented, or as option ``windows`` says: ``{part: [[calls, seconds], ...]}``."""
        written = self.config.option("windows") or {}
        if strange := sorted(set(written) - set(self.documented)):
            raise unknown_option(self.config, "options.windows", strange[0], self.documented)
        try:
            pairs = written.get(part, self.documented[part])
            return tuple(Window(int(calls), float(seconds)) for calls, seconds in pairs)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.config.origin}.options.windows.{part} must be a list of [calls, seconds]."
            ) from None

    def close(self) -> None:
        """Let go of connections."""
        for client in self._clients.values():
            client.close()
