"""What vendors with a JSON API share: the call, the answer, the refusal, and windows of calls."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.store import instant
from reverse_etl.sandbox.vendor import Exchange


@dataclass(frozen=True)
class Call:
    """One call that was let in; `body` is the parsed JSON, None where there is none."""

    path: Mapping[str, Any]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    size: int
    now: str
    route: str
    """The path below the vendor's mount."""


@dataclass(frozen=True)
class Answer:
    """A response; a body of None is sent as an empty one."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - an answer, not an accident
    """A 4xx in the vendor's own shape. `violation` names a breach of the contract by the client
    itself (limits, shapes), as opposed to a refusal of the data it was given."""

    def __init__(self, answer: Answer, violation: str | None = None) -> None:
        super().__init__(violation or answer.status)
        self.answer = answer
        self.violation = violation


class Windows:
    """Calls in several rolling windows at once; a refused call does not use any of them up."""

    def __init__(self, limits: Sequence[tuple[int, float]], clock: Callable[[], float]) -> None:
        self._tracks = [(calls, seconds, deque[float]()) for calls, seconds in limits]
        self.limits = list(limits)
        self._clock = clock

    def admit(self) -> float | None:
        """Count one call. None if let in, else the seconds after which one will be."""
        now = self._clock()
        for calls, seconds, seen in self._tracks:
            while seen and seen[0] <= now - seconds:
                seen.popleft()
            if len(seen) >= calls:
                return seen[0] + seconds - now
        for _, _, seen in self._tracks:
            seen.append(now)
        return None

    def longest(self) -> tuple[int, int, float]:
        """Of the longest window: calls allowed, calls left, seconds until one is given back."""
        calls, seconds, seen = max(self._tracks, key=lambda track: track[1])
        reset = seen[0] + seconds - self._clock() if seen else seconds
        return calls, calls - len(seen), max(reset, 0.0)


def is_let_in(request: Request, credential: str | None) -> bool:
    """Whether the call brings this Authorization; without one in portal.yml nobody is let in."""
    given = request.headers.get("authorization", "")
    return credential is not None and hmac.compare_digest(given.encode(), credential.encode())


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Gatekeeper:
    """How one vendor lets calls in: `admit` raises Refusal (who calls, how often), `malformed` is
    its answer to what is no JSON, `headers` go with every answer."""

    clock: Callable[[], float]
    admit: Callable[[Request, str], None]
    malformed: Callable[[str], Refusal]
    content_type: str = "application/json"
    headers: Callable[[str], Mapping[str, str]] = lambda group: {}

    def routes(self, table: Sequence[tuple[str, str, str, Handler]]) -> list[BaseRoute]:
        """Routes for (method, path, group of limits, handler); whatever else is called is counted
        as a breach."""
        known: list[BaseRoute] = [
            Route(path, self._endpoint(handler, group), methods=[method])
            for method, path, group, handler in table
        ]
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return [*known, Route("/{path:path}", self._nowhere, methods=methods)]

    def _endpoint(self, handler: Handler, group: str) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            note: Exchange = request.scope["exchange"]
            try:
                self.admit(request, group)
                answer = handler(self._call(request, raw))
            except Refusal as refusal:
                note.violation = refusal.violation
                answer = refusal.answer
            headers = {**self.headers(group), **answer.headers}
            if answer.status == 429:
                headers = dict(answer.headers)
            return self._response(answer, headers)

        return endpoint

    def _call(self, request: Request, raw: bytes) -> Call:
        body = None
        if raw:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != self.content_type:
                raise self.malformed(f"content type {kind!r}, {self.content_type} is expected")
            try:
                body = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                raise self.malformed(str(error)) from error
        now = instant(self.clock())
        route = request.url.path.removeprefix(str(request.scope.get("root_path", "")))
        return Call(
            path=request.path_params,
            query=request.query_params,
            headers=request.headers,
            body=body,
            size=len(raw),
            now=now,
            route=route,
        )

    def _response(self, answer: Answer, headers: Mapping[str, str]) -> Response:
        content = b"" if answer.body is None else orjson.dumps(answer.body)
        response = Response(content, answer.status, dict(headers))
        if answer.body is not None:
            response.headers["content-type"] = self.content_type
        return response

    async def _nowhere(self, request: Request) -> Response:
        request.scope["exchange"].violation = "unknown endpoint"
        return Response(b"", 404)
