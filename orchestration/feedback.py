"""Opt-outs, bounces, complaints and clicks come back from the tools before each build."""

from collections.abc import Iterator

import dagster as dg

from orchestration.automation import RETRY
from orchestration.errors import mistakes_are_final
from orchestration.warehouse import settings_of
from reverse_etl.pulling import Feedbacks

PULLED = dg.AssetKey(["feedback", "pulled"])
_ANSWERED = "every_tool_answered"


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            PULLED,
            group_name="raw",
            description="What the tools know of people since they were last asked, fetched into "
            "the ledger; who opted out of one is told to all others. As `reverse-etl pull`.",
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            _ANSWERED, asset=PULLED, description="What one could not tell is asked for next time."
        )
    ],
    can_subset=True,
    pool="feedback",
    retry_policy=RETRY,
)
def feedback_pulled(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """A tool that is out of order stops no build: it is asked again at the next."""
    with mistakes_are_final():
        results = Feedbacks(settings_of(context)).pull()
    errors = {one.destination: one.error for one in results if one.error}
    yield dg.MaterializeResult(
        asset_key=PULLED,
        metadata={
            name: sum(getattr(one, name) for one in results) for name in ("new", "stopped", "told")
        },
    )
    if context.selected_asset_check_keys:
        yield dg.AssetCheckResult(
            check_name=_ANSWERED,
            asset_key=PULLED,
            passed=not errors,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=errors,
        )
