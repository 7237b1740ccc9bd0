"""Salesforce: contacts, accounts, campaign members, and tasks for owners.

Contract: the REST API (sObject collections, query, describe) and OAuth client credentials. A 200
holds one result a record, in the order of the request. A column becomes the field of the same
name, compared without case, underscores and the ending ``__c``; the key is an external id field. A
contact hangs on the account of its ``customer_id``, made from ``customer_name`` where it is absent.
A segment is a campaign; only members that this integration made are ever taken out. A trigger is a
task of the owner.

Options: ``api_version`` (default 62.0), ``daily_share`` of the day's calls after which to stop
(default 0.9), ``due_days`` of a task (default 3). Credentials: ``client_id``, ``client_secret``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import (
    ExternalIds,
    Feedback,
    Limits,
    Person,
    before_sending,
)
from reverse_etl.destinations.salesforce_org import (
    LOST,
    MOST_RECORDS,
    OPTED_OUT,
    Org,
    listed,
    quoted,
)
from reverse_etl.http import HttpClient
from reverse_etl.naming import owner, plain, told, words
from reverse_etl.outcomes import DELIVERED, Outcome, of_each, of_person
from reverse_etl.people_tool import EVERYBODY, PEOPLE, PeopleTool, Row, lacking
from reverse_etl.planner import Change
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_plain, as_utc

_OBJECTS = {"contact": "Contact", "customer": "Account"}
_COLLECTION = "/composite/sobjects"
_REQUIRED = ("name", "lastname")
_ERASED_TYPES = frozenset({"string", "email", "phone", "textarea", "url", "date", "address"})


class Salesforce(PeopleTool):
    """One org. Tasks have no dedupe field, so a task is made at most once."""

    tool = "Salesforce"
    tells_ids = True
    makes_members = False
    lost = LOST
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": EVERYBODY,
        "segment": PEOPLE,
        "trigger": EVERYBODY,
    }
    words = ({"contact": "contacts", "customer": "accounts"}, "campaigns", "tasks")
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {"profile": frozenset({plain(OPTED_OUT)})}

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._org = Org(config, lambda: self._client)

    def limits(self, kind: Kind) -> Limits:
        """200 records a call; a day's calls are learned from each answer, seconds are not limited.
        25 calls may last longer than 20 s at a time, of which 4 are used."""
        return Limits(batch_rows=MOST_RECORDS, batch_bytes=4_000_000, concurrency=4, timeout=120.0)

    def kept(self, sync: Sync) -> frozenset[str]:
        """The name stays, which Salesforce requires."""
        return frozenset(column for column in sync.columns if plain(column) in _REQUIRED)

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """Fields, external ids, and the columns that tasks need. Missing campaigns are made."""
        _ = self._org.daily_share, self._org.login.token()
        return super().missing(syncs)

    def missing_for(self, sync: Sync) -> Iterator[str]:
        """See PeopleTool."""
        spec = sync.spec
        if spec.kind == "trigger":
            if "owner_email" not in sync.columns:
                yield f"{sync.file}: a task needs the column owner_email."
            return
        object_ = _OBJECTS[spec.object]
        place = f"Salesforce: Setup > Object Manager > {object_} > Fields & Relationships"
        if not self._org.external_id(object_, spec.key):
            yield (
                f"{sync.file}: {object_} has no external id field for {spec.key!r}. Create a text "
                f"field {spec.key} under {place} (External ID, Unique)."
            )
        if spec.kind == "profile":
            is_tied = spec.object == "contact" and "customerid" in self._org.fields("Account")
            known = {*self._org.fields(object_), plain(OPTED_OUT)}
            known |= {"customerid", "customername"} if is_tied else set()
            absent = [column for column in sync.columns if plain(column) not in known]
            place += ", give the integration's user access"
            yield from lacking(sync, absent, f"{object_} has no field", place)

    # How the org is spoken to

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Salesforce's ids, where the key is an external id there."""
        field = self._org.external_id(_OBJECTS[object_], key)
        found: dict[str, str] = {}
        for some in in_pieces(sorted(identities) if field else (), MOST_RECORDS):
            which = f"{field} IN ({listed(some)})"
            rows = self._org.rows(_OBJECTS[object_], f"Id, {field}", which)
            found |= {str(row[field]): str(row["Id"]) for row in rows}
        return found

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """A contact whose account is not there, and cannot be made, waits for it."""
        object_, key = sync.spec.object, sync.spec.key
        field = self._org.external_id(_OBJECTS[object_], key)
        if object_ == "customer":
            records = {key: _fields(self._org, "Account", row) for key, row in rows.items()}
            return self._upsert(object_, field, rows, records)
        accounts = self._accounts(rows.values())
        said = "Its account is not in Salesforce; the customer's profile has to be sent first."
        untied = Outcome("", "rejected", "account", said)
        records, waiting = {}, []
        for key, row in rows.items():
            customer = _text(row, "customer_id")
            if accounts is not None and customer and customer not in accounts:
                waiting.append(key)
                continue
            tie = {"AccountId": accounts[customer]} if accounts and customer else {}
            records[key] = _fields(self._org, "Contact", row) | tie
        written = self._upsert(object_, field, rows, records)
        lost = [rows[o.key] for o in written if o.code in LOST]
        self.forget("customer", [_text(row, "customer_id") for row in lost])
        return written + of_each(untied, waiting)

    def _upsert(
        self,
        object_: str,
        field: str,
        rows: Mapping[str, Row],
        records: Mapping[str, Mapping[str, Any]],
    ) -> list[Outcome]:
        name = _OBJECTS[object_]
        named = {key: {**record, field: rows[key].identity} for key, record in records.items()}
        outcomes, ids = self._org.write("PATCH", f"{_COLLECTION}/{name}/{field}", name, named)
        self.remember(object_, {rows[key].identity: id_ for key, id_ in ids.items()})
        return list(outcomes.values())

    def _accounts(self, rows: Iterable[Row]) -> dict[str, str] | None:
        """Account ids by customer_id: from the ledger, else asked for, else made. None where
        accounts have no external id, so that contacts are not tied to any."""
        field = self._org.external_id("Account", "customer_id")
        if not field:
            return None
        names = {customer: row for row in rows if (customer := _text(row, "customer_id"))}
        ids = self.known("customer", "customer_id", names)
        made = {
            customer: Row(customer, {"name": name})
            for customer, row in names.items()
            if customer not in ids and (name := row.attributes.get("customer_name"))
        }
        records = {customer: {"Name": row.attributes["name"]} for customer, row in made.items()}
        self._upsert("customer", field, made, records)
        return ids | self.remembered("customer", made)

    def find_list(self, object_: str, name: str) -> str | None:
        """The campaign of that name, the oldest of several."""
        rows = self._org.rows("Campaign", "Id, CreatedDate", f"Name = {quoted(name)}")
        oldest = sorted(rows, key=lambda row: str(row["CreatedDate"]))
        return str(oldest[0]["Id"]) if oldest else None

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool."""
        body = {"Name": name[:80], "IsActive": True}
        return str(self._org.call("POST", "/sobjects/Campaign", body)["id"])

    def change_members(
        self, list_id: str, joining: Sequence[str], leaving: Sequence[str]
    ) -> Mapping[str, Outcome]:
        """Takes out members that this integration made; who was put in by somebody else stays."""
        outcomes: dict[str, Outcome] = {}
        if joining:
            members = {id_: {"CampaignId": list_id, "ContactId": id_} for id_ in joining}
            written, _ = self._org.write("POST", _COLLECTION, "CampaignMember", members)
            was_in = Outcome("", "delivered", "was in it")
            for id_, outcome in written.items():
                outcomes[id_] = was_in if outcome.code == "DUPLICATE_VALUE" else outcome
        if leaving:
            ourselves = self._org.login.told("id").rpartition("/")[2]
            found = self._org.rows(
                "CampaignMember",
                "Id, ContactId",
                f"CampaignId = {quoted(list_id)}",
                f"CreatedById = {quoted(ourselves)}",
                f"ContactId IN ({listed(leaving)})",
            )
            owners = {str(member["Id"]): str(member["ContactId"]) for member in found}
            deleted = self._org.delete(list(owners)) if owners else {}
            outcomes |= {owners[id_]: outcome for id_, outcome in deleted.items()}
        return outcomes

    def send_events(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """Tasks of the users that rows name as owners."""
        with before_sending():
            users = self._users(batch)
        said = "Salesforce has no active user with the address in owner_email."
        ownerless = [change.key for change in batch if owner(change) not in users]
        refused = of_each(Outcome("", "rejected", "owner", said), ownerless)
        events = {c.key: (c, users[owner(c)]) for c in batch if owner(c) in users}
        return refused + (self.record(sync, events) if events else [])

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """Tasks, by the user whose they are."""
        changes = [change for change, _ in events.values()]
        with before_sending():
            contacts = self.known("contact", "contact_id", _of(changes, "contact_id"))
            accounts = self.known("customer", "customer_id", _of(changes, "customer_id"))
        days = timedelta(days=int(options.number(self.config, "due_days", 3)))
        tasks = {}
        for key, (change, user) in events.items():
            row = change.payload
            about = row.get("customer_name") or row.get("customer_id") or key
            due = as_utc(row.get("occurred_at") or datetime.now(UTC)) + days
            task = {
                "Subject": f"{words(sync.event_name)}: {about}"[:255],
                "OwnerId": user,
                "ActivityDate": due.date().isoformat(),
                "Status": "Not Started",
                "Priority": "Normal",
                "Description": "\n".join(told(change))[:32_000],
                "WhatId": accounts.get(str(row.get("customer_id"))),
                "WhoId": contacts.get(str(row.get("contact_id"))),
            }
            tasks[key] = {name: value for name, value in task.items() if value}
        outcomes, _ = self._org.write("POST", _COLLECTION, "Task", tasks)
        lost = [events[key][0] for key, outcome in outcomes.items() if outcome.code in LOST]
        self.forget("contact", _of(lost, "contact_id"))
        self.forget("customer", _of(lost, "customer_id"))
        return list(outcomes.values())

    def _users(self, batch: Sequence[Change]) -> dict[str, str]:
        """Active users by address."""
        wanted = sorted({owner(change) for change in batch} - {""})
        if not wanted:
            return {}
        which = ("IsActive = true", f"Email IN ({listed(wanted)})")
        users = self._org.rows("User", "Id, Email", *which)
        return {str(user["Email"]).lower(): str(user["Id"]) for user in users}

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Deleted contacts lie in the recycle bin for 15 days, so whatever tells
        who they were is emptied first."""
        fields = self._org.fields("Contact").values()
        empty: dict[str, Any] = {
            field["name"]: None
            for field in fields
            if field["updateable"] and field["nillable"] and field["type"] in _ERASED_TYPES
        }
        return [self._of_person(p, empty | {"LastName": "erased"}, deletes=True) for p in people]

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. The flag of every contact with the address is set."""
        return [self._of_person(person, {OPTED_OUT: True}) for person in people]

    def _of_person(
        self, person: Person, change: Mapping[str, Any], *, deletes: bool = False
    ) -> Outcome:
        own = self._org.external_id("Contact", "contact_id")
        names = {"Email": person.email, own: person.contact_id}
        # an empty text in a query means everybody who has none
        which = [f"{name} = {quoted(text)}" for name, text in names.items() if name and text]
        found = self._org.rows("Contact", "Id", " OR ".join(which)) if which else []
        ids = [str(contact["Id"]) for contact in found]
        if not ids:
            return DELIVERED.of(person.contact_id)
        records = {id_: {"id": id_, **change} for id_ in ids}
        written, _ = self._org.write("PATCH", _COLLECTION, "Contact", records)
        outcome = of_person(person.contact_id, list(written.values()))
        if deletes and outcome.is_delivered:
            outcome = of_person(person.contact_id, list(self._org.delete(ids).values()))
        return outcome

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See Org."""
        return self._org.feedback(since)

    @property
    def _client(self) -> HttpClient:
        return self.client({}, [self.config.credential("client_secret")], learn=self._org.learn)


def _fields(org: Org, object_: str, row: Row) -> dict[str, Any]:
    """A row by the org's names of fields; no opt-out is ever written from one."""
    fields = org.fields(object_)
    given = {plain(column): as_plain(value) for column, value in row.attributes.items()}
    return {fields[n]["name"]: v for n, v in given.items() if n in fields and n != plain(OPTED_OUT)}


def _text(row: Row, column: str) -> str:
    return str(row.attributes.get(column) or "")


def _of(changes: Iterable[Change], column: str) -> list[str]:
    return [str(c.payload[column]) for c in changes if c.payload.get(column)]
