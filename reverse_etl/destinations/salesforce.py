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

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import (
    UNSHOWN,
    Action,
    Destination,
    ExternalIds,
    Feedback,
    FeedbackKind,
    Limits,
    Outcome,
    Person,
    Status,
)
from reverse_etl.errors import Denied, DestinationFault, NotSent, QuotaSpent, Refused, Unknown
from reverse_etl.http import Answer, HttpClient
from reverse_etl.naming import by_list, owner, plain, totals, words
from reverse_etl.oauth import ClientCredentials
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_plain, as_text, as_utc

_OBJECTS = {"contact": "Contact", "customer": "Account"}
_COUNTED = {"contact": "contacts", "customer": "accounts"}
_ROWS = 200
_LOCKED = "UNABLE_TO_LOCK_ROW"
_LOCK_PAUSES = (0.2, 0.8, 2.4)
"""Seconds before a record is tried again that somebody else held; a lock lasts seconds."""
_REPEATABLE = frozenset({_LOCKED, "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})
_LOST = frozenset({"INVALID_CROSS_REFERENCE_KEY", "ENTITY_IS_DELETED"})
_ERASED_TYPES = frozenset({"string", "email", "phone", "textarea", "url", "date", "address"})
_OPTED_OUT = "HasOptedOutOfEmail"


class Salesforce(Destination):
    """One org. Tasks have no dedupe field, so a task is made at most once."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear"}),
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._lock = threading.Lock()
        self._login = ClientCredentials(config, "/services/oauth2/token", lambda: self._client, ())
        self._campaigns: dict[str, str] = {}
        self._described: dict[str, dict[str, dict[str, Any]]] = {}

    def limits(self, kind: Kind) -> Limits:
        """200 records a call; a day's calls are learned from each answer, seconds are not limited.
        25 calls may last longer than 20 s at a time, of which 4 are used."""
        return Limits(batch_rows=_ROWS, batch_bytes=4_000_000, concurrency=4, timeout=120.0)

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the org counts: contacts, accounts, campaigns by name, tasks by event."""
        return totals(counts, _COUNTED, "campaigns", "tasks")

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Fields, external ids, and the columns that tasks need. Missing campaigns are made."""
        _ = options.number(self.config, "daily_share", 0.9), self._login.token()
        return [line for sync in syncs for line in self._missing(sync)]

    def _missing(self, sync: Sync) -> Iterator[str]:
        spec = sync.spec
        if spec.kind == "trigger":
            if "owner_email" not in sync.columns:
                yield f"{sync.file}: a task needs the column owner_email."
            return
        if spec.kind == "segment" and spec.object != "contact":
            yield f"{sync.file}: campaign members are contacts; make the segment of contacts."
            return
        object_ = _OBJECTS[spec.object]
        fields = self._fields(object_)
        place = f"Salesforce: Setup > Object Manager > {object_} > Fields & Relationships"
        if not fields.get(plain(spec.key), {}).get("externalId"):
            yield (
                f"{sync.file}: {object_} has no external id field for {spec.key!r}. Create a text "
                f"field {spec.key} under {place} (External ID, Unique)."
            )
        if spec.kind == "segment":
            return
        if plain(_OPTED_OUT) in map(plain, sync.columns):
            yield (
                f"{sync.file}: {_OPTED_OUT} is never written from a profile: opt-outs go one way. "
                "Rename the column."
            )
        known = {*fields, *map(plain, self._linking(sync))}
        absent = [column for column in sync.columns if plain(column) not in known]
        if absent:
            yield (
                f"{sync.file}: {object_} has no field {', '.join(absent)}. Create under {place}, "
                "give the integration's user access, or remove the column from the model."
            )

    # Sending

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "trigger":
            return self._make_tasks(sync, batch)
        if sync.spec.kind == "segment":
            lists = by_list(sync, batch).items()
            return [o for name, some in lists for o in self._change_campaign(sync, name, some)]
        there = self._ids(sync, batch) if sync.spec.mode == "update" else None
        gone = [change for change in batch if change.action == "remove"]
        known = self._ids(sync, gone)
        outcomes = [Outcome(c.key, "delivered") for c in gone if c.identity not in known]
        written = [c for c in batch if c.action == "remove" and c.identity in known]
        for change in (c for c in batch if c.action != "remove"):
            if there is None or change.identity in there:
                written.append(change)
            else:
                words = "Salesforce has no such record; update makes none."
                outcomes.append(Outcome(change.key, "rejected", "absent", words))
        return outcomes + self._upsert(sync, written)

    def _upsert(self, sync: Sync, changes: Sequence[Change]) -> list[Outcome]:
        if not changes:
            return []
        object_ = _OBJECTS[sync.spec.object]
        path = f"/composite/sobjects/{object_}/{self._key_field(sync)}"
        if object_ == "Account":
            records = [self._record(sync, change) for change in changes]
            return self._write("PATCH", path, object_, changes, records, remembers=True)
        accounts = self._accounts(changes)
        tied = [c for c in changes if accounts is None or _of(c, "customer_id") in {"", *accounts}]
        words = "Its account is not in Salesforce; the customer's profile has to be sent first."
        untied = [c.key for c in changes if c not in tied]
        records = [self._record(sync, c, (accounts or {}).get(_of(c, "customer_id"))) for c in tied]
        written = self._write("PATCH", path, object_, tied, records, remembers=True)
        self._forget("Account", "customer_id", tied, written)
        return written + [Outcome(key, "rejected", "account", words) for key in untied]

    def _write(
        self,
        method: str,
        path: str,
        object_: str,
        changes: Sequence[Change],
        records: Sequence[Mapping[str, Any]],
        *,
        remembers: bool = False,
    ) -> list[Outcome]:
        """One result a record, in the order of the request. A record that was locked surely was not
        written, and is tried again by itself."""
        outcomes: dict[str, Outcome] = {}
        ids = {}
        open_ = list(zip(changes, records, strict=True))
        for pause in (*_LOCK_PAUSES, None):
            if not open_:
                break
            body = {
                "allOrNone": False,
                "records": [{"attributes": {"type": object_}, **record} for _, record in open_],
            }
            try:
                results = self._call(method, path, body)
            except DestinationFault as fault:
                if not outcomes:
                    raise
                if isinstance(fault, Unknown):  # of the others the outcome is known
                    lost = (Outcome(c.key, "unknown", fault.code, str(fault)) for c, _ in open_)
                    outcomes |= {outcome.key: outcome for outcome in lost}
                break
            for (change, _), result in zip(open_, results, strict=False):
                outcomes[change.key] = _outcome(change.key, result)
                if result.get("success"):
                    ids[change.identity] = str(result["id"])
            open_ = [(c, r) for c, r in open_ if outcomes.get(c.key, _SILENT).code == _LOCKED]
            if open_ and pause is not None:
                time.sleep(pause)
        if remembers:
            self.ids.remember_external_ids(self.account, object_, ids)
        words = _SILENT.message
        silent = [c.key for c in changes if c.key not in outcomes]
        return [*outcomes.values(), *(Outcome(key, "unknown", "silent", words) for key in silent)]

    def _record(self, sync: Sync, change: Change, account: str | None = None) -> dict[str, Any]:
        fields = self._fields(_OBJECTS[sync.spec.object])
        row = change.payload
        if change.action == "remove":  # cleared, but for the name, which Salesforce requires
            row = dict.fromkeys(c for c in sync.columns if plain(c) not in ("name", "lastname"))
        record = {
            fields[plain(column)]["name"]: as_plain(value)
            for column, value in row.items()
            if plain(column) in fields and plain(column) != plain(_OPTED_OUT)
        }
        tie = {"AccountId": account} if account else {}
        return record | tie | {self._key_field(sync): change.identity}

    def _accounts(self, changes: Sequence[Change]) -> dict[str, str] | None:
        """Account ids by customer_id: from the ledger, else asked for, else made. None where
        accounts have no external id, so that contacts are not tied to any."""
        names = {
            str(c.payload["customer_id"]): c.payload.get("customer_name")
            for c in changes
            if c.payload.get("customer_id")
        }
        field = self._fields("Account").get("customerid", {})
        if not field.get("externalId"):
            return None
        ids = self._known("Account", field["name"], list(names))
        made = [
            Change(key, "add", "", {}) for key, name in names.items() if key not in ids and name
        ]
        records = [{field["name"]: c.key, "Name": names[c.key]} for c in made]
        if made:
            path = f"/composite/sobjects/Account/{field['name']}"
            self._write("PATCH", path, "Account", made, records, remembers=True)
            ids |= self._remembered("Account", [c.key for c in made])
        return ids

    def _change_campaign(self, sync: Sync, name: str, changes: Sequence[Change]) -> list[Outcome]:
        campaign = self._campaign(name)
        ids = self._ids(sync, changes)
        outcomes: list[Outcome] = []
        joining = [c for c in changes if c.action != "remove"]
        gone = [change for change in changes if change.action == "remove"]
        leaving = {ids[c.identity]: c for c in gone if c.identity in ids}
        outcomes += [Outcome(c.key, "delivered") for c in gone if c.identity not in ids]
        for change in joining:
            if change.identity not in ids:
                words = "Salesforce has no such contact; its profile has to be sent first."
                outcomes.append(Outcome(change.key, "rejected", "absent", words))
        joining = [change for change in joining if change.identity in ids]
        if joining:
            members = [{"CampaignId": campaign, "ContactId": ids[c.identity]} for c in joining]
            written = self._write("POST", "/composite/sobjects", "CampaignMember", joining, members)
            self._forget("Contact", "contact_id", joining, written)
            outcomes += [
                Outcome(o.key, "delivered", "was in it") if o.code == "DUPLICATE_VALUE" else o
                for o in written
            ]
        if leaving:
            outcomes += self._leave(campaign, leaving)
        return outcomes

    def _leave(self, campaign: str, leaving: Mapping[str, Change]) -> list[Outcome]:
        """Take out members this integration made; who was put in by somebody else stays."""
        ourselves = self._login.told("id").rpartition("/")[2]
        found = self._rows(
            "CampaignMember",
            "Id, ContactId",
            f"CampaignId = {_quoted(campaign)}",
            f"CreatedById = {_quoted(ourselves)}",
            f"ContactId IN ({_listed(leaving)})",
        )
        owners = {member["Id"]: leaving[member["ContactId"]].key for member in found}
        outcomes = {change.key: Outcome(change.key, "delivered") for change in leaving.values()}
        if owners:
            for result in self._delete(list(owners)):
                key = owners[str(result.get("id"))]
                outcomes[key] = _outcome(key, result)
        return list(outcomes.values())

    def _make_tasks(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """What is asked before the tasks are made may fail without any harm."""
        try:
            owners = self._users(batch)
            contacts = self._related("Contact", "contact_id", batch)
            accounts = self._related("Account", "customer_id", batch)
        except Unknown as unknown:
            raise NotSent(str(unknown), code=unknown.code) from None
        unowned = "Salesforce has no active user with the address in owner_email."
        ownerless = [c for c in batch if owner(c) not in owners]
        owned = [c for c in batch if owner(c) in owners]
        outcomes = [Outcome(c.key, "rejected", "owner", unowned) for c in ownerless]
        tasks = []
        for change in owned:
            row = change.payload
            due = as_utc(row.get("occurred_at") or datetime.now(UTC)) + timedelta(
                days=int(options.number(self.config, "due_days", 3))
            )
            about = row.get("customer_name") or row.get("customer_id") or change.key
            task = {
                "Subject": f"{words(sync.event_name)}: {about}"[:255],
                "OwnerId": owners[owner(change)],
                "ActivityDate": due.date().isoformat(),
                "Status": "Not Started",
                "Priority": "Normal",
                "Description": _description(change),
                "WhatId": accounts.get(str(row.get("customer_id"))),
                "WhoId": contacts.get(str(row.get("contact_id"))),
            }
            tasks.append({name: value for name, value in task.items() if value})
        if owned:
            written = self._write("POST", "/composite/sobjects", "Task", owned, tasks)
            self._forget("Contact", "contact_id", owned, written)
            self._forget("Account", "customer_id", owned, written)
            outcomes += written
        return outcomes

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Deleted contacts lie in the recycle bin for 15 days, so whatever tells
        who they were is emptied first."""
        fields = self._fields("Contact").values()
        empty: dict[str, Any] = {
            field["name"]: None
            for field in fields
            if field["updateable"] and field["nillable"] and field["type"] in _ERASED_TYPES
        }
        return self._for_each(people, empty | {"LastName": "erased"}, deletes=True)

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. The flag of every contact with the address is set."""
        return self._for_each(people, {_OPTED_OUT: True}, deletes=False)

    def _for_each(
        self, people: Sequence[Person], change: Mapping[str, Any], *, deletes: bool
    ) -> list[Outcome]:
        field = self._fields("Contact").get("contactid", {})
        also = f" OR {field['name']} = " if field.get("externalId") else ""
        outcomes = []
        for person in people:
            own = f"{also}{_quoted(person.contact_id)}" if also else ""
            found = self._rows("Contact", "Id", f"Email = {_quoted(person.email)}{own}")
            ids = [str(contact["Id"]) for contact in found]
            done = [Change(id_, "change", "", {}) for id_ in ids]
            records = [{"id": id_, **change} for id_ in ids]
            results = (
                self._write("PATCH", "/composite/sobjects", "Contact", done, records) if ids else []
            )
            if deletes and ids and all(o.status == "delivered" for o in results):
                results = [_outcome(str(r.get("id")), r) for r in self._delete(ids)]
            bad = next((o for o in results if o.status != "delivered"), None)
            outcomes.append(
                Outcome(person.contact_id, bad.status, bad.code, bad.message)
                if bad
                else Outcome(person.contact_id, "delivered")
            )
        return outcomes

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Contacts that opted out, and addresses that bounced. Clicks stay with who mails."""
        at = as_text(since)
        for contact in self._rows(
            "Contact",
            f"Id, Email, {_OPTED_OUT}, EmailBouncedDate, EmailBouncedReason, SystemModstamp",
            f"SystemModstamp >= {at}",
            "Email != null",
            f"({_OPTED_OUT} = true OR EmailBouncedDate >= {at})",
        ):
            if contact.get(_OPTED_OUT):
                yield _feedback("unsubscribed", contact, contact["SystemModstamp"])
            if bounced := contact.get("EmailBouncedDate"):
                yield _feedback("bounced", contact, bounced, contact.get("EmailBouncedReason"))

    # The org's own names and ids

    def _fields(self, object_: str) -> dict[str, dict[str, Any]]:
        """Writable fields by plain name; a standard field wins over a custom one of the name."""
        with self._lock:
            if object_ not in self._described:
                fields = self._call("GET", f"/sobjects/{object_}/describe")["fields"]
                usable = [f for f in fields if f["createable"] or f["updateable"]]
                customs_first = sorted(usable, key=lambda field: not field["custom"])
                self._described[object_] = {plain(f["name"]): f for f in customs_first}
            return self._described[object_]

    def _key_field(self, sync: Sync) -> str:
        return str(self._fields(_OBJECTS[sync.spec.object])[plain(sync.spec.key)]["name"])

    def _linking(self, sync: Sync) -> set[str]:
        """Columns that tie a contact to its account instead of filling a field."""
        linked = sync.spec.object == "contact" and "customerid" in self._fields("Account")
        return {"customer_id", "customer_name"} if linked else set()

    def _ids(self, sync: Sync, changes: Sequence[Change]) -> dict[str, str]:
        object_ = _OBJECTS[sync.spec.object]
        return self._known(object_, self._key_field(sync), [c.identity for c in changes])

    def _known(self, object_: str, field: str, keys: Sequence[str]) -> dict[str, str]:
        """Salesforce's ids by our key: from the ledger, else asked for."""
        ids = self._remembered(object_, keys)
        asked = sorted({key for key in keys if key not in ids})
        learned: dict[str, str] = {}
        for start in range(0, len(asked), _ROWS):
            some = _listed(asked[start : start + _ROWS])
            rows = self._rows(object_, f"Id, {field}", f"{field} IN ({some})")
            learned |= {str(row[field]): str(row["Id"]) for row in rows}
        self.ids.remember_external_ids(self.account, object_, learned)
        return ids | learned

    def _remembered(self, object_: str, keys: Sequence[str]) -> dict[str, str]:
        ids = self.ids.external_ids(self.account, object_, keys)
        return {key: id_ for key, id_ in ids.items() if id_}

    def _forget(
        self, object_: str, column: str, changes: Sequence[Change], outcomes: Sequence[Outcome]
    ) -> None:
        """Ids that lead nowhere any more are asked for again at the next try."""
        lost = {outcome.key for outcome in outcomes if outcome.code in _LOST}
        keys = {_of(c, column) or c.identity for c in changes if c.key in lost}
        self.ids.remember_external_ids(self.account, object_, dict.fromkeys(keys, ""))

    def _related(self, object_: str, column: str, batch: Sequence[Change]) -> dict[str, str]:
        keys = [str(c.payload[column]) for c in batch if c.payload.get(column)]
        field = self._fields(object_).get(plain(column), {})
        return self._known(object_, field["name"], keys) if keys and field.get("externalId") else {}

    def _users(self, batch: Sequence[Change]) -> dict[str, str]:
        """Active users by address."""
        wanted = sorted({owner(change) for change in batch} - {""})
        if not wanted:
            return {}
        users = self._rows("User", "Id, Email", "IsActive = true", f"Email IN ({_listed(wanted)})")
        return {str(user["Email"]).lower(): str(user["Id"]) for user in users}

    def _campaign(self, name: str) -> str:
        """The campaign of that name, made where there is none."""
        with self._lock:
            if name not in self._campaigns:
                rows = self._rows("Campaign", "Id, CreatedDate", f"Name = {_quoted(name)}")
                for oldest in sorted(rows, key=lambda row: str(row["CreatedDate"]))[:1]:
                    self._campaigns[name] = str(oldest["Id"])
            if name not in self._campaigns:
                body = {"Name": name[:80], "IsActive": True}
                self._campaigns[name] = str(self._call("POST", "/sobjects/Campaign", body)["id"])
            return self._campaigns[name]

    # Calls

    def _rows(self, object_: str, fields: str, *conditions: str) -> list[dict[str, Any]]:
        """All pages of a query; conditions hold all together."""
        soql = " ".join(("SELECT", fields, "FROM", object_, "WHERE", " AND ".join(conditions)))
        page = self._call("GET", f"/query?{urlencode({'q': soql})}")
        rows = list(page["records"])
        while not page.get("done", True):
            rest = str(page["nextRecordsUrl"]).partition(self._data)[2]
            page = self._call("GET", rest)
            rows += page["records"]
        return rows

    def _delete(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Delete by id; who is gone already counts as deleted."""
        query = urlencode({"ids": ",".join(ids), "allOrNone": "false"})
        results: list[dict[str, Any]] = self._call("DELETE", f"/composite/sobjects?{query}")
        for result, id_ in zip(results, ids, strict=False):
            result.setdefault("id", id_)
            codes = {error["statusCode"] for error in result.get("errors", [])}
            if codes & _LOST:
                result["success"] = True
        return results

    @property
    def _data(self) -> str:
        return f"/services/data/v{self.config.option('api_version', '62.0')}"

    def _call(self, method: str, path: str, payload: Any = None) -> Any:
        """One call, repeated once where the session ended meanwhile."""
        try:
            token = self._login.token()
            try:
                answer = self._exchange(method, path, payload, token)
            except Denied as denied:
                if denied.code != "401":
                    raise
                self._login._drop(token)
                answer = self._exchange(method, path, payload, self._login.token())
        except QuotaSpent as spent:
            words = f"{spent} The rest is left to others: {self.config.origin}.options.daily_share."
            pause = spent.retry_after
            raise QuotaSpent(words, code="daily limit", retry_after=pause) from None
        return answer.json() if answer.body else None

    def _exchange(self, method: str, path: str, payload: Any, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            return self._client.request(method, self._data + path, payload, headers=headers)
        except Refused as refused:
            if _LOCKED in str(refused):
                raise NotSent(str(refused), code=_LOCKED) from None
            raise

    def _learn(self, headers: Mapping[str, str], budget: RateBudget) -> None:
        usage = re.search(r"api-usage=(\d+)/(\d+)", headers.get("Sforce-Limit-Info", ""))
        if usage and int(usage[2]):
            ours = int(int(usage[2]) * options.number(self.config, "daily_share", 0.9))
            budget.learn_daily(ours, ours - int(usage[1]))

    @cached_property
    def _client(self) -> HttpClient:
        limits = self.limits("profile")
        return HttpClient(
            self.config.base_url,
            self.budget,
            secrets=[self.config.credential("client_secret")],
            read_seconds=limits.timeout,
            learn=self._learn,
        )


_SILENT = Outcome("", "unknown", "silent", "Salesforce answered without a word on this record.")


def _outcome(key: str, result: Mapping[str, Any]) -> Outcome:
    if result.get("success"):
        return Outcome(key, "delivered")
    error = next(iter(result.get("errors") or []), {"statusCode": "", "message": "No reason."})
    code = str(error["statusCode"])
    status: Status = "retryable" if code in _REPEATABLE else "rejected"
    return Outcome(key, status, code, str(error["message"]))


def _feedback(
    kind: FeedbackKind, contact: Mapping[str, Any], at: str, detail: str | None = None
) -> Feedback:
    """An opt-out is a state of the contact: told again with every later change, it is one fact."""
    fact = f"{kind}:{contact['Id']}" + (f":{at}" if kind == "bounced" else "")
    instant = datetime.fromisoformat(at)
    return Feedback(fact, kind, str(contact["Email"]).lower(), instant, detail or "")


def _description(change: Change) -> str:
    lines = [
        f"{words(name)}: {as_text(value)}"
        for name, value in change.payload.items()
        if name not in UNSHOWN and value is not None
    ]
    return "\n".join(lines)[:32_000]


def _of(change: Change, column: str) -> str:
    return str(change.payload.get(column) or "")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _listed(texts: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(_quoted(text) for text in texts)
