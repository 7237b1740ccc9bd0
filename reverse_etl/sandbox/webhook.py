"""A receiver of signed webhooks.

Contract: the Standard Webhooks specification. The signature is HMAC-SHA256 over
`id.timestamp.body` with the base64 part of the secret as key; `webhook-id` is the receiver's
idempotency key; several signatures may be listed while a secret is rotated.
"""

import base64
import binascii
import hashlib
import hmac
import sqlite3
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.store import instant
from reverse_etl.sandbox.vendor import Context

ERASED = '{"data": {}}'
_KEPT_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")


class Webhook:
    """Accepts POST /webhook/<endpoint> with a valid signature; a repeated id is stored once."""

    name = "webhook"

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._clock = context.clock
        self._key = base64.b64decode(str(context.portal["secret"]).removeprefix("whsec_"))
        self._tolerance = float(context.portal.get("tolerance_seconds", 300))
        self._gone = set(context.portal.get("gone", []))

    def routes(self) -> list[BaseRoute]:
        return [Route("/{endpoint}", self._receive, methods=["POST"])]

    async def _receive(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        body = await request.body()
        headers = {name: request.headers.get(name, "") for name in _KEPT_HEADERS}
        note = request.scope["exchange"]
        if refusal := self._refusal(headers, body):
            note.violation = refusal
            return JSONResponse({"error": refusal}, 401)
        if endpoint in self._gone:
            return JSONResponse({"error": "this endpoint no longer wants messages"}, 410)
        try:
            payload = orjson.loads(body)
            kind = payload["type"]
            if not (isinstance(kind, str) and "timestamp" in payload and "data" in payload):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            note.violation = "payload"
            return JSONResponse({"error": "a JSON object with type, timestamp, data"}, 400)
        with self._store.transaction() as db:
            if kind == "contact.erased":
                _erase(db, payload["data"])
            db.execute(
                "insert into webhooks(endpoint, webhook_id, type, body, headers, received_at)"
                " values (?, ?, ?, ?, ?, ?) on conflict (endpoint, webhook_id)"
                " do update set duplicates = duplicates + 1",
                (
                    endpoint,
                    headers["webhook-id"],
                    kind,
                    ERASED if kind == "contact.erased" else body.decode(),
                    orjson.dumps(headers).decode(),
                    instant(self._clock()),
                ),
            )
        return JSONResponse({"received": True})

    def _refusal(self, headers: dict[str, str], body: bytes) -> str | None:
        """Why the message is not trusted, or None."""
        identity, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        if not (identity and timestamp and headers["webhook-signature"]):
            return "webhook-id, webhook-timestamp and webhook-signature are required"
        if not (timestamp.isascii() and timestamp.isdigit()):
            return "webhook-timestamp is not whole seconds since the epoch"
        if abs(self._clock() - int(timestamp)) > self._tolerance:
            return "webhook-timestamp is too old or in the future"
        signed = f"{identity}.{timestamp}.".encode() + body
        expected = hmac.new(self._key, signed, hashlib.sha256).digest()
        for listed in headers["webhook-signature"].split(" "):
            version, _, value = listed.partition(",")
            try:
                given = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                continue
            if version == "v1" and hmac.compare_digest(given, expected):
                return None
        return "no signature in webhook-signature is valid"

    def counts(self) -> dict[str, Any]:
        return {
            "received": self._store.number("select count(*) from webhooks"),
            "duplicates": self._store.number("select coalesce(sum(duplicates), 0) from webhooks"),
            "by_type": self._store.tally(
                "select type, count(*) from webhooks group by 1 order by 1"
            ),
            "violations": self._store.number(
                "select count(*) from requests where vendor = ? and violation is not null",
                (self.name,),
            ),
        }

    def forget(self) -> None:
        """Nothing is held in memory."""


def _erase(db: sqlite3.Connection, person: dict[str, str]) -> None:
    """A receiver that keeps its word: what it was sent about a person is emptied, the order too."""
    for name in ("contact_id", "email"):
        if person.get(name):
            db.execute(
                "update webhooks set body = ? where lower(json_extract(body, ?)) = lower(?)",
                (ERASED, f"$.data.{name}", person[name]),
            )


VENDOR = Webhook
