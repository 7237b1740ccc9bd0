"""Pushing some syncs of a destination, behind their gates, and telling Dagster what came of it."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestration.gate import Gate, refusals
from orchestration.outcomes import (
    Event,
    Told,
    left_words,
    outcome_checks,
    outcome_metadata,
    refused_check,
)
from orchestration.warehouse import settings_of
from reverse_etl.engine import Engine
from reverse_etl.ledger import Ledger
from reverse_etl.spec import Sync


def sync_key(sync: Sync) -> dg.AssetKey:
    """The asset's key."""
    return dg.AssetKey(["syncs", sync.destination.name, sync.model])


def push(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    syncs: Mapping[str, Sync],
    gates: Mapping[str, Gate],
    left: list[str],
    plans: Sequence[str] | None = None,
) -> Iterator[Event]:
    """Push what may be pushed, and tell what came of each sync; what is not in order is added to
    ``left``, in words. ``plans``: exactly these plans, as in ``Engine.apply``."""
    settings = settings_of(context)
    engine = Engine(settings)
    # a mistake in one sync stops the others too, before anything is sent
    engine.validate()
    refused = refusals(context.instance, context.run.run_id, {name: gates[name] for name in syncs})
    for name, words in refused.items():
        left.append(f"{name} was not pushed: {'; '.join(words)}")
        yield refused_check(sync_key(syncs[name]), words)
    allowed = [name for name in syncs if name not in refused]
    results = engine.apply(select=allowed, plans=plans) if allowed else []
    ledger = Ledger(settings.ledger_url)
    try:
        # Dagster wants an asset after those that it depends on
        for result in sorted(results, key=lambda one: one.kind != "profile"):
            key = sync_key(syncs[result.sync])
            told = Told.of(ledger, syncs[result.sync], result)
            yield dg.MaterializeResult(asset_key=key, metadata=outcome_metadata(result, told))
            yield from outcome_checks(key, result)
            if undone := left_words(result):
                left.append(f"{result.sync}: {undone}")
    finally:
        ledger.close()
