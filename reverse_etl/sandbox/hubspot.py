"""HubSpot (2026-09 paths): token, limits, and the table of its endpoints."""

import hmac
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.hubspot_contract import (
    Answer,
    Call,
    Refusal,
    batch,
    malformed,
    not_found,
)
from reverse_etl.sandbox.hubspot_events import Events
from reverse_etl.sandbox.hubspot_lists import Lists
from reverse_etl.sandbox.hubspot_properties import Properties, valid_email
from reverse_etl.sandbox.hubspot_records import Records
from reverse_etl.sandbox.hubspot_search import Search
from reverse_etl.sandbox.hubspot_upsert import Upserts
from reverse_etl.sandbox.store import instant
from reverse_etl.sandbox.vendor import Context, Exchange, RollingWindow

Handler = Callable[[Call], Answer]


class HubSpot:
    """One portal. Limits: calls per rolling 10 s and per day, reported on every answer."""

    name = "hubspot"

    def __init__(self, context: Context) -> None:
        portal = context.portal
        self._store = context.store
        self._clock = context.clock
        self._tokens = [str(token).encode() for token in portal.get("tokens", [])]
        self._limit = context.limit
        rows = int(portal.get("batch_rows", 100))
        self._batch_rows = rows
        self._properties = Properties(self._store, portal, rows)
        self._records = Records(self._store, self._properties, portal, rows)
        self._upserts = Upserts(self._store, self._properties, portal, rows)
        self._lists = Lists(self._store, portal)
        self._events = Events(self._store, portal, instant(self._clock()))
        self._search = Search(self._store, portal, self._clock)
        self.forget()
        midnight = instant(self._clock() // 86_400 * 86_400)
        self._window.resume(
            self._store.number(
                "select count(*) from requests where vendor = ? and at >= ?"
                " and status not in (0, 401, 429)",
                (self.name, midnight),
            )
        )

    def routes(self) -> list[BaseRoute]:
        records, properties = self._records, self._properties
        lists, events = self._lists, self._events
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/crm/objects/2026-09/{object}/batch/upsert", self._upserts.upsert),
            ("POST", "/crm/objects/2026-09/{object}/batch/read", records.read),
            ("POST", "/crm/objects/2026-09/{object}/batch/archive", records.archive),
            ("POST", "/crm/objects/2026-09/{object}/gdpr-delete", records.erase),
            ("POST", "/crm/objects/2026-09/{object}/search", self._search.search),
            ("GET", "/crm/objects/2026-09/{object}/{id}", records.show),
            ("GET", "/crm/properties/2026-09/{object}", properties.show_all),
            ("POST", "/crm/properties/2026-09/{object}", properties.create),
            ("POST", "/crm/properties/2026-09/{object}/batch/create", properties.create_batch),
            ("POST", "/crm/properties/2026-09/{object}/batch/read", properties.read_batch),
            ("GET", "/crm/properties/2026-09/{object}/{name}", properties.show),
            ("POST", "/crm/lists/2026-09", lists.create),
            ("POST", "/crm/lists/2026-09/search", lists.search),
            (
                "GET",
                "/crm/lists/2026-09/object-type-id/{object_type_id}/name/{name:path}",
                lists.show_by_name,
            ),
            ("GET", "/crm/lists/2026-09/{list_id}", lists.show),
            ("DELETE", "/crm/lists/2026-09/{list_id}", lists.delete),
            ("GET", "/crm/lists/2026-09/{list_id}/memberships", lists.members),
            ("PUT", "/crm/lists/2026-09/{list_id}/memberships/add", lists.add),
            ("PUT", "/crm/lists/2026-09/{list_id}/memberships/remove", lists.remove),
            (
                "PUT",
                "/crm/lists/2026-09/{list_id}/memberships/add-and-remove",
                lists.add_and_remove,
            ),
            ("GET", "/events/custom/2026-09/event-definitions", events.show_all),
            ("POST", "/events/custom/2026-09/event-definitions", events.create),
            ("GET", "/events/custom/2026-09/event-definitions/{name}", events.show),
            ("POST", "/events/custom/2026-09/send", events.send),
            ("POST", "/events/custom/2026-09/send/batch", events.send_batch),
            (
                "POST",
                "/communication-preferences/2026-09/statuses/batch/unsubscribe-all",
                self._unsubscribe_all,
            ),
        ]
        routes: list[BaseRoute] = [
            Route(path, self._endpoint(handler), methods=[method])
            for method, path, handler in table
        ]
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        # Legacy paths (v1 to v4) and slips land here, and are counted: a client must not use them.
        return [*routes, Route("/{path:path}", self._endpoint(_nowhere), methods=methods)]

    def _endpoint(self, handler: Handler) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            note: Exchange = request.scope["exchange"]
            try:
                self._authenticate(request)
                self._admit()
                body = _parsed(request, raw) if request.method not in ("GET", "DELETE") else None
                now = instant(self._clock())
                answer = handler(Call(request.path_params, request.query_params, body, now))
            except Refusal as refusal:
                note.violation = refusal.violation
                answer = Answer(refusal.status, refusal.body())
            return self._response(answer)

        return endpoint

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        given = token.strip().encode()
        if not any(hmac.compare_digest(given, known) for known in self._tokens):
            raise Refusal(
                401, "INVALID_AUTHENTICATION", "The access token is not valid or has expired."
            )

    def _admit(self) -> None:
        refused = self._window.refusal()
        if refused is None:
            return
        name = "TEN_SECONDLY_ROLLING" if refused == "window" else "DAILY"
        raise Refusal(
            429,
            "RATE_LIMITS",
            f"You have reached your {name.lower()} limit.",
            extra={"errorType": "RATE_LIMIT", "policyName": name},
            violation=f"rate limit {name}",
        )

    def _response(self, answer: Answer) -> Response:
        # Starlette gives a 204 no body and no content type, as HubSpot does.
        content = b"" if answer.body is None else orjson.dumps(answer.body)
        response = Response(content, answer.status)
        if answer.body is not None:
            response.headers["content-type"] = "application/json;charset=utf-8"
        prefix, limit = "X-HubSpot-RateLimit-", self._limit
        if limit.calls is not None:
            response.headers[f"{prefix}Max"] = str(limit.calls)
            response.headers[f"{prefix}Remaining"] = str(self._window.remaining)
            response.headers[f"{prefix}Interval-Milliseconds"] = str(
                int(limit.window_seconds * 1000)
            )
        if limit.daily is not None:
            response.headers[f"{prefix}Daily"] = str(limit.daily)
            response.headers[f"{prefix}Daily-Remaining"] = str(self._window.remaining_today)
        return response

    def _unsubscribe_all(self, call: Call) -> Answer:
        """Opt addresses out of everything; a list of addresses, one status each."""
        addresses = batch(call.body, self._batch_rows)
        for address in addresses:
            if not isinstance(address, str) or not valid_email(address):
                raise malformed("inputs is an array of e-mail addresses")
        with self._store.transaction() as db:
            db.executemany(
                "insert or ignore into opt_outs values ('hubspot', ?, 'unsubscribed', ?)",
                [(address.lower(), call.now) for address in addresses],
            )
        results = [{"subscriberIdString": address, "statuses": []} for address in addresses]
        return Answer(
            200,
            {
                "status": "COMPLETE",
                "results": results,
                "startedAt": call.now,
                "completedAt": call.now,
            },
        )

    def counts(self) -> dict[str, Any]:
        """What the portal holds, and how often a client broke the contract."""
        store = self._store
        of = "select count(*) from records where vendor = 'hubspot' and object = ?"
        outcome = "select count(*) from events where vendor = 'hubspot' and outcome = ?"
        return {
            "contacts": store.number(of, ("contacts",)),
            "companies": store.number(of, ("companies",)),
            "lists": store.tally(
                "select l.name, count(m.record_id) from lists l"
                " left join memberships m on m.list_id = l.id"
                " where l.vendor = 'hubspot' and l.deleted_at is null group by l.id order by l.name"
            ),
            "events": store.tally(
                "select name, count(*) from events"
                " where vendor = 'hubspot' and outcome = 'accepted' group by 1 order by 1"
            ),
            "events_dropped": store.number(outcome, ("dropped",)),
            "events_duplicate": store.number(outcome, ("duplicate",)),
            "unsubscribed": store.number(
                "select count(*) from opt_outs where vendor = 'hubspot' and reason = 'unsubscribed'"
            ),
            "requests": store.number("select count(*) from requests where vendor = 'hubspot'"),
            "violations": store.number(
                "select count(*) from requests where vendor = 'hubspot' and violation is not null"
            ),
        }

    def spoil(self, path: str, body: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
        """For the fault errors_inside: the upsert without every third record, and the answer that
        names those as failed for now."""
        if not path.endswith("/batch/upsert"):
            return None
        inputs = orjson.loads(body)["inputs"]
        failed, kept = inputs[::3], [row for n, row in enumerate(inputs) if n % 3]

        def amend(answer: bytes) -> bytes:
            told = orjson.loads(answer)
            errors = told.get("errors", []) + [
                {
                    "status": "error",
                    "category": "INTERNAL_ERROR",
                    "message": "a fault armed in the sandbox",
                    "context": {"objectWriteTraceId": [row["objectWriteTraceId"]]},
                }
                for row in failed
            ]
            return orjson.dumps(told | {"errors": errors, "numErrors": len(errors)})

        return orjson.dumps({"inputs": kept}), amend

    def forget(self) -> None:
        """The store has been emptied: so are definitions by API and the rate window."""
        self._window = RollingWindow(self._limit, self._clock)
        self._properties.forget()
        self._events.forget()


def _parsed(request: Request, raw: bytes) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(
            415,
            "VALIDATION_ERROR",
            "Unsupported Media Type: application/json is expected",
            violation="content type",
        )
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(str(error)) from error


def _nowhere(call: Call) -> Answer:
    refusal = not_found("There is no such endpoint in version 2026-09 of this API.")
    refusal.violation = "unknown endpoint"
    raise refusal


VENDOR = HubSpot
