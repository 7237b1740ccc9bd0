"""What must hold before a sync is pushed: its models were built, and every test above them passed.

Read anew for each push, so it makes no difference whether a sync runs with its models or alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

SEVERITY = "dbt/severity"
"""Under this name a check's metadata says what dbt does when it fails: ``error`` or ``warn``."""
HOW = "run the job baseline or everything, or this check in the UI"


@dataclass(frozen=True)
class Gate:
    """One sync's. ``models``: what it reads; ``checks``: those of error severity above it."""

    models: frozenset[dg.AssetKey]
    checks: frozenset[dg.AssetCheckKey]


class Above:
    """The graph above the syncs."""

    def __init__(self, assets: Iterable[dg.AssetsDefinition]) -> None:
        self._parents: dict[dg.AssetKey, set[dg.AssetKey]] = {}
        self._checks: dict[dg.AssetKey, set[dg.AssetCheckKey]] = {}
        for definition in assets:
            for spec in definition.specs:
                self._parents[spec.key] = {dep.asset_key for dep in spec.deps}
            for check in definition.check_specs:
                if check.blocking or check.metadata.get(SEVERITY) == "error":
                    self._checks.setdefault(check.asset_key, set()).add(check.key)

    def gate(self, models: Iterable[dg.AssetKey], others: Iterable[dg.AssetKey] = ()) -> Gate:
        """Of a sync that reads these models; ``others``: what else stands above it."""
        read = frozenset(models)
        seen: set[dg.AssetKey] = set()
        found = [*read, *others]
        while found:
            key = found.pop()
            if key not in seen:
                seen.add(key)
                found += self._parents.get(key, ())
        return Gate(read, frozenset().union(*(self._checks.get(key, set()) for key in seen)))


def refusals(
    instance: dg.DagsterInstance, run_id: str, gates: Mapping[str, Gate]
) -> dict[str, list[str]]:
    """Why some of these syncs may not be pushed now, in words; those that may are not among them.

    All checks are read at once. A check that never ran is no check that passed, nor is one that
    its last run left out since something above it failed. A run still under way elsewhere does not
    count until it has ended.
    """
    checks = sorted({check for gate in gates.values() for check in gate.checks})
    summaries = instance.event_log_storage.get_asset_check_summary_records(checks)
    models = sorted({model for gate in gates.values() for model in gate.models})
    ended = _Ended(instance, run_id)
    faults: dict[dg.AssetCheckKey | dg.AssetKey, str] = {}
    for key in checks:
        summary = summaries[key]
        latest = summary.last_check_execution_record
        if latest is not None and _is_planned(latest) and not ended(latest.run_id):
            latest = summary.last_completed_check_execution_record
        if fault := _fault(latest):
            faults[key] = f"{key.asset_key.to_user_string()}: {key.name} {fault}"
    for record in instance.get_asset_records(models):
        entry, built = record.asset_entry, record.asset_entry.last_materialization_record
        planned = entry.last_run_id
        if planned and (built is None or built.run_id != planned) and ended(planned):
            words = f"was not built by its last run ({planned[:8]})"
            faults[entry.asset_key] = f"{entry.asset_key.to_user_string()} {words}"
    found: dict[str, list[str]] = {
        name: [words for key, words in faults.items() if key in gate.models or key in gate.checks]
        for name, gate in gates.items()
    }
    return {name: words for name, words in found.items() if words}


def _fault(latest: AssetCheckExecutionRecord | None) -> str:
    if latest is None:
        return f"has never run: {HOW}"
    evaluation = None if _is_planned(latest) else latest.evaluation
    if evaluation is None:
        return f"was left out by its last run ({latest.run_id[:8]})"
    if evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR:
        return ""
    return f"failed (run {latest.run_id[:8]})"


def _is_planned(record: AssetCheckExecutionRecord) -> bool:
    return record.status == AssetCheckExecutionRecordStatus.PLANNED


class _Ended:
    """Whether a run has ended; the running one counts, since what it plans comes before."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._known = {run_id: True}

    def __call__(self, run_id: str) -> bool:
        if run_id not in self._known:
            run = self._instance.get_run_by_id(run_id)
            self._known[run_id] = run is None or run.is_finished
        return self._known[run_id]
