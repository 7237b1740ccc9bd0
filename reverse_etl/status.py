"""What the ledger remembers, per sync and as each tool would count it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reverse_etl import schema
from reverse_etl.configuration import load_configuration
from reverse_etl.destinations import implementation
from reverse_etl.ledger import Ledger
from reverse_etl.settings import Settings
from reverse_etl.spec import GROUP_MARK, Sync, load_syncs


def read_status(settings: Settings) -> dict[str, Any]:
    """``syncs``: rows by state, deliveries by outcome and the last run of each sync;
    ``destinations``: totals comparable with what the tool itself reports."""
    syncs = load_syncs(settings.manifest_path, load_configuration(settings))
    ledger = Ledger(settings.ledger_url)
    try:
        return {
            "syncs": _syncs(ledger, syncs),
            "destinations": _destinations(ledger, syncs),
        }
    finally:
        ledger.close()


def _syncs(ledger: Ledger, syncs: list[Sync]) -> list[dict[str, Any]]:
    sent = ledger.level_rows()
    states = ledger.counts(schema.acknowledged, schema.acknowledged.c.state)
    outcomes = ledger.counts(schema.deliveries, schema.deliveries.c.status)
    letters = ledger.counts(schema.dead_letters, schema.dead_letters.c.action)
    lines = []
    for sync in syncs:
        state, outcome = states.get(sync.id, {}), outcomes.get(sync.id, {})
        known = ledger.state(sync.id)
        lines.append(
            {
                "sync": sync.id,
                "destination": sync.destination.name,
                "kind": sync.spec.kind,
                "acknowledged": state.get("acknowledged", 0),
                "seen": state.get("seen", 0),
                "suppressed": state.get("suppressed", 0),
                "unknown": state.get("unknown", 0) + state.get("pending", 0),
                "delivered": outcome.get("delivered", 0) + sent.get(sync.id, 0),
                "rejected": outcome.get("rejected", 0),
                "retryable": outcome.get("retryable", 0),
                "dead_letters": sum(letters.get(sync.id, {}).values()),
                "baseline_at": known.baseline_at,
                "last_run_at": known.last_run_at,
            }
        )
    return lines


def _destinations(ledger: Ledger, syncs: list[Sync]) -> dict[str, Any]:
    totals = {}
    for config in {sync.destination.name: sync.destination for sync in syncs}.values():
        own = [sync for sync in syncs if sync.destination.name == config.name]
        destination = implementation(config.type)(config, ledger)
        totals[config.name] = destination.totals({sync: _groups(ledger, sync) for sync in own})
    return totals


def _groups(ledger: Ledger, sync: Sync) -> dict[str, int]:
    """Acknowledged rows by segment group ("" where there are no groups)."""
    known = ledger.acknowledged(sync.id)
    return dict(
        Counter(
            key.partition(GROUP_MARK)[2]
            for key, state in zip(
                known.column("key").to_pylist(), known.column("state").to_pylist(), strict=True
            )
            if state == "acknowledged"
        )
    )
