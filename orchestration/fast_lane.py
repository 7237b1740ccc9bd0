"""From a new raw row to the trigger it sets off, within seconds: only what lies between is built.

The sensor looks at the load markers. What depends on a table that was loaded, and stands above a
trigger, is built; then the triggers are sent, with whom they are about. Health is what the last
whole build made of it, and so are the triggers that fire on it: a score is one of a day.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from orchestration.loads import LoadedTable, loaded_tables
from orchestration.project import Project
from orchestration.pushes import sync_key
from orchestration.warehouse import TRANSLATOR
from reverse_etl.ledger import Ledger
from reverse_etl.spec import Sync

JOB = "fast_lane"
INTERVAL_S = 5
_DELIVERIES = "raw_activation"
_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


@dataclass(frozen=True)
class Lane:
    """What lies between raw tables and triggers. ``syncs``: the triggers' and those of the people
    that they are about."""

    manifest: Mapping[str, Any]
    syncs: Sequence[Sync]

    def keys(self, loaded: Iterable[str]) -> list[dg.AssetKey]:
        """Models to build when these tables were loaded, and the syncs; nothing where no trigger
        reads them."""
        below = self._walk(loaded, "child_map") & self._above
        nodes = self.manifest["nodes"]
        models = [
            node
            for node in below
            if node.startswith("model.") and nodes[node]["config"]["materialized"] != "ephemeral"
        ]
        if not models:
            return []
        return sorted(
            [TRANSLATOR.get_asset_key(nodes[node]) for node in models]
            + [sync_key(sync) for sync in self.syncs]
        )

    @property
    def _above(self) -> set[str]:
        decisions = [
            identity
            for identity, node in self.manifest["nodes"].items()
            if node["name"] == "trigger_decisions"
        ]
        return self._walk([*decisions, *(sync.node for sync in self.syncs)], "parent_map")

    def _walk(self, start: Iterable[str], relation: str) -> set[str]:
        """What is reached without passing through health."""
        seen: set[str] = set()
        found = list(start)
        while found:
            node = found.pop()
            if node not in seen and not self._is_health(node):
                seen.add(node)
                found += self.manifest[relation].get(node, [])
        return seen

    def _is_health(self, identity: str) -> bool:
        node = self.manifest["nodes"].get(identity)
        if node is None:
            return False
        follows = node["name"].startswith("trg_") and any(
            macro.endswith(".rules_version") for macro in node["depends_on"]["macros"]
        )
        return (
            follows
            or "health" in node["fqn"]
            or "health" in node["name"]
            or (node["name"] == "customer_measures")
        )


def lane(project: Project, syncs: Sequence[Sync]) -> Lane:
    """The project's."""
    triggers = [sync for sync in syncs if sync.spec.kind == "trigger"]
    tools = {sync.destination.name for sync in triggers}
    people = [s for s in syncs if s.spec.kind == "profile" and s.destination.name in tools]
    return Lane(project.manifest, [*triggers, *people])


def fast_lane_job(project: Project, syncs: Sequence[Sync]) -> Any:
    """Everything that a run of the lane may choose from."""
    fast = lane(project, syncs)
    tables = [table.node for table in loaded_tables(project)]
    everything = fast.keys([*tables, *_exported(project)])
    return dg.define_asset_job(
        JOB,
        description="What lies between newly loaded raw tables and the triggers, and their push. "
        "Launched by the sensor fast_lane, which chooses among these assets.",
        selection=dg.AssetSelection.assets(*everything) | dg.AssetSelection.groups("raw"),
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "10"},
    )


def fast_lane_sensor(project: Project, syncs: Sequence[Sync]) -> dg.SensorDefinition:
    """Off until somebody switches it on."""
    fast, tables, settings = lane(project, syncs), loaded_tables(project), project.settings
    is_landed_here = settings.target != "prod"

    @dg.sensor(
        name=JOB,
        job_name=JOB,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Sees newly loaded raw tables by their markers (data/loads, and seeds/raw "
        "outside prod) and runs what lies between them and the triggers.",
    )
    def new_raw_data(
        context: dg.SensorEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason | dg.SensorResult:
        seen = {table.node: table.loaded() for table in tables}
        sent = _last_delivery(settings.ledger_url)
        now = json.dumps({"loaded": seen, "sent": sent}, sort_keys=True)
        if context.cursor is None:
            context.update_cursor(now)
            return dg.SkipReason("Looked for the first time; what is loaded from now on counts.")
        before = json.loads(context.cursor)
        changed = [t for t in tables if seen[t.node] > before["loaded"].get(t.node, 0)]
        if not changed:
            return dg.SkipReason("No table was loaded since.")
        under_way = context.instance.get_runs_count(RunsFilter(job_name=JOB, statuses=_UNDER_WAY))
        if under_way:
            return dg.SkipReason("A run of the lane is under way; what came since is next.")
        # what was sent meanwhile counts against the caps
        read = [table.node for table in changed]
        exported = _exported(project) if sent != before["sent"] else []
        keys = fast.keys([*read, *exported])
        context.update_cursor(now)
        if not fast.keys(read):
            return dg.SkipReason("No trigger reads what was loaded.")
        keys += _landing(changed, tables) if is_landed_here else []
        keys += [dg.AssetKey([_DELIVERIES, "deliveries"])] if exported else []
        names = sorted(f"{table.source}.{table.name}" for table in changed)
        return dg.RunRequest(
            run_key=str(max(seen[table.node] for table in changed)),
            asset_selection=keys,
            tags={"loaded": ", ".join(names)[:200]},
        )

    return new_raw_data


def _landing(changed: Sequence[LoadedTable], tables: Sequence[LoadedTable]) -> list[dg.AssetKey]:
    """A source is landed as a whole."""
    sources = {table.source for table in changed}
    return [dg.AssetKey([one.source, one.name]) for one in tables if one.source in sources]


def _exported(project: Project) -> list[str]:
    return [
        identity
        for identity, node in project.manifest["sources"].items()
        if (node["source_name"], node["name"]) == (_DELIVERIES, "deliveries")
    ]


def _last_delivery(url: str) -> str | None:
    ledger = Ledger(url)
    try:
        newest = ledger.deliveries(None, None, 1)
    finally:
        ledger.close()
    return str(newest[0]["delivery_id"]) if newest else None
