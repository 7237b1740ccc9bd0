"""Salesforce: one org with its integration user.

Contract: the REST API (sObject collections, query, describe, one sObject) and OAuth client
credentials. Errors are lists of `errorCode` and `message`; a collection answers 200 with a result a
record, in the order of the request. Every answer tells the calls of the day.
"""

import hmac
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from reverse_etl.sandbox.salesforce_query import MalformedQueryError, parsed
from reverse_etl.sandbox.tool import Answer, Call, Handler, Reason, Refusal, Tool
from reverse_etl.sandbox.vendor import Context

_LOGIN = "/services/oauth2/token"
_DATA = "/services/data/{version}"
_MOST = 200
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_PREFIXES = {
    "Account": "001",
    "Contact": "003",
    "User": "005",
    "Task": "00T",
    "CampaignMember": "00v",
    "Campaign": "701",
}
_SHOWN_AS = {"Contact": "contacts", "Account": "companies"}
_STANDARD: dict[str, dict[str, str]] = {
    "Account": {"Name": "string", "Phone": "phone", "Website": "url", "Industry": "picklist"},
    "Contact": {
        "FirstName": "string",
        "LastName": "string",
        "Email": "email",
        "Title": "string",
        "Phone": "phone",
        "AccountId": "reference",
        "HasOptedOutOfEmail": "boolean",
        "EmailBouncedDate": "datetime",
        "EmailBouncedReason": "string",
    },
    "Campaign": {"Name": "string", "IsActive": "boolean"},
    "CampaignMember": {"CampaignId": "reference", "ContactId": "reference", "Status": "picklist"},
    "Task": {
        "Subject": "string",
        "OwnerId": "reference",
        "ActivityDate": "date",
        "Status": "picklist",
        "Priority": "picklist",
        "Description": "textarea",
        "WhatId": "reference",
        "WhoId": "reference",
    },
    "User": {"Email": "email", "IsActive": "boolean"},
}
_REQUIRED = {"Account": ("Name",), "Contact": ("LastName",), "Campaign": ("Name",)} | {
    "CampaignMember": ("CampaignId", "ContactId")
}
_FIXED = {"CampaignMember": {"CampaignId", "ContactId"}}
"""Given at creation, never changed."""
_SYSTEM = ("Id", "CreatedById", "CreatedDate", "SystemModstamp")


class Salesforce(Tool):
    """25 calls at a time, a number of calls a day."""

    name = "salesforce"
    concurrency = 25

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._client = f"{self.portal['client_id']} {self.portal['client_secret']}"
        self._user = _id("User", 1)
        self._users = {
            _id("User", number): {"Email": email, "IsActive": email not in self.portal["left"]}
            for number, email in enumerate(self.portal.get("users", []), 2)
        }
        custom = self.portal.get("custom_fields", {})
        self._types = {
            object_: fields | {n: str(of["type"]) for n, of in custom.get(object_, {}).items()}
            for object_, fields in _STANDARD.items()
        }
        self._external = {
            object_: {n for n, of in custom.get(object_, {}).items() if of.get("external_id")}
            for object_ in _STANDARD
        }

    def forget(self) -> None:
        super().forget()
        self._sessions: set[str] = set()
        self.locked: dict[str, int] = {}
        """How often a record, by a value of its, is still found locked by somebody else."""

    def expire_tokens(self) -> None:
        """Every session ends now, as by its time-out."""
        self._sessions.clear()

    def table(self) -> list[tuple[str, str, Handler]]:
        collection = f"{_DATA}/composite/sobjects"
        return [
            ("POST", _LOGIN, self._log_in),
            ("GET", f"{_DATA}/query", self._query),
            ("GET", f"{_DATA}/sobjects/{{object}}/describe", self._describe),
            ("POST", f"{_DATA}/sobjects/{{object}}", self._create_one),
            ("POST", collection, self._create),
            ("PATCH", collection, self._update),
            ("DELETE", collection, self._delete),
            ("PATCH", f"{collection}/{{object}}/{{field}}", self._upsert),
        ]

    def authenticate(self, request: Request) -> None:
        if request.url.path.endswith(_LOGIN):
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self._sessions:
            raise Refusal(_error(401, "INVALID_SESSION_ID", "Session expired or invalid"))

    def refusal(self, reason: Reason, message: str) -> Answer:
        if reason == "nowhere":
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        if reason == "shape":
            return _error(400, "JSON_PARSER_ERROR", message)
        words = "ConcurrentRequests" if reason == "concurrency" else "TotalRequests"
        return _error(403, "REQUEST_LIMIT_EXCEEDED", f"{words} Limit exceeded.")

    def headers(self) -> Mapping[str, str]:
        total = self.limit.daily or 0
        return {"Sforce-Limit-Info": f"api-usage={total - self.window.remaining_today}/{total}"}

    def _log_in(self, call: Call) -> Answer:
        given = call.body if isinstance(call.body, dict) else {}
        pair = f"{given.get('client_id')} {given.get('client_secret')}"
        is_known = hmac.compare_digest(pair.encode(), self._client.encode())
        if given.get("grant_type") != "client_credentials" or not is_known:
            words = {"error": "invalid_client", "error_description": "invalid client credentials"}
            return Answer(400, words)
        token = f"00D!{uuid.uuid4().hex}"
        self._sessions.add(token)
        body = {"access_token": token, "token_type": "Bearer", "instance_url": "http://sandbox"}
        return Answer(200, body | {"id": f"http://sandbox/id/00D000000000001/{self._user}"})

    # Reading

    def _query(self, call: Call) -> Answer:
        try:
            query = parsed(call.first("q"))
        except MalformedQueryError as error:
            raise Refusal(_error(400, "MALFORMED_QUERY", str(error)), "query") from None
        known = {*self._types.get(query.object, {}), *_SYSTEM}
        if query.object not in self._types or not query.names <= known:
            words = f"No such column or object: {sorted(query.names - known)}"
            raise Refusal(_error(400, "INVALID_FIELD", words), "query")
        found = [row for row in self._rows(query.object) if query.condition(row)]
        shown = [
            {"attributes": {"type": query.object}} | {n: row.get(n) for n in query.fields}
            for row in found[: query.limit]
        ]
        return Answer(200, {"totalSize": len(shown), "done": True, "records": shown})

    def _rows(self, object_: str) -> list[dict[str, Any]]:
        if object_ == "User":
            return [{"Id": id_, **user} for id_, user in self._users.items()]
        of = self.records.all(_SHOWN_AS.get(object_, object_))
        return [{"Id": _id(object_, number), **row} for number, row in of]

    def _describe(self, call: Call) -> Answer:
        object_ = self._object(call)
        fields = [
            {
                "name": name,
                "type": kind,
                "custom": name.endswith("__c"),
                "externalId": name in self._external[object_],
                "createable": True,
                "updateable": name not in _FIXED.get(object_, ()),
                "nillable": name not in _REQUIRED.get(object_, ()) and kind != "boolean",
            }
            for name, kind in self._types[object_].items()
        ]
        return Answer(200, {"name": object_, "fields": fields})

    # Writing

    def _create_one(self, call: Call) -> Answer:
        result = self._write(self._object(call), call.body or {}, None, call.now)
        if not result["success"]:
            error = result["errors"][0]
            raise Refusal(_error(400, error["statusCode"], error["message"]))
        return Answer(201, result)

    def _create(self, call: Call) -> Answer:
        records = self._records(call)
        return Answer(200, [self._write(kind, row, None, call.now) for kind, row in records])

    def _update(self, call: Call) -> Answer:
        results = []
        for kind, row in self._records(call):
            number = _number(str(row.pop("id", "")))
            held = self.records.by_id(_SHOWN_AS.get(kind, kind), number)
            if held is None:
                results.append(_failed("ENTITY_IS_DELETED", "entity is deleted"))
            else:
                results.append(self._write(kind, row, (number, held), call.now))
        return Answer(200, results)

    def _upsert(self, call: Call) -> Answer:
        object_, field = self._object(call), call.path["field"]
        if field not in self._external[object_]:
            words = f"{field} is no external id of {object_}"
            raise Refusal(_error(400, "INVALID_FIELD", words), "external id")
        results, seen = [], set[str]()
        for kind, row in self._records(call):
            key = str(row.get(field) or "")
            held = self.records.find(_SHOWN_AS.get(kind, kind), field, key)
            if kind != object_:
                raise self.breach("records of one type only", "shape")
            if not key:
                results.append(_failed("MISSING_ARGUMENT", f"{field} not specified"))
            elif key in seen:
                results.append(_failed("DUPLICATE_VALUE", f"duplicate value found: {field}"))
            else:
                result = self._write(kind, row, held, call.now)
                results.append(result | {"created": held is None})
            seen.add(key)
        return Answer(200, results)

    def _delete(self, call: Call) -> Answer:
        ids = call.first("ids").split(",")
        if not 1 <= len(ids) <= _MOST or call.first("allOrNone") not in ("true", "false"):
            raise self.breach("1 to 200 ids and allOrNone", "batch size")
        results = []
        for id_ in ids:
            kind = next((k for k, prefix in _PREFIXES.items() if id_.startswith(prefix)), "")
            held = self.records.by_id(_SHOWN_AS.get(kind, kind), _number(id_))
            if held is None:
                results.append(_failed("ENTITY_IS_DELETED", "entity is deleted") | {"id": id_})
                continue
            self.records.delete(_number(id_))
            self.records.put(f"deleted {kind}", held, call.now, unique={})
            results.append({"id": id_, "success": True, "errors": []})
        return Answer(200, results)

    def _write(
        self, kind: str, row: Mapping[str, Any], held: tuple[int, dict[str, Any]] | None, now: str
    ) -> dict[str, Any]:
        row = {name: value for name, value in row.items() if name != "attributes"}
        for value in map(str, row.values()):
            if self.locked.get(value):
                self.locked[value] -= 1
                return _failed("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access")
        for name, value in row.items():
            kind_of = self._types[kind].get(name)
            if kind_of is None:
                words = f"No such column '{name}' on sobject of type {kind}"
                raise Refusal(_error(400, "INVALID_FIELD", words), "unknown field")
            if not _is_of(kind_of, value):
                words = f"Cannot deserialize instance of {kind_of} from {value!r}"
                raise Refusal(_error(400, "JSON_PARSER_ERROR", words), "type")
            if kind_of == "email" and value and not _ADDRESS.fullmatch(value):
                return _failed("INVALID_EMAIL_ADDRESS", f"{name}: invalid email address: {value}")
            if kind_of == "string" and value and len(value) > 255:
                return _failed("STRING_TOO_LONG", f"{name}: data value too large")
            if kind_of == "reference" and value and not self._is_there(value):
                return _failed("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            if held and name in _FIXED.get(kind, ()):
                return _failed("INVALID_FIELD_FOR_INSERT_UPDATE", f"{name} cannot be changed")
        after = (held[1] if held else {"CreatedById": self._user, "CreatedDate": now}) | row
        if absent := [name for name in _REQUIRED.get(kind, ()) if not after.get(name)]:
            return _failed("REQUIRED_FIELD_MISSING", f"Required fields are missing: {absent}")
        after |= {"SystemModstamp": now}
        unique = {name: str(after[name]) for name in self._external[kind] if after.get(name)}
        if kind == "CampaignMember" and held is None:
            unique["pair"] = f"{after['CampaignId']} {after['ContactId']}"
            if self.records.find(kind, "pair", unique["pair"]):
                return _failed("DUPLICATE_VALUE", "Already a campaign member.")
        object_ = _SHOWN_AS.get(kind, kind)
        record_id = held[0] if held else None
        number = self.records.put(object_, after, now, unique=unique, record_id=record_id)
        return {"id": _id(kind, number), "success": True, "errors": []}

    def _is_there(self, id_: str) -> bool:
        kind = next((k for k, prefix in _PREFIXES.items() if id_.startswith(prefix)), "")
        held = self.records.by_id(_SHOWN_AS.get(kind, kind), _number(id_))
        return held is not None or id_ in self._users

    def _records(self, call: Call) -> list[tuple[str, dict[str, Any]]]:
        body = call.body
        if not isinstance(body, dict) or set(body) != {"allOrNone", "records"}:
            raise self.breach("allOrNone and records are expected", "shape")
        rows: Sequence[Any] = body["records"]
        if not 1 <= len(rows) <= _MOST:
            raise self.breach("1 to 200 records", "batch size")
        kinds = [str(row.get("attributes", {}).get("type")) for row in rows]
        if not set(kinds) <= set(self._types):
            raise self.breach("every record names its type", "shape")
        return [
            (kind, {n: v for n, v in row.items() if n != "attributes"})
            for kind, row in zip(kinds, rows, strict=True)
        ]

    def _object(self, call: Call) -> str:
        object_ = str(call.path["object"])
        if object_ not in self._types:
            raise Refusal(_error(404, "NOT_FOUND", f"no object {object_}"), "unknown object")
        return object_

    def counts(self) -> dict[str, Any]:
        """Contacts, accounts, members by campaign, tasks by the first words of their subject."""
        campaigns = {_id("Campaign", n): c["Name"] for n, c in self.records.all("Campaign")}
        members = dict.fromkeys(campaigns.values(), 0)
        for _, member in self.records.all("CampaignMember"):
            members[campaigns[member["CampaignId"]]] += 1
        contacts = [contact for _, contact in self.records.all("contacts")]
        return {
            "contacts": len(contacts),
            "unsubscribed": sum(bool(c.get("HasOptedOutOfEmail")) for c in contacts),
            "accounts": self.records.number("companies"),
            "campaigns": members,
            "tasks": self.records.number("Task"),
            **super().counts(),
        }


def _error(status: int, code: str, message: str) -> Answer:
    return Answer(status, [{"errorCode": code, "message": message}])


def _failed(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}


def _id(object_: str, number: int) -> str:
    return f"{_PREFIXES[object_]}{number:012d}AAA"


def _number(id_: str) -> int:
    return int(id_[3:15]) if id_[3:15].isdigit() else 0


def _is_of(kind: str, value: Any) -> bool:
    if value is None:
        return True
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("currency", "double", "int"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "date":
        return isinstance(value, str) and bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", value))
    if kind == "datetime":
        return isinstance(value, str) and bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", value))
    return isinstance(value, str)


VENDOR = Salesforce
