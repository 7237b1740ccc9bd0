"""The end of a run: one that left something undone does not end green."""

from collections.abc import Sequence

import dagster as dg
from dagster import DagsterEventType

from orchestration.warehouse import COMPLETE

_TOLD = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
    }
)
SHOWN = 20


class NotAllDone(dg.Failure):
    """Everything that could be done was done, and something is left that a person has to look at.

    Nothing is tried again: a second try finds the same.
    """

    def __init__(self, words: Sequence[str]) -> None:
        more = [f"and {len(words) - SHOWN} more"] if len(words) > SHOWN else []
        super().__init__("\n".join([*words[:SHOWN], *more]), allow_retries=False)


def verdict(after: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """An asset after all others of a job; materialised when everything was in order."""

    @dg.asset(
        key=COMPLETE,
        deps=after,
        group_name="runs",
        description="Fails, and with it the run, when a test of error severity failed or a model "
        "was not built. Pushes that do not depend on it have been made by then.",
    )
    def complete(context: dg.AssetExecutionContext) -> None:
        if words := undone(context.instance, context.run.run_id):
            raise NotAllDone(words)

    return complete


def undone(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What this run meant to do and did not, and which checks failed in it, in words."""
    planned: dict[dg.AssetKey, None] = {}
    words = []
    for entry in instance.all_logs(run_id, of_type=set(_TOLD)):
        event = entry.get_dagster_event()
        key = event.asset_key
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED and key:
            planned[key] = None
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION and key:
            planned.pop(key, None)
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            # a sync that is held waits for a person, and the run is over
            is_sync = found.asset_key.path[0] == "syncs"
            if not (found.passed or is_sync) and found.severity == dg.AssetCheckSeverity.ERROR:
                words.append(f"{found.asset_key.to_user_string()}: {found.check_name} failed")
    planned.pop(COMPLETE, None)
    return words + [f"{key.to_user_string()} was not built" for key in planned]
