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

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from reverse_etl import options
from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import Action, ExternalIds, Feedback, Limits, Person
from reverse_etl.destinations.mailchimp_audience import NO_FIELDS, Audience, hash_of
from reverse_etl.errors import Refused, UserError
from reverse_etl.http import HttpClient, basic
from reverse_etl.naming import address, plain, properties
from reverse_etl.outcomes import DELIVERED, Outcome, of_each, tried
from reverse_etl.people_tool import EVERYBODY, PEOPLE, PeopleTool, Row, lacking
from reverse_etl.planner import Change
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_text

_STATUS_IF_NEW = ("transactional", "subscribed", "pending")
_EVENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,29}")
_UNSENT = "its profile has to be sent first"


class Mailchimp(PeopleTool):
    """One audience. Events have no dedupe field, so an event is sent at most once."""

    tool = "Mailchimp"
    account_option = "audience_id"
    can_only_change = True
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        **PeopleTool.capabilities,
        "profile": frozenset({"add", "change", "clear", "archive"}),
    }
    takes: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": PEOPLE,
        "segment": PEOPLE,
        "trigger": EVERYBODY,
    }
    words = ({"contact": "members"}, "segments", "events")
    finds_by_address = frozenset({"profile", "segment", "trigger"})
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {"profile": frozenset({"status"})}

    def __init__(self, config: DestinationConfig, ids: ExternalIds) -> None:
        super().__init__(config, ids)
        self._audience = Audience(self._audience_id, lambda: self._client)

    def limits(self, kind: Kind) -> Limits:
        """500 members, or one event, a call; 10 simultaneous connections, of which 8 are used."""
        return Limits(batch_rows=1 if kind == "trigger" else 500, concurrency=8, timeout=120.0)

    def kept(self, sync: Sync) -> frozenset[str]:
        """Clearing empties merge fields."""
        return NO_FIELDS

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """The audience, merge fields, event names. Missing segments are made while sending."""
        _ = self._status_if_new(), self._journeys
        self._audience.call("GET", self._audience.path + "?fields=id")
        return super().missing(syncs)

    def missing_for(self, sync: Sync) -> list[str]:
        """See PeopleTool."""
        if sync.spec.kind == "trigger" and not _EVENT_NAME.fullmatch(sync.event_name):
            return [
                f"{sync.file}: meta.sync.event: {sync.event_name!r} is no event name for Mailchimp "
                "(2 to 30 letters, digits, _ and -)."
            ]
        if sync.spec.kind != "profile":
            return []
        own = {*NO_FIELDS, "status", sync.spec.key}
        absent = [
            c for c in sync.columns if c not in own and plain(c) not in self._audience.merge_fields
        ]
        place = (
            "Mailchimp: Audience > Settings > Audience fields and *|MERGE|* tags, with the "
            "column's name as label"
        )
        return lacking(sync, absent, "the audience has no merge field for", place)

    # How the audience is spoken to

    def begin(self, sync: Sync, *, baseline: bool) -> None:
        """See Destination. What the tool is told of its segments may be old."""
        super().begin(sync, baseline=baseline)
        self._audience.listed.forget_all()

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Mailchimp knows nobody by our id."""
        return {}

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Members by address; no status of somebody who exists is ever written."""
        known = self.remembered("contact", [row.identity for row in rows.values()])
        outcomes, keys = [], dict[str, str]()  # of members, by address
        for key, row in rows.items():
            if row.mode == "clear":
                body = {"merge_fields": self._audience.merged(row)}
                self._audience.if_there("PATCH", self._audience.member(known[row.identity]), body)
                outcomes.append(DELIVERED.of(key))
            elif not row.email:
                words = "The row has no e-mail address."
                outcomes.append(Outcome(key, "rejected", "address", words))
            elif row.email in keys:
                words = "Another row has this e-mail address; a member has one."
                outcomes.append(Outcome(key, "rejected", "address", words))
            else:
                keys[row.email] = key
                old = known.get(row.identity)
                if old and old != hash_of(row.email) and not self._move(old, row.email):
                    known.pop(row.identity)
        members = {email: rows[key] for email, key in keys.items()}
        found = self._audience.write(members, known, self._status_if_new())
        self.remember(
            "contact",
            {
                r.identity: hash_of(email)
                for email, r in members.items()
                if found[email].is_delivered
            },
        )
        return outcomes + [found[email].of(key) for email, key in keys.items()]

    def _move(self, old: str, email: str) -> bool:
        """A contact's address changed: the member keeps its history. False where it cannot."""
        try:
            self._audience.call("PATCH", self._audience.member(old), {"email_address": email})
        except Refused:
            return False
        return True

    def archive(self, sync: Sync, rows: Mapping[str, str]) -> list[Outcome]:
        """No opt-out."""
        for member in rows.values():
            self._audience.if_there("DELETE", self._audience.member(member))
        return of_each(DELIVERED, rows)

    def find_list(self, object_: str, name: str) -> str | None:
        """The static segment of that name."""
        segments = self._audience.pages(
            f"{self._audience.path}/segments", "segments", type="static"
        )
        return next((str(found["id"]) for found in segments if found["name"] == name), None)

    def make_list(self, object_: str, name: str) -> str:
        """See PeopleTool."""
        body = {"name": name, "static_segment": []}
        return str(self._audience.call("POST", f"{self._audience.path}/segments", body)["id"])

    def change_list(
        self, sync: Sync, name: str, changes: Sequence[Change], *, is_fresh: bool = False
    ) -> list[Outcome]:
        """Members in and out. A segment is a tag, which starts automations: on a baseline each
        member is tagged by the one call that can say that nothing may start."""
        known = self.remembered("contact", [change.identity for change in changes])
        leaving = {c.key: known.get(c.identity, "") for c in changes if c.action == "remove"}
        joining = [change for change in changes if change.action != "remove"]
        absent = [c for c in joining if known.get(c.identity) != hash_of(address(c))]
        failed = {o.key: o for o in self._make_members(sync, absent) if not o.is_delivered}
        outcomes = [failed[c.identity].of(c.key) for c in joining if c.identity in failed]
        outcomes += of_each(DELIVERED, leaving)
        joining = [c for c in joining if c.identity not in failed]
        if sync.id in self.baselines:
            outcomes += [self._tag(name, change) for change in joining]
            joining = []
        segment = f"{self._audience.path}/segments/{self.list_id('contact', name)}"
        there = self._audience.in_segment(segment) if leaving else {}
        body = {
            "members_to_add": [address(change) for change in joining],
            "members_to_remove": [there[own] for own in leaving.values() if own in there],
        }
        if not any(body.values()):
            return outcomes
        answer = self._audience.call("POST", segment, body)
        added = {member["email_address"].lower() for member in answer.get("members_added", [])}
        errors = {
            a.lower(): e["error"] for e in answer.get("errors", []) for a in e["email_addresses"]
        }
        for change in joining:
            email = address(change)
            if email in added or hash_of(email) in self._audience.in_segment(segment):
                outcomes.append(DELIVERED.of(change.key))
            else:  # ignored: no longer in the audience; the next try makes the member anew
                self.forget("contact", [change.identity])
                ignored = self.absent(change.key, _UNSENT)
                said = errors.get(email, ignored.message)
                outcomes.append(Outcome(change.key, ignored.status, ignored.code, said))
        return outcomes

    def _tag(self, name: str, change: Change) -> Outcome:
        path = f"{self._audience.member(hash_of(address(change)))}/tags"
        body = {"tags": [{"name": name, "status": "active"}], "is_syncing": True}
        return tried(change.key, partial(self._audience.call, "POST", path, body))

    def addressees(self, batch: Sequence[Change]) -> dict[str, str]:
        """As last written, else by the event's own address."""
        people = {c.key: str(c.payload.get("contact_id")) for c in batch}
        known = self.remembered("contact", people.values())
        return {c.key: known.get(people[c.key]) or hash_of(address(c)) for c in batch}

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """A step of the journey that the options name for an event, else the event itself."""
        outcomes = []
        for key, (change, member) in events.items():
            step = self._journeys.get(sync.event_name)
            if step:
                journey, _, number = step.partition("/")
                path = f"/customer-journeys/journeys/{journey}/steps/{number}/actions/trigger"
                body: dict[str, Any] = {"email_address": address(change)}
            else:
                path = f"{self._audience.member(member)}/events"
                body = _event(sync.event_name, change, sync.id in self.baselines)
            told = tried(key, partial(self._audience.call, "POST", path, body))
            outcomes.append(self.absent(key, _UNSENT) if told.code == "404" else told)
        return outcomes

    # People

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Whoever is erased can never be imported again: Mailchimp's rule."""
        known = self.remembered("contact", [person.contact_id for person in people])

        def erase(person: Person) -> None:
            hashes = {known.get(person.contact_id, ""), person.email and hash_of(person.email)}
            for member in hashes - {""}:
                self._audience.if_there(
                    "POST", f"{self._audience.member(member)}/actions/delete-permanent"
                )

        return [tried(p.contact_id, partial(erase, p)) for p in people]

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """See Destination. Who is not in the audience is recorded as unsubscribed, so that nothing
        can subscribe them later."""
        known = self.remembered("contact", [person.contact_id for person in people])
        status = {"status": "unsubscribed", "status_if_new": "unsubscribed"}

        def opt_out(person: Person) -> None:
            if not person.email:
                if own := known.get(person.contact_id):
                    body = {"status": "unsubscribed"}
                    self._audience.if_there("PATCH", self._audience.member(own), body)
                return
            body = {"email_address": person.email, **status}
            self._audience.call("PUT", self._audience.member(hash_of(person.email)), body)

        return [tried(p.contact_id, partial(opt_out, p), "permanently deleted") for p in people]

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """See Audience."""
        return self._audience.feedback(since)

    # What is configured

    def _audience_id(self) -> str:
        fix = "Mailchimp shows it under Audience > Settings > Audience name and defaults."
        return options.needed(self.config, "audience_id", fix)

    def _status_if_new(self) -> str:
        return options.choice(self.config, "status_if_new", _STATUS_IF_NEW[0], _STATUS_IF_NEW)

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
    def _client(self) -> HttpClient:
        key = self.config.credential("api_key")
        both = basic("key", key)
        return self.client({"Authorization": f"Basic {both}"}, [key, both])


def _event(name: str, change: Change, is_backfill: bool) -> dict[str, Any]:
    event = {"name": name, "properties": properties(change), "is_syncing": is_backfill}
    at = change.payload.get("occurred_at")
    return event | ({"occurred_at": as_text(at)} if at is not None else {})
