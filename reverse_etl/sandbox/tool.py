"""What several vendors' twins share: the endpoint and its gate.

A twin says what its vendor documents (`table`, `authenticate` or `let_in`, `refusal`); this module
reads the request, counts calls, simultaneous ones too, and turns refusals into answers.
"""

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.records import Records
from reverse_etl.sandbox.store import instant
from reverse_etl.sandbox.vendor import Context, RollingWindow

Reason = Literal["shape", "window", "daily", "concurrency", "nowhere"]


@dataclass(frozen=True)
class Call:
    """One call. `body` is JSON or a form, of `size` bytes; `route` is the path below the vendor's
    mount."""

    method: str
    path: Mapping[str, Any]
    query: QueryParams
    headers: Headers
    body: Any
    size: int
    now: str
    route: str

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next(iter(self.query.getlist(name)), default)

    def every(self, name: str) -> list[str]:
        """Every value of a query parameter that may be repeated or listed with commas."""
        return [value for text in self.query.getlist(name) for value in text.split(",")]

    def flag(self, name: str) -> bool:
        """Whether a query parameter says true."""
        return self.first(name).lower() == "true"

    def page(self, items: Sequence[Any], size: int = 10) -> list[Any]:
        """The part of a list that `count` and `offset` ask for; 1,000 at most."""
        start = int(self.first("offset", "0"))
        return list(items[start : start + min(int(self.first("count", str(size))), 1_000)])


@dataclass(frozen=True)
class Answer:
    """A response; a body of None is sent as an empty one. `violation` as in Refusal, for what the
    vendor warns of and does all the same."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    violation: str | None = None


@dataclass
class Refusal(Exception):  # noqa: N818 - an answer, not a failure of the sandbox
    """A vendor's no. `violation` names a breach of the contract by the client itself, as opposed
    to a refusal of the data it was given."""

    answer: Answer
    violation: str | None = None


Handler = Callable[[Call], Answer]


class Tool:
    """One vendor's HTTP API behind `/<name>/...`."""

    name = ""
    concurrency: int | None = None
    """Simultaneous calls the vendor accepts."""
    content_type = "application/json"

    def __init__(self, context: Context) -> None:
        self.store = context.store
        self.portal = context.portal
        self.clock = context.clock
        self.limit = context.limit
        self.records = Records(self.name, self.store)
        self._latency = float(self.portal.get("latency_seconds", 0))
        self._running = 0
        self.forget()

    def table(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of every endpoint."""
        raise NotImplementedError

    def authenticate(self, request: Request) -> None:
        """Raise Refusal for a caller who is not let in."""

    def let_in(self, call: Call, group: str) -> None:
        """Raise Refusal for a caller of `paced` endpoints who is not let in, or calls too often."""

    def paced(self, group: str, handler: Handler) -> Handler:
        """An endpoint of a group that has credentials, limits or headers of its own."""

        def endpoint(call: Call) -> Answer:
            self.let_in(call, group)
            try:
                answer = handler(call)
            except Refusal as refusal:
                refusal.answer = self._told(group, refusal.answer)
                raise
            return self._told(group, answer)

        return endpoint

    def headers_of(self, group: str) -> Mapping[str, str]:
        """What the vendor adds to every answer of a group."""
        return {}

    def _told(self, group: str, answer: Answer) -> Answer:
        return replace(answer, headers={**self.headers_of(group), **answer.headers})

    def refusal(self, reason: Reason, message: str) -> Answer:
        """The vendor's own shape of an error."""
        raise NotImplementedError

    def during(self, call: Call) -> AbstractContextManager[None]:
        """Around the time a call takes."""
        return nullcontext()

    def headers(self) -> Mapping[str, str]:
        """What the vendor adds to every answer."""
        return {}

    def routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = [
            Route(path, self._endpoint(handler), methods=[method])
            for method, path, handler in self.table()
        ]
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return [*routes, Route("/{path:path}", self._endpoint(self._nowhere), methods=methods)]

    def counts(self) -> dict[str, Any]:
        """Requests, and how often a client broke the contract."""
        number = self.store.number
        of = "select count(*) from requests where vendor = ?"
        return {
            "requests": number(of, (self.name,)),
            "violations": number(f"{of} and violation is not null", (self.name,)),
        }

    def forget(self) -> None:
        """The store has just been emptied."""
        self.window = RollingWindow(self.limit, self.clock)

    def breach(self, message: str, what: str) -> Refusal:
        """The refusal of a call that the contract does not allow."""
        return Refusal(self.refusal("shape", message), what)

    def _endpoint(self, handler: Handler) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            note = request.scope["exchange"]
            self._running += 1
            try:
                raw = await request.body()
                self.authenticate(request)
                self._admit()
                call = self._call(request, raw)
                with self.during(call):
                    await asyncio.sleep(self._latency)
                    answer = handler(call)
                note.violation = answer.violation
            except Refusal as refusal:
                note.violation = refusal.violation
                answer = refusal.answer
            finally:
                self._running -= 1
            return self._response(answer)

        return endpoint

    def _admit(self) -> None:
        if self.concurrency is not None and self._running > self.concurrency:
            words = "Too many simultaneous calls."
            raise Refusal(self.refusal("concurrency", words), "simultaneous calls")
        refused = self.window.refusal()
        if refused == "window":
            raise Refusal(self.refusal("window", "Rate limit exceeded."), "rate limit")
        if refused == "daily":
            raise Refusal(self.refusal("daily", "Daily quota reached."), "daily quota")

    def _call(self, request: Request, raw: bytes) -> Call:
        return Call(
            method=request.method,
            path=request.path_params,
            query=request.query_params,
            headers=request.headers,
            body=self._parsed(request, raw),
            size=len(raw),
            now=instant(self.clock()),
            route=request.url.path.removeprefix(str(request.scope.get("root_path", ""))),
        )

    def _parsed(self, request: Request, raw: bytes) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not raw:
            return None
        if kind == "application/x-www-form-urlencoded":
            return {k: v[0] for k, v in parse_qs(raw.decode(), keep_blank_values=True).items()}
        if kind != self.content_type:
            raise self.breach(f"A body is sent as {self.content_type}.", "content type")
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise self.breach(f"The body is not JSON: {error}", "shape") from error

    def _response(self, answer: Answer) -> Response:
        headers = {**self.headers(), **answer.headers}
        if answer.body is None:
            return Response(b"", answer.status, headers)
        if isinstance(answer.body, str):
            return Response(answer.body, answer.status, headers, media_type="text/plain")
        content = orjson.dumps(answer.body)
        return Response(content, answer.status, headers, media_type=self.content_type)

    def _nowhere(self, call: Call) -> Answer:
        raise Refusal(self.refusal("nowhere", "There is no such endpoint."), "unknown endpoint")


def is_let_in(call: Call, credential: str | None) -> bool:
    """Whether the call brings this Authorization; without one in portal.yml nobody is let in."""
    given = call.headers.get("authorization", "")
    return credential is not None and hmac.compare_digest(given.encode(), credential.encode())
