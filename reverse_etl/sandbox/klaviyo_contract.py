"""What Klaviyo's endpoints share: JSON:API resources, filters, and errors in its shape."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Set
from typing import Any
from urllib.parse import urlencode

import orjson

from reverse_etl.sandbox.tool import Answer, Call, Refusal

NAME = "klaviyo"
REVISION = "2026-07-15"
CONTENT_TYPE = "application/vnd.api+json"
ATTRIBUTES = frozenset(
    {
        "email",
        "phone_number",
        "external_id",
        "_kx",
        "first_name",
        "last_name",
        "organization",
        "locale",
        "title",
        "image",
        "location",
        "properties",
    }
)
_LOCATION = frozenset(
    {"address1", "address2", "city", "country", "latitude", "longitude", "region", "zip"}
    | {"timezone", "ip"}
)
_STRINGS = ATTRIBUTES - {"location", "properties"}
_CONDITION = re.compile(
    r"""(?P<verb>[a-z-]+)\((?P<field>[\w.]+),"""
    r"""(?P<value>\[(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\]"'])*\]|"(?:[^"\\]|\\.)*"|'[^']*'|[^()"']+)\)"""
)


def refusal(status: int, code: str, detail: str, *, violation: str | None = None) -> Refusal:
    """An error in Klaviyo's shape."""
    error = {
        "id": str(uuid.uuid4()),
        "status": status,
        "code": code,
        "title": code.replace("_", " ").capitalize(),
        "detail": detail,
        "source": {"pointer": "/data"},
    }
    return Refusal(Answer(status, {"errors": [error]}), violation)


def invalid(detail: str, violation: str | None = None) -> Refusal:
    """A 400 about the data or, with `violation`, about the client."""
    return refusal(400, "invalid", detail, violation=violation)


def malformed(detail: str) -> Refusal:
    """A 400 for a body that does not have the documented shape."""
    return invalid(detail, "shape")


def resource(
    body: Any, kind: str, required: Set[str], optional: Set[str] = frozenset()
) -> dict[str, Any]:
    """The attributes of ``{"data": {"type": kind, "attributes": {...}}}``."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict) or data.get("type") != kind:
        raise malformed(f"data of type {kind} is expected")
    attributes = data.get("attributes")
    if not isinstance(attributes, dict) or not required <= set(attributes) <= required | optional:
        raise malformed(f"{kind} has the attributes {', '.join(sorted(required))}")
    return attributes


def resources(
    body: Any, kind: str, optional: Set[str] = frozenset({"id"}), *, attributes: bool = True
) -> list[dict[str, Any]]:
    """The items of ``{"data": [{"type": kind, ...}]}``: with attributes, or with an id alone."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise malformed(f"data is an array of {kind}")
    required = {"type", "attributes"} if attributes else {"type", "id"}
    for item in data:
        if not isinstance(item, dict) or item.get("type") != kind:
            raise malformed(f"an item of type {kind} is expected")
        if not required <= set(item) <= required | optional:
            raise malformed(f"{kind} needs {', '.join(sorted(required))}")
        if attributes and not isinstance(item["attributes"], dict):
            raise malformed(f"the attributes of {kind} are an object")
    return data


def item_of(
    kind: str, number: str, attributes: Mapping[str, Any], *, links: bool = True
) -> dict[str, Any]:
    """A resource in an answer."""
    item = {"type": kind, "id": number, "attributes": dict(attributes)}
    own = {"links": {"self": f"https://a.klaviyo.com/api/{kind}s/{number}"}}
    return item | (own if links else {})


def page(call: Call, items: list[dict[str, Any]], *, default: int, most: int) -> dict[str, Any]:
    """The page of an answer that was asked for; links name Klaviyo's own address."""
    size = int(call.query.get("page[size]", default))
    start = int(call.query.get("page[cursor]", 0))
    if not 1 <= size <= most:
        raise invalid(f"page[size] is from 1 to {most}", "page size")
    url = f"https://a.klaviyo.com{call.route}"
    links: dict[str, Any] = {"self": url}
    if start + size < len(items):
        query = dict(call.query) | {"page[cursor]": str(start + size)}
        links["next"] = f"{url}?{urlencode(query)}"
    return {"data": items[start : start + size], "links": links}


def fault_of_profile(profile: Mapping[str, Any]) -> tuple[str, str]:
    """The field and the words of what is wrong with one profile; empty where nothing is."""
    given = profile["attributes"]
    if not any(given.get(name) for name in ("email", "phone_number", "external_id", "_kx")):
        return "email", "One of email, phone_number, external_id is required."
    for name in _STRINGS & set(given):
        if given[name] is not None and not isinstance(given[name], str):
            return name, f"{name} must be a string."
    email = given.get("email")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        return "email", "Invalid email address."
    location = given.get("location", {})
    if not isinstance(location, dict) or not set(location) <= _LOCATION:
        return "location", "location has an unknown field."
    if not isinstance(given.get("properties") or {}, dict):
        return "properties", "properties is an object."
    return "", ""


def conditions(text: str) -> list[tuple[str, str, list[str]]]:
    """A filter as (verb, field, values), joined by commas, all of which must hold."""
    if not text:
        return []
    found = [(m["verb"], m["field"], _values(m["value"])) for m in _CONDITION.finditer(text)]
    rest = _CONDITION.sub("", text)
    if not found or rest.strip(","):
        raise invalid(f"Invalid filter: {text}", "filter")
    return found


def _values(text: str) -> list[str]:
    written = text if '"' in text else text.replace("'", '"')
    try:
        value = orjson.loads(written)
    except orjson.JSONDecodeError:
        return [text]  # a date, which Klaviyo takes without quotes
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
