"""Braze: users, membership as attributes of them, events, API-triggered Canvases and campaigns.

Contract: Braze's REST API reference (/users/track, /users/export/ids, /users/delete,
/canvas/trigger/send, /campaigns/trigger/send, /email/...). A profile's columns are attributes of
the same names; null takes one away. Braze has no lists: being in a segment is an attribute of its
name that is true, having left it one that is false. A trigger is a custom event, or enters the
Canvas or campaign that the options name for it. Braze does not recognise a repeated trigger: when
the outcome of one cannot be known it is never repeated.

Credentials: ``api_key`` (REST). ``plan_tier``: ``mau`` (50 objects a call) or ``standard`` (75, the
default). Options: ``workspace`` (a name of your own: another name is another memory), ``canvases``
and ``campaigns`` (``{event: API identifier}``), ``windows`` (see PeopleTool; parts track, send,
export, other).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from reverse_etl import options
from reverse_etl.database import in_pieces
from reverse_etl.destinations.base import Feedback, FeedbackKind, Limits, Outcome, Person
from reverse_etl.errors import Refused
from reverse_etl.http import HttpClient
from reverse_etl.naming import properties
from reverse_etl.outcomes import DELIVERED, by_place, of_each
from reverse_etl.paging import by_offset
from reverse_etl.people_tool import PeopleTool, Row
from reverse_etl.planner import Change
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_address, as_plain, as_text, as_utc

_OBJECTS_A_CALL = {"standard": 75, "mau": 50}
_RECIPIENTS = _EXPORTED = _DELETED = _ADDRESSES = 50
_SENT: dict[str, tuple[str, str]] = {
    "canvases": ("canvas", "canvas_entry_properties"),
    "campaigns": ("campaign", "trigger_properties"),
}
_PULLED: dict[FeedbackKind, tuple[str, str]] = {
    "unsubscribed": ("/email/unsubscribes", "unsubscribed_at"),
    "bounced": ("/email/hard_bounces", "hard_bounced_at"),
}
_PAGE = 500


class Braze(PeopleTool):
    """One workspace."""

    tool = "Braze"
    account_option = "workspace"
    dedupe_field = None
    documented: ClassVar[Mapping[str, Sequence[tuple[int, float]]]] = {
        "track": [(3_000, 3)],
        "send": [(250_000, 3_600)],
        "export": [(250, 60)],
        "other": [(20_000, 60)],
    }
    reserved: ClassVar[Mapping[Kind, frozenset[str]]] = {
        "profile": frozenset(
            {"external_id", "braze_id", "user_alias", "push_tokens", "push_token_import"}
            | {"email_subscribe", "push_subscribe", "subscription_groups"}
            | {"marked_email_as_spam_at", "_update_existing_only"}
        )
    }

    def limits(self, kind: Kind) -> Limits:
        """75 objects a call, 50 where paid by active users, 50 recipients; 2 MB; 3,000 calls in
        3 s. One call a batch, so that no outcome of a trigger depends on another call's."""
        rows = _OBJECTS_A_CALL[options.tier(self.config, "standard", _OBJECTS_A_CALL)]
        if kind == "trigger" and any(self.config.option(option) for option in _SENT):
            rows = _RECIPIENTS
        return Limits(rows, 1_700_000, self.windows("track"), concurrency=4, timeout=60.0)

    def missing(self, syncs: Sequence[Sync]) -> list[str]:
        """Canvases and campaigns that are not there, or would send nothing. Attributes and events
        are made by the first that arrives. Asking for nobody tells whether address and key are
        right."""
        self._exported({"external_ids": ["nobody"], "fields_to_export": ["external_id"]})
        lines = []
        for sync in syncs:
            if sync.spec.kind != "trigger" or not (found := self._sent_through(sync)):
                continue
            option, kind, number = found
            where = f"{self.config.origin}.options.{option}.{sync.event_name}"
            try:
                path = f"/{'canvas' if kind == 'canvas' else 'campaigns'}/details"
                told = self._client("other").request("GET", f"{path}?{kind}_id={number}").json()
            except Refused:
                lines.append(
                    f"{where}: Braze has no such {kind}. Its API identifier stands at the end of "
                    "the page it is built on."
                )
                continue
            if told.get("archived") or told.get("draft") or told.get("enabled") is False:
                lines.append(
                    f"{where}: {kind} {told.get('name')!r} is not live. Launch it in Braze."
                )
        return lines

    def _sent_through(self, sync: Sync) -> tuple[str, str, str] | None:
        """The option, the kind and the identifier of what a trigger enters; None for an event."""
        for option, (kind, _) in _SENT.items():
            if number := (self.config.option(option) or {}).get(sync.event_name):
                return option, kind, str(number)
        return None

    # How the tool is spoken to

    def look_up(self, object_: str, key: str, identities: Sequence[str]) -> dict[str, str]:
        """Braze knows users by our id."""
        found: list[str] = []
        for some in in_pieces(identities, _EXPORTED):
            body = {"external_ids": some, "fields_to_export": ["external_id"]}
            found += [str(user["external_id"]) for user in self._exported(body)]
        return {identity: identity for identity in found}

    def _exported(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        answer = self._client("export").request("POST", "/users/export/ids", body).json()
        users: list[Mapping[str, Any]] = answer.get("users") or []
        return users

    def write(self, sync: Sync, rows: Mapping[str, Row]) -> list[Outcome]:
        """Create or change users."""
        objects = {
            key: {
                "external_id": row.identity,
                **{name: _value(name, value) for name, value in row.attributes.items()},
            }
            for key, row in rows.items()
        }
        outcomes = self._track("attributes", objects)
        there = [rows[o.key].identity for o in outcomes if o.status == "delivered"]
        self.remember("contact", {identity: identity for identity in there})
        return outcomes

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination. Members of all lists go in one call: who is not known to be there comes
        with the address, and who leaves is not made by it."""
        if sync.spec.kind != "segment":
            return super().send(sync, batch)
        known = self.remembered("contact", [c.identity for c in batch])
        objects: dict[str, dict[str, Any]] = {}
        for change in batch:
            is_in, email = change.action != "remove", change.payload.get("email")
            one = {"external_id": change.identity, sync.list_of(change.group): is_in}
            if not is_in:
                one["_update_existing_only"] = True
            elif email and change.identity not in known:
                one["email"] = as_address(email)
            objects[change.key] = one
        return self._track("attributes", objects)

    def record(self, sync: Sync, events: Mapping[str, tuple[Change, str]]) -> list[Outcome]:
        """Custom events, or recipients of what the options name; a call that says less than what
        became of each row leaves them unknown, as none may be sent twice."""
        if found := self._sent_through(sync):
            _, kind, number = found
            field = dict(_SENT.values())[kind]
            recipients = [
                {
                    "external_user_id": own,
                    "send_to_existing_only": True,
                    field: properties(change, _value),
                }
                for change, own in events.values()
            ]
            body = {f"{kind}_id": number, "recipients": recipients}
            path = "/canvas/trigger/send" if kind == "canvas" else "/campaigns/trigger/send"
            answer = self._client("send").request("POST", path, body).json()
            if answer.get("message") == "success" and not answer.get("errors"):
                return of_each(DELIVERED, events)
            return of_each(Outcome("", "unknown", "partial", str(answer.get("message"))), events)
        objects = {
            key: {
                "external_id": own,
                "name": sync.event_name,
                "time": as_text(change.payload.get("occurred_at") or datetime.now(UTC)),
                "properties": properties(change, _value),
                "_update_existing_only": True,
            }
            for key, (change, own) in events.items()
        }
        return self._track("events", objects)

    def _track(self, array: str, objects: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
        """One outcome per object: 201 names those refused by their place in their array. Events
        are never halved, as those that are in would be sent again."""
        body = {array: list(objects.values())}
        answer = self._client("track").request("POST", "/users/track", body).json()
        errors: dict[int, tuple[str, str]] = {}
        unclear = "" if answer.get("message") == "success" else str(answer.get("message"))
        for error in answer.get("errors") or []:
            place, words = error.get("index"), str(error.get("type"))
            if error.get("input_array") == array and place in range(len(objects)):
                errors[place] = ("201", words)
            else:
                unclear = words
        processed = answer.get(f"{array}_processed")
        taken = [o["external_id"] for n, o in enumerate(objects.values()) if n not in errors]
        least = len(taken) if array == "events" else len(set(taken))  # users are counted once
        if isinstance(processed, int) and processed < least:
            unclear = unclear or f"Braze took {processed} of {least} and does not say which."
        if unclear and array == "attributes":
            raise Refused(unclear, code="201")  # no row named: halve
        others = Outcome("", "unknown", "", unclear) if unclear else DELIVERED
        return by_place(objects, errors, others)

    # People's wishes

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """Delete whoever has the id, and whoever has the address."""
        own: list[str] = []
        body: dict[str, Any]
        named = [person.contact_id for person in people if person.contact_id]
        for some in in_pieces(named, _EXPORTED):
            body = {"external_ids": some, "fields_to_export": ["braze_id"]}
            own += [str(user["braze_id"]) for user in self._exported(body)]
        for person in people:
            if person.email:
                body = {"email_address": person.email, "fields_to_export": ["braze_id"]}
                own += [str(user["braze_id"]) for user in self._exported(body)]
        for some in in_pieces(dict.fromkeys(own), _DELETED):
            self._client("other").request("POST", "/users/delete", {"braze_ids": some})
        return of_each(DELIVERED, [person.contact_id for person in people])

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """From all e-mail, for every user of the address."""
        addresses = [person.email for person in people if person.email]
        for some in in_pieces(addresses, _ADDRESSES):
            body = {"email": some, "subscription_state": "unsubscribed"}
            self._client("other").request("POST", "/email/status", body)
        return of_each(DELIVERED, [person.contact_id for person in people])

    def pull(self, since: datetime) -> Iterator[Feedback]:
        """Opt-outs and hard bounces, by days in UTC. Complaints and clicks Braze tells only through
        Currents, its paid stream into a warehouse."""
        first, last = as_utc(since).date(), datetime.now(UTC).date() + timedelta(days=1)
        for kind, (path, field) in _PULLED.items():
            days = f"{path}?start_date={first}&end_date={last}"

            def ask(offset: int, days: str = days) -> list[Mapping[str, Any]]:
                query = f"{days}&limit={_PAGE}&offset={offset}"
                answer = self._client("other").request("GET", query).json()
                return list(answer.get("emails") or [])

            for item in by_offset(ask, _PAGE):
                email, at = as_address(item["email"]), datetime.fromisoformat(item[field])
                if as_utc(at) >= as_utc(since):
                    yield Feedback(f"{kind}:{email}:{item[field]}", kind, email, as_utc(at))

    def _client(self, part: str) -> HttpClient:
        key = self.config.credential("api_key")
        return self.client_of(part, {"Authorization": f"Bearer {key}"}, [key])


def _value(name: str, value: Any) -> Any:
    if name == "email":
        return as_address(value) if value else None
    return as_plain(value)
