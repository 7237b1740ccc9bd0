"""Each sync as an asset downstream of its model, with checks of what came of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg

from orchestration.gate import Above, Gate, refusals
from orchestration.outcomes import (
    ARRIVED,
    NOT_HELD,
    UPSTREAM,
    Event,
    check_key,
    outcome_checks,
    outcome_metadata,
    refused_check,
)
from orchestration.playbooks import read_playbooks
from orchestration.project import Project
from orchestration.verdict import NotAllDone
from orchestration.warehouse import TRANSLATOR, settings_of
from reverse_etl.engine import Engine, SyncResult
from reverse_etl.spec import Sync

_CHECKS = {
    UPSTREAM: "What the sync reads was built, and every test above it passed. Else it is not sent.",
    ARRIVED: "No row was rejected, lost sight of or left for later.",
    NOT_HELD: "No plan waits for a person to approve it.",
}


def sync_assets(
    project: Project, above: Sequence[dg.AssetsDefinition]
) -> list[dg.AssetsDefinition]:
    """One asset ``syncs/<destination>/<model>`` for each sync that the models declare; ``above``:
    the assets that they are made of.

    Those of a destination are one step: one process for each account, which sends profiles first
    and triggers before lists. Any of them can be launched alone.
    """
    syncs = Engine(project.settings).syncs()
    playbooks = read_playbooks(project.settings.project_root)
    gates = sync_gates(project, syncs, above)
    specs = {
        sync.id: _asset_spec(
            sync,
            [*_models(sync, project), *map(sync_key, _profiles(sync, syncs))],
            playbooks.get(sync.model.removeprefix("trg_"), {}),
        )
        for sync in syncs
    }
    return [
        _destination_assets(
            name,
            {sync.id: sync for sync in syncs if sync.destination.name == name},
            [specs[sync.id] for sync in syncs if sync.destination.name == name],
            gates,
        )
        for name in dict.fromkeys(sync.destination.name for sync in syncs)
    ]


def sync_key(sync: Sync) -> dg.AssetKey:
    """The asset's key."""
    return dg.AssetKey(["syncs", sync.destination.name, sync.model])


def sync_gates(
    project: Project, syncs: Sequence[Sync], above: Iterable[dg.AssetsDefinition]
) -> dict[str, Gate]:
    """What must hold before each sync is pushed, by its id."""
    graph = Above(above)
    return {
        sync.id: graph.gate(
            _models(sync, project),
            [key for profile in _profiles(sync, syncs) for key in _models(profile, project)],
        )
        for sync in syncs
    }


def _models(sync: Sync, project: Project) -> list[dg.AssetKey]:
    """The sync's model; for a trigger the decisions too."""
    nodes = {
        node["name"]: node
        for node in project.manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    models = [sync.model] + (["trigger_decisions"] if sync.spec.kind == "trigger" else [])
    return [TRANSLATOR.get_asset_key(nodes[model]) for model in models]


def _profiles(sync: Sync, syncs: Sequence[Sync]) -> list[Sync]:
    """Those that the sync's tool needs first."""
    return [
        other
        for other in syncs
        if other.spec.kind == "profile"
        and sync.spec.kind != "profile"
        and other.destination.name == sync.destination.name
    ]


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
    name: str, syncs: Mapping[str, Sync], specs: Sequence[dg.AssetSpec], gates: Mapping[str, Gate]
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"syncs__{name}",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(check, asset=spec.key, description=description)
            for spec in specs
            for check, description in _CHECKS.items()
        ],
        can_subset=True,
        pool=f"destination_{name}",
    )
    def pushed(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        chosen = {
            sync_id: sync
            for sync_id, sync in syncs.items()
            if sync_key(sync) in context.selected_asset_keys
        }
        left: list[str] = []
        for event in push(context, chosen, gates, left):
            if isinstance(event, dg.MaterializeResult) or (
                check_key(event) in context.selected_asset_check_keys
            ):
                yield event
        # all is told by now: the run must not end green where rows are left
        if left:
            raise NotAllDone(left)

    return pushed


def push(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    syncs: Mapping[str, Sync],
    gates: Mapping[str, Gate],
    left: list[str],
    plans: Sequence[str] | None = None,
) -> Iterator[Event]:
    """Push what may be pushed, and tell what came of each sync; what is not in order is added to
    ``left``, in words. ``plans``: exactly these plans, as in ``Engine.apply``."""
    engine = Engine(settings_of(context))
    # a mistake in one sync stops the others too, before anything is sent
    engine.validate()
    refused = refusals(context.instance, context.run.run_id, {name: gates[name] for name in syncs})
    for name, words in refused.items():
        left.append(f"{name} was not pushed: {'; '.join(words)}")
        yield refused_check(sync_key(syncs[name]), words)
    allowed = [name for name in syncs if name not in refused]
    results = engine.apply(select=allowed, plans=plans) if allowed else []
    # Dagster wants an asset after those that it depends on
    for result in sorted(results, key=lambda one: one.kind != "profile"):
        key = sync_key(syncs[result.sync])
        yield dg.MaterializeResult(asset_key=key, metadata=outcome_metadata(result))
        yield from outcome_checks(key, result)
        left += _left(result)


def _left(result: SyncResult) -> list[str]:
    counts = ("rejected", "retryable", "unknown")
    told = [f"{getattr(result, one)} {one}" for one in counts if getattr(result, one)]
    told += [result.error] if result.error else []
    return [f"{result.sync}: {', '.join(told)}"] if told else []
