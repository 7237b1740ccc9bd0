"""Marketo Engage: leads, companies, static lists, triggered smart campaigns.

Contract: Marketo's REST specification (lead database, static lists, campaigns, activities) and its
static list asset. Every answer is a 200; what failed is in its body. A column becomes the field of
the same API or display name, compared without case, blanks and underscores. A contact is a lead,
found by its Marketo id where we know it, else by its address. A trigger requests the smart campaign
of its name; its columns are the tokens ``{{my.<column>}}`` of that run.

Options: ``calls_in_20_s`` (default 50 of the 100 there are, as Marketo advises), ``calls_a_day``
(default 50,000), ``partition``, ``list_folder`` (id of the folder in which missing lists are made).
Credentials: ``client_id``, ``client_secret``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import ExternalIds, Feedback, Limits, Person, before_sending
from reverse_etl.destinations.marketo_instance import GONE, InFlight, Instance, reading
from reverse_etl.errors import Refused
from reverse_etl.http import HttpClient
from reverse_etl.naming import ROUTING, address, plain
from reverse_etl.outcomes import DELIVERED, Outcome, in_order, of_each, of_person
from reverse_etl.people_tool import EVERYBODY, PEOPLE, PeopleTool, Row, lacking
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json, as_plain, as_text

_ROWS: dict[Kind, int] = {"profile": 300, "segment": 300, "trigger": 100}
_NO_COMPANY = "1013"
_OWN = frozenset({"customer_id", "contact_id"})


class Marketo(PeopleTool):
    """One instance. A campaign request has no dedupe field, so it is sent at most once."""

    tool = "Marketo"
    can_only_change = True
    tells_ids = True
    lost = frozenset({GONE})
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": EVERYBODY,
        "segment": PEOPLE,
        "trigger": EVERYBODY,
    }
    words = ({"contact": "leads", "customer": "companies"}, "lists", "campaigns")
    finds_by_address = frozenset({"profile", "segment", "trigger"})
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {"profile": frozenset({"unsubscribed"})}

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._instance = Instance(config, lambda: self._client, lambda: self.budget)
        self._in_flight = InFlight()

    def limits(self, kind: Kind) -> Limits:
        """300 leads, or 100 leads of a campaign request, a call; 10 calls at a time; 50,000 calls
        a day, which others with the same instance share."""
        window = Window(int(options.number(self.config, "calls_in_20_s", 50)), 20.0)
        return Limits(
            batch_rows=_ROWS[kind],
            batch_bytes=900_000,
            windows=(window,),
            concurrency=8,
            timeout=60,
            daily=int(options.number(self.config, "calls_a_day", 50_000)),
        )

    def batches(self, kind: Kind, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """A campaign request has one set of tokens and takes a lead once: rows that differ in
        their tokens, and a contact's second row, go in calls of their own."""
        if kind != "trigger":
            yield from super().batches(kind, changes)
            return
        calls: dict[tuple[bytes, int], list[Change]] = {}
        seen: dict[tuple[bytes, Any], int] = {}
        for change in changes:
            tokens = as_json(_tokens(change))
            who = (tokens, change.payload.get("contact_id"))
            seen[who] = seen.get(who, -1) + 1
            calls.setdefault((tokens, seen[who]), []).append(change)
        for alike in calls.values():
            yield from super().batches(kind, alike)

    def missing_for(self, sync: Sync) -> list[str]:
        """Fields, campaigns, and lists where they cannot be made."""
        spec = sync.spec
        if spec.kind == "trigger" and not self._instance.campaign(sync.event_name):
            return [
                f"{sync.file}: there is no active smart campaign {sync.event_name!r} that may be "
                'requested. Create it in Marketo with the trigger "Campaign is Requested", source '
                "Web Service API, and activate it."
            ]
        if spec.kind == "segment" and not spec.group_key and not self._folder:
            there = self._instance.list_id(sync.list_name)
            return [] if there else [self._no_list(sync.list_name, sync.file)]
        if spec.kind == "profile":
            fields = self._instance.fields(spec.object)
            absent = [c for c in sync.columns if c != spec.key and plain(c) not in fields]
            return lacking(sync, absent, "Marketo has no field", "Admin > Field Management")
        return []

    # How the instance is spoken to

    def remembered(self, object_: str, identities: Iterable[str]) -> dict[str, str]:
        """Companies are found by our own id."""
        if object_ == "customer":
            return {identity: identity for identity in identities}
        return super().remembered(object_, identities)

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Marketo knows nobody by our id."""
        return {}

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Leads we know by their id, so that a changed address moves along; the others, and those
        merged or deleted since, by their address."""
        if sync.spec.object == "customer":
            return self._write_companies(sync, rows)
        ids = self.remembered("contact", [row.identity for row in rows.values()])
        known = {key: row for key, row in rows.items() if row.identity in ids}
        found = self._write_leads(sync, known, "updateOnly", "id", ids)
        others, addresses = {}, {}
        for key, row in rows.items():
            if key in known and found[key].code != GONE:
                continue
            if row.mode == "clear":
                found[key] = DELIVERED.of(key)
            elif not row.email:
                words = "The row has no e-mail address."
                found[key] = Outcome(key, "rejected", "address", words)
            else:
                others[key], addresses[row.identity] = row, row.email
        makes = all(row.mode == "upsert" for row in others.values())
        action = "createOrUpdate" if makes else "updateOnly"
        found |= self._write_leads(sync, others, action, "email", addresses)
        return [found[key] for key in rows]

    def _write_leads(
        self,
        sync: Sync,
        rows: Mapping[str, Row],
        action: str,
        lookup: str,
        found_by: Mapping[str, str],
    ) -> dict[str, Outcome]:
        """Leads found by id or address, which ``found_by`` has by our id."""
        if not rows:
            return {}
        typed = int if lookup == "id" else str
        inputs = [
            self._fields(sync, row) | {lookup: typed(found_by[row.identity])}
            for row in rows.values()
        ]
        body = {"action": action, "lookupField": lookup, "input": inputs}
        if lookup == "email" and self.config.option("partition"):
            body["partitionName"] = self.config.option("partition")
        with self._in_flight.alone(found_by[row.identity] for row in rows.values()):
            results = self._instance.call("POST", "/rest/v1/leads.json", body)["result"]
        pairs = zip(rows.values(), results, strict=False)
        self.remember("contact", {row.identity: str(r["id"]) for row, r in pairs if "id" in r})
        return in_order(self.tool, list(rows), results, reading)

    def _write_companies(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """What makes companies goes apart from what only changes them."""
        outcomes = []
        for makes, action in ((True, "createOrUpdate"), (False, "updateOnly")):
            some = {key: row for key, row in rows.items() if (row.mode == "upsert") == makes}
            if not some:
                continue
            owners = [row.identity for row in some.values()]
            inputs = [
                self._fields(sync, row) | {"externalCompanyId": row.identity}
                for row in some.values()
            ]
            body = {"action": action, "dedupeBy": "dedupeFields", "input": inputs}
            with self._in_flight.alone(owners):
                results = self._instance.call("POST", "/rest/v1/companies.json", body)["result"]
            for key, told in in_order(self.tool, list(some), results, reading).items():
                is_cleared = some[key].mode == "clear" and told.code == _NO_COMPANY
                outcomes.append(DELIVERED.of(key) if is_cleared else told)
        return outcomes

    def _fields(self, sync: Sync, row: Row) -> dict[str, Any]:
        """A row by the instance's names of fields, our id too where it has a field."""
        fields = self._instance.fields(sync.spec.object)
        own = {} if row.mode == "clear" else {sync.spec.key: row.identity}
        columns = {**own, **row.attributes}
        given = {fields[plain(n)]: v for n, v in columns.items() if plain(n) in fields}
        return {name: as_plain(value) for name, value in given.items() if name != "unsubscribed"}

    def find_list(self, object_: str, name: str) -> str | None:
        """See PeopleTool."""
        return self._instance.list_id(name)

    def make_list(self, object_: str, name: str) -> str:
        """In the folder that the options name. Raises Refused where they name none."""
        if not self._folder:
            raise Refused(self._no_list(name, self.config.origin), code="list")
        folder = {"id": int(self._folder), "type": "Folder"}
        form = urlencode({"name": name, "folder": as_json(folder).decode()}).encode()
        [made] = self._instance.call("POST", "/rest/asset/v1/staticLists.json", form=form)["result"]
        return str(made["id"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """See PeopleTool."""
        told: dict[str, Outcome] = {}
        for method, leads in (("POST", joining), ("DELETE", leaving)):
            if leads:
                query = urlencode({"id": leads}, doseq=True)
                path = f"/rest/v1/lists/{list_id}/leads.json?{query}"
                body = {"input": [{"id": int(lead)} for lead in leads]}
                results = self._instance.call(method, path, body)["result"]
                told |= in_order(self.tool, leads, results, reading)
        return told

    def addressees(self, batch: Sequence[Change]) -> dict[str, str]:
        """Leads from the ledger, else asked for by address."""
        contacts = {c.key: str(c.payload.get("contact_id")) for c in batch}
        known = self.remembered("contact", contacts.values())
        asked = {address(c) for c in batch if contacts[c.key] not in known} - {""}
        leads = self._instance.leads("email", asked)
        found = {lead["email"].lower(): str(lead["id"]) for lead in reversed(leads)}
        ids = {c.key: known.get(contacts[c.key]) or found.get(address(c), "") for c in batch}
        there = {key: lead for key, lead in ids.items() if lead}
        self.remember("contact", {contacts[key]: lead for key, lead in there.items()})
        return there

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """One campaign request, all or nothing."""
        with before_sending():
            campaign = self._instance.campaign(sync.event_name)
        if not campaign:
            raise Refused(f"There is no active campaign {sync.event_name!r} to request.")
        changes = [change for change, _ in events.values()]
        tokens = [{"name": f"{{{{my.{n}}}}}", "value": v} for n, v in _tokens(changes[0]).items()]
        leads = [{"id": int(lead)} for _, lead in events.values()]
        body = {"input": {"leads": leads, "tokens": tokens}}
        try:
            self._instance.call("POST", f"/rest/v1/campaigns/{campaign}/trigger.json", body)
        except Refused as refused:
            if refused.code == GONE:
                self.forget("contact", [str(c.payload.get("contact_id")) for c in changes])
            raise
        return of_each(DELIVERED, events)

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. All leads with the address go, duplicates too."""
        leads = [{"id": int(lead)} for leads in self._leads_of(people).values() for lead in leads]
        for some in in_pieces(leads, _ROWS["profile"]):
            self._instance.call("POST", "/rest/v1/leads/delete.json", {"input": some})
        return of_each(DELIVERED, [person.contact_id for person in people])

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Every lead with the address."""
        owned = self._leads_of(people)
        told: dict[str, Outcome] = {}
        for some in in_pieces(
            {lead for leads in owned.values() for lead in leads}, _ROWS["profile"]
        ):
            inputs = [{"id": int(lead), "unsubscribed": True} for lead in some]
            body = {"action": "updateOnly", "lookupField": "id", "input": inputs}
            results = self._instance.call("POST", "/rest/v1/leads.json", body)["result"]
            told |= in_order(self.tool, some, results, reading)
        return [
            of_person(person, [told[lead] for lead in leads if told[lead].code != GONE])
            for person, leads in owned.items()
        ]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See Instance."""
        return self._instance.feedback(since)

    def _leads_of(self, people: Sequence[Person]) -> dict[str, set[str]]:
        """Every lead of a person, by contact_id."""
        known = self.remembered("contact", [person.contact_id for person in people])
        found = {p.contact_id: {known.get(p.contact_id, "")} - {""} for p in people}
        by_email = {person.email: person.contact_id for person in people if person.email}
        for lead in self._instance.leads("email", by_email):
            if owner := by_email.get(str(lead.get("email")).lower()):
                found[owner].add(str(lead["id"]))
        return found

    # What is configured

    @property
    def _folder(self) -> str:
        if self.config.option("list_folder") is None:
            return ""
        return str(int(options.number(self.config, "list_folder", 0)))

    def _no_list(self, name: str, where: str) -> str:
        return (
            f"{where}: there is no static list {name!r}. Create it in Marketo under Database > "
            f"Group Lists, or set {self.config.origin}.options.list_folder, so that it is made."
        )

    @property
    def _client(self) -> HttpClient:
        return self.client({}, [self.config.credential("client_secret")])


def _tokens(change: Change) -> dict[str, str]:
    kept = {n: v for n, v in change.payload.items() if n not in ROUTING | _OWN}
    return {name: as_text(value) for name, value in kept.items()}
