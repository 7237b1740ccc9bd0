"""Any address that takes signed webhooks: one POST per row.

Contract: the Standard Webhooks specification. ``webhook-id`` is the receiver's dedupe field: a
trigger's event_id, and for levels the row with its fingerprint. The body is
``{"type": "<kind>.<name>", "timestamp": ..., "data": {...}}``; data carries all columns.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import ClassVar

from reverse_etl.destinations.base import Action, Destination, Limits, Outcome, Person
from reverse_etl.errors import Refused, UserError
from reverse_etl.http import HttpClient
from reverse_etl.planner import Change
from reverse_etl.rate import Window
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json, as_text

PREFIX = "whsec_"


class Webhook(Destination):
    """One endpoint. Options: ``calls_per_second`` (default 50), ``allow_private_addresses``.

    Off this machine an address must lead to the public internet: whoever may edit it could
    otherwise reach what only this machine can.
    """

    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change", "archive"}),
        "segment": frozenset({"add", "remove"}),
        "trigger": frozenset({"add"}),
    }
    dedupe_field = "webhook-id"

    def limits(self, kind: Kind) -> Limits:
        """One row a call; the specification advises 15 to 30 seconds until an answer."""
        pace = Window(int(self.config.option("calls_per_second", 50)), 1.0)
        return Limits(windows=(pace,), concurrency=4, timeout=20.0)

    def check(self, syncs: Sequence[Sync]) -> list[str]:
        """A webhook can only be tried by sending: asks for address and secret."""
        _ = self._client, self._key
        return []

    def totals(self, counts: Mapping[Sync, Mapping[str, int]]) -> dict[str, object]:
        """As a receiver counts: all messages, and by type."""
        by_type = {_type(sync): sum(groups.values()) for sync, groups in counts.items()}
        return {"received": sum(by_type.values()), "by_type": by_type}

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        """See Destination."""
        return [self._post(sync, change) for change in batch]

    def erase(self, people: Sequence[Person]) -> list[Outcome]:
        """Tells the receiver, who keeps what it was sent: a message ``contact.erased``."""
        return self._tell("contact.erased", people)

    def unsubscribe(self, people: Sequence[Person]) -> list[Outcome]:
        """A message ``contact.unsubscribed``."""
        return self._tell("contact.unsubscribed", people)

    def _tell(self, kind: str, people: Sequence[Person]) -> list[Outcome]:
        outcomes = []
        for person in people:
            data = {"contact_id": person.contact_id, "email": person.email}
            at = as_text(datetime.now(UTC))
            body = as_json({"type": kind, "timestamp": at, "data": data})
            told = f"{kind}\n{person.contact_id}\n{person.email}\n{at[:10]}"
            webhook_id = hashlib.sha256(told.encode()).hexdigest()[:32]
            outcomes.append(self._deliver(person.contact_id, webhook_id, body))
        return outcomes

    def _post(self, sync: Sync, change: Change) -> Outcome:
        at = change.payload.get("occurred_at") or datetime.now(UTC)
        data = {**change.payload, "action": change.action, "key": change.identity}
        if change.group:
            data["group"] = change.group
        body = as_json({"type": _type(sync), "timestamp": as_text(at), "data": data})
        webhook_id = change.key if sync.spec.kind == "trigger" else _level_id(sync, change)
        return self._deliver(change.key, webhook_id, body)

    def _deliver(self, key: str, webhook_id: str, body: bytes) -> Outcome:
        now = str(int(time.time()))
        signature = sign(self._key, webhook_id, now, body)
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": now,
            "webhook-signature": signature,
        }
        try:
            self._client.request("POST", "", content=body, headers=headers)
        except Refused as refused:
            words = str(refused)
            if refused.code == "410":
                words = f"The receiver is gone and asks to disable this endpoint. {words}"
            return Outcome(key, "rejected", refused.code, words)
        return Outcome(key, "delivered")

    @cached_property
    def _key(self) -> bytes:
        secret = self.config.credential("secret")
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
            raise UserError(
                f"{self.config.origin}.credentials.secret is not a webhook secret: write "
                f"{PREFIX} and the base64 of 24 to 64 bytes."
            )
        return key

    @property
    def _client(self) -> HttpClient:
        may_be_private = self.config.option("allow_private_addresses") is True
        public_only = self.config.is_production and not may_be_private
        return self.client({}, [self.config.credential("secret")], public_only=public_only)


def sign(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Standard Webhooks, version 1: HMAC-SHA256 over ``id.timestamp.body``."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _type(sync: Sync) -> str:
    name = sync.event_name if sync.spec.kind == "trigger" else sync.model
    return f"{sync.spec.kind}.{name}"


def _level_id(sync: Sync, change: Change) -> str:
    told = f"{sync.id}\n{change.key}\n{change.action}\n{change.fingerprint}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]
