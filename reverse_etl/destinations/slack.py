"""Slack: alerts to owners, gathered into few messages.

Contract: the Web API (auth.test, users.lookupByEmail, conversations.info, chat.postMessage). Every
answer is a 200 whose ``ok`` says what it is. The alerts of one batch that go to the same place are
one message, one block a row, so a row is delivered when the message that holds it was taken. Names
and addresses of contacts are not written into it.

Options: ``channel`` (an id such as C0123456789); ``to`` (channel or owner; default channel);
``language`` (of columns that end in a language, default en). Credentials: ``token``, a bot's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from reverse_etl import options
from reverse_etl.destinations.base import Action, Destination, Limits, before_sending
from reverse_etl.errors import Denied, DestinationFault, NotSent, RateLimited, Refused, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.naming import owner, told, words
from reverse_etl.outcomes import Outcome, of_each
from reverse_etl.pieces import by_weight
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync

ROWS_A_MESSAGE = 48
"""A message holds 50 blocks, of which one is its heading."""
LONGEST_BLOCK = 3_000
LONGEST_MESSAGE = 38_000
_TO = ("channel", "owner")
_LANGUAGES = ("en", "ja")
_OUT_OF_ORDER = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "no_permission",
        "missing_scope",
        "org_login_required",
        "ekm_access_denied",
        "team_access_not_granted",
        "not_allowed_token_type",
    }
)
_NOT_TAKEN = frozenset({"service_unavailable", "team_added_to_org", "accesslimited"})
_UNCLEAR = frozenset({"internal_error", "fatal_error"})


class Slack(Destination):
    """One workspace. A message has no dedupe field: what may have been posted is not repeated."""

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {"trigger": frozenset({"add"})}

    def limits(self, kind: Kind) -> Limits:
        """One message a second and channel; 50 look-ups of people a minute."""
        window = Window(1, 1.0)
        concurrency = 4 if self._to == "owner" else 1
        return Limits(ROWS_A_MESSAGE, windows=(window,), concurrency=concurrency)

    @property
    def account(self) -> str:
        """The channel is part of it: another channel has not been told yet."""
        return f"{super().account}:{self.config.option('channel', '')}:{self._to}"

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """Alerts by event; how many messages they took, Slack alone knows."""
        return {
            "alerts": {sync.event_name: sum(groups.values()) for sync, groups in counts.items()}
        }

    def batches(self, kind: Kind, changes: Iterable[Change]) -> Iterator[list[Change]]:
        """One batch is one message: rows for the same place, as many as it may hold."""
        places: dict[str, list[Change]] = {}
        for change in changes:
            places.setdefault(owner(change) if self._to == "owner" else "", []).append(change)
        for _, some in sorted(places.items()):
            rows = sorted(some, key=lambda change: (owner(change), change.key))
            yield from by_weight(rows, self._length, ROWS_A_MESSAGE, LONGEST_MESSAGE)

    def _length(self, change: Change) -> int:
        return len(self._text(change)) + 1

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """Token, scopes, and the channel with the bot in it. Posts nothing."""
        answer = self._reader.request("POST", "/auth.test")
        said = self._read(answer.json())
        scopes = set(re.split(r",\s*", answer.headers.get("x-oauth-scopes", "")))
        wanted = {"chat:write"} | ({"users:read.email"} if self._to == "owner" else set())
        missing = []
        if absent := sorted(wanted - scopes):
            missing.append(
                f"{self.config.origin}: the token of {said.get('user', 'the bot')} lacks the scope "
                f"{', '.join(absent)}. Add under api.slack.com/apps > OAuth & Permissions and "
                "install the app anew."
            )
        if self._to == "owner":
            for sync in syncs:
                if "owner_email" not in sync.columns:
                    missing.append(f"{sync.file}: alerts to owners need the column owner_email.")
        elif problem := self._trouble_of_channel():
            missing.append(f"{self.config.origin}.options.channel: {problem}")
        return missing

    def _trouble_of_channel(self) -> str | None:
        try:
            query = urlencode({"channel": self._channel})
            path = f"/conversations.info?{query}"
            channel = self._read(self._reader.request("GET", path).json())["channel"]
        except (Denied, Refused) as fault:
            if fault.code == "missing_scope":  # channels:read is optional; posting will tell
                return None
            return (
                f"Slack does not show this channel ({fault.code}). Use its id, and invite the bot."
            )
        if channel.get("is_archived"):
            return "this channel is archived."
        if not channel.get("is_member", True):
            return "the bot is not in this channel. Invite it there (/invite)."
        return None

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination. All rows are in one message and share its outcome."""
        if self._to == "owner":
            email = owner(batch[0])
            place = self._user(email) if email else ""
            if not place:
                unknown = "Slack has no member with the owner's address."
                nobody = Outcome("", "rejected", "users_not_found", unknown)
                return of_each(nobody, [change.key for change in batch])
        else:
            place = self._channel
        answer = self._client_of(place).request(
            "POST",
            "/chat.postMessage",
            {
                "channel": place,
                "text": self._summary(sync, batch),
                "blocks": self._blocks(sync, batch),
                "unfurl_links": False,
                "unfurl_media": False,
            },
        )
        posted = self._read(answer.json())
        taken = Outcome("", "delivered", str(posted.get("ts", "")))
        return of_each(taken, [change.key for change in batch])

    # Words

    def _summary(self, sync: Sync, batch: Sequence[Change]) -> str:
        """What a notification shows; screen readers read it too."""
        names = ", ".join(str(c.payload.get("customer_name") or c.key) for c in batch[:5])
        more = f" and {len(batch) - 5} more" if len(batch) > 5 else ""
        return _escaped(f"{words(sync.event_name)} ({len(batch)}): {names}{more}")

    def _blocks(self, sync: Sync, batch: Sequence[Change]) -> list[dict[str, Any]]:
        heading = f"{words(sync.event_name)} ({len(batch)})"[:150]
        text = {"type": "plain_text", "text": heading}
        sections = [
            {"type": "section", "text": {"type": "mrkdwn", "text": self._text(change)}}
            for change in batch
        ]
        return [{"type": "header", "text": text}, *sections]

    def _text(self, change: Change) -> str:
        """A row as one block: the customer, the owner, and what the trigger says."""
        row = change.payload
        title = (
            f"*{_escaped(str(row.get('customer_name') or row.get('customer_id') or change.key))}*"
        )
        if row.get("owner_name") and self._to == "channel":
            title += f"  ({_escaped(str(row['owner_name']))})"
        text = "\n".join([title, *map(_escaped, told(change, self._label))])
        return text if len(text) <= LONGEST_BLOCK else text[: LONGEST_BLOCK - 1] + "…"

    def _label(self, column: str) -> str:
        """A column's name without its language; empty where that is another one."""
        stem, _, ending = column.rpartition("_")
        if stem and ending in _LANGUAGES:
            return words(stem) if ending == self.config.option("language", "en") else ""
        return words(column)

    # People and places

    def _user(self, email: str) -> str:
        """The member with this address: from the ledger, else asked for. Asking harms nobody."""
        found = self.ids.external_ids(self.account, "users", [email])
        if email not in found:
            path = f"/users.lookupByEmail?{urlencode({'email': email})}"
            try:
                with before_sending():
                    said = self._read(self._reader.request("GET", path).json())
            except Refused as refused:
                if refused.code != "users_not_found":
                    raise
                return ""
            found = {email: str(said["user"]["id"])}
            self.ids.remember_external_ids(self.account, "users", found)
        return found[email]

    @property
    def _to(self) -> str:
        return options.choice(self.config, "to", "channel", _TO)

    @property
    def _channel(self) -> str:
        fix = (
            "Write the channel's id, which Slack shows at the end of the channel's details, or set "
            "to: owner."
        )
        return options.needed(self.config, "channel", fix)

    # Calls

    def _read(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """A 200 may still say no."""
        if answer.get("ok"):
            return answer
        code = str(answer.get("error", "no reason"))
        details = (answer.get("response_metadata") or {}).get("messages") or []
        raise _fault(code, " ".join([f"Slack says {code}.", *map(str, details)]))

    @property
    def _reader(self) -> HttpClient:
        return self._client_of("look-ups", 50, 60.0)

    def _client_of(self, place: str, calls: int = 1, seconds: float = 1.0) -> HttpClient:
        """Each channel has a pace of its own, whatever of it the ledger remembers."""
        token = self.config.credential("token")
        pace = self.budgets.budget(super().account, place, [Window(calls, seconds)], None)
        return self.client({"Authorization": f"Bearer {token}"}, [token], part=place, pace=pace)


def _fault(code: str, message: str) -> DestinationFault:
    if code in ("ratelimited", "rate_limited"):
        return RateLimited(message, code=code, retry_after=1.0)
    if code in _OUT_OF_ORDER:
        return Denied(message, code=code)
    if code in _UNCLEAR:
        return Unknown(message, code=code)
    if code in _NOT_TAKEN:
        return NotSent(message, code=code)
    return Refused(message, code=code)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
