"""HubSpot's contacts and companies as records: read, archive, erase, and how they are shown."""

import random
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from reverse_etl.sandbox.hubspot_contract import (
    Answer,
    Call,
    Refusal,
    batch,
    fields,
    invalid,
    not_found,
    strings,
)
from reverse_etl.sandbox.hubspot_properties import Properties, asked_properties, object_kind
from reverse_etl.sandbox.store import Store

_DEFAULTS = {
    "contacts": ("email", "firstname", "lastname"),
    "companies": ("name", "domain"),
}


class Records:
    """Contacts and companies of the portal."""

    def __init__(
        self, store: Store, properties: Properties, portal: Mapping[str, Any], limit: int
    ) -> None:
        self._store = store
        self._properties = properties
        self._partial_status = int(portal.get("partial_status", 200))
        self._limit = limit

    def read(self, call: Call) -> Answer:
        """Read a batch by record id or by a unique property."""
        kind = object_kind(call)
        required = {"properties": list, "propertiesWithHistory": list}
        inputs = batch(call.body, self._limit, {**required, "idProperty": str})
        fields(call.body, {"inputs": list, **required}, {"idProperty": str})
        names = strings(call.body["properties"], "properties")
        id_property = call.body.get("idProperty", "hs_object_id")
        if id_property != "hs_object_id":
            self._properties.require_unique(kind, id_property)
        results, missing = [], []
        for item in inputs:
            wanted = fields(item, {"id": str}, where="inputs[]")["id"]
            row = self._record(kind, id_property, wanted)
            if row is None:
                missing.append(wanted)
            else:
                results.append(_shown(kind, row, names))
        body: dict[str, Any] = {
            "status": "COMPLETE",
            "results": shuffled(results),
            "startedAt": call.now,
            "completedAt": call.now,
        }
        if missing:
            absent = Refusal(
                404,
                "OBJECT_NOT_FOUND",
                f"Could not get some {kind.upper()} objects, they may be deleted or not exist.",
            )
            body |= {"errors": [row_error(absent, missing, "ids")], "numErrors": 1}
        return Answer(self._partial_status if missing else 200, body)

    def show(self, call: Call) -> Answer:
        """One record by record id or by a unique property."""
        kind = object_kind(call)
        id_property = call.query.get("idProperty", "hs_object_id")
        if id_property != "hs_object_id":
            self._properties.require_unique(kind, id_property)
        row = self._record(kind, id_property, call.path["id"])
        if row is None:
            raise not_found("Object not found")
        return Answer(200, _shown(kind, row, asked_properties(call)))

    def archive(self, call: Call) -> Answer:
        """Archive a batch by record id; unknown ids are silently accepted, as the API does."""
        kind = object_kind(call)
        inputs = batch(call.body, self._limit)
        wanted = [fields(item, {"id": str}, where="inputs[]")["id"] for item in inputs]
        with self._store.transaction() as db:
            for value in wanted:
                row = self._record(kind, "hs_object_id", value)
                if row is not None:
                    _delete(db, row["id"])
        return Answer(204)

    def erase(self, call: Call) -> Answer:
        """GDPR deletion: record, memberships and events go, the address is blocked."""
        if object_kind(call) != "contacts":
            raise not_found("gdpr-delete is for contacts")
        fields(call.body, {"objectId": str}, {"idProperty": str})
        wanted, by = call.body["objectId"], call.body.get("idProperty", "hs_object_id")
        if by not in ("hs_object_id", "email"):
            raise invalid(f"idProperty must be email, not {by}")
        row = self._record("contacts", by, wanted)
        if row is None and by != "email":
            raise not_found(f"No contact {wanted}")
        address = canonical("email", wanted) if by == "email" else None
        with self._store.transaction() as db:
            if row is not None:
                address = orjson.loads(row["properties"]).get("email", address)
                _delete(db, row["id"])
                db.execute(
                    "delete from events where vendor = 'hubspot' and (record_id = ? or email = ?)",
                    (row["id"], address),
                )
            if address:
                db.execute(
                    "insert or ignore into opt_outs values ('hubspot', ?, 'erased', ?)",
                    (address, call.now),
                )
        return Answer(204)

    def _record(self, kind: str, id_property: str, value: str) -> sqlite3.Row | None:
        if id_property == "hs_object_id":
            record_id = record_number(value)
            found = self._store.rows(
                "select * from records where vendor = 'hubspot' and object = ? and id = ?",
                (kind, record_id),
            )
        else:
            found = self._store.rows(
                "select r.* from unique_values u join records r on r.id = u.record_id"
                " where u.vendor = 'hubspot' and u.object = ? and u.property = ? and u.value = ?",
                (kind, id_property, canonical(id_property, value)),
            )
        return found[0] if found else None


def record_number(value: str) -> int | None:
    """A record id as sent by a client (digits), or None for what cannot be one."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def find_contact(db: sqlite3.Connection, email: str) -> int | None:
    """Record id of the contact with this address."""
    row = db.execute(
        "select record_id from unique_values where vendor = 'hubspot'"
        " and object = 'contacts' and property = 'email' and value = ?",
        (canonical("email", email),),
    ).fetchone()
    return None if row is None else int(row[0])


def canonical(name: str, value: str) -> str:
    """HubSpot compares e-mail addresses without case."""
    return value.strip().lower() if name == "email" else value


def shuffled(items: Sequence[Any]) -> list[Any]:
    """The same items in another, repeatable order: answers are not in the order of inputs."""
    mixed = list(items)
    random.Random(zlib.crc32(orjson.dumps(mixed))).shuffle(mixed)  # noqa: S311 - not for secrets
    return mixed


def own_properties(kind: str, record_id: int, created: str, updated: str) -> dict[str, str]:
    """The properties HubSpot itself sets on every record."""
    modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
    return {"hs_object_id": str(record_id), "createdate": created, modified: updated}


def row_error(
    fault: Refusal, values: list[str], name: str = "objectWriteTraceId"
) -> dict[str, Any]:
    """One entry of `errors` (schema `StandardError`)."""
    return {
        "status": "error",
        "category": fault.category,
        "message": fault.message,
        "context": {name: values},
        "errors": fault.extra.get("errors", []),
        "links": {},
    }


def _delete(db: sqlite3.Connection, record_id: int) -> None:
    db.execute("delete from records where id = ?", (record_id,))
    db.execute("delete from unique_values where record_id = ?", (record_id,))
    db.execute("delete from memberships where record_id = ?", (record_id,))


def _shown(kind: str, row: sqlite3.Row, names: Sequence[str]) -> dict[str, Any]:
    held = orjson.loads(row["properties"])
    shown = {name: held.get(name) for name in (names or _DEFAULTS[kind])}
    own = own_properties(kind, row["id"], row["created_at"], row["updated_at"])
    return {
        "id": str(row["id"]),
        "properties": shown | own,
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "archived": False,
    }
