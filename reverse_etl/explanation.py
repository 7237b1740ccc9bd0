"""Why somebody got, or did not get, what they got: from raw facts to the tool's answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from reverse_etl.errors import UserError
from reverse_etl.ledger import Ledger
from reverse_etl.people import hashed, normal
from reverse_etl.planner import Plan
from reverse_etl.registry import Registry
from reverse_etl.spec import GROUP_MARK, Sync
from reverse_etl.values import as_text

_MOST = 5


@dataclass(frozen=True)
class Section:
    """One step of the way, in sentences."""

    title: str
    lines: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """As ``explain --json`` prints it."""
        return {"title": self.title, "lines": list(self.lines)}


@dataclass(frozen=True)
class Subject:
    """Whom an explanation is about: a contact with their customer, or a customer alone."""

    customer_id: str | None
    contact_id: str | None
    names: tuple[str, ...]

    def is_of(self, key: str, payload: Mapping[str, Any]) -> bool:
        """Whether a row of a plan or ledger is theirs; a contact's are not their customer's."""
        own = self.contact_id or self.customer_id
        column = "contact_id" if self.contact_id else "customer_id"
        return key.partition(GROUP_MARK)[0] in self.names or payload.get(column) == own


class Explanation:
    """Reads a warehouse, whatever of it is built, and a ledger. Names of people are not shown."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, ledger: Ledger, syncs: Sequence[Sync]
    ) -> None:
        self._connection = connection
        self._registry = Registry(connection)
        self._ledger = ledger
        self._syncs = syncs

    def subject(self, who: str) -> Subject:
        """A contact by e-mail address or id, a customer by id, name or domain. Raises UserError
        where nobody is known by it."""
        if found := self._registry.find(who):
            return Subject(found.customer_id, found.contact_ids[0], found.contact_ids)
        for column in ("customer_id", "customer_name", "domain"):
            where = f"lower({column}) = lower(?)"
            for row in self._rows("marts", "customers", ("customer_id",), where, [who], column):
                return Subject(row["customer_id"], None, (row["customer_id"],))
        people = self._ledger.people
        if hashed(normal(who), people.salt()) in people.tombstones():
            raise UserError("They were erased: nothing is kept about them, and nothing is sent.")
        raise UserError(
            "Nobody is known by that: give an e-mail address or contact_id, or a customer's id, "
            "name or domain, as marts.contacts and marts.customers have them."
        )

    def sections(self, subject: Subject, plans: Sequence[Plan]) -> list[Section]:
        """The whole way. ``plans``: what would be sent now."""
        parts = (
            ("Who", self._who(subject)),
            ("Raw facts", self._facts(subject)),
            ("Measures", self._measures(subject)),
            ("Health and stage", self._health(subject)),
            ("Segments", self._segments(subject)),
            ("Decisions", self._decisions(subject)),
            ("Plan", _planned(subject, plans)),
            ("What the tools have", self._known(subject)),
            ("Deliveries", self._delivered(subject)),
        )
        return [Section(title, list(lines) or ["nothing"]) for title, lines in parts]

    def _who(self, subject: Subject) -> Iterator[str]:
        names = ("customer_name", "tier", "plan_name", "mrr", "mrr_currency", "country")
        for row in self._of("marts", "customers", names, "customer_id", subject.customer_id):
            yield f"customer {subject.customer_id}: {_told(row)}"
        if subject.contact_id is None:
            return
        columns = ("role", "language", "country", "is_unsubscribed", "is_bounced", "may_be_mailed")
        for row in self._of("marts", "contacts", columns, "contact_id", subject.contact_id):
            yield f"contact {subject.contact_id}: {_told(row)}"
        for name in subject.names:
            if found := self._ledger.people.suppression(name):
                yield f"must not be contacted: {found['reason']}, said {found['source']}"

    def _facts(self, subject: Subject) -> Iterator[str]:
        column, own = _own(subject)
        usage = ("usage_date", "event_name", "feature", "uses")
        order = "usage_date desc"
        for row in self._of("intermediate", "int_usage__daily", usage, column, own, order=order):
            yield f"used the product: {_told(row)}"
        touches = ("occurred_at", "touchpoint_type", "channel", "direction", "topic", "reaction")
        order = "occurred_at desc"
        for row in self._of("marts", "touchpoints", touches, column, own, order=order):
            yield f"was in touch: {_told(row)}"
        tickets = ("created_at", "kind", "priority", "status", "satisfaction")
        order = "created_at desc"
        table = "int_tickets__attributed"
        for row in self._of("intermediate", table, tickets, column, own, order=order):
            yield f"asked for help: {_told(row)}"
        bills = ("overdue_invoices", "overdue_since", "seats_bought", "seats_used")
        for row in self._of("marts", "customers", bills, "customer_id", subject.customer_id):
            yield f"the customer's contract: {_told(row)}"

    def _measures(self, subject: Subject) -> Iterator[str]:
        columns = ("as_of_date", "measure", "dimension", "raw_value", "points", "weight")
        order, table = "as_of_date desc, dimension, measure", "int_customer_measures__scored"
        rows = self._of(
            "intermediate", table, columns, "customer_id", subject.customer_id, order, most=50
        )
        for row in rows:
            if row.get("as_of_date") == rows[0].get("as_of_date"):
                yield _told(row)

    def _health(self, subject: Subject) -> Iterator[str]:
        order = "as_of_date desc"
        for table in ("customer_health_history", "customer_health"):
            columns = self._registry.columns("marts", table)
            rows = self._of(
                "marts", table, columns, "customer_id", subject.customer_id, order, most=1
            )
            for row in rows:
                yield f"health: {_told(row)}"
            if rows:
                break
        columns = self._registry.columns("marts", "customer_journey")
        for row in self._of(
            "marts", "customer_journey", columns, "customer_id", subject.customer_id
        ):
            yield f"stage: {_told(row)}"

    def _segments(self, subject: Subject) -> Iterator[str]:
        for sync in self._syncs:
            if sync.spec.kind != "segment":
                continue
            own = subject.contact_id if sync.spec.key == "contact_id" else subject.customer_id
            reason = ("reason", sync.spec.group_key or "reason")
            for row in self._of(sync.schema, sync.relation, reason, sync.spec.key, own):
                yield f"in {sync.model} ({sync.destination.name}): {_told(row)}".rstrip(": ")

    def _decisions(self, subject: Subject) -> Iterator[str]:
        column, own = _own(subject)
        columns = (
            *("occurred_at", "trigger_name", "channel", "decision", "reason"),
            *("send_not_before", "expires_at", "event_id"),
        )
        table = "trigger_decisions"
        for row in self._of("triggers", table, columns, column, own, "occurred_at desc", most=20):
            yield _told(row)

    def _known(self, subject: Subject) -> Iterator[str]:
        events = set(self._events(subject))
        for sync in self._syncs:
            keys = events if sync.spec.kind == "trigger" else set(subject.names)
            for row in self._ledger.rows_of(sync.id, keys):
                when = f" since {row['acknowledged_at']}" if row["acknowledged_at"] else ""
                yield f"{sync.id}: {row['state']}{when}"
            for row in self._ledger.letters_of(sync.id, keys):
                yield (
                    f"{sync.id}: refused {row['attempts']} times, last with {row['code']}: "
                    f"{row['message']}. Next try {row['next_retry_at']}"
                )

    def _delivered(self, subject: Subject) -> Iterator[str]:
        keys = {*subject.names, *self._events(subject)}
        for row in self._ledger.deliveries(None, keys, 20):
            said = ": ".join(part for part in (row["code"], row["message"]) if part)
            yield (
                f"{row['attempted_at'] or 'not yet'} {row['sync']} {row['action']}, attempt "
                f"{row['attempt']}: {row['status']}" + (f" ({said})" if said else "")
            )

    def _events(self, subject: Subject) -> list[str]:
        column, own = _own(subject)
        table = "trigger_decisions"
        rows = self._of("triggers", table, ("event_id",), column, own, most=1_000)
        return [row["event_id"] for row in rows]

    def _of(
        self,
        schema: str,
        table: str,
        columns: Sequence[str],
        of: str,
        who: str | None,
        order: str = "",
        most: int = _MOST,
    ) -> list[dict[str, Any]]:
        """Rows whose column ``of`` is ``who``; none where table or column are not there."""
        if who is None:
            return []
        return self._rows(schema, table, columns, f'"{of}" = ?', [who], of, order, most)

    def _rows(
        self,
        schema: str,
        table: str,
        columns: Sequence[str],
        where: str,
        values: Sequence[Any],
        needed: str,
        order: str = "",
        most: int = _MOST,
    ) -> list[dict[str, Any]]:
        there = [c for c in dict.fromkeys(columns) if self._registry.has(schema, table, c)]
        if not there or not self._registry.has(schema, table, needed):
            return []
        sorting = [part.split()[0] for part in order.split(", ") if part]
        ordered = f" order by {order}" if sorting and set(sorting) <= set(there) else ""
        listed = ", ".join(f'"{name}"' for name in there)
        query = f'select {listed} from "{schema}"."{table}" where {where}{ordered} limit {most}'  # noqa: S608
        found = self._connection.execute(query, list(values)).fetchall()
        return [dict(zip(there, row, strict=True)) for row in found]


def _planned(subject: Subject, plans: Sequence[Plan]) -> Iterator[str]:
    for plan in plans:
        for change in plan:
            if subject.is_of(change.key, change.payload):
                held = f", held: {plan.reason}" if plan.held else ""
                yield f"{plan.sync.id}: {change.action}{held}"


def _own(subject: Subject) -> tuple[str, str | None]:
    if subject.contact_id is not None:
        return "contact_id", subject.contact_id
    return "customer_id", subject.customer_id


def _told(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {as_text(value)}"
        for name, value in row.items()
        if value is not None and name not in ("customer_id", "contact_id")
    )
