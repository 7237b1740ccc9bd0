"""Each sync as an asset downstream of its model, with a check that every row arrived."""

from collections.abc import Iterator, Mapping

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
    """One asset ``syncs/<destination>/<model>`` for each sync that the models declare."""
    syncs = Engine(project.settings).syncs()
    playbooks = read_playbooks(project.settings.project_root)
    return [
        _sync_asset(
            sync,
            _upstream(sync, syncs, project),
            playbooks.get(sync.model.removeprefix("trg_"), {}),
        )
        for sync in syncs
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


def _sync_asset(
    sync: Sync, upstream: list[dg.AssetKey], playbook: Mapping[str, str]
) -> dg.AssetsDefinition:
    key = sync_key(sync)

    @dg.multi_asset(
        name="__".join(key.path),
        specs=[
            dg.AssetSpec(
                key,
                deps=upstream,
                group_name="syncs",
                kinds={sync.destination.type, sync.spec.kind},
                description=f"{sync.model} ({sync.spec.kind}) to {sync.destination.name}. "
                f"Declared in {sync.file}.",
                metadata={f"playbook/{name}": value for name, value in playbook.items() if value},
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                ARRIVED, asset=key, description="No row was rejected, lost sight of or held."
            )
        ],
        pool=f"destination_{sync.destination.name}",
    )
    def pushed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        engine = Engine(settings_of(context))
        # a mistake in one sync stops the others too, before anything is sent
        engine.validate()
        [result] = engine.apply(select=[sync.id])
        yield dg.MaterializeResult(asset_key=key, metadata=outcome_metadata(result))
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
