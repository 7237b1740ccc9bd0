"""Slack: one workspace with a bot.

Contract: the Web API (auth.test, users.lookupByEmail, conversations.info, chat.postMessage). Every
answer is a 200 with `ok`; only too many calls are a 429 with `Retry-After`: one message a second
and channel, 50 look-ups a minute.
"""

import hmac
import itertools
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool
from reverse_etl.sandbox.vendor import Context, RateLimit, RollingWindow

_BLOCKS = 50
_TEXTS = {"section": 3_000, "header": 150}
_KINDS = {"section": ("mrkdwn", "plain_text"), "header": ("plain_text",)}
_KNOWN = frozenset(
    {
        "channel",
        "text",
        "blocks",
        "attachments",
        "thread_ts",
        "mrkdwn",
        "unfurl_links",
        "unfurl_media",
        "metadata",
        "username",
        "icon_emoji",
        "reply_broadcast",
    }
)


class Slack(Tool):
    """Messages are kept as events, by channel."""

    name = "slack"

    def __init__(self, context: Context) -> None:
        self._numbers = itertools.count(1)
        super().__init__(context)
        self._tokens = [str(token).encode() for token in self.portal.get("tokens", [])]
        self._scopes = [str(scope) for scope in self.portal.get("scopes", [])]
        self._users = dict(self.portal.get("users", {}))
        self._channels = dict(self.portal.get("channels", {}))

    def forget(self) -> None:
        super().forget()
        self._windows: dict[str, RollingWindow] = {}

    def table(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/auth.test", self._test),
            ("GET", "/users.lookupByEmail", self._lookup),
            ("GET", "/conversations.info", self._info),
            ("POST", "/chat.postMessage", self._post),
        ]

    def authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(_no("not_authed"))
        if not any(hmac.compare_digest(token.encode(), known) for known in self._tokens):
            raise Refusal(_no("invalid_auth"))

    def refusal(self, reason: Reason, message: str) -> Answer:
        if reason in ("window", "daily", "concurrency"):
            return Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"})
        return _no("unknown_method" if reason == "nowhere" else "invalid_arguments")

    def headers(self) -> Mapping[str, str]:
        return {"x-oauth-scopes": ",".join(self._scopes)}

    def _test(self, call: Call) -> Answer:
        return Answer(200, {"ok": True, "team": "Example", "user": "alerts", "bot_id": "B1"})

    def _lookup(self, call: Call) -> Answer:
        self._need("users:read.email")
        self._pace("users.lookupByEmail", 50, 60.0)
        user = self._users.get(call.first("email").lower())
        if user is None:
            return _no("users_not_found")
        return Answer(200, {"ok": True, "user": {"id": user}})

    def _info(self, call: Call) -> Answer:
        self._need("channels:read")
        self._pace("conversations.info", 50, 60.0)
        name = call.first("channel")
        if name not in self._channels:
            return _no("channel_not_found")
        channel = {"is_member": True, "is_archived": False} | (self._channels[name] or {})
        return Answer(200, {"ok": True, "channel": {"id": name} | channel})

    def _post(self, call: Call) -> Answer:
        self._need("chat:write")
        body = call.body
        if not isinstance(body, dict) or not set(body) <= _KNOWN:
            raise Refusal(_no("invalid_arguments"), "shape")
        place = str(body.get("channel", ""))
        channel = self._channels.get(place, {} if place in self._users.values() else None)
        if place not in self._channels and channel is None:
            return _no("channel_not_found")
        if (channel or {}).get("is_archived"):
            return _no("is_archived")
        if not (channel or {}).get("is_member", True):
            return _no("not_in_channel")
        self._pace(f"chat.postMessage {place}", self.limit.calls or 1, self.limit.window_seconds)
        text, blocks = body.get("text", ""), body.get("blocks", [])
        if not text and not blocks:
            return _no("no_text")
        if len(text) > 40_000:
            return _no("msg_too_long")
        for number, block in enumerate(blocks):
            if words := _objection(block):
                return _no("invalid_blocks", f"[ERROR] {words} [json-pointer:/blocks/{number}]")
        if len(blocks) > _BLOCKS:
            return _no("invalid_blocks", "[ERROR] no more than 50 items allowed [/blocks]")
        self.records.log_event(place, None, call.now, call.now, body)
        stamp = f"{int(self.clock())}.{next(self._numbers):06d}"
        return Answer(200, {"ok": True, "channel": place, "ts": stamp})

    def _pace(self, what: str, calls: int, seconds: float) -> None:
        limit = RateLimit(calls, seconds)
        window = self._windows.setdefault(what, RollingWindow(limit, self.clock))
        if window.refusal():
            raise Refusal(self.refusal("window", ""), "rate limit")

    def _need(self, scope: str) -> None:
        if scope not in self._scopes:
            raise Refusal(_no("missing_scope"))

    def _admit(self) -> None:
        """Slack's limits are by method and channel: see `_pace`."""

    def counts(self) -> dict[str, Any]:
        """Messages by channel, and the rows in them."""
        blocks = "json_array_length(properties, '$.blocks')"
        rows = f"select coalesce(sum({blocks} - 1), 0) from events where vendor = 'slack'"  # noqa: S608
        return {
            "messages": self.records.event_counts(),
            "rows": self.store.number(rows),
            **super().counts(),
        }


def _no(code: str, *messages: str) -> Answer:
    body: dict[str, Any] = {"ok": False, "error": code}
    if messages:
        body["response_metadata"] = {"messages": list(messages)}
    return Answer(200, body)


def _objection(block: Any) -> str | None:
    """Why Slack does not take a block."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "divider":
        return None
    if kind not in _TEXTS:
        return f"unsupported block: {kind}"
    text = block.get("text") or {}
    if text.get("type") not in _KINDS[kind]:
        return f"a {kind} cannot hold {text.get('type')}"
    if not 1 <= len(text.get("text", "")) <= _TEXTS[kind]:
        return f"must be 1 to {_TEXTS[kind]} characters"
    return None


VENDOR = Slack
