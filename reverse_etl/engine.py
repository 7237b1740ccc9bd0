"""Plan and apply: everything is checked for all syncs before anything is sent for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from reverse_etl.clock import Clock, utc_now
from reverse_etl.configuration import load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination, unsupported
from reverse_etl.errors import DestinationFault, UserError
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Known, Plan, baseline_of_trigger, canary, plan_sync
from reverse_etl.push import Progress, Push, Retries
from reverse_etl.rate import Budgets
from reverse_etl.settings import Settings
from reverse_etl.spec import Kind, Sync, load_syncs, selected
from reverse_etl.warehouse import DuckdbWarehouse, Warehouse

ORDER: dict[Kind, int] = {"profile": 0, "trigger": 1, "segment": 2}
"""Within a destination: a trigger or a list needs its contact; a trigger goes before bulk lists."""


@dataclass(frozen=True)
class SyncResult:
    """What applying one sync came to, in rows; ``seconds`` of sending."""

    sync: str
    model: str
    destination: str
    kind: Kind
    planned: int
    delivered: int = 0
    rejected: int = 0
    retryable: int = 0
    unknown: int = 0
    suppressed: int = 0
    seen: int = 0
    waiting: int = 0
    held: bool = False
    baseline: bool = False
    reason: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether every planned row ended as planned."""
        return not (self.rejected or self.retryable or self.unknown or self.error)

    def as_dict(self) -> dict[str, Any]:
        """As ``apply --json`` prints it."""
        return asdict(self)


def _silent(_: Progress) -> None:
    return None


class Engine:
    """Cheap to make: reads nothing until asked. Raises UserError for whatever a person can fix."""

    def __init__(
        self, settings: Settings, *, retries: Retries | None = None, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._retries = retries or Retries()
        self._clock = clock
        self._warehouse: Warehouse = DuckdbWarehouse(settings.warehouse_path)

    def syncs(self, select: Sequence[str] | None = None) -> list[Sync]:
        """The syncs declared by the models, validated; ``select`` as in ``Sync.matches``."""
        configuration = load_configuration(self._settings)
        syncs = load_syncs(self._settings.manifest_path, configuration)
        return selected(syncs, list(select) if select else None)

    def validate(self) -> None:
        """Raise UserError for any mistake that shows without the warehouse and without a request:
        in any sync, destination or credential, or in the ledger."""
        with self._open(None) as (_, destinations, syncs):
            for sync in syncs:
                sync.require_declared_key()
            for destination in destinations.values():
                destination.config.require_credentials()

    def has_baseline(self) -> bool:
        """Whether every sync has had its first run."""
        with self._open(None) as (ledger, destinations, syncs):
            return all(
                state.baseline_at is not None
                and state.account == destinations[sync.destination.name].account
                for sync, state in ((sync, ledger.state(sync.id)) for sync in syncs)
            )

    def plan(self, select: Sequence[str] | None = None) -> list[Plan]:
        """What each sync would change now. Sends nothing and needs no credential."""
        with self._open(select) as (ledger, destinations, syncs):
            return [self._plan(sync, destinations[sync.destination.name], ledger) for sync in syncs]

    def apply(
        self,
        select: Sequence[str] | None = None,
        progress: Callable[[Progress], None] = _silent,
    ) -> list[SyncResult]:
        """Send what the plan says, except where it is held. Destinations run side by side, so that
        one out of order does not stop the others. Raises BusyError when a sync is being pushed."""
        with self._open(select) as (ledger, destinations, syncs), ExitStack() as locks:
            for sync in syncs:
                locks.enter_context(ledger.lock(sync.id))
            plans = [
                self._plan(sync, destinations[sync.destination.name], ledger) for sync in syncs
            ]
            with ThreadPoolExecutor(max(1, len(destinations))) as pool:
                down = self._checked(pool, destinations, plans)
                run_id = ledger.start_run()
                push = partial(self._push_destination, ledger, run_id, progress, plans, down)
                results = [r for some in pool.map(push, destinations.values()) for r in some]
            ledger.finish_run(run_id)
        return sorted(results, key=lambda result: result.sync)

    @contextmanager
    def _open(
        self, select: Sequence[str] | None
    ) -> Iterator[tuple[Ledger, dict[str, Destination], list[Sync]]]:
        syncs = self.syncs(select)
        with ExitStack() as stack:
            ledger = Ledger(self._settings.ledger_url, canary=canary(), clock=self._clock)
            stack.callback(ledger.close)
            budgets = Budgets(ledger)
            stack.callback(budgets.close)
            destinations: dict[str, Destination] = {}
            for sync in syncs:
                config = sync.destination
                if config.name not in destinations:
                    destinations[config.name] = implementation(config.type)(config, ledger)
                    destinations[config.name].budgets = budgets
                    stack.callback(destinations[config.name].close)
                if problem := unsupported(destinations[config.name], sync):
                    raise UserError(f"{sync.file}: meta.sync: {problem}.")
            yield ledger, destinations, syncs

    def _plan(self, sync: Sync, destination: Destination, ledger: Ledger) -> Plan:
        rows = self._warehouse.read(sync)
        sync = replace(sync, columns=tuple(rows.column_names))
        state = ledger.state(sync.id)
        acknowledged, dead_letters = ledger.acknowledged(sync.id), ledger.dead_letters(sync.id)
        if state.account != destination.account:
            acknowledged, dead_letters = acknowledged.slice(0, 0), dead_letters.slice(0, 0)
        is_baseline = state.account != destination.account or state.baseline_at is None
        known = Known(
            acknowledged=acknowledged,
            dead_letters=dead_letters,
            is_baseline=is_baseline,
            repeatable=destination.is_repeatable(sync),
            now=self._clock(),
        )
        plan = plan_sync(sync, rows, destination.sent_columns(sync), known)
        if is_baseline and sync.spec.kind == "trigger":
            return baseline_of_trigger(sync, self._warehouse.read_all_keys(sync))
        if plan.held and ledger.is_approved(sync.id, plan.digest):
            return replace(plan, held=False, reason=f"approved although {plan.reason}")
        return plan

    def _checked(
        self, pool: ThreadPoolExecutor, destinations: dict[str, Destination], plans: Sequence[Plan]
    ) -> dict[str, str]:
        """Ask every destination that will be sent to. Returns those out of order, with the reason;
        raises UserError with everything that is missing in the others."""

        def check(destination: Destination) -> list[str] | DestinationFault:
            syncs = [
                plan.sync
                for plan in plans
                if plan.sync.destination == destination.config and plan.size and not plan.held
            ]
            try:
                retrying = self._retries.around(repeatable=True)
                return retrying(destination.check, syncs) if syncs else []
            except DestinationFault as fault:
                return fault

        answers = dict(zip(destinations, pool.map(check, destinations.values()), strict=True))
        missing = [
            line for answer in answers.values() if isinstance(answer, list) for line in answer
        ]
        if missing:
            raise UserError("\n".join(missing))
        return {name: str(fault) for name, fault in answers.items() if not isinstance(fault, list)}

    def _push_destination(
        self,
        ledger: Ledger,
        run_id: str,
        progress: Callable[[Progress], None],
        plans: Sequence[Plan],
        down: dict[str, str],
        destination: Destination,
    ) -> list[SyncResult]:
        own = [plan for plan in plans if plan.sync.destination == destination.config]
        error = down.get(destination.config.name, "")
        results = []
        for plan in sorted(own, key=lambda plan: (ORDER[plan.sync.spec.kind], plan.sync.id)):
            figures = plan.as_dict()
            kept = ("adds", "changes", "removes", "held", "reason")
            ledger.record_plan(
                run_id, plan.sync.id, {k: figures[k] for k in kept} | {"digest": plan.digest}
            )
            result = _result(plan)
            if plan.held:
                results.append(result)
                continue
            if error and plan.size:
                results.append(replace(result, error=error))
                continue
            result, failure = self._push(ledger, run_id, progress, plan, destination)
            error = error or failure
            results.append(result)
        return results

    def _push(
        self,
        ledger: Ledger,
        run_id: str,
        progress: Callable[[Progress], None],
        plan: Plan,
        destination: Destination,
    ) -> tuple[SyncResult, str]:
        """One sync; also why the destination is down, if it is."""
        sync, started = plan.sync, time.monotonic()
        ledger.begin(sync.id, destination.account, repeatable=destination.is_repeatable(sync))
        ledger.forget_dead_letters(sync.id, plan.moot)
        if plan.baseline and sync.spec.kind == "trigger":
            ledger.record_seen(sync.id, plan.seen)
            return _result(plan), ""
        push = Push(plan, destination, ledger, run_id, self._retries, progress)
        push.run()
        if not push.failure:
            ledger.end(sync.id, baseline=plan.baseline)
        result = replace(
            _result(plan),
            delivered=push.tally["delivered"],
            rejected=push.tally["rejected"],
            retryable=push.tally["retryable"],
            unknown=push.tally["unknown"],
            suppressed=push.tally["suppressed"],
            error=push.failure,
            seconds=round(time.monotonic() - started, 3),
        )
        return result, push.failure if push.is_down else ""


def _result(plan: Plan) -> SyncResult:
    sync = plan.sync
    return SyncResult(
        sync=sync.id,
        model=sync.model,
        destination=sync.destination.name,
        kind=sync.spec.kind,
        planned=plan.size,
        seen=len(plan.seen),
        waiting=plan.waiting,
        held=plan.held,
        baseline=plan.baseline,
        reason=plan.reason,
    )
