"""Sensors, schedules and automation, evaluated with a real instance: what they would run, and that
it does what it is for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from orchestration.errors import mistakes_are_final
from orchestration.freshness import allowed
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_graph import SmallGraph, built, checks, failures, small_graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallGraph]:
    folder = tmp_path_factory.mktemp("automation")
    with (
        Sandbox(folder / "sandbox.db") as sandbox,
        small_graph(folder / "project", sandbox) as made,
    ):
        first = made.run()
        assert first.success, failures(first)
        yield made


@pytest.fixture(scope="module")
def repository(graph: SmallGraph) -> dg.RepositoryDefinition:
    return graph.definitions().get_repository_def()


def tick(
    graph: SmallGraph, repository: dg.RepositoryDefinition, cursor: str | None
) -> tuple[Any, str | None]:
    """What the fast lane's sensor says, and its cursor afterwards."""
    with dg.build_sensor_context(
        instance=graph.instance, cursor=cursor, repository_def=repository
    ) as context:
        found = repository.get_sensor_def("fast_lane")(context)
        return found, context.cursor


def test_everything_is_off_until_switched_on(repository: dg.RepositoryDefinition) -> None:
    sensors = {one.name: one.default_status for one in repository.sensor_defs}
    assert set(sensors) >= {"fast_lane", "syncs_follow_their_models"}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.STOPPED}
    schedules = {one.name: one.default_status for one in repository.schedule_defs}
    assert set(schedules) == {"daily", "weekly_measurement"}
    assert set(schedules.values()) == {dg.DefaultScheduleStatus.STOPPED}


def test_the_daily_schedule_asks_for_the_whole_run(
    graph: SmallGraph, repository: dg.RepositoryDefinition
) -> None:
    due = datetime(2026, 10, 28, 3, tzinfo=UTC)
    context = dg.build_schedule_context(instance=graph.instance, scheduled_execution_time=due)
    found = repository.get_schedule_def("daily").evaluate_tick(context)
    assert found.run_requests
    assert len(found.run_requests) == 1
    pushes = [node.name for node in repository.get_job("everything").nodes]
    assert {"dbt_models", "syncs__hubspot", "run__complete"} <= set(pushes)
    assert "backfill__history" not in pushes
    measured = [node.name for node in repository.get_job("measurement").nodes]
    assert not [name for name in measured if name.startswith("syncs")]


def test_new_raw_data_runs_what_lies_before_the_triggers_and_their_event_arrives(
    graph: SmallGraph, repository: dg.RepositoryDefinition
) -> None:
    found, cursor = tick(graph, repository, None)
    assert isinstance(found, dg.SkipReason)
    found, cursor = tick(graph, repository, cursor)
    assert "No table was loaded" in str(found)

    graph.know(p1=70)
    found, after = tick(graph, repository, cursor)
    assert isinstance(found, dg.RunRequest)
    asked = {key.to_user_string() for key in found.asset_selection or []}
    assert asked == {
        "raw_app/people",
        "staging/stg_people",
        "marts/contacts",
        "triggers/trg_payment_failed",
        "triggers/trigger_decisions",
        "syncs/webhook/trg_payment_failed",
    }
    before = graph.received()
    result = graph.run("fast_lane", *[key.path for key in found.asset_selection or []])
    assert result.success, failures(result)
    assert graph.received()["webhook"]["received"] == before["webhook"]["received"] + 1
    assert graph.lists() == before["hubspot"]["lists"]
    assert "No table was loaded" in str(tick(graph, repository, after)[0])


def test_a_run_of_the_lane_is_waited_for_and_nothing_is_forgotten(
    graph: SmallGraph, repository: dg.RepositoryDefinition
) -> None:
    _, cursor = tick(graph, repository, None)
    graph.know(p2=10)
    job = repository.get_job("fast_lane")
    run = graph.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    found, kept = tick(graph, repository, cursor)
    assert "under way" in str(found)
    graph.instance.report_run_failed(run)
    found, _ = tick(graph, repository, kept)
    assert isinstance(found, dg.RunRequest)


def test_a_loader_elsewhere_tells_by_a_marker(
    graph: SmallGraph, repository: dg.RepositoryDefinition
) -> None:
    _, cursor = tick(graph, repository, None)
    marker = graph.root / "data/loads/raw_app.people"
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    os.utime(marker, (4_000_000_000, 4_000_000_000))
    found, cursor = tick(graph, repository, cursor)
    assert isinstance(found, dg.RunRequest)
    assert found.tags["loaded"] == "raw_app.people"
    assert isinstance(tick(graph, repository, cursor)[0], dg.SkipReason)


def test_a_sync_follows_its_model_once(
    graph: SmallGraph, repository: dg.RepositoryDefinition
) -> None:
    definitions = graph.definitions()
    syncs = dg.AssetSelection.groups("syncs")
    first = dg.evaluate_automation_conditions(definitions, graph.instance, asset_selection=syncs)
    graph.run("everything", ("segments", "seg_second"))
    second = dg.evaluate_automation_conditions(
        definitions, graph.instance, asset_selection=syncs, cursor=first.cursor
    )
    key = dg.AssetKey(["syncs", "hubspot", "seg_second"])
    assert second.get_num_requested(key) == 1
    assert second.total_requested == 1
    third = dg.evaluate_automation_conditions(
        definitions, graph.instance, asset_selection=syncs, cursor=second.cursor
    )
    assert third.total_requested == 0


def test_raw_data_that_is_late_is_warned_of_and_stops_nothing(graph: SmallGraph) -> None:
    key = ("raw_app", "people")
    fresh = graph.run("everything", key)
    assert checks(fresh)["raw_app/people:is_fresh"]
    late = graph.run("everything", key, tags={"as_of_date": "2026-10-31"})
    [found] = late.get_asset_check_evaluations()
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "4 days old"
    assert late.success


def test_of_two_limits_the_first_counts_and_none_is_none() -> None:
    both = {
        "warn_after": {"count": 2, "period": "day"},
        "error_after": {"count": 3, "period": "hour"},
    }
    found = allowed({"freshness": both})
    assert found is not None
    assert found.total_seconds() == 3 * 3600
    assert allowed({"freshness": None}) is None
    assert allowed({"freshness": {"warn_after": {"count": None, "period": None}}}) is None


def test_a_past_day_is_made_up_for_once_and_nothing_is_pushed(graph: SmallGraph) -> None:
    def days() -> dict[str, int]:
        sql = "select as_of_date, count(*) from marts.customer_health_history group by 1"
        return {str(day): count for day, count in graph.query(sql)}

    before, received = days(), graph.received()
    result = graph.run("backfill", partition_key="2026-10-20")
    assert result.success, failures(result)
    assert built(result) == {"backfill/history"}
    assert days() == before | {"2026-10-20": 10}
    again = graph.run("backfill", partition_key="2026-10-20")
    [event] = again.get_asset_materialization_events()
    assert event.materialization.metadata["customer_health_history"].value == 0
    assert days() == before | {"2026-10-20": 10}
    assert graph.query("select max(as_of_date)::varchar from marts.customer_health_history") == [
        ("2026-10-28",)
    ]
    assert graph.received() == received


def test_what_fails_by_chance_is_tried_again_and_a_mistake_is_not() -> None:
    tries: list[str] = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def chance() -> None:
        with mistakes_are_final():
            tries.append("chance")
            if len(tries) < 2:
                raise OSError("the disk hiccups")

    assert dg.materialize([chance]).success
    assert tries == ["chance", "chance"]

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def mistaken() -> None:
        with mistakes_are_final():
            tries.append("mistake")
            raise UserError("Mend it.")

    assert not dg.materialize([mistaken], raise_on_error=False).success
    assert tries.count("mistake") == 1


def test_every_step_that_may_be_repeated_says_so(repository: dg.RepositoryDefinition) -> None:
    job = repository.get_job("everything")
    policies = {node.name: node.retry_policy for node in (n.definition for n in job.nodes)}
    for name in ("raw_app", "feedback_pulled", "syncs__hubspot", "syncs__webhook"):
        policy = policies[name]
        assert policy is not None, name
        assert policy.backoff == dg.Backoff.EXPONENTIAL
    assert policies["dbt_models"] is None, "a test that failed fails again"
