"""HubSpot's properties API, and the checks a property's type asks of its values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from reverse_etl.sandbox.hubspot_contract import (
    OBJECTS,
    Answer,
    Call,
    Refusal,
    batch,
    fields,
    invalid,
    not_found,
    strings,
)
from reverse_etl.sandbox.store import Store

# Properties every portal has; the many others of a real portal are not needed to write to one.
_CONTACT_TEXTS = """
    email firstname lastname jobtitle phone mobilephone company website address city state
    zip country salutation fax industry hs_language hs_timezone hs_persona twitterhandle
    hs_linkedin_url lifecyclestage hs_lead_status hubspot_owner_id
"""
_COMPANY_TEXTS = """
    name domain website phone address address2 city state zip country industry description
    type about_us timezone hs_ideal_customer_profile lifecyclestage hs_lead_status
    linkedin_company_page hubspot_owner_id
"""
_STANDARD: dict[str, dict[str, str]] = {
    "contacts": dict.fromkeys(_CONTACT_TEXTS.split(), "string")
    | {"annualrevenue": "number", "numemployees": "number"},
    "companies": dict.fromkeys(_COMPANY_TEXTS.split(), "string")
    | {"annualrevenue": "number", "numberofemployees": "number", "is_public": "bool"},
}
_READ_ONLY = {
    "hs_object_id": "number",
    "createdate": "datetime",
    "lastmodifieddate": "datetime",
    "hs_lastmodifieddate": "datetime",
}
_TYPES = {"string", "number", "date", "datetime", "bool", "enumeration", "phone_number"}
_FIELD_TYPES = {
    "string": "text",
    "number": "number",
    "date": "date",
    "datetime": "date",
    "bool": "booleancheckbox",
    "enumeration": "select",
    "phone_number": "phonenumber",
}
_MAX_LENGTH = 65_536
# One address, one @, no blanks, a domain with a dot: what HubSpot refuses as INVALID_EMAIL.
_EMAIL = re.compile(r"[^@\s,;<>()\[\]\\\"]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}")


@dataclass(frozen=True)
class Property:
    """One property of an object; only a unique one identifies a record."""

    name: str
    type: str
    unique: bool = False
    read_only: bool = False
    options: tuple[str, ...] = ()
    label: str = ""
    group: str = ""

    def fault(self, value: str) -> tuple[str, str] | None:
        """Why a value cannot be stored: (error code, words), or None."""
        if self.read_only:
            return "READ_ONLY_VALUE", f"{self.name} is a read only property"
        if value == "":
            return None  # clears the property
        if len(value) > _MAX_LENGTH:
            return "INVALID_STRING_LENGTH", f"{self.name} is longer than {_MAX_LENGTH} characters"
        if self.name == "email" and not _EMAIL.fullmatch(value):
            return "INVALID_EMAIL", f"Email address {value} is invalid"
        if self.type == "number" and not _is_number(value):
            return "INVALID_NUMBER", f"{value} was not a valid number."
        if self.type == "bool" and value not in ("true", "false"):
            return "INVALID_OPTION", f"{value} was not one of the allowed options: [true, false]"
        if self.type == "enumeration" and not set(value.split(";")) <= set(self.options):
            allowed = ", ".join(self.options)
            return "INVALID_OPTION", f"{value} was not one of the allowed options: [{allowed}]"
        if self.type == "date" and not _is_date(value):
            return "INVALID_DATE", f"{value} is not a date (YYYY-MM-DD, or midnight UTC in ms)"
        if self.type == "datetime" and not _is_datetime(value):
            return "INVALID_DATE", f"{value} is not an ISO 8601 time with zone, or epoch ms"
        return None


def valid_email(address: str) -> bool:
    return _EMAIL.fullmatch(address) is not None


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", value, re.ASCII) is not None


def _is_date(value: str) -> bool:
    if re.fullmatch(r"-?\d{5,}", value, re.ASCII):
        return int(value) % 86_400_000 == 0
    try:
        datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _is_datetime(value: str) -> bool:
    if re.fullmatch(r"-?\d{5,}", value, re.ASCII):
        return True
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    return moment.tzinfo is not None or len(value) == len("2026-09-01")


class Properties:
    """The portal's properties: standard ones, those of portal.yml, those created by clients."""

    def __init__(self, store: Store, portal: Mapping[str, Any], limit: int) -> None:
        self._store = store
        self._declared: Mapping[str, Any] = portal.get("properties", {})
        self._portal_id = int(portal["portal_id"])
        self._limit = limit
        self.forget()

    def forget(self) -> None:
        """Read the definitions anew."""
        self._known = {kind: self._initial(kind) for kind in _STANDARD}
        for row in self._store.rows(
            "select kind, body from definitions where vendor = 'hubspot' and kind like 'property:%'"
        ):
            known = self._known[row["kind"].removeprefix("property:")]
            created = _property(orjson.loads(row["body"]))
            known[created.name] = created

    def _initial(self, kind: str) -> dict[str, Property]:
        standard = [
            Property(name, type_, unique=name == "email") for name, type_ in _STANDARD[kind].items()
        ]
        standard += [Property(name, type_, read_only=True) for name, type_ in _READ_ONLY.items()]
        declared = [
            Property(
                name,
                options.get("type", "string"),
                unique=bool(options.get("unique", False)),
                options=tuple(options.get("options", ())),
            )
            for name, options in self._declared.get(kind, {}).items()
        ]
        return {property_.name: property_ for property_ in [*standard, *declared]}

    def of(self, kind: str) -> dict[str, Property]:
        """The properties of `contacts` or `companies`, by name."""
        return self._known[kind]

    def require_unique(self, kind: str, name: str) -> None:
        """Refuse a property that does not identify a record."""
        property_ = self._known[kind].get(name)
        if property_ is None or not property_.unique:
            type_id = {"contacts": "0-1", "companies": "0-2"}[kind]
            raise invalid(
                f"Unable to perform update/upsert by non-unique {type_id} property {name}"
                f" in portal ID {self._portal_id}"
            )

    def show_all(self, call: Call) -> Answer:
        known = self._known[object_kind(call)].values()
        return Answer(200, {"results": [_shown(property_) for property_ in known]})

    def show(self, call: Call) -> Answer:
        kind, name = object_kind(call), call.path["name"]
        if name not in self._known[kind]:
            raise not_found(f"Property {name} does not exist for {kind}")
        return Answer(200, _shown(self._known[kind][name]))

    def create(self, call: Call) -> Answer:
        return Answer(201, _shown(self._create(object_kind(call), call.body)))

    def create_batch(self, call: Call) -> Answer:
        kind = object_kind(call)
        created = [self._create(kind, item) for item in batch(call.body, self._limit)]
        return Answer(201, _completed([_shown(item) for item in created], call.now))

    def read_batch(self, call: Call) -> Answer:
        kind = object_kind(call)
        inputs = batch(call.body, self._limit, {"archived": bool, "dataSensitivity": str})
        names = [fields(item, {"name": str}, where="inputs[]")["name"] for item in inputs]
        found = [self._known[kind][name] for name in names if name in self._known[kind]]
        return Answer(200, _completed([_shown(item) for item in found], call.now))

    def _create(self, kind: str, body: Any) -> Property:
        optional = {
            "hasUniqueValue": bool,
            "description": str,
            "options": list,
            "displayOrder": int,
            "hidden": bool,
            "formField": bool,
        }
        required = {"name": str, "label": str, "type": str, "fieldType": str, "groupName": str}
        fields(body, required, optional, where="property")
        name = body["name"]
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name):
            raise invalid(f"{name!r} is not a property name: lower case letters, digits and _")
        if name in self._known[kind]:
            raise Refusal(409, "CONFLICT", f"A property named '{name}' already exists.")
        if body["type"] not in _TYPES:
            raise invalid(f"{body['type']!r} is not a property type: {', '.join(sorted(_TYPES))}")
        created = _property(body)
        with self._store.transaction() as db:
            db.execute(
                "insert into definitions(vendor, kind, name, body) values ('hubspot', ?, ?, ?)",
                (f"property:{kind}", name, orjson.dumps(body).decode()),
            )
        self._known[kind][name] = created
        return created


def object_kind(call: Call) -> str:
    """`contacts` or `companies` from the path."""
    asked = call.path["object"]
    if asked not in OBJECTS:
        raise invalid(f"Unable to infer object type from: {asked}")
    return OBJECTS[asked]


def asked_properties(call: Call) -> list[str]:
    """The comma-separated `properties` of a query."""
    return strings([name for name in call.query.get("properties", "").split(",") if name], "query")


def _property(body: Mapping[str, Any]) -> Property:
    return Property(
        body["name"],
        body["type"],
        unique=body.get("hasUniqueValue", False),
        options=tuple(str(option.get("value")) for option in body.get("options", [])),
        label=body["label"],
        group=body["groupName"],
    )


def _shown(property_: Property) -> dict[str, Any]:
    type_ = "enumeration" if property_.type == "bool" else property_.type
    options = ("true", "false") if property_.type == "bool" else property_.options
    return {
        "name": property_.name,
        "label": property_.label or property_.name,
        "type": type_,
        "fieldType": _FIELD_TYPES[property_.type],
        "groupName": property_.group or "information",
        "description": "",
        "options": [{"label": value, "value": value, "hidden": False} for value in options],
        "hasUniqueValue": property_.unique,
        "hidden": False,
        "archived": False,
        "modificationMetadata": {
            "archivable": not property_.read_only,
            "readOnlyDefinition": property_.read_only,
            "readOnlyValue": property_.read_only,
        },
    }


def _completed(results: list[Any], now: str) -> dict[str, Any]:
    return {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
