"""Each sync as an asset downstream of its model, with a check that every row arrived."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestration.playbooks import read_playbooks
from orchestration.project import Project
from orchestration.warehouse import TRANSLATOR, settings_of
from reverse_etl.engine import Engine, SyncResult
from reverse_etl.spec import Sync

ARRIVED = "every_row_arrived"
_COUNTS = (
    "planned",
    "delivered",
    "rejected",
    "retryable",
    "unknown",
    "suppressed",
    "seen",
    "waiting",
)


def sync_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset ``syncs/<destination>/<model>`` for each sync that the models declare.

    Those of a destination are one step: one process for each account, which sends profiles first
    and triggers before lists. Any of them can be launched alone.
    """
    syncs = Engine(project.settings).syncs()
    playbooks = read_playbooks(project.settings.project_root)
    specs = {
        sync.id: _asset_spec(
            sync,
            _upstream(sync, syncs, project),
            playbooks.get(sync.model.removeprefix("trg_"), {}),
        )
        for sync in syncs
    }
    return [
        _destination_assets(
            name,
            {sync.id: sync for sync in syncs if sync.destination.name == name},
            [specs[sync.id] for sync in syncs if sync.destination.name == name],
        )
        for name in dict.fromkeys(sync.destination.name for sync in syncs)
    ]


def sync_key(sync: Sync) -> dg.AssetKey:
    """The asset's key."""
    return dg.AssetKey(["syncs", sync.destination.name, sync.model])


def _upstream(sync: Sync, syncs: list[Sync], project: Project) -> list[dg.AssetKey]:
    """The sync's model; for a trigger the decisions; and the profiles that its tool needs first."""
    nodes = {
        node["name"]: node
        for node in project.manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    models = [sync.model] + (["trigger_decisions"] if sync.spec.kind == "trigger" else [])
    profiles = [
        sync_key(other)
        for other in syncs
        if other.spec.kind == "profile"
        and sync.spec.kind != "profile"
        and other.destination.name == sync.destination.name
    ]
    return [TRANSLATOR.get_asset_key(nodes[model]) for model in models] + profiles


def _asset_spec(
    sync: Sync, upstream: list[dg.AssetKey], playbook: Mapping[str, str]
) -> dg.AssetSpec:
    return dg.AssetSpec(
        sync_key(sync),
        deps=upstream,
        group_name="syncs",
        kinds={sync.destination.type, sync.spec.kind},
        description=f"{sync.model} ({sync.spec.kind}) to {sync.destination.name}. "
        f"Declared in {sync.file}.",
        metadata={f"playbook/{name}": value for name, value in playbook.items() if value},
    )


def _destination_assets(
    name: str, syncs: Mapping[str, Sync], specs: Sequence[dg.AssetSpec]
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"syncs__{name}",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(
                ARRIVED, asset=spec.key, description="No row was rejected, lost sight of or held."
            )
            for spec in specs
        ],
        can_subset=True,
        pool=f"destination_{name}",
    )
    def pushed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        engine, selected = Engine(settings_of(context)), context.selected_asset_keys
        # a mistake in one sync stops the others too, before anything is sent
        engine.validate()
        chosen = [name for name, sync in syncs.items() if sync_key(sync) in selected]
        results = engine.apply(select=chosen)
        # Dagster wants an asset after those that it depends on
        for result in sorted(results, key=lambda one: one.kind != "profile"):
            key = sync_key(syncs[result.sync])
            yield dg.MaterializeResult(asset_key=key, metadata=outcome_metadata(result))
            if dg.AssetCheckKey(key, ARRIVED) in context.selected_asset_check_keys:
                yield dg.AssetCheckResult(
                    check_name=ARRIVED,
                    asset_key=key,
                    passed=result.is_clean and not result.held,
                    metadata={"reason": result.error or result.reason},
                )

    return pushed


def outcome_metadata(result: SyncResult) -> dict[str, int | float | bool | str]:
    """What a sync came to, as the UI shows it: counts and words, never a row."""
    return {
        **{name: getattr(result, name) for name in _COUNTS},
        "baseline": result.baseline,
        "held": result.held,
        "reason": result.error or result.reason,
        "seconds": result.seconds,
    }
