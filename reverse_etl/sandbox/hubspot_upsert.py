"""HubSpot's batch upsert of contacts and companies.

Contract: CRM objects 2026-09 of HubSpot's API specification. What it leaves open is taken from
observed answers: with an `objectWriteTraceId` on every input a bad row is reported in `errors`
and the others are written; without one the whole batch is refused.
"""

import sqlite3
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
    malformed,
)
from reverse_etl.sandbox.hubspot_properties import Properties, Property, object_kind
from reverse_etl.sandbox.hubspot_records import canonical, own_properties, row_error, shuffled
from reverse_etl.sandbox.store import Store


class Upserts:
    """Creates or updates records by a unique property, with one outcome per input."""

    def __init__(
        self, store: Store, properties: Properties, portal: Mapping[str, Any], limit: int
    ) -> None:
        self._store = store
        self._properties = properties
        self._partial_status = int(portal.get("partial_status", 200))
        self._limit = limit

    def upsert(self, call: Call) -> Answer:
        kind = object_kind(call)
        inputs = batch(call.body, self._limit)
        id_property = self._identity(kind, inputs)
        known = self._properties.of(kind)
        traced = all(item.get("objectWriteTraceId") for item in inputs)
        results, errors = [], []
        with self._store.transaction() as db:
            held = _Held(db, kind, id_property, inputs, known)
            for item in shuffled(inputs):
                fault = held.fault(item)
                if fault is None:
                    results.append(held.write(item, call.now))
                elif traced:
                    errors.append(row_error(fault, [item["objectWriteTraceId"]]))
                else:
                    raise fault
            held.flush()
        body: dict[str, Any] = {
            "status": "COMPLETE",
            "results": results,
            "startedAt": call.now,
            "completedAt": call.now,
        }
        if errors:
            body |= {"errors": errors, "numErrors": len(errors)}
        return Answer(self._partial_status if errors else 200, body)

    def _identity(self, kind: str, inputs: Sequence[Any]) -> str:
        """The one unique property the batch identifies by; refuses shapes and repeated ids."""
        optional = {"idProperty": str, "objectWriteTraceId": str}
        for position, item in enumerate(inputs):
            where = f"inputs[{position}]"
            fields(item, {"id": str, "properties": dict}, optional, where)
            for name, value in item["properties"].items():
                if value is not None and not isinstance(value, str):
                    raise malformed(f"{where}.properties.{name} is not a string")
        named = {item.get("idProperty") for item in inputs}
        if len(named) > 1:
            raise invalid("All inputs of a batch must use the same idProperty", "idProperty")
        id_property: str | None = named.pop()
        if id_property is None:
            raise invalid("idProperty is required to upsert", violation="idProperty")
        self._properties.require_unique(kind, id_property)
        _refuse_repeated([canonical(id_property, item["id"]) for item in inputs])
        traces = [item["objectWriteTraceId"] for item in inputs if "objectWriteTraceId" in item]
        if len(set(traces)) != len(traces):
            raise invalid("Duplicate objectWriteTraceId in batch input", violation="trace id")
        return id_property


def _refuse_repeated(ids: Sequence[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    repeated = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    raise invalid(
        f"Duplicate IDs found in batch input: [{', '.join(repeated)}]. IDs must be unique",
        ids=repeated,
    )


class _Held:
    """What the portal holds of one batch's records: read at once, changed here, written at once.

    A batch costs a handful of statements instead of several per row.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        kind: str,
        id_property: str,
        inputs: Sequence[Mapping[str, Any]],
        known: Mapping[str, Property],
    ) -> None:
        self._db = db
        self._kind = kind
        self._id_property = id_property
        self._known = known
        values: dict[str, list[str]] = {}
        for item in inputs:
            for name, value in self._unique(item).items():
                values.setdefault(name, []).append(value)
        self._owners = {
            (name, str(row["value"])): int(row["record_id"])
            for name, wanted in values.items()
            for row in _selected(
                db,
                "select value, record_id from unique_values where vendor = 'hubspot'"
                " and object = ? and property = ? and value in ({})",
                (kind, name),
                wanted,
            )
        }
        ids = list(set(self._owners.values()))
        self._records = {
            int(row["id"]): (orjson.loads(row["properties"]), str(row["created_at"]))
            for row in _selected(db, "select * from records where id in ({})", (), ids)
        }
        blocked = (
            "select address from opt_outs"
            " where vendor = 'hubspot' and reason = 'erased' and address in ({})"
        )
        self._erased = {row[0] for row in _selected(db, blocked, (), values.get("email", []))}
        # Ids are dealt out here, so that new records can be inserted together.
        sequence = db.execute("select seq from sqlite_sequence where name = 'records'")
        self._next_id = int(sequence.fetchone()[0]) + 1
        self._written: dict[int, tuple[Any, ...]] = {}
        self._released: list[tuple[str, str, str]] = []
        self._claimed: list[tuple[str, str, str, int]] = []

    def _given(self, item: Mapping[str, Any]) -> dict[str, str | None]:
        return {self._id_property: item["id"], **item["properties"]}

    def _unique(self, item: Mapping[str, Any]) -> dict[str, str]:
        """The row's values of unique properties."""
        known = self._known
        return {
            name: canonical(name, value)
            for name, value in self._given(item).items()
            if value and name in known and known[name].unique
        }

    def fault(self, item: Mapping[str, Any]) -> Refusal | None:
        """Why this row cannot be written, or None."""
        given = self._given(item)
        faults = []
        if not item["id"].strip():
            words = f"{self._id_property} has no value"
            faults.append(("REQUIRED_FIELD", words, self._id_property))
        for name, value in given.items():
            if name not in self._known:
                words = f'Property "{name}" does not exist'
                faults.append(("PROPERTY_DOESNT_EXIST", words, name))
            elif value and (fault := self._known[name].fault(value)):
                faults.append((*fault, name))
        if faults:
            return _invalid_values(faults)
        unique = self._unique(item)
        own = self._owner(item)
        for name, value in unique.items():
            holder = self._owners.get((name, value))
            if holder is not None and holder != own:
                words = f"{name} {value} already belongs to another record. Existing ID: {holder}"
                return Refusal(409, "CONFLICT", words)
        if unique.get("email") in self._erased:
            words = f"{unique['email']} was erased and is blocked (GDPR)"
            return Refusal(400, "VALIDATION_ERROR", words)
        return None

    def _owner(self, item: Mapping[str, Any]) -> int | None:
        return self._owners.get((self._id_property, canonical(self._id_property, item["id"])))

    def write(self, item: Mapping[str, Any], now: str) -> dict[str, Any]:
        """Merge one row into its record; null and the empty string both clear a property."""
        given = self._given(item)
        if given.get("email"):
            given["email"] = canonical("email", given["email"] or "")
        record_id = self._owner(item)
        new = record_id is None
        if record_id is None:
            record_id, self._next_id = self._next_id, self._next_id + 1
        before, created_at = self._records.get(record_id, ({}, now))
        after = {name: value for name, value in (before | given).items() if value}
        self._records[record_id] = (after, created_at)
        packed = orjson.dumps(after).decode()
        self._written[record_id] = (record_id, "hubspot", self._kind, packed, created_at, now)
        for name in given:
            if self._known[name].unique and before.get(name) != after.get(name):
                self._move(name, before.get(name), after.get(name), record_id)
        result = {
            "id": str(record_id),
            "properties": {name: after.get(name, "") for name in given}
            | own_properties(self._kind, record_id, created_at, now),
            "createdAt": created_at,
            "updatedAt": now,
            "archived": False,
            "new": new,
        }
        if "objectWriteTraceId" in item:
            result["objectWriteTraceId"] = item["objectWriteTraceId"]
        return result

    def _move(self, name: str, old: str | None, new: str | None, record_id: int) -> None:
        """A record gives up one unique value and takes another."""
        if old:
            self._owners.pop((name, canonical(name, old)), None)
            self._released.append((self._kind, name, canonical(name, old)))
        if new:
            self._owners[(name, canonical(name, new))] = record_id
            self._claimed.append((self._kind, name, canonical(name, new), record_id))

    def flush(self) -> None:
        """Write the batch."""
        self._db.executemany(
            "insert into records(id, vendor, object, properties, created_at, updated_at)"
            " values (?, ?, ?, ?, ?, ?) on conflict (id) do update"
            " set properties = excluded.properties, updated_at = excluded.updated_at",
            self._written.values(),
        )
        self._db.executemany(
            "delete from unique_values"
            " where vendor = 'hubspot' and object = ? and property = ? and value = ?",
            self._released,
        )
        self._db.executemany(
            "insert into unique_values values ('hubspot', ?, ?, ?, ?)",
            # A value released and claimed within the batch has its last owner.
            {claim[:3]: claim for claim in self._claimed}.values(),
        )


def _selected(
    db: sqlite3.Connection, sql: str, first: Sequence[Any], listed: Sequence[Any]
) -> list[sqlite3.Row]:
    """Rows of `sql`, whose `{}` stands for the places of the listed values."""
    if not listed:
        return []
    places = ", ".join("?" * len(listed))
    return db.execute(sql.format(places), [*first, *listed]).fetchall()


def _invalid_values(faults: Sequence[tuple[str, str, str]]) -> Refusal:
    details = [
        {"isValid": False, "message": words, "error": code, "name": name}
        for code, words, name in faults
    ]
    return Refusal(
        400,
        "VALIDATION_ERROR",
        f"Property values were not valid: {orjson.dumps(details).decode()}",
        extra={
            "errors": [
                {"message": words, "code": code, "context": {"propertyName": [name]}}
                for code, words, name in faults
            ]
        },
    )
