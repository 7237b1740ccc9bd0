"""Plan and apply: everything is checked for all syncs before anything is sent for one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from reverse_etl import log
from reverse_etl.clock import Clock, utc_now
from reverse_etl.configuration import load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.destinations.base import Destination, understood, unsupported
from reverse_etl.dispatch import Dispatch, SyncResult
from reverse_etl.erasure import Erasure, Receipt
from reverse_etl.errors import UserError
from reverse_etl.explanation import Explanation, Section
from reverse_etl.ledger import Ledger
from reverse_etl.planner import Plan, canary
from reverse_etl.planning import Planned, Planning
from reverse_etl.push import Progress, Retries
from reverse_etl.rate import Budgets
from reverse_etl.registry import Registry
from reverse_etl.settings import Settings
from reverse_etl.spec import Sync, load_syncs, read_manifest, selected
from reverse_etl.upstream import Lineage
from reverse_etl.warehouse import DuckdbWarehouse, Warehouse, connected_to

CHECK_PATIENCE_S = 2.0
"""A tool that has not answered by then is waited for alone, while the others are sent to."""

__all__ = ["Engine", "SyncResult"]


def _silent(_: Progress) -> None:
    return None


@dataclass(frozen=True)
class _Opened:
    ledger: Ledger
    destinations: Mapping[str, Destination]
    syncs: Sequence[Sync]


class Engine:
    """Cheap to make: reads nothing until asked. Raises UserError for whatever a person can fix."""

    def __init__(
        self, settings: Settings, *, retries: Retries | None = None, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._retries = retries or Retries()
        self._clock = clock
        self._day_clock = settings.day_clock(clock)
        self._warehouse: Warehouse = DuckdbWarehouse(settings.warehouse_path)

    def syncs(self, select: Sequence[str] | None = None) -> list[Sync]:
        """The syncs declared by the models, validated; ``select`` as in ``Sync.matches``."""
        configuration = load_configuration(self._settings)
        syncs = load_syncs(self._settings.manifest_path, configuration)
        return selected(syncs, list(select) if select else None)

    def validate(self) -> None:
        """Raise UserError for any mistake that shows without the warehouse and without a request:
        in any sync, destination or credential, or in the ledger."""
        with self._open(None) as opened:
            for sync in opened.syncs:
                sync.require_declared_key()
            for destination in opened.destinations.values():
                destination.config.require_credentials()

    def has_baseline(self) -> bool:
        """Whether every sync has had its first run."""
        with self._open(None) as opened:
            states = {sync: opened.ledger.state(sync.id) for sync in opened.syncs}
            return all(
                state.baseline_at is not None
                and state.account == opened.destinations[sync.destination.name].account
                for sync, state in states.items()
            )

    def plan(self, select: Sequence[str] | None = None) -> list[Plan]:
        """What each sync would change now. Sends nothing and needs no credential."""
        with self._open(select) as opened:
            return [planned.plan for planned in self._plans(opened)]

    def apply(
        self,
        select: Sequence[str] | None = None,
        progress: Callable[[Progress], None] = _silent,
        *,
        plans: Collection[str] | None = None,
        only: Mapping[str, Collection[str]] | None = None,
    ) -> list[SyncResult]:
        """Send what the plan says, except where it is held. Destinations run side by side, so that
        one out of order does not stop the others. Raises BusyError when a sync is being pushed.

        ``plans``: exactly these plans, by id; raises UserError when one of them is not what would
        be sent now. ``only``: of these syncs these keys, and nothing else.
        """
        with self._open(select) as opened, ExitStack() as locks:
            for sync in opened.syncs:
                locks.enter_context(opened.ledger.lock(sync.id))
            planned = self._plans(opened)
            if plans is not None:
                planned = _exactly(planned, plans)
            if only is not None:
                planned = [
                    replace(p, plan=p.plan.split(only[p.plan.sync.id])[0])
                    for p in planned
                    if p.plan.sync.id in only and p.plan.rows is not None
                ]
            if any(p.is_ledger_lost for p in planned):
                # no run is begun: it would be the one that this ledger knows
                return [SyncResult.of(p.plan) for p in planned]
            return self._send(opened, planned, progress, is_partial=only is not None)

    def approve(self, plan_id: str, by: str) -> Plan:
        """A person agrees to a held plan. Raises UserError when nobody would send it now."""
        with self._open(None) as opened:
            [found] = _exactly(self._plans(opened), [plan_id])
            plan = found.plan
            opened.ledger.approvals.approve(plan.sync.id, plan.digest, by, plan.identities())
            return plan

    def accept_lost_ledger(self) -> bool:
        """A person knows that the ledger misses runs. Returns whether it did."""
        with self._open(None) as opened, self._planning(opened) as planning:
            if not planning.is_ledger_lost:
                return False
            opened.ledger.accept_loss(planning.last_exported)
            return True

    def retry(
        self,
        select: Sequence[str] | None,
        keys: Collection[str] | None,
        progress: Callable[[Progress], None] = _silent,
        *,
        unknown: bool = False,
    ) -> list[SyncResult]:
        """Send refused rows again now, and nothing else; with ``unknown`` also events of these keys
        whose outcome nobody knows: they may then arrive twice."""
        due: dict[str, set[str]] = {}
        with self._open(select) as opened:
            for sync in opened.syncs:
                opened.ledger.make_due(sync.id, keys)
                refused = set(opened.ledger.dead_letters(sync.id).column("key").to_pylist())
                due[sync.id] = refused if keys is None else refused.intersection(keys)
                if unknown and keys and opened.ledger.reopen_unknown(sync.id, list(keys)):
                    due[sync.id] |= set(keys)
        syncs = [sync for sync, rows in due.items() if rows]
        return self.apply(syncs, progress, only=due) if syncs else []

    def dismiss(self, sync: str, key: str) -> bool:
        """Let a refused row be until it changes. Returns whether there was one."""
        with self._open([sync]) as opened:
            found = [opened.ledger.dismiss(one.id, key) for one in opened.syncs]
            return any(found)

    def explain(self, who: str) -> list[Section]:
        """Why somebody (a contact by e-mail address or id, a customer by id, name or domain) got
        what they got: from raw facts to the tool's answer. Raises UserError where nobody is meant.
        """
        with self._open(None) as opened, connected_to(self._settings.warehouse_path) as connection:
            explanation = Explanation(connection, opened.ledger, opened.syncs)
            subject = explanation.subject(who)
            plans = [planned.plan for planned in self._plans(opened)]
            return explanation.sections(subject, plans)

    def erase(self, who: str) -> tuple[str, list[Receipt]]:
        """Remove a person from every configured tool, the ledger, the outbox, and the warehouse's
        tables that are ours; see erasure. Raises BusyError while something is being pushed."""
        configuration = load_configuration(self._settings)
        with self._open(None) as opened, ExitStack() as stack:
            for sync in opened.syncs:
                stack.enter_context(opened.ledger.lock(sync.id))
            destinations = dict(opened.destinations)
            for name, config in configuration.destinations.items():
                if name not in destinations:
                    destinations[name] = implementation(config.type)(config, opened.ledger)
                    stack.callback(destinations[name].close)
            manifest = read_manifest(self._settings.manifest_path, configuration)
            registry = None
            if self._settings.warehouse_path.is_file():
                path = self._settings.warehouse_path
                connection = stack.enter_context(connected_to(path, read_only=False))
                registry = Registry(connection)
            own = [destinations[name] for name in sorted(destinations)]
            return Erasure(opened.ledger, own, registry, Lineage(manifest)).of(who)

    def deliveries(
        self, select: Sequence[str] | None, keys: Collection[str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """The latest attempts of the selected syncs (all without ``select``), newest first."""
        ledger = Ledger(self._settings.ledger_url, clock=self._clock)
        try:
            chosen: list[str | None] = [None]
            if select:
                chosen = [sync.id for sync in self.syncs(select)]
            found = [row for sync in chosen for row in ledger.deliveries(sync, keys, limit)]
        finally:
            ledger.close()
        newest = sorted(found, key=lambda row: str(row["delivery_id"]), reverse=True)
        return newest[:limit]

    @contextmanager
    def _open(self, select: Sequence[str] | None) -> Iterator[_Opened]:
        syncs = self.syncs(select)
        with ExitStack() as stack:
            ledger = Ledger(self._settings.ledger_url, canary=canary(), clock=self._clock)
            stack.callback(ledger.close)
            budgets = Budgets(ledger.accounts)
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
            yield _Opened(ledger, destinations, syncs)

    @contextmanager
    def _planning(self, opened: _Opened) -> Iterator[Planning]:
        configuration = load_configuration(self._settings)
        manifest = read_manifest(self._settings.manifest_path, configuration)
        with self._warehouse.open() as reader:
            yield Planning(opened.ledger, reader, Lineage(manifest), self._clock, self._day_clock)

    def _plans(self, opened: _Opened) -> list[Planned]:
        if not opened.syncs:
            return []
        with self._planning(opened) as planning:
            return [
                planning.plan(sync, opened.destinations[sync.destination.name])
                for sync in opened.syncs
            ]

    def _send(
        self,
        opened: _Opened,
        planned: Sequence[Planned],
        progress: Callable[[Progress], None],
        *,
        is_partial: bool,
    ) -> list[SyncResult]:
        def check(destination: Destination) -> None:
            sent = [
                p.plan
                for p in planned
                if p.plan.sync.destination == destination.config and p.plan.size and not p.plan.held
            ]
            for plan in sent:
                destination.begin(plan.sync, baseline=plan.baseline)
            syncs = [plan.sync for plan in sent]
            with understood():
                missing = destination.check(syncs) if syncs else []
            if missing:
                raise UserError("\n".join(missing))

        destinations = opened.destinations
        with ThreadPoolExecutor(max(1, 2 * len(destinations))) as pool:
            checks = {name: pool.submit(check, one) for name, one in destinations.items()}
            done, _ = wait(checks.values(), timeout=CHECK_PATIENCE_S)
            mistakes = [fault for one in done if isinstance(fault := one.exception(), UserError)]
            if mistakes:
                raise UserError("\n".join(str(mistake) for mistake in mistakes))
            run_id = opened.ledger.start_run()
            log.event("run started", run=run_id, syncs=len(planned))

            def dispatch(name: str) -> list[SyncResult]:
                own = [p for p in planned if p.plan.sync.destination.name == name]
                checked: Future[None] = checks[name]
                return Dispatch(
                    opened.ledger,
                    run_id,
                    destinations[name],
                    own,
                    checked,
                    self._retries,
                    progress,
                    self._day_clock,
                    is_partial,
                ).run()

            results = [result for some in pool.map(dispatch, destinations) for result in some]
        opened.ledger.finish_run(run_id)
        log.event("run ended", run=run_id, syncs=len(planned))
        return sorted(results, key=lambda result: result.sync)


def _exactly(planned: Sequence[Planned], plans: Collection[str]) -> list[Planned]:
    """The plans of these ids. Raises UserError when one is not what would be sent now."""
    found = {p.plan.id: p for p in planned if p.plan.id}
    for plan_id in plans:
        if plan_id not in found:
            raise UserError(
                f"No sync would now do plan {plan_id}: rows, model or ledger have changed since, "
                "or it was carried out. Look at `reverse-etl plan` again; nothing was sent."
            )
    return [found[plan_id] for plan_id in plans]
