"""People who must not be contacted, and people who were erased."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, false, func, or_, select, update

from reverse_etl import schema, statements
from reverse_etl.clock import Clock, as_instant
from reverse_etl.database import Database, in_pieces
from reverse_etl.packing import RECORD, UNIT
from reverse_etl.spec import GROUP_MARK

ERASED = "erased"
"""The key of a delivery that told whose it was."""


def normal(who: str) -> str:
    """A contact id as it is, an e-mail address in lower case."""
    return who.lower() if "@" in who else who


class People:
    """Suppressions name people; tombstones know them by salted hashes alone."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def suppress(self, who: str, reason: str, source: str) -> None:
        """From now on no trigger reaches this e-mail address or contact id."""
        names = ("who", "reason", "source", "suppressed_at")
        row = (normal(who), reason, source, as_instant(self._clock()))
        with self._database.writing() as connection:
            self._database.put(connection, schema.suppressions, names, [row])

    def suppressed(self, people: Iterable[str]) -> set[str]:
        """Which of these e-mail addresses (lower case) or contact ids must not be contacted."""
        t = schema.suppressions
        found: set[str] = set()
        with self._database.reading() as connection:
            for some in in_pieces(people, 500):
                found.update(connection.scalars(select(t.c.who).where(t.c.who.in_(some))))
        return found

    def suppression(self, who: str) -> dict[str, Any] | None:
        """Why somebody must not be contacted; None where they may be."""
        t = schema.suppressions
        with self._database.reading() as connection:
            row = connection.execute(select(t).where(t.c.who == normal(who))).one_or_none()
        return dict(row._mapping) if row else None

    def bury(self, people: Sequence[str]) -> None:
        """Remember that somebody was erased, by e-mail address and contact id."""
        salt, now = self.salt(), as_instant(self._clock())
        rows = [(hashed(who, salt), now) for who in people]
        with self._database.writing() as connection:
            self._database.put(connection, schema.tombstones, ("who", "erased_at"), rows)

    def tombstones(self) -> list[str]:
        """The hashes of everybody who was erased."""
        with self._database.reading() as connection:
            return list(connection.scalars(select(schema.tombstones.c.who)))

    def salt(self) -> str:
        """This ledger's own, so that no list of addresses can be matched against its hashes."""
        t = schema.ledger_meta
        with self._database.writing() as connection:
            salt = connection.scalar(select(t.c.value).where(t.c.name == "salt"))
            if salt is None:
                salt = secrets.token_hex(16)
                self._database.put(connection, t, ("name", "value"), [("salt", salt)])
        return str(salt)

    def forget(self, contact_id: str, words: Sequence[str]) -> int:
        """Remove every trace of a contact: what is keyed by them, and any of these words (their
        addresses) in what tools said. Returns how many rows that were."""
        d, letters = schema.deliveries, schema.dead_letters
        names = [contact_id, *words]
        touched = 0
        with self._database.writing() as connection:
            events = select(d.c.sync, d.c.key).where(d.c.contact_id == contact_id)
            of_them = [(row.sync, row.key) for row in connection.execute(events)]
            self._database.many(connection, statements.DROP_DEAD_LETTER, statements.OF_ROW, of_them)
            for table in (schema.acknowledged, letters, schema.approved_rows):
                touched += connection.execute(delete(table).where(keyed(table, names))).rowcount
            ids = schema.external_ids
            touched += connection.execute(delete(ids).where(ids.c.key.in_(names))).rowcount
            erased = {"contact_id": None, "message": ""}
            own = update(d).where(d.c.contact_id == contact_id).values(erased)
            touched += connection.execute(own).rowcount
            said = or_(*(d.c.message.contains(word, autoescape=True) for word in names))
            touched += connection.execute(update(d).where(said).values(message="")).rowcount
            level = update(d).where(keyed(d, names)).values(erased | {"key": ERASED})
            touched += connection.execute(level).rowcount
            b = schema.batches.c.packed_keys
            for name in names:
                for mark in (RECORD, GROUP_MARK):
                    old, new = f"{UNIT}{name}{mark}", f"{UNIT}{ERASED}{mark}"
                    inside = update(schema.batches).where(b.contains(old, autoescape=True))
                    replaced = inside.values(packed_keys=func.replace(b, old, new))
                    touched += connection.execute(replaced).rowcount
            told = or_(*(letters.c.message.contains(word, autoescape=True) for word in names))
            touched += connection.execute(update(letters).where(told).values(message="")).rowcount
            f = schema.feedback
            of_them_too = or_(f.c.email.in_(names), f.c.contact_id.in_(names))
            touched += connection.execute(delete(f).where(of_them_too)).rowcount
            for table in (schema.suppressions, schema.opt_outs_told):
                gone = delete(table).where(table.c.who.in_(names))
                touched += connection.execute(gone).rowcount
        self._database.overwrite()
        return touched

    def keep_receipts(self, request_id: str, lines: Sequence[tuple[str, str, str, str]]) -> None:
        """What became of an erasure: hop, outcome, code, message."""
        names = ("request_id", "hop", "outcome", "code", "message", "settled_at")
        now = as_instant(self._clock())
        rows = [(request_id, *line, now) for line in lines]
        with self._database.writing() as connection:
            self._database.put(connection, schema.receipts, names, rows)


def keyed(table: Table, names: Collection[str]) -> ColumnElement[bool]:
    """Whether a row's key is one of these, alone or within a group."""
    grouped = (table.c.key.startswith(name + GROUP_MARK, autoescape=True) for name in names)
    return or_(table.c.key.in_(names), *grouped)


def within(packed: Column[Any], names: Collection[str]) -> ColumnElement[bool]:
    """Whether one of these keys stands in a packed text, alone or within a group."""
    marks = (RECORD, GROUP_MARK)
    inside = (packed.contains(f"{UNIT}{n}{m}", autoescape=True) for n in names for m in marks)
    return or_(false(), *inside)


def hashed(who: str, salt: str) -> str:
    """Somebody's tombstone. The planner computes the same in SQL."""
    return hashlib.sha256(f"{salt}{normal(who)}".encode()).hexdigest()
