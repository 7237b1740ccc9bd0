"""Each sync as an asset downstream of its model, with checks of what came of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg

from orchestration.automation import DAILY, RETRY, WHEN_ITS_MODEL_CHANGED
from orchestration.errors import mistakes_are_final
from orchestration.gate import Above, Gate
from orchestration.outcomes import ARRIVED, NOT_HELD, UPSTREAM, check_key
from orchestration.playbooks import read_playbooks
from orchestration.project import Project
from orchestration.pushes import push, sync_key
from orchestration.verdict import NotAllDone
from orchestration.warehouse import TRANSLATOR
from reverse_etl.spec import Sync

_CHECKS = {
    UPSTREAM: "What the sync reads was built, and every test above it passed. Else it is not sent.",
    ARRIVED: "No row was rejected, lost sight of or left for later.",
    NOT_HELD: "No plan waits for a person to approve it.",
}


def sync_assets(
    project: Project, syncs: Sequence[Sync], gates: Mapping[str, Gate]
) -> list[dg.AssetsDefinition]:
    """One asset ``syncs/<destination>/<model>`` for each sync that the models declare.

    Those of a destination are one step: one process for each account, which sends profiles first
    and triggers before lists. Any of them can be launched alone.
    """
    playbooks = read_playbooks(project.settings.project_root)
    specs = {
        sync.id: _asset_spec(
            sync,
            [*_models(sync, project), *map(sync_key, _profiles(sync, syncs))],
            playbooks.get(sync.model.removeprefix("trg_"), {}),
            _owners(sync, project),
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


def sync_gates(
    project: Project, syncs: Sequence[Sync], above: Iterable[dg.AssetsDefinition]
) -> dict[str, Gate]:
    """What must hold before each sync is pushed, by its id; ``above``: the assets that they are
    made of."""
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


def _owners(sync: Sync, project: Project) -> list[str]:
    """Whoever owns the model."""
    group = project.manifest["nodes"][sync.node].get("group")
    for told in project.manifest["groups"].values():
        if told["name"] == group and told["owner"].get("email"):
            return [told["owner"]["email"]]
    return []


def _asset_spec(
    sync: Sync, upstream: list[dg.AssetKey], playbook: Mapping[str, str], owners: Sequence[str]
) -> dg.AssetSpec:
    return dg.AssetSpec(
        sync_key(sync),
        deps=upstream,
        group_name="syncs",
        kinds={sync.destination.type, sync.spec.kind},
        description=f"{sync.model} ({sync.spec.kind}) to {sync.destination.name}. "
        f"Declared in {sync.file}.",
        owners=owners or None,
        tags={"destination": sync.destination.name, "kind": sync.spec.kind},
        automation_condition=WHEN_ITS_MODEL_CHANGED,
        freshness_policy=DAILY,
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
        retry_policy=RETRY,
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
        with mistakes_are_final():
            for event in push(context, chosen, gates, left):
                if isinstance(event, dg.MaterializeResult) or (
                    check_key(event) in context.selected_asset_check_keys
                ):
                    yield event
        # all is told by now: the run must not end green where rows are left
        if left:
            raise NotAllDone(left)

    return pushed
