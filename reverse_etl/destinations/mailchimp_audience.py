"""One audience of Mailchimp: how it is called, and the names it has for things.

Contract: the Marketing API 3.0; see mailchimp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from reverse_etl.destinations.base import Feedback, FeedbackKind
from reverse_etl.errors import Denied, RateLimited, Refused
from reverse_etl.http import HttpClient
from reverse_etl.naming import plain
from reverse_etl.once import Once
from reverse_etl.outcomes import DELIVERED, Outcome, silent
from reverse_etl.paging import by_offset
from reverse_etl.people_tool import Row
from reverse_etl.values import as_plain, as_text

_PAGE = 1_000
_OTHERS_TOO = dict.fromkeys(
    ("include_cleaned", "include_transactional", "include_unsubscribed"), "true"
)
_OPENED_FOR = timedelta(days=30)
"""How long after it was sent a campaign is asked for opens and clicks."""
_KINDS: dict[str, FeedbackKind] = {"open": "opened", "click": "clicked", "bounce": "bounced"}
NO_FIELDS = frozenset({"email", "language"})
"""Columns that are a member's own and no merge field."""


class Audience:
    """Asks for its id and for a client when it is called, so that making it connects to nothing."""

    def __init__(self, id_: Callable[[], str], client: Callable[[], HttpClient]) -> None:
        self._id, self._client = id_, client
        self.listed = Once[dict[str, str]]()
        """Members of segments, by segment."""

    @property
    def id(self) -> str:
        """As Mailchimp names it."""
        return self._id()

    @property
    def path(self) -> str:
        """Where it is found."""
        return f"/lists/{self.id}"

    def member(self, hash_: str) -> str:
        """Where a member is found."""
        return f"{self.path}/members/{hash_}"

    @cached_property
    def merge_fields(self) -> dict[str, str]:
        """Tags by the plain form of tag and of label."""
        pages = list(self.pages(f"{self.path}/merge-fields", "merge_fields"))
        return {plain(f[name]): f["tag"] for f in pages for name in ("tag", "name")}

    def call(self, method: str, path: str, payload: Any = None) -> Any:
        """The answer. Mailchimp's overload protection is a 403 without JSON."""
        try:
            answer = self._client().request(method, path, payload)
        except Denied as denied:
            if denied.code == "403" and not str(denied).startswith("{"):
                raise RateLimited(str(denied), code="403", retry_after=10.0) from None
            raise
        return answer.json() if answer.body else {}

    def if_there(self, method: str, path: str, payload: Any = None) -> None:
        """A call about a member who may be gone: 405 says that they were archived before."""
        try:
            self.call(method, path, payload)
        except Refused as refused:
            if refused.code not in ("404", "405"):
                raise

    def pages(self, path: str, name: str, **query: str) -> Iterator[dict[str, Any]]:
        """Everything in a list."""

        def ask(offset: int) -> list[dict[str, Any]]:
            text = urlencode({**query, "count": _PAGE, "offset": offset})
            items: list[dict[str, Any]] = self.call("GET", f"{path}?{text}")[name]
            return items

        return by_offset(ask, _PAGE)

    def write(
        self, members: Mapping[str, Row], known: Mapping[str, str], status_if_new: str
    ) -> dict[str, Outcome]:
        """Members by address, and an outcome for each. Who may be new, as our id is not ``known``,
        is created without touching those who exist; only then are the others updated, and an update
        names no status."""
        new = {e: r for e, r in members.items() if r.identity not in known and r.mode == "upsert"}
        found = self._post(new, status_if_new)
        taken = {email for email, told in found.items() if told.code == "ERROR_CONTACT_EXISTS"}
        found |= self._post({e: r for e, r in members.items() if e not in new or e in taken})
        lost = {  # deleted in the tool since we wrote them
            email: row
            for email, row in members.items()
            if found[email].status == "rejected" and email not in new and row.mode == "upsert"
        }
        again = self._post(lost, status_if_new)
        return found | {e: o for e, o in again.items() if o.code != "ERROR_CONTACT_EXISTS"}

    def _post(self, members: Mapping[str, Row], status_if_new: str = "") -> dict[str, Outcome]:
        """One batch that makes members of a status, or changes them: a 200 may hold only errors."""
        if not members:
            return {}
        status = {"status": status_if_new} if status_if_new else {}
        items = []
        for email, row in members.items():
            language = row.attributes.get("language")
            more = {"language": as_text(language)} if language else {}
            merged = {"merge_fields": self.merged(row)}
            items.append({"email_address": email, **merged, **more, **status})
        body = {"members": items, "update_existing": not status_if_new, "sync_tags": False}
        query = "?skip_merge_validation=true&skip_duplicate_check=true"
        answer = self.call("POST", self.path + query, body)
        found = dict.fromkeys(members, silent("Mailchimp", "member"))
        for member in (*answer.get("new_members", []), *answer.get("updated_members", [])):
            found[member["email_address"].lower()] = DELIVERED
        for error in answer.get("errors", []):
            email = error["email_address"].strip('"').lower()
            if email not in found:
                raise Refused(error["error"], code="200")  # no row named: halve
            code = error.get("error_code", "error")
            found[email] = Outcome("", "rejected", code, error["error"])
        return found

    def merged(self, row: Row) -> dict[str, Any]:
        """Merge fields by tag; an empty text empties one."""
        given = {name: v for name, v in row.attributes.items() if name not in NO_FIELDS}
        return {
            self.merge_fields[plain(name)]: "" if value is None else as_plain(value)
            for name, value in given.items()
            if plain(name) in self.merge_fields
        }

    def in_segment(self, segment: str) -> dict[str, str]:
        """Addresses of a segment's members by hash, as told at the first question of a push."""

        def ask() -> dict[str, str]:
            asked = {**_OTHERS_TOO, "fields": "members.id,members.email_address"}
            found = self.pages(f"{segment}/members", "members", **asked)
            return {member["id"]: member["email_address"] for member in found}

        return self.listed.of(segment, ask)

    def feedback(self, since: datetime) -> Iterator[Feedback]:
        """Unsubscribed and cleaned (bounced) members, abuse reports, and what mails of the last
        30 days were opened and clicked."""
        at = as_text(since)
        statuses: tuple[tuple[str, FeedbackKind], ...] = (
            ("unsubscribed", "unsubscribed"),
            ("cleaned", "bounced"),
        )
        for status, kind in statuses:
            changed = {"status": status, "since_last_changed": at}
            for member in self.pages(f"{self.path}/members", "members", **changed):
                fact, why = f"{status}:{member['id']}", member.get("unsubscribe_reason", "")
                yield _feedback(fact, kind, member, member["last_changed"], why)
        for report in self.pages(f"{self.path}/abuse-reports", "abuse_reports"):
            if _instant(report["date"]) >= since:
                yield _feedback(f"abuse:{report['id']}", "complained", report, report["date"])
        mails = self.pages("/reports", "reports", since_send_time=as_text(since - _OPENED_FOR))
        for mail in mails:
            if mail["list_id"] != self.id:
                continue
            for person in self.pages(f"/reports/{mail['id']}/email-activity", "emails", since=at):
                for done in person["activity"]:
                    if done["action"] in _KINDS:
                        parts = (mail["id"], person["email_id"], done["action"], done["timestamp"])
                        fact, kind = ":".join(parts), _KINDS[done["action"]]
                        yield _feedback(fact, kind, person, done["timestamp"], done.get("url", ""))


def hash_of(address: str) -> str:
    """How Mailchimp finds a member: the md5 of the address in lower case."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _feedback(
    fact: str, kind: FeedbackKind, who: Mapping[str, Any], at: str, detail: str = ""
) -> Feedback:
    return Feedback(fact, kind, who["email_address"].lower(), _instant(at), detail)
