"""What several vendors' twins share: the endpoint, its gate, and records kept by a unique value.

A twin says what its vendor documents (`table`, `authenticate`, `refusal`); this module reads the
request, counts calls, simultaneous ones too, and turns refusals into answers.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.store import instant
from reverse_etl.sandbox.vendor import Context, RollingWindow

Reason = Literal["shape", "window", "daily", "concurrency", "nowhere"]


@dataclass(frozen=True)
class Call:
    """One authenticated call. `query` holds every value of a parameter, `body` JSON or a form."""

    method: str
    path: Mapping[str, Any]
    query: Mapping[str, Sequence[str]]
    body: Any
    now: str

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next(iter(self.query.get(name, ())), default)

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

    def __init__(self, context: Context) -> None:
        self.store = context.store
        self.portal = context.portal
        self.clock = context.clock
        self.limit = context.limit
        self.records = Records(self)
        self._latency = float(self.portal.get("latency_seconds", 0))
        self._running = 0
        self.forget()

    def table(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of every endpoint."""
        raise NotImplementedError

    def authenticate(self, request: Request) -> None:
        """Raise Refusal for a caller who is not let in."""
        raise NotImplementedError

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
                query = {k: request.query_params.getlist(k) for k in request.query_params}
                body = self._parsed(request, raw)
                now = instant(self.clock())
                call = Call(request.method, request.path_params, query, body, now)
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

    def _parsed(self, request: Request, raw: bytes) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not raw:
            return None
        if kind == "application/x-www-form-urlencoded":
            return {k: v[0] for k, v in parse_qs(raw.decode(), keep_blank_values=True).items()}
        if kind != "application/json":
            raise self.breach("A body is sent as application/json.", "content type")
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
        return Response(content, answer.status, headers, media_type="application/json")

    def _nowhere(self, call: Call) -> Answer:
        raise Refusal(self.refusal("nowhere", "There is no such endpoint."), "unknown endpoint")


class Records:
    """Records of one vendor, found by id or by a unique value."""

    def __init__(self, tool: Tool) -> None:
        self._vendor, self._store = tool.name, tool.store

    def find(self, object_: str, name: str, value: str) -> tuple[int, dict[str, Any]] | None:
        """The record whose unique `name` has this value."""
        rows = self._store.rows(
            "select r.id, r.properties from unique_values u join records r on r.id = u.record_id"
            " where u.vendor = ? and u.object = ? and u.property = ? and u.value = ?",
            (self._vendor, object_, name, value),
        )
        return (rows[0]["id"], orjson.loads(rows[0]["properties"])) if rows else None

    def by_id(self, object_: str, record_id: int) -> dict[str, Any] | None:
        """The record with this id."""
        rows = self._store.rows(
            "select properties from records where vendor = ? and object = ? and id = ?",
            (self._vendor, object_, record_id),
        )
        return orjson.loads(rows[0]["properties"]) if rows else None

    def all(self, object_: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every record of an object, by id."""
        for row in self._store.rows(
            "select id, properties from records where vendor = ? and object = ? order by id",
            (self._vendor, object_),
        ):
            yield row["id"], orjson.loads(row["properties"])

    def number(self, object_: str) -> int:
        """How many there are."""
        return self._store.number(
            "select count(*) from records where vendor = ? and object = ?", (self._vendor, object_)
        )

    def put(
        self,
        object_: str,
        properties: Mapping[str, Any],
        now: str,
        *,
        unique: Mapping[str, str],
        record_id: int | None = None,
    ) -> int:
        """Write a record, a new one without `record_id`; the first holder keeps a unique value."""
        packed = orjson.dumps(properties).decode()
        with self._store.transaction() as db:
            if record_id is None:
                record_id = db.execute(
                    "insert into records(vendor, object, properties, created_at, updated_at)"
                    " values (?, ?, ?, ?, ?)",
                    (self._vendor, object_, packed, now, now),
                ).lastrowid
                assert record_id is not None
            else:
                db.execute(
                    "update records set properties = ?, updated_at = ? where id = ?",
                    (packed, now, record_id),
                )
                db.execute("delete from unique_values where record_id = ?", (record_id,))
            db.executemany(
                "insert or ignore into unique_values values (?, ?, ?, ?, ?)",
                [(self._vendor, object_, name, v, record_id) for name, v in unique.items()],
            )
        return record_id

    def delete(self, record_id: int) -> None:
        """Remove a record and its memberships."""
        with self._store.transaction() as db:
            db.execute("delete from records where id = ?", (record_id,))
            db.execute("delete from unique_values where record_id = ?", (record_id,))
            db.execute("delete from memberships where record_id = ?", (record_id,))

    # Lists of them

    def list_id(self, object_: str, name: str) -> int | None:
        """The list of that name."""
        rows = self._store.rows(
            "select id from lists where vendor = ? and object = ? and name = ?",
            (self._vendor, object_, name),
        )
        return rows[0]["id"] if rows else None

    def make_list(self, object_: str, name: str, now: str) -> int:
        """A new, empty list."""
        with self._store.transaction() as db:
            made = db.execute(
                "insert into lists(vendor, object, name, processing, created_at, updated_at)"
                " values (?, ?, ?, 'STATIC', ?, ?)",
                (self._vendor, object_, name, now, now),
            ).lastrowid
        assert made is not None
        return made

    def list_name(self, list_id: int) -> str | None:
        """The name of a list."""
        rows = self._store.rows(
            "select name from lists where vendor = ? and id = ?", (self._vendor, list_id)
        )
        return rows[0]["name"] if rows else None

    def join(self, list_id: int, record_id: int, now: str) -> bool:
        """Put a record on a list; False where it was on it."""
        with self._store.transaction() as db:
            added = db.execute(
                "insert or ignore into memberships values (?, ?, ?)", (list_id, record_id, now)
            )
        return added.rowcount == 1

    def leave(self, list_id: int, record_id: int) -> bool:
        """Take a record off a list; False where it was not on it."""
        with self._store.transaction() as db:
            gone = db.execute(
                "delete from memberships where list_id = ? and record_id = ?", (list_id, record_id)
            )
        return gone.rowcount == 1

    def members(self, list_id: int) -> list[int]:
        """Record ids on a list."""
        return [
            row[0]
            for row in self._store.rows(
                "select record_id from memberships where list_id = ? order by 1", (list_id,)
            )
        ]

    def list_sizes(self) -> dict[str, int]:
        """Members by name of list."""
        return self._store.tally(
            "select l.name, count(m.record_id) from lists l"
            " left join memberships m on m.list_id = l.id"
            " where l.vendor = ? group by l.id order by l.name",
            (self._vendor,),
        )

    # Events

    def log_event(
        self, name: str, record_id: int | None, occurred_at: str, now: str, properties: Any
    ) -> None:
        """Keep an event as accepted."""
        with self._store.transaction() as db:
            db.execute(
                "insert into events(vendor, name, record_id, occurred_at, received_at, properties,"
                " outcome) values (?, ?, ?, ?, ?, ?, 'accepted')",
                (
                    self._vendor,
                    name,
                    record_id,
                    occurred_at,
                    now,
                    orjson.dumps(properties).decode(),
                ),
            )

    def event_counts(self) -> dict[str, int]:
        """Accepted events by name."""
        return self._store.tally(
            "select name, count(*) from events where vendor = ? group by 1 order by 1",
            (self._vendor,),
        )
