"""The page: what the tools received, for a person to look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from reverse_etl.sandbox.store import Store

_ROWS = 100
_VIEWS = ("overview", "contacts", "companies", "lists", "events", "mails", "webhooks", "requests")
# Received content is shown as text or in a sandboxed frame; nothing on the page may load or run.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_SHOWN_FIRST = {
    "contacts": ("contact_id", "email", "firstname", "lastname", "customer_name", "journey_stage"),
    "companies": ("customer_id", "name", "domain", "journey_stage", "health_band", "health_score"),
}


class Page:
    """One page with a view per kind of thing received; works without JavaScript."""

    def __init__(
        self, store: Store, counts: Callable[[], dict[str, Any]], url: str, mail: str
    ) -> None:
        self._store = store
        self._counts = counts
        self._addresses = {"smtp": mail}
        self._url = url
        environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
        environment.filters["pretty"] = _pretty
        environment.filters["moment"] = _moment
        self._template = environment.get_template("page.html.j2")

    def routes(self) -> list[BaseRoute]:
        return [Route("/", self._show)]

    async def _show(self, request: Request) -> Response:
        query = request.query_params
        view = query.get("view", "overview")
        if view not in _VIEWS:
            view = "overview"
        search = query.get("q", "")
        number = query.get("page", "1")
        page = max(1, int(number)) if number.isdecimal() and len(number) < 9 else 1
        context = getattr(self, f"_{view}")(search, page, query.get("id", ""))
        html = self._template.render(
            view=view,
            views=_VIEWS,
            search=search,
            page=page,
            url=self._url,
            addresses=self._addresses,
            totals=self._totals(),
            link=lambda **parameters: "/?" + urlencode(parameters),
            **context,
        )
        return HTMLResponse(html, headers={"content-security-policy": _POLICY})

    def _totals(self) -> dict[str, int]:
        number = self._store.number
        objects = self._store.tally("select object, count(*) from records group by 1")
        return {
            "contacts": objects.get("contacts", 0),
            "companies": objects.get("companies", 0),
            "lists": number("select count(*) from lists where deleted_at is null"),
            "events": number("select count(*) from events where outcome = 'accepted'"),
            "mails": number("select count(*) from mails"),
            "webhooks": number("select count(*) from webhooks"),
            "requests": number("select count(*) from requests"),
            "violations": number("select count(*) from requests where violation is not null"),
        }

    def _paged(
        self, table: str, condition: str, parameters: list[Any], page: int, columns: str = "*"
    ) -> dict[str, Any]:
        """One page of a table, newest first."""
        total = self._store.number(f"select count(*) from {table} where {condition}", parameters)  # noqa: S608
        rows = self._store.rows(
            f"select {columns} from {table} where {condition}"  # noqa: S608 - no input in it
            " order by id desc limit ? offset ?",
            [*parameters, _ROWS, (page - 1) * _ROWS],
        )
        pages = max(1, -(-total // _ROWS))
        return {"rows": [dict(row) for row in rows], "found": total, "pages": pages}

    def _overview(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        return {"counts": self._counts()}

    def _records(self, kind: str, search: str, page: int) -> dict[str, Any]:
        shown = self._paged(
            "records",
            "object = ? and properties like ? escape '\\'",
            [kind, _contains(search)],
            page,
        )
        for row in shown["rows"]:
            row["properties"] = orjson.loads(row["properties"])
        held = {name for row in shown["rows"] for name in row["properties"]}
        first = [name for name in _SHOWN_FIRST[kind] if name in held]
        return shown | {"columns": [*first, *sorted(held - set(first))]}

    def _contacts(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        return self._records("contacts", search, page)

    def _companies(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        return self._records("companies", search, page)

    def _lists(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        lists = self._store.rows(
            "select l.*, count(m.record_id) as size from lists l"
            " left join memberships m on m.list_id = l.id"
            " where l.deleted_at is null group by l.id order by l.name"
        )
        members = self._store.rows(
            "select m.joined_at, r.id, r.properties from memberships m"
            " join records r on r.id = m.record_id where m.list_id = ?"
            " order by r.id limit ? offset ?",
            (chosen, _ROWS, (page - 1) * _ROWS),
        )
        return {
            "rows": [dict(row) for row in lists],
            "chosen": next((row for row in lists if str(row["id"]) == chosen), None),
            "members": [
                dict(row) | {"properties": orjson.loads(row["properties"])} for row in members
            ],
            "found": len(lists),
            "pages": max(
                (-(-row["size"] // _ROWS) for row in lists if str(row["id"]) == chosen), default=1
            ),
        }

    def _events(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        like = _contains(search)
        return self._paged(
            "events",
            "name like ? escape '\\' or email like ? escape '\\' or properties like ? escape '\\'",
            [like, like, like],
            page,
        )

    def _mails(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        like = _contains(search)
        shown = self._paged(
            "mails",
            "subject like ? escape '\\' or to_ like ? escape '\\' or recipients like ? escape '\\'",
            [like, like, like],
            page,
            "id, subject, from_, to_, language, sync, received_at",
        )
        mail = self._store.rows("select * from mails where cast(id as text) = ?", (chosen,))
        opened: dict[str, Any] | None = None
        if mail:
            opened = dict(mail[0])
            opened["headers"] = orjson.loads(opened["headers"])
            opened["recipients"] = orjson.loads(opened["recipients"])
        return shown | {"mail": opened}

    def _webhooks(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        like = _contains(search)
        return self._paged(
            "webhooks", "type like ? escape '\\' or body like ? escape '\\'", [like, like], page
        )

    def _requests(self, search: str, page: int, chosen: str) -> dict[str, Any]:
        like = _contains(search)
        return self._paged(
            "requests",
            "path like ? escape '\\' or coalesce(violation, '') like ? escape '\\'",
            [like, like],
            page,
        )


def _contains(search: str) -> str:
    """A LIKE pattern that takes the search literally."""
    for special in "\\%_":
        search = search.replace(special, "\\" + special)
    return f"%{search}%"


def _moment(instant: str) -> str:
    """An instant in UTC to the second, easier to read than ISO 8601."""
    return instant[:19].replace("T", " ")


def _pretty(text: str) -> str:
    """JSON with indentation; anything else as it is."""
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return text
