"""Plans of several syncs out of one finished build of the warehouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from reverse_etl.clock import Clock
from reverse_etl.destinations.base import Destination
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Known, Plan, baseline_of_trigger, plan_sync
from reverse_etl.spec import Sync
from reverse_etl.upstream import Lineage
from reverse_etl.warehouse import Reader

LOST = (
    "the ledger does not know the last runs made here: it was deleted, or an old copy was put "
    "back. Put the right one back, or go on with this one: reverse-etl approve --lost-ledger"
)


@dataclass(frozen=True)
class Planned:
    """A plan, and how many rows the things had that it was made of, by their dbt ids."""

    plan: Plan
    upstream: Mapping[str, int]
    is_ledger_lost: bool = False


@dataclass(frozen=True)
class Planning:
    """What is needed to plan a sync."""

    ledger: Ledger
    reader: Reader
    lineage: Lineage
    clock: Clock
    day_clock: Clock

    def plan(self, sync: Sync, destination: Destination) -> Planned:
        """What the sync would change now. Raises UserError for a model that cannot be sent."""
        with self.reader.read(sync) as rows:
            real = tuple(name for name in rows.schema.names if not name.startswith("_"))
            sync = replace(sync, columns=real)
            before = self.ledger.approvals.upstream_rows(sync.id)
            known = self._known(sync, destination, before.get(sync.node))
            plan = plan_sync(sync, rows, destination.sent_columns(sync), known)
        above = self.lineage.above(sync.node)
        upstream = {node: self._counts[node] for node in above if node in self._counts}
        if sync.spec.kind != "trigger" and sync.node:
            upstream[sync.node] = plan.row_count
        if plan.baseline and sync.spec.kind == "trigger":
            plan = baseline_of_trigger(sync, self.reader.read_all_keys(sync))
        if plan.shrunk and (moved := self.lineage.moved(sync.node, before, upstream)):
            plan = replace(plan, reason=f"{plan.reason}. Upstream: {moved}")
        if self.is_ledger_lost:
            plan = replace(plan, held=True, reason=LOST)
        return Planned(plan, upstream, self.is_ledger_lost)

    def _known(self, sync: Sync, destination: Destination, rows_before: int | None) -> Known:
        state = self.ledger.state(sync.id)
        acknowledged = self.ledger.acknowledged(sync.id)
        dead_letters = self.ledger.dead_letters(sync.id)
        is_same = state.account == destination.account
        if not is_same:
            acknowledged, dead_letters = acknowledged.slice(0, 0), dead_letters.slice(0, 0)
        return Known(
            acknowledged=acknowledged,
            dead_letters=dead_letters,
            is_baseline=not is_same or state.baseline_at is None,
            repeatable=destination.is_repeatable(sync),
            now=self.clock(),
            decided_by=self.day_clock(),
            approved=self.ledger.approvals.rows(sync.id),
            rows_before=rows_before,
            revenue=self.reader.revenue() if sync.spec.budget.mrr is not None else None,
            tombstones=self._tombstones,
            salt=self.ledger.people.salt() if self._tombstones else "",
        )

    @cached_property
    def is_ledger_lost(self) -> bool:
        """Whether earlier runs are missing in the ledger."""
        return self.ledger.is_lost(self.last_exported)

    @cached_property
    def last_exported(self) -> str | None:
        """The latest delivery that the warehouse was given."""
        exported = self.lineage.source("raw_activation", "deliveries")
        return self.reader.last_exported_delivery(exported) if exported else None

    @cached_property
    def _tombstones(self) -> Sequence[str]:
        return self.ledger.people.tombstones()

    @cached_property
    def _counts(self) -> Mapping[str, int]:
        return self.reader.row_counts(self.lineage.relations)
