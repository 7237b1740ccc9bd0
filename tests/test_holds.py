"""A held plan is seen, understood and released in Dagster; what was sent is told without a value
that is anybody's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from orchestration.outcomes import Told, outcome_metadata
from reverse_etl.dispatch import SyncResult
from reverse_etl.sandbox.server import Sandbox
from tests.small_graph import SmallGraph, built, checks, failures, small_graph

FIRST = dg.AssetKey(["syncs", "hubspot", "seg_first"])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallGraph]:
    """After its baseline, and a day that brought more than the budget of seg_first."""
    folder = tmp_path_factory.mktemp("holds")
    with (
        Sandbox(folder / "sandbox.db") as sandbox,
        small_graph(folder / "project", sandbox) as made,
    ):
        first = made.run()
        assert first.success, failures(first)
        made.people["p11"] = ("no address", 20)
        made.know(**{f"q{number}": 60 for number in range(1, 14)})
        yield made


@pytest.fixture(scope="module")
def held(graph: SmallGraph) -> dg.ExecuteInProcessResult:
    return graph.run()


def plan_of(result: dg.ExecuteInProcessResult) -> str:
    return re.findall(r"`plan: (\w+)`", words(result))[0]


def words(result: dg.ExecuteInProcessResult) -> str:
    [found] = [
        one.description
        for one in result.get_asset_check_evaluations()
        if (one.asset_key, one.check_name) == (FIRST, "not_held")
    ]
    return found or ""


def metadata(result: dg.ExecuteInProcessResult, *path: str) -> dict[str, Any]:
    [event] = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(path)
    ]
    return {name: value.value for name, value in event.metadata.items()}


def test_a_held_plan_is_a_failed_check_with_its_reason_and_the_way_out(
    graph: SmallGraph, held: dg.ExecuteInProcessResult
) -> None:
    assert not checks(held)["syncs/hubspot/seg_first:not_held"]
    assert checks(held)["syncs/hubspot/seg_second:not_held"]
    assert "budget" in words(held)
    assert "the job approve" in words(held)
    assert f"reverse-etl approve {plan_of(held)}" in words(held)
    assert graph.lists() == {"First": 10, "Second": 23}


def test_what_was_planned_and_refused_is_told_and_nobodys_address_is(
    held: dg.ExecuteInProcessResult,
) -> None:
    told = metadata(held, "syncs", "hubspot", "contact_profiles")
    assert (told["planned"], told["adds"], told["rejected"]) == (14, 14, 1)
    assert 0 < told["calls"] < 30
    assert told["calls a second, at most"] > 0
    assert "- **add p11** contact" in told["sample of changes"]
    assert r"email=\*\*\*" in told["sample of changes"]
    assert "- **add p11** " in told["refused rows"]
    assert "customer.example" not in str(told)
    assert "no address" not in str(told)


def test_a_tool_cannot_write_markup_into_the_page() -> None:
    said = "<img src=x> [click](http://a.example) | a\n# title"
    result = SyncResult("a/b", "b", "a", "profile", 1, rejected=1)
    told = Told(refused=[["k", "add", "400", said, 1]], page="http://127.0.0.1:1/")
    shown = outcome_metadata(result, told)
    text = shown["refused rows"].value
    assert r"\<img src=x\> \[click\](http://a.example) \| a \# title" in text
    assert len(text.splitlines()) == 1
    assert shown["in the tool"].value == "http://127.0.0.1:1/"


def test_the_job_approve_sends_that_plan_and_the_check_passes(
    graph: SmallGraph, held: dg.ExecuteInProcessResult
) -> None:
    job = graph.definitions().resolve_job_def("approve")
    plan = {"plan": plan_of(held), "by": "Noor"}
    result = job.execute_in_process(plan, instance=graph.instance, raise_on_error=False)
    # one row of it is of a person whom the tool does not have
    assert "hubspot/seg_first: 1 rejected" in failures(result)["push_to_hubspot"]
    assert graph.lists()["First"] == 23
    assert built(result) == {"syncs/hubspot/seg_first"}
    assert checks(result)["syncs/hubspot/seg_first:not_held"]
    key = dg.AssetCheckKey(FIRST, "not_held")
    latest = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert latest.evaluation is not None
    assert latest.evaluation.passed


def test_a_plan_that_nobody_would_send_now_is_not_approved(
    graph: SmallGraph, held: dg.ExecuteInProcessResult
) -> None:
    job = graph.definitions().resolve_job_def("approve")
    before = graph.lists()
    for plan in (plan_of(held), "0123456789ab"):
        again = job.execute_in_process(
            {"plan": plan}, instance=graph.instance, raise_on_error=False
        )
        assert f"No sync would now do plan {plan}" in str(
            [
                event.step_failure_data.error.cause
                for event in again.get_step_failure_events()
                if event.step_failure_data.error
            ]
        )
    assert graph.lists() == before
