"""HubSpot's lists: create, find, and the memberships of MANUAL and SNAPSHOT lists.

Contract: CRM lists 2026-09 of HubSpot's API specification; the answer's field `recordsIdsAdded`
is spelled as there.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from reverse_etl.sandbox.hubspot_contract import (
    OBJECT_TYPE_IDS,
    Answer,
    Call,
    Refusal,
    fields,
    invalid,
    malformed,
    not_found,
    strings,
)
from reverse_etl.sandbox.hubspot_records import record_number
from reverse_etl.sandbox.store import Store

_PROCESSING = ("MANUAL", "SNAPSHOT", "DYNAMIC")
_PAGE = 250


class Lists:
    """Lists of contacts or companies."""

    def __init__(self, store: Store, portal: Mapping[str, Any]) -> None:
        self._store = store
        self._most_ids = int(portal.get("membership_ids", 100_000))

    def create(self, call: Call) -> Answer:
        optional = {
            "customProperties": dict,
            "filterBranch": dict,
            "listFolderId": int,
            "listPermissions": dict,
            "membershipSettings": dict,
        }
        fields(call.body, {"name": str, "objectTypeId": str, "processingType": str}, optional)
        name, processing = call.body["name"], call.body["processingType"]
        if not name.strip():
            raise invalid("The list name is empty")
        if processing not in _PROCESSING:
            raise invalid(f"processingType is not one of {', '.join(_PROCESSING)}: {processing}")
        if processing == "DYNAMIC" and "filterBranch" not in call.body:
            raise invalid("A DYNAMIC list needs a filterBranch")
        kind = _kind(call.body["objectTypeId"])
        if self._by_name(kind, name) is not None:
            raise Refusal(
                400,
                "VALIDATION_ERROR",
                f"List name '{name}' is already in use.",
                sub_category="ILS.DUPLICATE_LIST_NAMES",
            )
        with self._store.transaction() as db:
            made = db.execute(
                "insert into lists(vendor, object, name, processing, created_at, updated_at)"
                " values ('hubspot', ?, ?, ?, ?, ?)",
                (kind, name, processing, call.now, call.now),
            )
        row = self._store.rows("select * from lists where id = ?", (made.lastrowid,))[0]
        return Answer(200, {"list": self._shown(row)})

    def show(self, call: Call) -> Answer:
        return Answer(200, {"list": self._shown(self._list(call))})

    def show_by_name(self, call: Call) -> Answer:
        row = self._by_name(_kind(call.path["object_type_id"]), call.path["name"])
        if row is None:
            raise not_found(f"No list with the name {call.path['name']!r}")
        return Answer(200, {"list": self._shown(row)})

    def search(self, call: Call) -> Answer:
        required = {
            "additionalProperties": list,
            "listIds": list,
            "offset": int,
            "processingTypes": list,
        }
        optional = {"count": int, "objectTypeId": str, "query": str, "sort": str}
        body = fields(call.body, required, optional)
        ids = strings(body["listIds"], "listIds")
        processing = strings(body["processingTypes"], "processingTypes")
        kind = _kind(body["objectTypeId"]) if body.get("objectTypeId") else None
        query = body.get("query", "").lower()
        found = [
            row
            for row in self._store.rows(
                "select * from lists where vendor = 'hubspot' and deleted_at is null order by id"
            )
            if (not ids or str(row["id"]) in ids)
            and (not processing or row["processing"] in processing)
            and (kind is None or row["object"] == kind)
            and query in row["name"].lower()
        ]
        start, count = max(0, body["offset"]), max(1, min(body.get("count", 20), 500))
        shown = []
        for row in found[start : start + count]:
            result = self._shown(row)
            size = str(result.pop("size"))
            shown.append(result | {"additionalProperties": {"hs_list_size": size}})
        return Answer(
            200,
            {
                "lists": shown,
                "offset": start + len(shown),
                "total": len(found),
                "hasMore": start + count < len(found),
            },
        )

    def delete(self, call: Call) -> Answer:
        row = self._list(call)
        with self._store.transaction() as db:
            db.execute("update lists set deleted_at = ? where id = ?", (call.now, row["id"]))
        return Answer(204)

    def members(self, call: Call) -> Answer:
        """Record ids by id, in pages of up to 250."""
        row = self._list(call)
        limit, after = call.query.get("limit", "100"), call.query.get("after", "0")
        if not (limit.isdecimal() and after.isdecimal()):
            raise malformed("limit and after are whole numbers")
        size = min(max(1, int(limit)), _PAGE)
        found = self._store.rows(
            "select record_id, joined_at from memberships where list_id = ? and record_id > ?"
            " order by record_id limit ?",
            (row["id"], int(after), size + 1),
        )
        page = found[:size]
        body: dict[str, Any] = {
            "results": [
                {"recordId": str(member["record_id"]), "membershipTimestamp": member["joined_at"]}
                for member in page
            ],
            "total": self._size(row["id"]),
        }
        if len(found) > size:
            body["paging"] = {"next": {"after": str(page[-1]["record_id"])}}
        return Answer(200, body)

    def add(self, call: Call) -> Answer:
        return self._change(call, strings(call.body, "body"), [])

    def remove(self, call: Call) -> Answer:
        return self._change(call, [], strings(call.body, "body"))

    def add_and_remove(self, call: Call) -> Answer:
        body = fields(call.body, {"recordIdsToAdd": list, "recordIdsToRemove": list})
        added = strings(body["recordIdsToAdd"], "recordIdsToAdd")
        return self._change(call, added, strings(body["recordIdsToRemove"], "recordIdsToRemove"))

    def _change(self, call: Call, add: list[str], remove: list[str]) -> Answer:
        row = self._list(call)
        if row["processing"] == "DYNAMIC":
            raise invalid(f"List {row['id']} is DYNAMIC; its members cannot be set")
        if len(add) + len(remove) > self._most_ids:
            raise invalid(f"More than {self._most_ids} record ids", violation="batch size")
        if set(add) & set(remove):
            raise invalid("A record id is both to add and to remove", violation="shape")
        added, removed, missing = [], [], []
        with self._store.transaction() as db:
            for record_id in dict.fromkeys(add):
                if not _exists(db, row["object"], record_id):
                    missing.append(record_id)
                elif db.execute(
                    "insert or ignore into memberships values (?, ?, ?)",
                    (row["id"], int(record_id), call.now),
                ).rowcount:
                    added.append(record_id)
            for record_id in dict.fromkeys(remove):
                if not _exists(db, row["object"], record_id):
                    missing.append(record_id)
                elif db.execute(
                    "delete from memberships where list_id = ? and record_id = ?",
                    (row["id"], int(record_id)),
                ).rowcount:
                    removed.append(record_id)
            db.execute(
                "update lists set version = version + 1, updated_at = ? where id = ?",
                (call.now, row["id"]),
            )
        return Answer(
            200,
            {
                "recordsIdsAdded": added,
                "recordIdsRemoved": removed,
                "recordIdsMissing": missing,
            },
        )

    def _list(self, call: Call) -> sqlite3.Row:
        asked = call.path["list_id"]
        found = self._store.rows(
            "select * from lists where vendor = 'hubspot' and cast(id as text) = ?"
            " and deleted_at is null",
            (asked,),
        )
        if not found:
            raise not_found(f"List does not exist with ID {asked}.")
        return found[0]

    def _by_name(self, kind: str, name: str) -> sqlite3.Row | None:
        found = self._store.rows(
            "select * from lists where vendor = 'hubspot' and object = ? and name = ?"
            " and deleted_at is null",
            (kind, name),
        )
        return found[0] if found else None

    def _size(self, list_id: int) -> int:
        return self._store.number("select count(*) from memberships where list_id = ?", (list_id,))

    def _shown(self, row: sqlite3.Row) -> dict[str, Any]:
        type_id = next(key for key, kind in OBJECT_TYPE_IDS.items() if kind == row["object"])
        return {
            "listId": str(row["id"]),
            "listVersion": row["version"],
            "name": row["name"],
            "objectTypeId": type_id,
            "processingType": row["processing"],
            "processingStatus": "COMPLETE",
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
            "size": self._size(row["id"]),
        }


def _kind(type_id: str) -> str:
    if type_id not in OBJECT_TYPE_IDS:
        raise invalid(f"Unknown objectTypeId {type_id}; contacts are 0-1, companies 0-2")
    return OBJECT_TYPE_IDS[type_id]


def _exists(db: sqlite3.Connection, kind: str, record_id: str) -> bool:
    return (
        db.execute(
            "select 1 from records where id = ? and vendor = 'hubspot' and object = ?",
            (record_number(record_id), kind),
        ).fetchone()
        is not None
    )
