"""What tools that keep people have in common: profiles by our id, lists of them, events about them.

A subclass says how its tool is asked and written to. What must hold whatever the tool is stands
here: nobody is made by an update, a removal or an event; who is not there is refused and not
dropped in silence; a column never changes who may be written to; a first run starts nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import Action, Destination, ExternalIds, before_sending
from reverse_etl.errors import Refused, UserError
from reverse_etl.http import HttpClient, Learn
from reverse_etl.naming import by_list, plain, totals
from reverse_etl.once import Once
from reverse_etl.outcomes import DELIVERED, Outcome
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_address

PEOPLE = frozenset({"contact"})
EVERYBODY = frozenset({"contact", "customer"})
_KINDS: tuple[Kind, ...] = ("profile", "segment", "trigger")


@dataclass(frozen=True)
class Row:
    """What somebody is to have: our id, and attributes by name. Null takes one away. Only upsert
    makes somebody who is not there."""

    identity: str
    attributes: Mapping[str, Any]
    mode: Literal["upsert", "update", "clear"] = "upsert"

    @property
    def email(self) -> str:
        """The address in lower case; empty where the row has none."""
        return as_address(self.attributes.get("email"))


class PeopleTool(Destination):
    """One account of such a tool. Making one neither connects nor asks for a credential."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear"}),  # who is made anew lost their opt-out
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }

    # What a tool declares of itself

    tool: ClassVar[str]
    """As its people call it."""
    account_option: ClassVar[str | None] = None
    """The option that tells accounts behind one address apart: another value, another memory."""
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = dict.fromkeys(_KINDS, PEOPLE)
    """Whom a model of each kind may be about: contacts, customers."""
    words: ClassVar[tuple[Mapping[str, str], str, str]] = (
        {"contact": "people", "customer": "customers"},
        "lists",
        "events",
    )
    """What the tool calls what it keeps: contacts and customers, lists, events."""
    finds_by_address: ClassVar[frozenset[Kind]] = frozenset()
    """Kinds of which a contact's row must have an address, as the tool knows nobody without."""
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {}
    """Columns, as written or in plain form, that the tool reads as its own: who somebody is, or may
    be written to."""
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]] = {}
    """Calls in seconds that the vendor allows, by the part of the API that they are counted for."""
    can_only_change: ClassVar[bool] = False
    """The tool can be told to make nobody by a write; others are asked first who is there."""
    tells_ids: ClassVar[bool] = False
    """``write`` learns the tool's own id of everybody it wrote, so nobody is asked for after it."""
    drops_events: ClassVar[bool] = False
    """Events of people that the tool no longer has are taken and dropped without a word, so it is
    asked for them each time."""
    lost: ClassVar[frozenset[str]] = frozenset()
    """Codes by which the tool says that an id leads nowhere: it is asked for again at the next try,
    and nobody has to be taken out of a list who is gone."""
    makes_members: ClassVar[bool] = True
    """Who is not there is made to be in a list, of id and address alone."""

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self.baselines: set[str] = set()
        """Syncs whose first run this is."""
        self.lists = Once[str]()
        """The tool's own ids of lists, by object and name."""

    # How the tool is spoken to

    @abstractmethod
    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """The tool's own ids of those contacts or customers it has, by our id, which is in the
        column ``key``."""

    @abstractmethod
    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Create or change people; an outcome for each key."""

    @abstractmethod
    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """Events of people by the tool's own id; an outcome for each key."""

    def archive(self, sync: Sync, rows: Mapping[str, str]) -> list[Outcome]:
        """Put away people by the tool's own id; an outcome for each key."""
        raise NotImplementedError

    def find_list(self, object_: str, name: str) -> str | None:
        """The tool's id of a list that can be filled, if there is one of that name."""
        raise NotImplementedError

    def make_list(self, object_: str, name: str) -> str:
        """Make a list, and give its id."""
        raise NotImplementedError

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """Put people into a list and take others out, by the tool's own ids, whether they are in it
        or not; gives what became of those who could not be. Raises Refused with code 404 when the
        list or somebody is no longer there."""
        raise NotImplementedError

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """See check: what this tool alone asks for."""
        return [line for sync in syncs for line in self.missing_for(sync)]

    def missing_for(self, sync: Sync) -> Iterable[str]:
        """See check: what one sync needs and does not find."""
        return ()

    def kept(self, sync: Sync) -> frozenset[str]:
        """Columns that clearing leaves as they are."""
        return frozenset({"email"})

    # What holds for all

    @property
    def account(self) -> str:
        """One address serves many accounts: they differ by what the option says."""
        address = super().account
        option = self.account_option
        return f"{address}:{self.config.option(option, '')}" if option else address

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """In the tool's words: people, customers, lists by name, events by name."""
        return totals(counts, *self.words)

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
        if spec.object not in self.takes[spec.kind]:
            return [f"{sync.file}: {self.tool} takes people here: meta.sync.object: contact."]
        is_of_people = spec.kind != "profile" or spec.object == "contact"
        lines = []
        if is_of_people and spec.kind in self.finds_by_address and "email" not in sync.columns:
            lines.append(f"{sync.file}: {self.tool} needs the column email.")
        taken = self.reserved.get(spec.kind, frozenset())
        names = [n for n in sync.columns if n != spec.key and not taken.isdisjoint((n, plain(n)))]
        return lines + [
            f"{sync.file}: {self.tool} reads {name} as its own (who somebody is, or may be written "
            "to: opt-outs go one way). Rename the column."
            for name in sorted(names)
        ]

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "profile":
            return self._send_profiles(sync, batch)
        if sync.spec.kind == "trigger":
            return self.send_events(sync, batch)
        lists = by_list(sync, batch).items()
        return [o for name, some in lists for o in self._change_list(sync, name, some)]

    def _send_profiles(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Mode update makes nobody, and neither does clearing."""
        spec, is_update = sync.spec, sync.spec.mode == "update"
        kept = self.kept(sync) | {spec.key}
        asked = [c.identity for c in batch if is_update or c.action == "remove"]
        if self.can_only_change:
            there = self.remembered(spec.object, asked)
        else:
            there = self.known(spec.object, spec.key, asked)
        outcomes, archived, rows = [], {}, {}
        for change in batch:
            identity, own = change.identity, there.get(change.identity)
            if change.action != "remove":
                if is_update and not own and not self.can_only_change:
                    outcomes.append(self.absent(change.key, "update makes nobody"))
                    continue
                given = {name: v for name, v in change.payload.items() if name != spec.key}
                rows[change.key] = Row(identity, given, "update" if is_update else "upsert")
            elif not own:
                outcomes.append(Outcome(change.key, "delivered", "absent"))
            elif spec.removal == "archive":
                archived[change.key] = own
            else:
                emptied = dict.fromkeys(name for name in sync.columns if name not in kept)
                rows[change.key] = Row(identity, emptied, "clear")
        outcomes += self.archive(sync, archived) if archived else []
        return outcomes + (self.write(sync, rows) if rows else [])

    def send_events(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """An event of somebody unknown would make somebody without an address, or be dropped."""
        with before_sending():
            there = self.addressees(batch)
        why = "its profile has to be sent first"
        refused = [self.absent(change.key, why) for change in batch if change.key not in there]
        events = {c.key: (c, there[c.key]) for c in batch if c.key in there}
        return refused + (self.record(sync, events) if events else [])

    def addressees(self, batch: Sequence[Change]) -> dict[str, str]:
        """The tool's own id of whom each event is about, by the event's key."""
        people = {c.key: str(c.payload.get("contact_id") or "") for c in batch}
        named = [person for person in people.values() if person]
        there = self.known("contact", "contact_id", named, is_fresh=self.drops_events)
        return {key: there[person] for key, person in people.items() if person in there}

    def _change_list(self, sync: Sync, name: str, changes: Sequence[Change]) -> list[Outcome]:
        try:
            return self.change_list(sync, name, changes)
        except Refused as fault:
            if fault.code != "404":
                raise
        self.lists.forget((sync.spec.object, name))  # the list or somebody was deleted meanwhile
        return self.change_list(sync, name, changes, is_fresh=True)

    def change_list(
        self, sync: Sync, name: str, changes: Sequence[Change], *, is_fresh: bool = False
    ) -> list[Outcome]:
        """Who is not there is made first, of id and address; who is then not shown has to wait, as
        tools leave out in silence whom they do not know. Nobody else's members are touched."""
        object_, key = sync.spec.object, sync.spec.key
        joining = [change for change in changes if change.action != "remove"]
        ids = self.known(object_, key, [c.identity for c in changes], is_fresh=is_fresh)
        failed: dict[str, Outcome] = {}
        absent = [change for change in joining if change.identity not in ids]
        if not self.makes_members:
            why = "its profile has to be sent first"
            failed = {c.identity: self.absent(c.key, why) for c in absent}
        elif absent:
            made = self._make_members(sync, absent)
            failed = {o.key: o for o in made if not o.is_delivered}
            ids |= self.known(
                object_,
                key,
                [c.identity for c in absent if c.identity not in failed],
                is_fresh=not self.tells_ids,
            )
        out = [change for change in changes if change.action == "remove"]
        people = [[ids[c.identity] for c in some if c.identity in ids] for some in (joining, out)]
        if any(people):
            list_id = self.list_id(object_, name)
            told = self.change_members(list_id, *people)
            failed |= {i: told[own] for i, own in ids.items() if own in told}
            self.forget(object_, [i for i, o in failed.items() if o.code in self.lost])
        words = f"{self.tool} has taken this person and does not show them yet."
        waiting = Outcome("", "retryable", "waiting", words)
        outcomes = []
        for change in changes:
            outcome = failed.get(change.identity)
            is_gone = outcome is None and change.identity not in ids
            if change.action == "remove" and (is_gone or (outcome and outcome.code in self.lost)):
                outcome = DELIVERED  # who is not there is no member
            outcomes.append((outcome or (waiting if is_gone else DELIVERED)).of(change.key))
        return outcomes

    def _make_members(self, sync: Sync, absent: Sequence[Change]) -> list[Outcome]:
        rows = {
            c.identity: Row(c.identity, {n: v for n, v in c.payload.items() if n == "email" and v})
            for c in absent
        }
        pieces = in_pieces(rows.items(), self.limits("profile").batch_rows)
        return [outcome for some in pieces for outcome in self.write(sync, dict(some))]

    def list_id(self, object_: str, name: str) -> str:
        """The tool's id of the list of that name, made where there is none."""
        return self.lists.of(
            (object_, name),
            lambda: self.find_list(object_, name) or self.make_list(object_, name),
        )

    def absent(self, key: str, why: str) -> Outcome:
        """The outcome of a row about somebody the tool does not have."""
        return Outcome(key, "rejected", "absent", f"{self.tool} does not have this person; {why}.")

    # The tool's own ids

    def known(
        self, object_: str, key: str, identities: Iterable[str], *, is_fresh: bool = False
    ) -> dict[str, str]:
        """The tool's own ids by ours: from the ledger, unless it was wrong, else asked for."""
        wanted = list(dict.fromkeys(identities))
        found = {} if is_fresh else self.remembered(object_, wanted)
        asked = [identity for identity in wanted if identity not in found]
        learned = self.look_up(object_, key, asked) if asked else {}
        self.remember(object_, learned)
        return found | learned

    def remembered(self, object_: str, identities: Iterable[str]) -> dict[str, str]:
        """The tool's own ids as far as the ledger has them."""
        kept = self.ids.external_ids(self.account, self.words[0][object_], identities)
        return {identity: own for identity, own in kept.items() if own}

    def remember(self, object_: str, ids: Mapping[str, str]) -> None:
        """Keep the tool's own ids for later runs."""
        if ids:
            self.ids.remember_external_ids(self.account, self.words[0][object_], ids)

    def forget(self, object_: str, identities: Iterable[str]) -> None:
        """These ids lead nowhere any more: they are asked for again at the next try."""
        self.remember(object_, dict.fromkeys(identities, ""))

    # Connections

    def client_of(
        self,
        part: str,
        headers: Mapping[str, str],
        secrets: Sequence[str],
        learn: Learn = lambda headers, budget: None,
        *,
        tier: str = "",
        url: str | None = None,
    ) -> HttpClient:
        """The client of a part of the API that has limits of its own, those documented for ``tier``
        if not for itself. What a tool tells in whole seconds is coarser than the windows it
        documents, so it is not learned unless asked for."""
        pace = self.budgets.budget(self.account, part, self.windows(tier or part), None)
        return self.client(headers, secrets, part=part, pace=pace, learn=learn, url=url)

    def windows(self, part: str) -> tuple[Window, ...]:
        """As documented, or as option ``windows`` says: ``{part: [[calls, seconds], ...]}``."""
        written = self.config.option("windows") or {}
        if strange := sorted(set(written) - set(self.documented)):
            raise options.unknown(self.config, "options.windows", strange[0], self.documented)
        try:
            pairs = written.get(part, self.documented[part])
            return tuple(Window(int(calls), float(seconds)) for calls, seconds in pairs)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.config.origin}.options.windows.{part} must be a list of [calls, seconds]."
            ) from None


def lacking(sync: Sync, columns: Sequence[str], what: str, place: str) -> list[str]:
    """The line about columns that have no field of theirs in the tool; none without any."""
    names = ", ".join(columns)
    fix = f"Create under {place}, or remove the column from the model."
    return [f"{sync.file}: {what} {names}. {fix}"] if columns else []
