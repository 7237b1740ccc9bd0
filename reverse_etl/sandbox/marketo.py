"""Marketo Engage: one instance.

Contract: Marketo's REST specification (leads, companies, static lists, campaigns, activities) and
its documents on authentication, limits and errors. Whatever goes wrong above the token endpoint is
a 200 with `success: false`. Two upserts of one address at the same time make two leads, as the
vendor warns; the portal counts it as a violation.
"""

import hmac
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request

from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool
from reverse_etl.sandbox.vendor import Context

_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_ACTIONS = ("createOnly", "updateOnly", "createOrUpdate", "createDuplicate")
_IDENTITY = "/identity/oauth/token"
_MOST = 300
_FIRST = 19_999_000_000
"""Leads are numbered in 32 bits, the sandbox's records are not."""


class Marketo(Tool):
    """Tokens that end, calls per 20 s, per day and at a time, 300 leads a call."""

    name = "marketo"
    concurrency = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._client = (str(self.portal["client_id"]), str(self.portal["client_secret"]))
        self._life = int(self.portal.get("token_seconds", 3_600))
        self._fields = dict(self.portal.get("lead_fields", {})) | {
            "id": "integer",
            "email": "email",
            "firstName": "string",
            "lastName": "string",
            "unsubscribed": "boolean",
        }
        self._company_fields = dict(self.portal.get("company_fields", {})) | {
            "externalCompanyId": "string",
            "company": "string",
        }
        self._searchable = {"id", "email", *self.portal.get("searchable_fields", [])}
        self._campaigns = {n: 1_000 + i for i, n in enumerate(self.portal.get("campaigns", []))}
        self._folders = set(self.portal.get("folders", []))
        self._writing: list[str] = []

    def forget(self) -> None:
        super().forget()
        self._tokens: dict[str, float] = {}

    def expire_tokens(self) -> None:
        """End every token now, as an hour would."""
        self._tokens = dict.fromkeys(self._tokens, 0.0)

    def table(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", _IDENTITY, self._give_token),
            ("GET", "/rest/v1/leads/describe2.json", self._describe_leads),
            ("GET", "/rest/v1/companies/describe.json", self._describe_companies),
            ("GET", "/rest/v1/leads.json", self._show_leads),
            ("POST", "/rest/v1/leads.json", self._sync_leads),
            ("POST", "/rest/v1/leads/delete.json", self._delete_leads),
            ("POST", "/rest/v1/companies.json", self._sync_companies),
            ("GET", "/rest/v1/lists.json", self._show_lists),
            ("POST", "/rest/asset/v1/staticLists.json", self._make_list),
            ("POST", "/rest/v1/lists/{list}/leads.json", self._change_list),
            ("DELETE", "/rest/v1/lists/{list}/leads.json", self._change_list),
            ("GET", "/rest/v1/campaigns.json", self._show_campaigns),
            ("POST", "/rest/v1/campaigns/{campaign}/trigger.json", self._trigger),
            ("GET", "/rest/v1/activities/pagingtoken.json", self._paging_token),
            ("GET", "/rest/v1/activities.json", self._show_activities),
        ]

    def authenticate(self, request: Request) -> None:
        if "access_token" in request.query_params:
            raise Refusal(_error("600", "Access token in the address is no longer read."), "token")
        if request.url.path.endswith(_IDENTITY):
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(_error("600", "Access token not specified."), "token")
        if token not in self._tokens:
            raise Refusal(_error("601", "Access token invalid"))
        if self.clock() >= self._tokens[token]:
            raise Refusal(_error("602", "Access token expired"))

    def refusal(self, reason: Reason, message: str) -> Answer:
        code, words = {
            "shape": ("609", message),
            "window": ("606", f"Max rate limit '{self.limit.calls}' exceeded."),
            "daily": ("607", f"Daily API Request Limit '{self.limit.daily}' Reached"),
            "concurrency": ("615", "Concurrent access limit reached"),
            "nowhere": ("610", "Requested resource not found"),
        }[reason]
        return _error(code, words)

    def _give_token(self, call: Call) -> Answer:
        given = call.body if isinstance(call.body, dict) else {}
        pair = f"{given.get('client_id')} {given.get('client_secret')}"
        known = hmac.compare_digest(pair.encode(), " ".join(self._client).encode())
        if given.get("grant_type") != "client_credentials" or not known:
            words = {"error": "invalid_client", "error_description": "Bad client credentials"}
            return Answer(401, words)
        token = f"{uuid.uuid4()}:int"
        self._tokens[token] = self.clock() + self._life
        return Answer(
            200,
            {"access_token": token, "token_type": "bearer", "expires_in": self._life, "scope": "a"},
        )

    # Leads and companies

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """What is written at this moment, so that a second writer of the same key shows."""
        mine = []
        if call.method == "POST" and isinstance(call.body, dict) and "lookupField" in call.body:
            lookup = call.body["lookupField"]
            mine = sorted({str(r.get(lookup)).lower() for r in call.body["input"]})
        self._writing += mine
        try:
            yield
        finally:
            for key in mine:
                self._writing.remove(key)

    def _sync_leads(self, call: Call) -> Answer:
        known = {"action", "lookupField", "input", "partitionName", "asyncProcessing"}
        body = self._batch(call.body, known)
        action, lookup = body.get("action", "createOrUpdate"), body.get("lookupField", "email")
        if action not in _ACTIONS or lookup not in self._searchable:
            raise Refusal(_error("1003", f"Invalid action or lookup field: {lookup}"), "lookup")
        if lookup == "id" and action != "updateOnly":
            raise Refusal(_error("1003", "id is looked up by updateOnly only"), "lookup")
        results = [self._sync(record, action, lookup, call.now) for record in body["input"]]
        twice = action != "updateOnly" and any(
            self._writing.count(str(record.get(lookup)).lower()) > 1 for record in body["input"]
        )
        return replace(_success(results), violation="concurrent upserts" if twice else None)

    def _sync(self, record: Mapping[str, Any], action: str, lookup: str, now: str) -> Any:
        for name, value in record.items():
            if name not in self._fields:
                return _skipped("1006", f"Field '{name}' not found")
            if words := _unfit(self._fields[name], value):
                return _skipped("1003", f"Value for '{name}' is not valid: {words}")
        key = str(record.get(lookup, "")).lower()
        if not key:
            return _skipped("1003", f"Required lookup value '{lookup}' is missing")
        held = (
            self._lead(int(key)) if lookup == "id" else self.records.find("contacts", lookup, key)
        )
        if action != "updateOnly" and self._writing.count(key) > 1:
            held = None  # as the vendor warns: both writers make a lead
        if held is None and action == "updateOnly":
            return _skipped("1004", "Lead not found")
        if held is not None and action == "createOnly":
            return _skipped("1005", "Lead already exists")
        record = {k: v for k, v in record.items() if k != "id"}
        after = {k: v for k, v in ((held[1] if held else {}) | record).items() if v is not None}
        unique = {n: str(after[n]).lower() for n in self._searchable if after.get(n)}
        number = self.records.put(
            "contacts", after, now, unique=unique, record_id=held[0] if held else None
        )
        return {"id": number - _FIRST, "status": "updated" if held else "created"}

    def _sync_companies(self, call: Call) -> Answer:
        body = self._batch(call.body, {"action", "dedupeBy", "input"})
        results = []
        for record in body["input"]:
            key = str(record.get("externalCompanyId", ""))
            unknown = [name for name in record if name not in self._company_fields]
            held = self.records.find("companies", "externalCompanyId", key)
            if unknown or not key:
                results.append(_skipped("1006", f"Field '{''.join(unknown)[:60]}' not found"))
            elif held is None and body.get("action") == "updateOnly":
                results.append(_skipped("1013", "Record not found"))
            else:
                after = (held[1] if held else {}) | record
                number = self.records.put(
                    "companies",
                    after,
                    call.now,
                    unique={"externalCompanyId": key},
                    record_id=held[0] if held else None,
                )
                results.append({"id": number, "status": "updated" if held else "created"})
        return _success([{"seq": n, **result} for n, result in enumerate(results)])

    def _show_leads(self, call: Call) -> Answer:
        name = call.first("filterType")
        values = call.every("filterValues")
        if name not in self._searchable or not values or len(values) > _MOST:
            raise Refusal(_error("1003", "filterType or filterValues is not valid"), "filter")
        wanted = {value.lower() for value in values}
        shown = [
            {"id": number - _FIRST, "email": lead.get("email")}
            for number, lead in self.records.all("contacts")
            if str(number - _FIRST if name == "id" else lead.get(name, "")).lower() in wanted
        ]
        return _success(shown[:_MOST])

    def _delete_leads(self, call: Call) -> Answer:
        results: list[Any] = []
        for number in self._lead_ids(call):
            if self._lead(number) is None:
                results.append({"id": number} | _skipped("1004", "Lead not found"))
            else:
                self.records.delete(number + _FIRST)
                results.append({"id": number, "status": "deleted"})
        return _success(results)

    # Lists, campaigns, activities

    def _show_lists(self, call: Call) -> Answer:
        name = call.first("name")
        found = self.records.list_id("contacts", name)
        return _success([] if found is None else [{"id": found, "name": name}])

    def _make_list(self, call: Call) -> Answer:
        given = call.body if isinstance(call.body, dict) else {}
        try:
            folder = orjson.loads(given["folder"])
            name = given["name"]
        except (KeyError, orjson.JSONDecodeError):
            raise self.breach("name and folder are sent as a form", "shape") from None
        if folder.get("type") != "Folder" or folder.get("id") not in self._folders:
            raise Refusal(_error("711", "Folder not found"))
        if self.records.list_id("contacts", name) is not None:
            raise Refusal(_error("709", "An asset of that name already exists"))
        made = self.records.make_list("contacts", name, call.now)
        return _success([{"id": made, "name": name}])

    def _change_list(self, call: Call) -> Answer:
        text = call.path["list"]
        if not text.isdigit() or self.records.list_name(int(text)) is None:
            raise Refusal(_error("1013", "List not found"))
        results: list[Any] = []
        for number in self._lead_ids(call):
            if self._lead(number) is None:
                results.append({"id": number} | _skipped("1004", "Lead not found"))
            elif call.method == "POST":
                self.records.join(int(text), number + _FIRST, call.now)
                results.append({"id": number, "status": "added"})
            else:
                gone = self.records.leave(int(text), number + _FIRST)
                results.append({"id": number, "status": "removed" if gone else "notmemberof"})
        return _success(results)

    def _show_campaigns(self, call: Call) -> Answer:
        name = call.first("name")
        number = self._campaigns.get(name)
        shown = {"id": number, "name": name, "type": "trigger", "active": True}
        return _success([] if number is None else [shown])

    def _trigger(self, call: Call) -> Answer:
        names = {str(number): name for name, number in self._campaigns.items()}
        if call.path["campaign"] not in names:
            raise Refusal(_error("1013", "Campaign not found"))
        given = self._object(self._object(call.body, {"input"}).get("input"), {"leads", "tokens"})
        leads, tokens = given.get("leads", []), given.get("tokens", [])
        if not 1 <= len(leads) <= 100 or len(tokens) > 100:
            raise self.breach("1 to 100 leads, and at most 100 tokens", "batch size")
        for token in tokens:
            is_own = re.fullmatch(r"\{\{my\.[\w .-]+\}\}", str(token.get("name", "")))
            if set(token) != {"name", "value"} or not is_own or not isinstance(token["value"], str):
                raise self.breach("tokens: name {{my.x}} and a text as value", "shape")
        numbers = [lead["id"] for lead in leads]
        absent = [number for number in numbers if self._lead(number) is None]
        if absent:  # nobody enters the campaign
            raise Refusal(_error("1004", f"Lead(s) not found: {absent}"))
        values = {token["name"]: token["value"] for token in tokens}
        for number in dict.fromkeys(numbers):
            self.records.log_event(names[call.path["campaign"]], number, call.now, call.now, values)
        return _success([{"id": int(call.path["campaign"])}])

    def _paging_token(self, call: Call) -> Answer:
        return Answer(
            200, _success([]).body | {"nextPageToken": f"{call.first('sinceDatetime')}|0"}
        )

    def _show_activities(self, call: Call) -> Answer:
        since, _, start = call.first("nextPageToken").partition("|")
        kinds = set(call.every("activityTypeIds"))
        if not start.isdigit() or not 1 <= len(kinds) <= 10:
            raise Refusal(_error("1003", "nextPageToken or activityTypeIds is not valid"), "shape")
        size = int(self.portal.get("activity_page", _MOST))
        found = [
            {"id": number, "marketoGUID": str(number)} | activity
            for number, activity in self.records.all("activities")
            if activity["activityDate"] >= since[:19] and str(activity["activityTypeId"]) in kinds
        ]
        end = int(start) + size
        more = {"nextPageToken": f"{since}|{end}", "moreResult": len(found) > end}
        return Answer(200, _success(found[int(start) : end]).body | more)

    def _describe_leads(self, call: Call) -> Answer:
        searchable = [{"name": name} for name in sorted(self._searchable)]
        shown = {"name": "API Lead", "searchableFields": searchable}
        return _success([shown | {"fields": _described(self._fields)}])

    def _describe_companies(self, call: Call) -> Answer:
        shown = {"name": "company", "dedupeFields": ["externalCompanyId"]}
        return _success([shown | {"fields": _described(self._company_fields)}])

    def counts(self) -> dict[str, Any]:
        """Leads, companies, lists, campaign runs by name."""
        leads = [lead for _, lead in self.records.all("contacts")]
        return {
            "leads": len(leads),
            "unsubscribed": sum(bool(lead.get("unsubscribed")) for lead in leads),
            "companies": self.records.number("companies"),
            "lists": self.records.list_sizes(),
            "campaigns": self.records.event_counts(),
            **super().counts(),
        }

    def _lead(self, number: int) -> tuple[int, dict[str, Any]] | None:
        """A lead by its number, with the id of its record."""
        found = self.records.by_id("contacts", number + _FIRST)
        return None if found is None else (number + _FIRST, found)

    def _lead_ids(self, call: Call) -> list[int]:
        """Ids from the body, else from the address."""
        if call.body is not None:
            given = [item.get("id") for item in self._batch(call.body, {"input"})["input"]]
        else:
            given = call.every("id")
        if len(given) > _MOST or not all(str(number).isdigit() for number in given):
            raise self.breach("at most 300 lead ids", "batch size")
        return [int(number) for number in given]

    def _batch(self, body: Any, known: Collection[str]) -> dict[str, Any]:
        given = self._object(body, known)
        rows = given.get("input")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.breach("input: a list of records", "shape")
        if not 1 <= len(rows) <= _MOST:
            raise self.breach("input: 1 to 300 records", "batch size")
        return given

    def _object(self, body: Any, known: Collection[str]) -> dict[str, Any]:
        if not isinstance(body, dict) or not set(body) <= set(known):
            raise self.breach("The request has other fields than documented.", "shape")
        return body


def _success(result: Sequence[Any]) -> Answer:
    body = {"requestId": uuid.uuid4().hex[:12], "success": True, "errors": [], "warnings": []}
    return Answer(200, body | {"result": list(result)})


def _error(code: str, message: str) -> Answer:
    errors = [{"code": code, "message": message}]
    return Answer(200, {"requestId": uuid.uuid4().hex[:12], "success": False, "errors": errors})


def _skipped(code: str, message: str) -> dict[str, Any]:
    return {"status": "skipped", "reasons": [{"code": code, "message": message}]}


def _described(fields: Mapping[str, str]) -> list[dict[str, Any]]:
    spaced = ((name, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)) for name in fields)
    return [
        {"name": name, "displayName": words.capitalize(), "dataType": fields[name]}
        for name, words in spaced
    ]


def _unfit(kind: str, value: Any) -> str | None:
    """Why a field of this type does not take a value; null empties any of them."""
    if value is None:
        return None
    if kind == "boolean":
        return None if isinstance(value, bool) else "not true or false"
    if kind in ("integer", "currency", "float"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if is_number else "not a number"
    if kind == "email":
        return None if _ADDRESS.fullmatch(str(value)) else "not an address"
    return None if isinstance(value, str) and len(value) <= 255 else "not a text of 255 characters"


VENDOR = Marketo
