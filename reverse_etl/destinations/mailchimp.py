"""Mailchimp: members of one audience, static segments (tags), events and journeys.

Contract: the Marketing API 3.0. A contact is a member, found by the md5 of the lower-case address.
A column becomes the merge field of the same name or tag, compared without case, blanks and
underscores. No status is ever written over a member's own: a new member gets ``status_if_new``,
nobody who unsubscribed is subscribed again. A segment is a static segment. A trigger is a custom
event, or a step of a journey where ``journeys`` names one.

Options: ``audience_id``; ``status_if_new`` (transactional, subscribed or pending; default
transactional); ``journeys`` ({event: "<journey id>/<step id>"}). Credentials: ``api_key``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
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
    unknown_option,
)
from reverse_etl.errors import Denied, RateLimited, Refused, UserError
from reverse_etl.http import HttpClient
from reverse_etl.naming import address as address_of
from reverse_etl.naming import by_list, plain, totals
from reverse_etl.planner import Change
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_plain, as_text

_MEMBERS = "members"
_PAGE = 1_000
_OTHERS_TOO = dict.fromkeys(
    ("include_cleaned", "include_transactional", "include_unsubscribed"), "true"
)
_STATUS_IF_NEW = ("transactional", "subscribed", "pending")
_EVENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,29}")
_OPENED_FOR = timedelta(days=30)
"""How long after it was sent a campaign is asked for opens and clicks."""
_KINDS: dict[str, FeedbackKind] = {"open": "opened", "click": "clicked", "bounce": "bounced"}
_ABSENT = "Mailchimp has no such member; its profile has to be sent first."


class Mailchimp(Destination):
    """One audience. Events have no dedupe field, so an event is sent at most once."""

    lists_hold_keys = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "clear", "archive"}),
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._baselines: set[str] = set()
        self._lock = threading.Lock()
        self._segments: dict[str, str] = {}
        self._listed: dict[str, dict[str, str]] = {}

    def limits(self, kind: Kind) -> Limits:
        """500 members, or one event, a call; 10 simultaneous connections, of which 8 are used."""
        return Limits(batch_rows=1 if kind == "trigger" else 500, concurrency=8, timeout=120.0)

    @property
    def account(self) -> str:
        """Each audience is a memory of its own."""
        return f"{super().account}:{self.config.option('audience_id', '')}"

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As the audience counts: members, segments by name, events by name."""
        return totals(counts, {"contact": "members"}, "segments", "events")

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """The audience, merge fields, event names. Missing segments are made while sending."""
        _ = self._status_if_new, self._journeys
        self._call("GET", self._list + "?fields=id")
        return [line for sync in syncs for line in self._missing(sync)]

    def _missing(self, sync: Sync) -> Iterator[str]:
        if sync.spec.kind != "trigger" and sync.spec.object != "contact":
            yield f"{sync.file}: Mailchimp knows people only; sync contacts to it."
        if "email" not in sync.columns:
            yield f"{sync.file}: Mailchimp needs the column email."
        if sync.spec.kind == "trigger" and not _EVENT_NAME.fullmatch(sync.event_name):
            yield (
                f"{sync.file}: meta.sync.event: {sync.event_name!r} is no event name for Mailchimp "
                "(2 to 30 letters, digits, _ and -)."
            )
        if sync.spec.kind != "profile":
            return
        if "status" in sync.columns:
            yield (
                f"{sync.file}: status is Mailchimp's own and never written: opt-outs go one way. "
                "Rename the column."
            )
        absent = [c for c in _fields_of(sync) if plain(c) not in self._merge_fields]
        if absent:
            yield (
                f"{sync.file}: the audience has no merge field for {', '.join(absent)}. Create "
                "under Mailchimp: Audience > Settings > Audience fields and *|MERGE|* tags, with "
                "the column's name as label, or remove the column from the model."
            )

    # Sending

    def begin(self, sync: Sync, *, baseline: bool) -> None:
        """See Destination. What the tool is told of its segments may be old."""
        self._listed.clear()
        if baseline:
            self._baselines.add(sync.id)

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        if sync.spec.kind == "trigger":
            return [self._send_event(sync, change) for change in batch]
        if sync.spec.kind == "segment":
            return [
                outcome
                for name, some in by_list(sync, batch).items()
                for outcome in self._change_segment(sync, name, some)
            ]
        gone = [change for change in batch if change.action == "remove"]
        written = [change for change in batch if change.action != "remove"]
        profiles = {change.key: self._member(sync, change) for change in written}
        return self._write(written, profiles, sync.spec.mode) + self._remove(sync, gone)

    def _write(
        self, changes: Sequence[Change], profiles: Mapping[str, Any], mode: str
    ) -> list[Outcome]:
        """Members by address. Who may be new is created without touching those who exist; only
        then are the others updated, and an update names no status."""
        known = self._hashes([change.identity for change in changes])
        outcomes, by_address = {}, dict[str, Change]()
        for change in changes:
            address = address_of(change)
            if not address:
                outcomes[change.key] = _refused(change, "address", "The row has no e-mail address.")
            elif address in by_address:
                words = "Another row has this e-mail address; a member has one."
                outcomes[change.key] = _refused(change, "address", words)
            else:
                by_address[address] = change
                old = known.get(change.identity)
                if old and old != _hash(address) and not self._move(old, address):
                    known.pop(change.identity)
        new = [a for a, c in by_address.items() if c.identity not in known and mode != "update"]
        found = self._post(new, by_address, profiles, is_new=True)
        there = [a for a in by_address if a not in new or found[a].code == "ERROR_CONTACT_EXISTS"]
        found |= self._post(there, by_address, profiles, is_new=False)
        lost = [a for a in there if found[a].status == "rejected" and a not in new]
        if mode != "update":  # deleted in the tool since we wrote them
            again = self._post(lost, by_address, profiles, is_new=True)
            found |= {a: o for a, o in again.items() if o.code != "ERROR_CONTACT_EXISTS"}
        hashes = {c.identity: _hash(a) for a, c in by_address.items() if _is_delivered(found[a])}
        self.ids.remember_external_ids(self.account, _MEMBERS, hashes)
        return list(outcomes.values()) + list(found.values())

    def _post(
        self,
        addresses: Sequence[str],
        changes: Mapping[str, Change],
        profiles: Mapping[str, Any],
        *,
        is_new: bool,
    ) -> dict[str, Outcome]:
        """One batch, and an outcome by address: a 200 may hold nothing but errors."""
        if not addresses:
            return {}
        status = {"status": self._status_if_new} if is_new else {}
        members = [profiles[changes[a].key] | {"email_address": a} | status for a in addresses]
        body = {"members": members, "update_existing": not is_new, "sync_tags": False}
        query = "?skip_merge_validation=true&skip_duplicate_check=true"
        answer = self._call("POST", self._list + query, body)
        silent = "Mailchimp answered without a word on this member."
        found = {a: Outcome(changes[a].key, "unknown", "silent", silent) for a in addresses}
        for member in (*answer.get("new_members", []), *answer.get("updated_members", [])):
            address = member["email_address"].lower()
            found[address] = Outcome(changes[address].key, "delivered")
        for error in answer.get("errors", []):
            address = error["email_address"].strip('"').lower()
            if address not in found:
                raise Refused(error["error"], code="200")  # no row named: halve
            code = error.get("error_code", "error")
            found[address] = Outcome(changes[address].key, "rejected", code, error["error"])
        return found

    def _move(self, old: str, address: str) -> bool:
        """A contact's address changed: the member keeps its history. False where it cannot."""
        try:
            self._call("PATCH", f"{self._list}/members/{old}", {"email_address": address})
        except Refused:
            return False
        return True

    def _remove(self, sync: Sync, gone: Sequence[Change]) -> list[Outcome]:
        """Archive, or empty the fields: neither is an opt-out."""
        known = self._hashes([change.identity for change in gone])
        empty = {tag: "" for c in _fields_of(sync) if (tag := self._merge_fields.get(plain(c)))}
        outcomes = []
        for change in gone:
            path = f"{self._list}/members/{known.get(change.identity)}"
            if change.identity in known:
                if sync.spec.removal == "clear":
                    self._if_there("PATCH", path, {"merge_fields": empty})
                else:
                    self._if_there("DELETE", path)
            outcomes.append(Outcome(change.key, "delivered"))
        return outcomes

    def _change_segment(self, sync: Sync, name: str, changes: Sequence[Change]) -> list[Outcome]:
        """Members in and out. A segment is a tag, which starts automations: on a baseline each
        member is tagged by the one call that can say that nothing may start."""
        known = self._hashes([change.identity for change in changes])
        joining = [change for change in changes if change.action != "remove"]
        absent = [c for c in joining if known.get(c.identity) != _hash(address_of(c))]
        made = {o.key: o for o in self._write(absent, {c.key: {} for c in absent}, "upsert")}
        outcomes = [o for o in made.values() if not _is_delivered(o)]
        joining = [c for c in joining if c.key not in made or _is_delivered(made[c.key])]
        if sync.id in self._baselines:
            outcomes += [self._tag(name, change) for change in joining]
            joining = []
        segment = f"{self._list}/segments/{self._segment_id(name)}"
        leaving = [change for change in changes if change.action == "remove"]
        there = self._in_segment(segment) if leaving else {}
        addresses = {c.key: there.get(known.get(c.identity, "")) for c in leaving}
        body = {
            "members_to_add": [address_of(change) for change in joining],
            "members_to_remove": [address for address in addresses.values() if address],
        }
        outcomes += [Outcome(change.key, "delivered") for change in leaving]
        if not any(body.values()):
            return outcomes
        answer = self._call("POST", segment, body)
        added = {member["email_address"].lower() for member in answer.get("members_added", [])}
        errors = {
            a.lower(): e["error"] for e in answer.get("errors", []) for a in e["email_addresses"]
        }
        for change in joining:
            address = address_of(change)
            if address in added or _hash(address) in self._in_segment(segment):
                outcomes.append(Outcome(change.key, "delivered"))
            else:  # ignored: no longer in the audience; the next try makes the member anew
                self.ids.remember_external_ids(self.account, _MEMBERS, {change.identity: ""})
                outcomes.append(_refused(change, "absent", errors.get(address, _ABSENT)))
        return outcomes

    def _tag(self, name: str, change: Change) -> Outcome:
        path = f"{self._list}/members/{_hash(address_of(change))}/tags"
        body = {"tags": [{"name": name, "status": "active"}], "is_syncing": True}
        try:
            self._call("POST", path, body)
        except Refused as refused:
            return _refused(change, refused.code, str(refused))
        return Outcome(change.key, "delivered")

    def _send_event(self, sync: Sync, change: Change) -> Outcome:
        row = change.payload
        known = self._hashes([str(row.get("contact_id"))])
        member = known.get(str(row.get("contact_id"))) or _hash(address_of(change))
        step = self._journeys.get(sync.event_name)
        if step:
            journey, _, number = step.partition("/")
            path = f"/customer-journeys/journeys/{journey}/steps/{number}/actions/trigger"
            body: dict[str, Any] = {"email_address": address_of(change)}
        else:
            path = f"{self._list}/members/{member}/events"
            given = {n: as_text(v) for n, v in row.items() if n not in ROUTING and v is not None}
            body = {
                "name": sync.event_name,
                "properties": given,
                "is_syncing": sync.id in self._baselines,
            }
            if row.get("occurred_at") is not None:
                body["occurred_at"] = as_text(row["occurred_at"])
        try:
            self._call("POST", path, body)
        except Refused as refused:
            words = _ABSENT if refused.code == "404" else str(refused)
            return _refused(change, refused.code, words)
        return Outcome(change.key, "delivered")

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Whoever is erased can never be imported again: Mailchimp's rule."""
        known = self._hashes([person.contact_id for person in people])

        def erase(person: Person) -> None:
            for member in {_hash(person.email), known.get(person.contact_id, "")} - {""}:
                self._if_there("POST", f"{self._list}/members/{member}/actions/delete-permanent")

        return [_tried(person, erase) for person in people]

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Who is not in the audience is recorded as unsubscribed, so that nothing
        can subscribe them later."""
        status = {"status": "unsubscribed", "status_if_new": "unsubscribed"}

        def opt_out(person: Person) -> None:
            path = f"{self._list}/members/{_hash(person.email)}"
            self._call("PUT", path, {"email_address": person.email, **status})

        return [_tried(person, opt_out, "permanently deleted") for person in people]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Unsubscribed and cleaned (bounced) members, abuse reports, and what mails of the last
        30 days were opened and clicked."""
        at = as_text(since)
        statuses: tuple[tuple[str, FeedbackKind], ...] = (
            ("unsubscribed", "unsubscribed"),
            ("cleaned", "bounced"),
        )
        for status, kind in statuses:
            path = f"{self._list}/members"
            for member in self._pages(path, _MEMBERS, status=status, since_last_changed=at):
                fact = f"{status}:{member['id']}"
                yield _feedback(
                    fact, kind, member, member["last_changed"], member.get("unsubscribe_reason", "")
                )
        for report in self._pages(f"{self._list}/abuse-reports", "abuse_reports"):
            if _instant(report["date"]) >= since:
                yield _feedback(f"abuse:{report['id']}", "complained", report, report["date"])
        mails = self._pages("/reports", "reports", since_send_time=as_text(since - _OPENED_FOR))
        for mail in mails:
            if mail["list_id"] != self._audience:
                continue
            for person in self._pages(f"/reports/{mail['id']}/email-activity", "emails", since=at):
                for done in person["activity"]:
                    if done["action"] in _KINDS:
                        parts = (mail["id"], person["email_id"], done["action"], done["timestamp"])
                        fact, kind = ":".join(parts), _KINDS[done["action"]]
                        yield _feedback(fact, kind, person, done["timestamp"], done.get("url", ""))

    # The audience's own names and ids

    def _member(self, sync: Sync, change: Change) -> dict[str, Any]:
        given = {
            self._merge_fields[plain(c)]: "" if v is None else as_plain(v)
            for c, v in change.payload.items()
            if c in _fields_of(sync) and plain(c) in self._merge_fields
        }
        language = change.payload.get("language")
        return {"merge_fields": given} | ({"language": as_text(language)} if language else {})

    def _hashes(self, contacts: Sequence[str]) -> dict[str, str]:
        known = self.ids.external_ids(self.account, _MEMBERS, contacts)
        return {contact: member for contact, member in known.items() if member}

    @cached_property
    def _merge_fields(self) -> dict[str, str]:
        """Tags by the plain form of tag and of label."""
        pages = self._pages(f"{self._list}/merge-fields", "merge_fields")
        return {plain(f[name]): f["tag"] for f in pages for name in ("tag", "name")}

    def _segment_id(self, name: str) -> str:
        """The static segment of that name, made where there is none."""
        with self._lock:
            if name not in self._segments:
                path = f"{self._list}/segments"
                for found in self._pages(path, "segments", type="static"):
                    self._segments[str(found["name"])] = str(found["id"])
            if name not in self._segments:
                made = self._call("POST", path, {"name": name, "static_segment": []})
                self._segments[name] = str(made["id"])
            return self._segments[name]

    def _in_segment(self, segment: str) -> dict[str, str]:
        """Addresses of a segment's members by hash, as told at the first question of a push."""
        with self._lock:
            if segment not in self._listed:
                asked = {**_OTHERS_TOO, "fields": "members.id,members.email_address"}
                pages = self._pages(f"{segment}/members", _MEMBERS, **asked)
                self._listed[segment] = {m["id"]: m["email_address"] for m in pages}
            return self._listed[segment]

    # Calls

    def _call(self, method: str, path: str, payload: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, payload)
        except Denied as denied:
            if denied.code == "403" and not str(denied).startswith("{"):  # its overload protection
                raise RateLimited(str(denied), code="403", retry_after=10.0) from None
            raise
        return answer.json() if answer.body else {}

    def _if_there(self, method: str, path: str, payload: Any = None) -> None:
        try:
            self._call(method, path, payload)
        except Refused as refused:
            if refused.code not in ("404", "405"):  # 405: it was archived before
                raise

    def _pages(self, path: str, name: str, **query: str) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            text = urlencode({**query, "count": _PAGE, "offset": offset})
            items = self._call("GET", f"{path}?{text}")[name]
            yield from items
            offset += len(items)
            if len(items) < _PAGE:
                return

    @property
    def _audience(self) -> str:
        audience = self.config.option("audience_id")
        if not audience:
            raise UserError(
                f"{self.config.origin}.options.audience_id is missing. Mailchimp shows it under "
                "Audience > Settings > Audience name and defaults."
            )
        return str(audience)

    @property
    def _list(self) -> str:
        return f"/lists/{self._audience}"

    @property
    def _journeys(self) -> dict[str, str]:
        journeys = options.mapping(self.config, "journeys")
        for event, step in journeys.items():
            if not re.fullmatch(r"\d+/\d+", step):
                raise UserError(
                    f"{self.config.origin}.options.journeys.{event} is {step!r}. Write "
                    "<journey id>/<step id>, as the step's settings show them."
                )
        return journeys

    @property
    def _status_if_new(self) -> str:
        status = str(self.config.option("status_if_new", "transactional"))
        if status not in _STATUS_IF_NEW:
            raise unknown_option(self.config, "options.status_if_new", status, _STATUS_IF_NEW)
        return status

    @cached_property
    def _client(self) -> HttpClient:
        key = self.config.credential("api_key")
        limits = self.limits("profile")
        basic = base64.b64encode(f"key:{key}".encode()).decode()
        return HttpClient(
            self.config.base_url,
            self.budget,
            headers={"Authorization": f"Basic {basic}"},
            secrets=[key, basic],
            read_seconds=limits.timeout,
        )


def _fields_of(sync: Sync) -> list[str]:
    """Columns that become merge fields."""
    return [c for c in sync.columns if c not in (sync.spec.key, "email", "language", "status")]


def _hash(address: str) -> str:
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _is_delivered(outcome: Outcome) -> bool:
    return outcome.status == "delivered"


def _refused(change: Change, code: str, words: str) -> Outcome:
    return Outcome(change.key, "rejected", code, words)


def _tried(person: Person, step: Callable[[Person], None], harmless: str = "\0") -> Outcome:
    """What became of a step for one person; a refusal that says ``harmless`` is as good."""
    try:
        step(person)
    except Refused as refused:
        if harmless not in str(refused):
            return Outcome(person.contact_id, "rejected", refused.code, str(refused))
    return Outcome(person.contact_id, "delivered")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _feedback(
    fact: str, kind: FeedbackKind, who: Mapping[str, Any], at: str, detail: str = ""
) -> Feedback:
    return Feedback(fact, kind, who["email_address"].lower(), _instant(at), detail)
