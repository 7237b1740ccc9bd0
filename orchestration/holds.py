"""Approving a held plan in the UI: the job ``approve``, with the plan's id, which then sends it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.gate import Gate
from orchestration.outcomes import as_event
from orchestration.pushes import push
from orchestration.verdict import NotAllDone
from orchestration.warehouse import settings_of
from reverse_etl.engine import Engine
from reverse_etl.spec import Sync

JOB = "approve"
_BY = "the job approve"


@dg.config_mapping(
    config_schema={
        "plan": dg.Field(str, description="The id of the held plan, as its check tells it."),
        "by": dg.Field(str, default_value=_BY, description="Who agrees, for the ledger."),
    }
)
def _plan(config: dict[str, str]) -> dict[str, Any]:
    return {"ops": {"approve_plan": {"config": {"plan": config["plan"], "by": config["by"]}}}}


def approval(syncs: Sequence[Sync], gates: Mapping[str, Gate]) -> dg.JobDefinition:
    """The job: approves, and pushes in the destination's own pool, behind the same gate."""
    destinations = list(dict.fromkeys(sync.destination.name for sync in syncs))
    approve = _approve_op(destinations)
    pushes = {
        name: _push_op(name, {s.id: s for s in syncs if s.destination.name == name}, gates)
        for name in destinations
    }

    @dg.job(
        name=JOB,
        config=_plan,
        executor_def=dg.in_process_executor,
        description="Releases a held plan, to the row, and sends it. As `reverse-etl approve` and "
        "`apply`. Put the plan's id into the launchpad: `plan: 0123456789ab`.",
    )
    def approved() -> None:
        outputs = approve()
        for name in destinations:
            pushes[name](outputs if len(destinations) == 1 else getattr(outputs, name))

    return approved


def _approve_op(destinations: Sequence[str]) -> dg.OpDefinition:
    @dg.op(
        name="approve_plan",
        config_schema={"plan": str, "by": str},
        # that of the plan's destination alone is given, so that the others are skipped
        out={name: dg.Out(dict, is_required=False) for name in destinations},
    )
    def approve_plan(context: dg.OpExecutionContext) -> Iterator[dg.Output[dict[str, str]]]:
        plan_id, by = context.op_config["plan"], context.op_config["by"]
        plan = Engine(settings_of(context)).approve(plan_id, by)
        context.log.info(f"{plan.sync.id}: {plan.size} rows approved by {by}")
        yield dg.Output({"sync": plan.sync.id, "plan": plan.id}, plan.sync.destination.name)

    return approve_plan


def _push_op(name: str, syncs: Mapping[str, Sync], gates: Mapping[str, Gate]) -> dg.OpDefinition:
    @dg.op(name=f"push_to_{name}", pool=f"destination_{name}", out=dg.Out(dg.Nothing))
    def push_plan(
        context: dg.OpExecutionContext, approved: dict[str, str]
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        chosen = {approved["sync"]: syncs[approved["sync"]]}
        left: list[str] = []
        for event in push(context, chosen, gates, left, [approved["plan"]]):
            yield as_event(event)
        if left:
            raise NotAllDone(left)

    return push_plan
