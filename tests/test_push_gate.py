"""A failing dbt test stops the push of what depends on it and nothing else, and no run in which
something was left undone ends green. Real dbt, real DuckDB, Dagster's own instance, the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.gate import SEVERITY, Above
from orchestration.project import load_project
from orchestration.warehouse import model_assets
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.settings import Settings
from tests.conftest import ProjectCopy
from tests.dbt_run import this_project_as_json
from tests.small_graph import SmallGraph, built, checks, failures, small_graph

SYNCS = {
    "syncs/hubspot/contact_profiles",
    "syncs/hubspot/seg_first",
    "syncs/hubspot/seg_second",
    "syncs/webhook/trg_payment_failed",
}
SECOND = ("syncs", "hubspot", "seg_second")
FIRST = ("syncs", "hubspot", "seg_first")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallGraph]:
    folder = tmp_path_factory.mktemp("gate")
    with (
        Sandbox(folder / "sandbox.db") as sandbox,
        small_graph(folder / "project", sandbox) as made,
    ):
        first = made.run()
        assert first.success, failures(first)
        assert built(first) >= SYNCS | {"run/complete"}
        yield made


def test_a_failing_test_stops_the_sync_below_it_and_no_other(graph: SmallGraph) -> None:
    graph.know(p11=805)
    result = graph.run()
    found = checks(result)
    assert not found["segments/seg_second:second_is_in_order"]
    assert not found["syncs/hubspot/seg_second:upstream_checks_passed"]
    assert built(result) & SYNCS == SYNCS - {"syncs/hubspot/seg_second"}
    assert graph.lists() == {"First": 11, "Second": 10}
    assert graph.received()["webhook"]["received"] == 1
    assert not result.success
    assert list(failures(result)) == ["syncs__hubspot"]
    assert (
        "seg_second was not pushed: segments/seg_second: second_is_in_order failed"
        in (failures(result)["syncs__hubspot"])
    )
    # this one failed too, and only warns
    assert not found["marts/contacts:contacts_look_usual"]


def test_it_stops_that_sync_also_when_somebody_launches_it_alone(graph: SmallGraph) -> None:
    refused = graph.sync_alone(*SECOND)
    assert not refused.success
    assert built(refused) == set()
    assert graph.lists()["Second"] == 10
    assert graph.sync_alone(*FIRST).success


def test_a_check_that_never_ran_is_none_that_passed(graph: SmallGraph, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as empty:
        kept, graph.instance = graph.instance, empty
        try:
            refused = graph.sync_alone(*FIRST)
        finally:
            graph.instance = kept
    words = failures(refused)["syncs__hubspot"]
    assert "marts/contacts: contacts_are_in_order has never run: run the job baseline" in words
    assert "contacts_look_usual" not in words, "a warning stops nothing"
    assert "second_is_in_order" not in words, "it does not stand above seg_first"


@pytest.mark.slow
def test_what_cannot_be_built_stops_its_sync_and_what_no_sync_reads_fails_the_run(
    graph: SmallGraph,
) -> None:
    models = graph.root / "dbt_project/models"
    segment = models / "segments/seg_first.sql"
    text = segment.read_text()
    graph.know(p11=10, p12=10)
    segment.write_text(text.replace("from {{", ", error('no') as broken from {{"))
    (models / "marts/reports.sql").write_text("select score from {{ ref('contacts') }}")
    (models / "marts/reports.yml").write_text(
        "models: [{name: reports, data_tests: [{score_at_most: {name: small, most: 1}}]}]"
    )
    result = graph.run()
    assert not checks(result)["syncs/hubspot/seg_first:upstream_checks_passed"]
    assert "segments/seg_first was not built by its last run" in failures(result)["syncs__hubspot"]
    assert graph.lists() == {"First": 11, "Second": 12}
    assert not graph.sync_alone(*FIRST).success

    segment.write_text(text)
    mended = graph.run()
    assert built(mended) & SYNCS == SYNCS, "everything is pushed"
    assert graph.lists() == {"First": 12, "Second": 12}
    assert "marts/reports: small failed" in failures(mended)["run__complete"]
    assert list(failures(mended)) == ["run__complete"]
    # nor does it end green where nothing comes after dbt
    assert "dbt_models" in failures(graph.run("everything", ("marts", "reports")))
    for name in ("sql", "yml"):
        (models / f"marts/reports.{name}").unlink()


@pytest.mark.slow
def test_a_test_at_the_root_stops_all_and_those_that_it_left_out_do_not_count(
    graph: SmallGraph,
) -> None:
    graph.know(p13=2000)
    before = graph.received()
    result = graph.run()
    assert built(result) & SYNCS == set()
    assert set(failures(result)) == {"syncs__hubspot", "syncs__webhook"}
    alone = graph.sync_alone(*SECOND)
    assert "second_is_in_order was left out by its last run" in failures(alone)["syncs__hubspot"]
    after = graph.received()
    assert after["webhook"] == before["webhook"]
    assert after["hubspot"]["lists"] == before["hubspot"]["lists"]
    del graph.people["p13"]


def test_a_rejected_row_leaves_no_green_run_and_takes_no_other_down(graph: SmallGraph) -> None:
    graph.people["p14"] = ("no address", 20)
    graph.know(p11=10, p12=10, p15=20)
    result = graph.run()
    assert not result.success
    found = checks(result)
    assert not found["syncs/hubspot/contact_profiles:every_row_arrived"]
    assert found["syncs/webhook/trg_payment_failed:every_row_arrived"]
    assert built(result) >= SYNCS, "it was pushed, and what came of it is told"
    assert "hubspot/contact_profiles: 1 rejected" in failures(result)["syncs__hubspot"]
    assert graph.lists()["Second"] == 13
    del graph.people["p14"]


def test_every_test_of_error_severity_of_this_project_stands_above_what_it_guards(
    project_copy: ProjectCopy,
) -> None:
    target = project_copy.root / "dbt_project/target"
    target.mkdir()
    (target / "manifest.json").write_text(this_project_as_json())
    project = load_project(Settings.from_environment(project_copy.environment, project_copy.root))
    models = model_assets(project)
    tests = {
        node["name"]
        for node in project.manifest["nodes"].values()
        if node["resource_type"] == "test" and node["config"]["severity"].lower() == "error"
    }
    guarded = {spec.name for spec in models.check_specs if spec.metadata[SEVERITY] == "error"}
    assert tests == guarded, "a test over several models needs config.meta.dagster.ref"
    gate = Above([models]).gate([dg.AssetKey(["segments", "seg_champions"])])
    above = {check.asset_key.to_user_string() for check in gate.checks}
    assert {"marts/contacts", "marts/customer_health_history"} <= above
    assert not any(name.startswith(("measurement/", "triggers/")) for name in above)
