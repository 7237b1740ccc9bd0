"""One request removes a person everywhere: tools, ledger, files, warehouse. A receipt per hop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from reverse_etl import log
from reverse_etl.destinations.base import Destination, Outcome, Person
from reverse_etl.errors import DestinationFault, Unknown, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.people import normal
from reverse_etl.registry import Found, Registry
from reverse_etl.samples import scrubbed_words
from reverse_etl.upstream import Lineage


@dataclass(frozen=True)
class Receipt:
    """What became of an erasure at one hop. ``outcome``: delivered, rejected, retryable, unknown,
    or ``elsewhere`` for what others keep and will land again."""

    hop: str
    outcome: str
    code: str = ""
    message: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do here."""
        return self.outcome in ("delivered", "elsewhere")


@dataclass(frozen=True)
class Erasure:
    """Erases one person. Asked again it does all of it again, which harms nobody."""

    ledger: Ledger
    destinations: Sequence[Destination]
    registry: Registry | None
    lineage: Lineage

    def of(self, who: str) -> tuple[str, list[Receipt]]:
        """Remove whoever is meant by an e-mail address or contact id. Returns the request's id and
        the receipts. The tombstone comes first: nothing brings them back meanwhile."""
        found = (self.registry and self.registry.find(who)) or _unknown(who)
        request_id = f"erase-{uuid4().hex[:12]}"
        names = [*found.contact_ids, *found.emails]
        self.ledger.people.bury(names)
        receipts = [Receipt("tombstone", "delivered")]
        for destination in self.destinations:
            receipts.append(_erased(destination, found))
        receipts.append(self._in_ledger(found))
        if self.registry:
            receipts += self._in_warehouse(self.registry, found)
        lines = [(r.hop, r.outcome, r.code, r.message) for r in receipts]
        self.ledger.people.keep_receipts(request_id, lines)
        done = all(receipt.is_done for receipt in receipts)
        log.event("erased", request=request_id, hops=len(receipts), done=done)
        return request_id, receipts

    def _in_ledger(self, found: Found) -> Receipt:
        rows = 0
        for contact_id in found.contact_ids or ("",):
            rows += self.ledger.people.forget(contact_id, found.emails)
        return Receipt("ledger", "delivered", message=f"{rows} rows")

    def _in_warehouse(self, registry: Registry, found: Found) -> Iterator[Receipt]:
        own = [*self.lineage.own_tables]
        exports = [self.lineage.source("raw_activation", t) for t in ("deliveries", "feedback")]
        exported = [relation for relation in exports if relation]
        touched = registry.remove(found, own + exported)
        for table, rows in touched.items():
            yield Receipt(f"warehouse {table}", "delivered", message=f"{rows} rows")
        landed = [r for r in self.lineage.sources if r not in exported]
        for table, rows in registry.holding(found, landed).items():
            words = f"{rows} rows, as landed by a loader: erase them in the source too"
            yield Receipt(f"source {table}", "elsewhere", message=words)


def _unknown(who: str) -> Found:
    """Somebody the warehouse does not know may still be known to a tool."""
    name = normal(who)
    return Found((), (name,)) if "@" in name else Found((name,), ())


def _erased(destination: Destination, found: Found) -> Receipt:
    hop = destination.config.name
    first = found.contact_ids[0] if found.contact_ids else ""
    people = [Person(first, email) for email in found.emails or ("",)]
    people += [Person(old, "") for old in found.contact_ids[1:]]
    try:
        outcomes: list[Outcome] = destination.erase(people)
    except DestinationFault as fault:
        outcome = "unknown" if isinstance(fault, Unknown) else "retryable"
        return Receipt(hop, outcome, fault.code, scrubbed_words(str(fault)))
    except UserError as mistake:
        return Receipt(hop, "retryable", "configuration", str(mistake))
    worst = next((o for o in outcomes if o.status != "delivered"), None) or outcomes[0]
    return Receipt(hop, worst.status, worst.code, scrubbed_words(worst.message))
