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

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import (
    ROUTING,
    Action,
    Destination,
    ExternalIds,
    Feedback,
    FeedbackKind,
    Limits,
    Outcome,
    Person,
)
from reverse_etl.errors import Denied, DestinationFault, NotSent, RateLimited, Refused, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.naming import address, by_list, plain, totals
from reverse_etl.oauth import FORM, ClientCredentials
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json, as_plain, as_text

_ROWS: dict[Kind, int] = {"profile": 300, "segment": 300, "trigger": 100}
_OBJECTS = {"contact": "leads", "customer": "companies"}
_EXPIRED = frozenset({"601", "602"})
_DENIED = frozenset({"600", "603", "607"})
_PAUSES = {"606": 10.0, "615": 1.0, "608": 5.0, "713": 5.0}
"""Not taken, and the seconds after which to ask again: rate, concurrency, passing trouble."""
_UNCLEAR = frozenset({"604", "611"})
_GONE = "1004"
_LONGEST_QUERY = 6_000
_ACTIVITIES: dict[int, FeedbackKind] = {
    8: "bounced",
    9: "unsubscribed",
    10: "opened",
    11: "clicked",
}
_OWN = frozenset({"customer_id", "contact_id"})
_ABSENT = "Marketo has no such lead; its profile has to be sent first."


class Marketo(Destination):
    """One instance. A campaign request has no dedupe field, so it is sent at most once."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear"}),
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._lock = threading.Lock()
        self._login = ClientCredentials(config, "/identity/oauth/token", lambda: self._client, ())
        self._found: dict[tuple[str, str], str] = {}
        self._in_flight = _InFlight()

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

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the instance counts: leads, companies, lists and campaigns by name."""
        return totals(counts, _OBJECTS, "lists", "campaigns")

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Fields, campaigns, and lists where they cannot be made."""
        return [line for sync in syncs for line in self._missing(sync)]

    def _missing(self, sync: Sync) -> Iterator[str]:
        spec = sync.spec
        if spec.kind == "trigger" and not self._id("campaigns", sync.event_name):
            yield (
                f"{sync.file}: there is no active smart campaign {sync.event_name!r} that may be "
                'requested. Create it in Marketo with the trigger "Campaign is Requested", source '
                "Web Service API, and activate it."
            )
        elif spec.kind == "segment" and spec.object != "contact":
            yield f"{sync.file}: Marketo's static lists hold leads; make the segment of contacts."
        elif spec.kind == "segment" and not spec.group_key and not self._folder:
            if not self._id("lists", sync.list_name):
                yield self._no_list(sync.list_name, sync.file)
        elif spec.kind == "profile":
            if "unsubscribed" in sync.columns:
                yield (
                    f"{sync.file}: unsubscribed is never written from a profile: opt-outs go one "
                    "way. Rename the column."
                )
            fields = self._fields(spec.object)
            absent = [c for c in sync.columns if c != spec.key and plain(c) not in fields]
            if absent:
                yield (
                    f"{sync.file}: Marketo has no field {', '.join(absent)}. Create under Admin > "
                    "Field Management, or remove the column from the model."
                )
        is_of_people = spec.kind != "profile" or spec.object == "contact"
        if is_of_people and "email" not in sync.columns:
            yield f"{sync.file}: Marketo needs the column email."

    # Sending

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "trigger":
            return self._request_campaign(sync, batch)
        if sync.spec.kind == "segment":
            lists = by_list(sync, batch).items()
            return [o for name, some in lists for o in self._change_list(name, some)]
        gone = {c.key: self._emptied(sync) for c in batch if c.action == "remove"}
        records = gone | {c.key: self._record(sync, c) for c in batch if c.key not in gone}
        if sync.spec.object == "customer":
            return self._write_companies(sync, batch, records)
        return self._write_leads(batch, records, creates=sync.spec.mode != "update")

    def _write_leads(
        self, changes: Sequence[Change], records: Mapping[str, Any], *, creates: bool
    ) -> list[Outcome]:
        """Leads we know by their id, so that a changed address moves along; the others, and those
        merged or deleted since, by their address."""
        ids = self._known([c.identity for c in changes])
        known = [change for change in changes if change.identity in ids]
        inputs = [{"id": int(ids[c.identity]), **records[c.key]} for c in known]
        found = self._sync_leads(known, "updateOnly", "id", inputs)
        others = [c for c in changes if c.identity not in ids or found[c.key].code == _GONE]
        for change in others:
            if change.action == "remove":
                found[change.key] = Outcome(change.key, "delivered")
            elif not address(change):
                words = "The row has no e-mail address."
                found[change.key] = Outcome(change.key, "rejected", "address", words)
        addressed = [c for c in others if c.action != "remove" and address(c)]
        inputs = [records[c.key] | {"email": address(c)} for c in addressed]
        action = "createOrUpdate" if creates else "updateOnly"
        found |= self._sync_leads(addressed, action, "email", inputs)
        return [found[change.key] for change in changes]

    def _sync_leads(
        self, changes: Sequence[Change], action: str, lookup: str, inputs: Sequence[Any]
    ) -> dict[str, Outcome]:
        if not changes:
            return {}
        body = {"action": action, "lookupField": lookup, "input": inputs}
        if lookup == "email" and self.config.option("partition"):
            body["partitionName"] = self.config.option("partition")
        with self._in_flight.alone(str(record[lookup]) for record in inputs):
            results = self._call("POST", "/rest/v1/leads.json", body)["result"]
        ids = {
            c.identity: str(r["id"]) for c, r in zip(changes, results, strict=False) if "id" in r
        }
        self.ids.remember_external_ids(self.account, "leads", ids)
        return _by_row(changes, results)

    def _write_companies(
        self, sync: Sync, changes: Sequence[Change], records: Mapping[str, Any]
    ) -> list[Outcome]:
        inputs = [records[c.key] | {"externalCompanyId": c.identity} for c in changes]
        action = "updateOnly" if sync.spec.mode == "update" else "createOrUpdate"
        body = {"action": action, "dedupeBy": "dedupeFields", "input": inputs}
        with self._in_flight.alone(c.identity for c in changes):
            results = self._call("POST", "/rest/v1/companies.json", body)["result"]
        return list(_by_row(changes, results).values())

    def _change_list(self, name: str, changes: Sequence[Change]) -> list[Outcome]:
        joining = [change for change in changes if change.action != "remove"]
        leaving = [change for change in changes if change.action == "remove"]
        ids = self._known([change.identity for change in changes])
        absent = [change for change in joining if change.identity not in ids]
        made = {
            o.key: o for o in self._write_leads(absent, {c.key: {} for c in absent}, creates=True)
        }
        ids |= self._known([change.identity for change in absent])
        outcomes = [o for o in made.values() if o.status != "delivered"]
        outcomes += [Outcome(c.key, "delivered") for c in leaving if c.identity not in ids]
        list_id = self._id("lists", name) or self._make_list(name)
        for method, some in (("POST", joining), ("DELETE", leaving)):
            there = [c for c in some if c.identity in ids]
            if not there:
                continue
            wanted = [{"id": int(ids[c.identity])} for c in there]
            query = urlencode({"id": [item["id"] for item in wanted]}, doseq=True)
            path = f"/rest/v1/lists/{list_id}/leads.json?{query}"
            done = _by_row(there, self._call(method, path, {"input": wanted})["result"])
            stale = [c for c in there if done[c.key].code == _GONE]
            if method == "DELETE":  # who is gone is no member
                done |= {c.key: Outcome(c.key, "delivered") for c in stale}
            self.ids.remember_external_ids(self.account, "leads", {c.identity: "" for c in stale})
            outcomes += done.values()
        return outcomes

    def _request_campaign(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """One call, all or nothing. What is asked before it may fail without any harm."""
        try:
            ids = self._leads_of_rows(batch)
            campaign = self._id("campaigns", sync.event_name)
        except Unknown as unknown:
            raise NotSent(str(unknown), code=unknown.code) from None
        if not campaign:
            raise Refused(f"There is no active campaign {sync.event_name!r} to request.")
        there = [change for change in batch if change.key in ids]
        absent = [c.key for c in batch if c.key not in ids]
        outcomes = [Outcome(key, "rejected", "absent", _ABSENT) for key in absent]
        if there:
            tokens = [{"name": f"{{{{my.{n}}}}}", "value": v} for n, v in _tokens(there[0]).items()]
            leads = [{"id": int(ids[change.key])} for change in there]
            body = {"input": {"leads": leads, "tokens": tokens}}
            try:
                self._call("POST", f"/rest/v1/campaigns/{campaign}/trigger.json", body)
            except Refused as refused:
                if refused.code == _GONE:  # asked for by address at the next try
                    gone = {str(c.payload.get("contact_id")): "" for c in there}
                    self.ids.remember_external_ids(self.account, "leads", gone)
                raise
        return outcomes + [Outcome(change.key, "delivered") for change in there]

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. All leads with the address go, duplicates too."""
        ids = self._leads_of(people)
        for some in _pieces([{"id": int(lead)} for leads in ids.values() for lead in leads]):
            self._call("POST", "/rest/v1/leads/delete.json", {"input": some})
        return [Outcome(person.contact_id, "delivered") for person in people]

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination."""
        ids = self._leads_of(people)
        refused: dict[str, str] = {}
        owners = [(person, lead) for person, leads in ids.items() for lead in leads]
        for some in _pieces(owners):
            inputs = [{"id": int(lead), "unsubscribed": True} for _, lead in some]
            body = {"action": "updateOnly", "lookupField": "id", "input": inputs}
            results = self._call("POST", "/rest/v1/leads.json", body)["result"]
            for (person, _), result in zip(some, results, strict=False):
                code, words = _reason(result)
                if result.get("status") == "skipped" and code != _GONE:
                    refused[person] = words
        return [
            Outcome(p.contact_id, "rejected", "skipped", refused[p.contact_id])
            if p.contact_id in refused
            else Outcome(p.contact_id, "delivered")
            for p in people
        ]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Hard bounces, unsubscribes, opens and clicks, from the log of activities."""
        path = (
            f"/rest/v1/activities/pagingtoken.json?{urlencode({'sinceDatetime': as_text(since)})}"
        )
        page = self._call("GET", path)
        while True:
            query = {"nextPageToken": page["nextPageToken"], "activityTypeIds": list(_ACTIVITIES)}
            page = self._call("GET", f"/rest/v1/activities.json?{urlencode(query, doseq=True)}")
            activities = page.get("result", [])
            leads = self._leads_by("id", sorted({str(a["leadId"]) for a in activities}))
            emails = {str(lead["id"]): lead.get("email") for lead in leads}
            for activity in activities:
                email = emails.get(str(activity["leadId"]))
                if email:
                    kind = _ACTIVITIES[activity["activityTypeId"]]
                    at = datetime.fromisoformat(activity["activityDate"])
                    fact = str(activity.get("marketoGUID") or activity["id"])
                    mail = str(activity.get("primaryAttributeValue") or "")
                    yield Feedback(fact, kind, email.lower(), at, mail)
            if not page.get("moreResult"):
                return

    # The instance's own names and ids

    def _known(self, contacts: Sequence[str]) -> dict[str, str]:
        known = self.ids.external_ids(self.account, "leads", contacts)
        return {contact: lead for contact, lead in known.items() if lead}

    def _leads_of_rows(self, batch: Sequence[Change]) -> dict[str, str]:
        """Lead ids by row: from the ledger, else asked for by address."""
        contacts = {c.key: str(c.payload.get("contact_id")) for c in batch}
        known = self._known(list(contacts.values()))
        asked = {address(c) for c in batch if contacts[c.key] not in known} - {""}
        leads = self._leads_by("email", sorted(asked))
        found = {lead["email"].lower(): str(lead["id"]) for lead in reversed(leads)}
        ids = {c.key: known.get(contacts[c.key]) or found.get(address(c), "") for c in batch}
        learned = {contacts[key]: lead for key, lead in ids.items() if lead}
        self.ids.remember_external_ids(self.account, "leads", learned)
        return {key: lead for key, lead in ids.items() if lead}

    def _leads_of(self, people: Sequence[Person]) -> dict[str, set[str]]:
        """Every lead of a person, by contact_id."""
        known = self._known([person.contact_id for person in people])
        found = {p.contact_id: {known.get(p.contact_id, "")} - {""} for p in people}
        by_email = {person.email: person.contact_id for person in people}
        for lead in self._leads_by("email", sorted(by_email)):
            if owner := by_email.get(str(lead.get("email")).lower()):
                found[owner].add(str(lead["id"]))
        return found

    def _leads_by(self, name: str, values: Sequence[str]) -> list[dict[str, Any]]:
        """Leads with one of these values, the oldest first; the address of a call stays short."""
        leads: list[dict[str, Any]] = []
        for some in _pieces(values, longest=_LONGEST_QUERY):
            query = {"filterType": name, "filterValues": ",".join(some), "fields": "id,email"}
            leads += self._all(f"/rest/v1/leads.json?{urlencode(query)}")
        return sorted(leads, key=lambda lead: int(lead["id"]))

    def _id(self, kind: str, name: str) -> str:
        """The id of a list, or of a campaign that may be requested; empty where there is none."""
        with self._lock:
            if (kind, name) not in self._found:
                extra = {"isTriggerable": "true"} if kind == "campaigns" else {}
                query = urlencode({"name": name, **extra})
                for item in self._all(f"/rest/v1/{kind}.json?{query}"):
                    if item["name"] == name and item.get("active", True):
                        self._found[kind, name] = str(item["id"])
            return self._found.get((kind, name), "")

    def _make_list(self, name: str) -> str:
        with self._lock:
            if ("lists", name) in self._found:
                return self._found["lists", name]
            if not self._folder:
                raise Refused(self._no_list(name, self.config.origin), code="list")
            folder = {"id": int(self._folder), "type": "Folder"}
            form = urlencode({"name": name, "folder": as_json(folder).decode()}).encode()
            [made] = self._call("POST", "/rest/asset/v1/staticLists.json", form=form)["result"]
            self._found["lists", name] = str(made["id"])
            return self._found["lists", name]

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

    def _fields(self, object_: str) -> dict[str, str]:
        """API names by the plain form of API and display name."""
        return self._lead_fields if object_ == "contact" else self._company_fields

    @cached_property
    def _lead_fields(self) -> dict[str, str]:
        return self._described("/rest/v1/leads/describe2.json")

    @cached_property
    def _company_fields(self) -> dict[str, str]:
        fields = self._described("/rest/v1/companies/describe.json")
        return {"name": "company", **fields}

    def _described(self, path: str) -> dict[str, str]:
        fields = self._call("GET", path)["result"][0]["fields"]
        names = {plain(f.get("displayName") or f["name"]): f["name"] for f in fields}
        return names | {plain(f["name"]): f["name"] for f in fields}

    def _record(self, sync: Sync, change: Change) -> dict[str, Any]:
        fields = self._fields(sync.spec.object)
        row = {fields[plain(c)]: v for c, v in change.payload.items() if plain(c) in fields}
        return {name: as_plain(value) for name, value in row.items() if name != "unsubscribed"}

    def _emptied(self, sync: Sync) -> dict[str, None]:
        fields = self._fields(sync.spec.object)
        kept = {sync.spec.key, "email"}
        return {
            fields[plain(c)]: None for c in sync.columns if c not in kept and plain(c) in fields
        }

    # Calls

    def _all(self, path: str) -> list[dict[str, Any]]:
        """Every page of a list."""
        items, token = [], ""
        while True:
            page = self._call(
                "GET", path + (f"&{urlencode({'nextPageToken': token})}" * bool(token))
            )
            items += page.get("result", [])
            token = page.get("nextPageToken") or ""
            if not token or not page.get("result"):
                return items

    def _call(
        self, method: str, path: str, payload: Any = None, *, form: bytes | None = None
    ) -> dict[str, Any]:
        """One call, repeated once with a new token where the old one ended meanwhile."""
        error: Mapping[str, Any] = {}
        for _ in range(2):
            token = self._login.token()
            headers = {"Authorization": f"Bearer {token}", **(FORM if form else {})}
            answer: dict[str, Any] = self._client.request(
                method, path, payload, content=form, headers=headers
            ).json()
            if answer.get("success"):
                return answer
            error = next(iter(answer.get("errors") or []), {"code": "", "message": "No reason."})
            if str(error["code"]) not in _EXPIRED:
                raise self._fault(str(error["code"]), str(error["message"]))
            self._login._drop(token)
        raise Denied(f"A new token is refused too: {error['message']}", code=str(error["code"]))

    def _fault(self, code: str, message: str) -> DestinationFault:
        if code == "607":
            message = f"The day's quota is used up until midnight, US Central time. {message}"
        if code in _DENIED:
            return Denied(message, code=code)
        if code in _PAUSES:
            pause = _PAUSES[code]
            self.budget.pause(pause)
            return RateLimited(message, code=code, retry_after=pause)
        return (Unknown if code in _UNCLEAR else Refused)(message, code=code)

    @cached_property
    def _client(self) -> HttpClient:
        secret = self.config.credential("client_secret")
        return HttpClient(
            self.config.base_url,
            self.budget,
            secrets=[secret],
            read_seconds=self.limits("profile").timeout,
        )


class _InFlight:
    """Keys being written: two calls with one key at the same time make two leads of it."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._keys: set[str] = set()

    @contextmanager
    def alone(self, keys: Iterable[str]) -> Iterator[None]:
        """Wait until nobody else writes any of these keys, and keep others off them."""
        wanted = {key.lower() for key in keys}
        with self._free:
            self._free.wait_for(lambda: not self._keys & wanted)
            self._keys |= wanted
        try:
            yield
        finally:
            with self._free:
                self._keys -= wanted
                self._free.notify_all()


def _by_row(changes: Sequence[Change], results: Sequence[Mapping[str, Any]]) -> dict[str, Outcome]:
    """Results come in the order of the input."""
    words = "Marketo answered without a word on this record."
    outcomes = {c.key: Outcome(c.key, "unknown", "silent", words) for c in changes}
    for change, result in zip(changes, results, strict=False):
        if result.get("status") == "skipped":
            outcomes[change.key] = Outcome(change.key, "rejected", *_reason(result))
        else:
            outcomes[change.key] = Outcome(change.key, "delivered", str(result.get("status", "")))
    return outcomes


def _reason(result: Mapping[str, Any]) -> tuple[str, str]:
    """Code and words; the specification writes ``reason``, the instances answer ``reasons``."""
    reasons = result.get("reasons") or [result.get("reason") or {}]
    return str(reasons[0].get("code", "")), str(reasons[0].get("message", ""))


def _tokens(change: Change) -> dict[str, str]:
    kept = {n: v for n, v in change.payload.items() if n not in ROUTING | _OWN}
    return {name: as_text(value) for name, value in kept.items()}


def _pieces(items: Sequence[Any], longest: int | None = None) -> Iterator[list[Any]]:
    """Up to 300 items at a time, and texts of up to so many characters together."""
    piece: list[Any] = []
    size = 0
    for item in items:
        weight = len(item) + 3 if longest else 0
        if piece and (len(piece) == 300 or (longest and size + weight > longest)):
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += weight
    if piece:
        yield piece
