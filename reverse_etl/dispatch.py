"""All plans of one destination, in the order in which they may go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from reverse_etl import log
from reverse_etl.clock import Clock
from reverse_etl.destinations.base import Destination, understood
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Plan
from reverse_etl.planning import Planned
from reverse_etl.push import Progress, Push, Retries
from reverse_etl.samples import Sample
from reverse_etl.spec import Kind, Sync

_KEPT = ("adds", "changes", "removes", "mrr", "held", "reason", "digest")


@dataclass(frozen=True)
class SyncResult:
    """What applying one sync came to, in rows; ``seconds`` of sending.

    ``adds``, ``changes`` and ``removes`` make up ``planned``. ``calls`` were made of the tool,
    which takes ``calls_per_second`` at most (None: it names no limit) and ``calls_left`` more
    today. ``samples``: some rows of the plan, masked.
    """

    sync: str
    model: str
    destination: str
    kind: Kind
    planned: int
    adds: int = 0
    changes: int = 0
    removes: int = 0
    delivered: int = 0
    rejected: int = 0
    retryable: int = 0
    unknown: int = 0
    suppressed: int = 0
    expired: int = 0
    seen: int = 0
    waiting: int = 0
    held: bool = False
    baseline: bool = False
    reason: str = ""
    error: str = ""
    seconds: float = 0.0
    plan: str = ""
    calls: int = 0
    calls_per_second: float | None = None
    calls_left: int | None = None
    samples: tuple[Sample, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> SyncResult:
        """What a plan comes to as long as nothing is sent."""
        return cls(
            sync=plan.sync.id,
            model=plan.sync.model,
            destination=plan.sync.destination.name,
            kind=plan.sync.spec.kind,
            planned=plan.size,
            adds=plan.adds,
            changes=plan.changes,
            removes=plan.removes,
            seen=0 if plan.held else len(plan.seen),
            waiting=plan.waiting + plan.early,
            held=plan.held,
            baseline=plan.baseline,
            reason=plan.reason,
            plan=plan.id,
            samples=tuple(plan.samples()),
        )

    @property
    def is_clean(self) -> bool:
        """Whether every planned row ended as planned."""
        return not (self.rejected or self.retryable or self.unknown or self.error)

    def as_dict(self) -> dict[str, Any]:
        """As ``apply --json`` prints it: in figures and words."""
        return {name: value for name, value in asdict(self).items() if name != "samples"}


@dataclass
class _Sent:
    """What a plan's parts have come to so far."""

    planned: Planned
    tally: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    error: str = ""
    has_begun: bool = False
    calls: int = 0


@dataclass
class Dispatch:
    """Sends to one destination what a run planned for it."""

    ledger: Ledger
    run_id: str
    destination: Destination
    plans: Sequence[Planned]
    checked: Future[None]
    retries: Retries
    progress: Callable[[Progress], None]
    clock: Clock
    is_partial: bool = False
    """Some rows only, chosen by a person: the syncs as a whole have not run through."""
    down: str = ""

    def run(self) -> list[SyncResult]:
        """Every plan that is not held. A tool out of order gets nothing more in this run."""
        sent = {id(planned.plan): _Sent(planned) for planned in self.plans}
        for planned in self.plans:
            self._record(planned.plan)
        parts = self._parts([planned.plan for planned in self.plans if not planned.plan.held])
        if any(part.size for _, part in parts):
            self._wait_for_check()
        for plan, part in parts:
            self._send(sent[id(plan)], part)
        for identity in dict.fromkeys(id(plan) for plan, _ in parts):
            self._close(sent[identity])
        return [self._result(one) for one in sent.values()]

    def _parts(self, plans: Sequence[Plan]) -> list[tuple[Plan, Plan]]:
        """Whom a trigger is about goes first, then triggers, then whatever is bulk: a trigger needs
        its contact in the tool, and must not wait for a hundred thousand others."""
        of = {kind: [p for p in plans if p.sync.spec.kind == kind] for kind in _KINDS}
        people = {
            str(person)
            for trigger in of["trigger"]
            for name in ("contact_id", "customer_id")
            for person in trigger.column(name)
            if person is not None
        }
        split = [(plan, *plan.split(people)) for plan in of["profile"]] if people else []
        first = [(plan, some) for plan, some, _ in split]
        rest = [(plan, others) for plan, _, others in split]
        whole = [] if people else [(plan, plan) for plan in of["profile"]]
        triggers = [(plan, plan) for plan in of["trigger"]]
        segments = [(plan, plan) for plan in of["segment"]]
        return [*first, *triggers, *rest, *whole, *segments]

    def _record(self, plan: Plan) -> None:
        figures = {name: getattr(plan, name) for name in _KEPT}
        self.ledger.record_plan(self.run_id, plan.sync.id, figures)
        counts = {name: figures[name] for name in ("adds", "changes", "removes", "held")}
        log.event("planned", sync=plan.sync.id, plan=plan.id, **counts)

    def _wait_for_check(self) -> None:
        fault = self.checked.exception()
        if isinstance(fault, UserError):
            self.down = str(fault)
        elif isinstance(fault, DestinationFault):
            syncs = [p.plan.sync for p in self.plans if p.plan.size and not p.plan.held]
            try:
                self.down = "; ".join(self.retries.around(repeatable=True)(self._check, syncs))
            except (DestinationFault, UserError) as again:
                self.down = str(again)
        elif fault is not None:
            raise fault

    def _check(self, syncs: Sequence[Sync]) -> list[str]:
        with understood():
            return self.destination.check(syncs)

    def _send(self, sent: _Sent, part: Plan) -> None:
        sync, started, calls = part.sync, time.monotonic(), self._calls()
        if sent.error or (self.down and part.size):
            sent.error = sent.error or self.down
            return
        repeatable = self.destination.is_repeatable(sync)
        if not sent.has_begun:
            sent.has_begun = True
            self.ledger.begin(sync.id, self.destination.account, repeatable=repeatable)
            if not self.is_partial:
                self.ledger.forget_dead_letters(sync.id, part.moot)
        if part.baseline and sync.spec.kind == "trigger":
            self.ledger.record_seen(sync.id, part.seen)
            return
        push = Push(
            part,
            self.destination,
            self.ledger,
            self.run_id,
            self.retries,
            self.progress,
            clock=self.clock,
            tally=sent.tally,
            total=sent.planned.plan.size,
        )
        push.run()
        sent.error = push.failure
        sent.seconds += time.monotonic() - started
        sent.calls += self._calls() - calls
        if push.is_down:
            self.down = push.failure

    def _calls(self) -> int:
        return self.destination.budgets.calls(self.destination.account)

    def _close(self, sent: _Sent) -> None:
        sync = sent.planned.plan.sync
        if sent.error or self.is_partial:
            return
        self.ledger.end(sync.id, baseline=sent.planned.plan.baseline)
        self.ledger.approvals.remember_upstream(sync.id, sent.planned.upstream)
        if not sent.tally["retryable"]:
            self.ledger.approvals.use_up(sync.id)

    def _result(self, sent: _Sent) -> SyncResult:
        plan, tally = sent.planned.plan, sent.tally
        windows = self.destination.limits(plan.sync.spec.kind).windows
        result = replace(
            SyncResult.of(plan),
            error=sent.error,
            seconds=round(sent.seconds, 3),
            delivered=tally["delivered"],
            rejected=tally["rejected"],
            retryable=tally["retryable"],
            unknown=tally["unknown"],
            suppressed=tally["suppressed"],
            expired=tally["expired"],
            calls=sent.calls,
            calls_per_second=min((w.calls / w.seconds for w in windows), default=None),
            calls_left=self.destination.budgets.remaining_today(self.destination.account),
        )
        log.event("synced", sync=result.sync, held=result.held, error=result.error, **dict(tally))
        return result


_KINDS: tuple[Kind, ...] = ("profile", "trigger", "segment")
