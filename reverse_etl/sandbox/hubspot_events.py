"""HubSpot's custom events: definitions and occurrences.

Contract: custom events 2026-09 of HubSpot's API specification. An occurrence is answered with
204 and nothing else; `uuid` is the dedupe field, of which the first wins.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from reverse_etl.sandbox.hubspot_contract import (
    Answer,
    Call,
    Refusal,
    batch,
    fields,
    invalid,
    malformed,
    not_found,
)
from reverse_etl.sandbox.hubspot_records import find_contact, record_number
from reverse_etl.sandbox.store import Store

# Properties every definition has unless it asks for none.
_DEFAULT_PROPERTIES = frozenset(
    """
    hs_asset_description hs_asset_type hs_browser hs_campaign_id hs_city hs_country
    hs_device_name hs_device_type hs_element_class hs_element_id hs_element_text hs_language
    hs_link_href hs_operating_system hs_operating_version hs_page_content_type hs_page_id
    hs_page_title hs_page_url hs_parent_module_id hs_referrer hs_region hs_screen_height
    hs_screen_width hs_touchpoint_source hs_tracking_name hs_user_agent hs_utm_campaign
    hs_utm_content hs_utm_medium hs_utm_source hs_utm_term
    """.split()  # noqa: SIM905 - one name a word reads better than 32 lines
)
_DEFINITION = {"label": str, "propertyDefinitions": list, "includeDefaultProperties": bool}
_DEFINITION_OPTIONAL = {
    "name": str,
    "description": str,
    "primaryObject": str,
    "customMatchingId": dict,
}
_OCCURRENCE_OPTIONAL = {
    "email": str,
    "objectId": str,
    "utk": str,
    "occurredAt": str,
    "uuid": str,
}
_MAX_DEFINITIONS = 500


class Events:
    """Event definitions (portal.yml and API) and what occurred."""

    def __init__(self, store: Store, portal: Mapping[str, Any], clock_now: str) -> None:
        self._store = store
        self._portal = portal
        self._prefix = f"pe{int(portal['portal_id'])}_"
        self._limit = int(portal.get("event_rows", 500))
        self._started = clock_now
        self.forget()

    def forget(self) -> None:
        """Read the definitions anew."""
        self._definitions: dict[str, dict[str, Any]] = {}
        for name, declared in (self._portal.get("events") or {}).items():
            body = {
                "label": declared.get("label", name),
                "includeDefaultProperties": True,
                "propertyDefinitions": [
                    {"name": property_, "label": property_, "type": "string"}
                    for property_ in declared.get("properties", [])
                ],
            }
            self._definitions[self._prefix + name] = body
        for row in self._store.rows(
            "select name, body from definitions where vendor = 'hubspot' and kind = 'event'"
        ):
            self._definitions[row["name"]] = orjson.loads(row["body"])

    def show_all(self, call: Call) -> Answer:
        wanted = call.query.get("searchString", "").lower()
        found = [self._shown(name) for name in self._definitions if wanted in name.lower()]
        return Answer(200, {"results": found, "total": len(found)})

    def show(self, call: Call) -> Answer:
        name = call.path["name"]
        if name not in self._definitions:
            raise not_found(f"No event definition {name}")
        return Answer(200, self._shown(name))

    def create(self, call: Call) -> Answer:
        body = fields(call.body, _DEFINITION, _DEFINITION_OPTIONAL)
        slug = body.get("name") or re.sub(r"[^a-z0-9]+", "_", body["label"].lower()).strip("_")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,49}", slug):
            raise invalid(f"{slug!r} is not an event name: lower case letters, digits, _ and -")
        for position, item in enumerate(body["propertyDefinitions"]):
            optional = {"name": str, "description": str, "options": list}
            where = f"propertyDefinitions[{position}]"
            fields(item, {"label": str, "type": str}, optional, where)
        full = self._prefix + slug
        if full in self._definitions:
            raise Refusal(409, "CONFLICT", f"An event definition named {full} already exists.")
        if len(self._definitions) >= _MAX_DEFINITIONS:
            raise invalid(f"A portal has at most {_MAX_DEFINITIONS} event definitions")
        with self._store.transaction() as db:
            db.execute(
                "insert into definitions values ('hubspot', 'event', ?, ?)",
                (full, orjson.dumps(body).decode()),
            )
        self._definitions[full] = body
        return Answer(201, self._shown(full))

    def send(self, call: Call) -> Answer:
        self._keep([self._checked(call.body, "body")], call.now)
        return Answer(204)

    def send_batch(self, call: Call) -> Answer:
        """All or nothing: one bad occurrence refuses the batch."""
        inputs = batch(call.body, self._limit)
        checked = [self._checked(item, f"inputs[{at}]") for at, item in enumerate(inputs)]
        self._keep(checked, call.now)
        return Answer(204)

    def _checked(self, body: Any, where: str) -> dict[str, Any]:
        fields(body, {"eventName": str, "properties": dict}, _OCCURRENCE_OPTIONAL, where)
        name = body["eventName"]
        if name not in self._definitions:
            raise invalid(
                f"{where}: no event definition {name}. Event names start with {self._prefix}"
            )
        if not any(body.get(field) for field in ("email", "objectId", "utk")):
            raise invalid(f"{where}: one of email, objectId or utk is required")
        allowed = self._allowed(name)
        for key, value in body["properties"].items():
            if key not in allowed:
                raise invalid(f"{where}: {name} has no property {key}", propertyName=[key])
            if not isinstance(value, str):
                raise malformed(f"{where}.properties.{key} is not a string")
        if "occurredAt" in body and not _is_instant(body["occurredAt"]):
            raise malformed(f"{where}.occurredAt is not an ISO 8601 time with zone")
        return dict(body)

    def _allowed(self, name: str) -> set[str]:
        body = self._definitions[name]
        own = {item.get("name") or item["label"] for item in body["propertyDefinitions"]}
        return own | _DEFAULT_PROPERTIES if body["includeDefaultProperties"] else own

    def _keep(self, occurrences: list[dict[str, Any]], now: str) -> None:
        with self._store.transaction() as db:
            for body in occurrences:
                record_id: int | None = None
                if body.get("objectId"):
                    row = db.execute(
                        "select id from records where vendor = 'hubspot' and id = ?",
                        (record_number(body["objectId"]),),
                    ).fetchone()
                    record_id = row and int(row[0])
                elif body.get("email"):
                    record_id = find_contact(db, body["email"])
                outcome = "accepted" if record_id is not None else "dropped"
                values = (
                    body["eventName"],
                    body.get("uuid"),
                    record_id,
                    body.get("email", "").strip().lower() or None,
                    body.get("occurredAt", now),
                    now,
                    orjson.dumps(body["properties"]).decode(),
                )
                insert = (
                    "insert into events(vendor, name, uuid, record_id, email, occurred_at,"
                    " received_at, properties, outcome) values ('hubspot', ?, ?, ?, ?, ?, ?, ?, ?)"
                )
                kept = db.execute(f"{insert} on conflict do nothing", (*values, outcome))
                if kept.rowcount == 0:
                    db.execute(insert, (*values, "duplicate"))

    def _shown(self, name: str) -> dict[str, Any]:
        body = self._definitions[name]
        number = list(self._definitions).index(name) + 1
        return {
            "id": str(number),
            "objectTypeId": f"6-{number}",
            "name": name.removeprefix(self._prefix),
            "fullyQualifiedName": name,
            "labels": {"singular": body["label"]},
            "description": body.get("description", ""),
            "primaryObject": body.get("primaryObject", "CONTACT"),
            "archived": False,
            "associations": [],
            "trackingType": "MANUAL",
            "createdAt": self._started,
            "properties": [
                {
                    "name": item.get("name") or item["label"],
                    "label": item["label"],
                    "type": item["type"],
                    "fieldType": "text",
                    "groupName": "event_properties",
                    "description": item.get("description", ""),
                    "options": item.get("options", []),
                }
                for item in body["propertyDefinitions"]
            ],
        }


def _is_instant(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
