"""Dagster warns when the health score stops beating what costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from orchestration.checks import health_checks
from orchestration.project import load_project
from reverse_etl.settings import Settings
from tests.conftest import ProjectCopy
from tests.dbt_run import this_project_as_json

KEY = dg.AssetKey(["measurement", "health_backtest"])
COLUMNS = (
    "customers, auc_low, auc_high, activity_auc, tenure_auc, advantage_low, lift_worst_decile,"
    " risk_precision, risk_recall, median_days_warned"
)


class Backtest:
    """A warehouse with one line of the backtest, and Dagster with an instance of its own."""

    def __init__(self, folder: Path, project: Any) -> None:
        self.file = folder / "warehouse.duckdb"
        self.instance = dg.DagsterInstance.local_temp(str(folder))
        self.checks = health_checks(project)

    def judged(self, *rows: str) -> Any:
        """The check's evaluation after the model was built with these rows."""
        figures = ", ".join(f"null as {name}" for name in COLUMNS.split(", "))
        built = " union all ".join(f"select {row}, {figures}" for row in rows)

        @dg.asset(key=KEY)
        def health_backtest() -> None:
            with duckdb.connect(str(self.file)) as connection:
                connection.execute("create schema if not exists measurement")
                connection.execute(
                    f"create or replace table measurement.health_backtest as {built}"
                )

        result = dg.materialize([health_backtest, *self.checks], instance=self.instance)
        [evaluation] = result.get_asset_check_evaluations()
        return evaluation


def line(tier: str, lead: int, verdict: str, auc: str, baseline: str, churned: int = 40) -> str:
    return (
        f"'{tier}' as tier, {lead} as lead_days, '{verdict}' as verdict, {churned} as churned,"
        f" cast({auc} as decimal(5, 4)) as auc, cast({baseline} as decimal(5, 4)) as baseline_auc"
    )


@pytest.fixture(scope="module")
def project(project_copy: ProjectCopy) -> Any:
    """The real project, parsed."""
    target = project_copy.root / "dbt_project/target"
    target.mkdir()
    (target / "manifest.json").write_text(this_project_as_json())
    environment = project_copy.environment
    return load_project(Settings.from_environment(environment, project_copy.root))


@pytest.fixture
def backtest(tmp_path: Path, project: Any, monkeypatch: pytest.MonkeyPatch) -> Backtest:
    made = Backtest(tmp_path, project)
    monkeypatch.setenv("WAREHOUSE_PATH", str(made.file))
    return made


def test_a_score_that_tells_less_than_its_baseline_is_warned_of(backtest: Backtest) -> None:
    evaluation = backtest.judged(line("all", 30, "signal", "0.7011", "0.7012"))
    assert evaluation.asset_key == KEY
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert evaluation.metadata["auc"].value == 0.7011
    assert evaluation.metadata["baseline_auc"].value == 0.7012
    assert evaluation.metadata["churned"].value == 40
    assert evaluation.metadata["verdict"].value == "signal"


def test_a_score_as_good_as_its_baseline_passes(backtest: Backtest) -> None:
    assert backtest.judged(line("all", 30, "signal", "0.7011", "0.7011")).passed


def test_without_a_signal_it_is_still_compared(backtest: Backtest) -> None:
    assert not backtest.judged(line("all", 30, "no signal", "0.49", "0.55")).passed


def test_other_tiers_and_other_leads_do_not_count(backtest: Backtest) -> None:
    others = [line("small", 30, "signal", "0.5", "0.9"), line("all", 90, "signal", "0.5", "0.9")]
    assert backtest.judged(line("all", 30, "signal", "0.8", "0.7"), *others).passed


def test_too_few_churns_are_no_reason_to_warn(backtest: Backtest) -> None:
    few = line("all", 30, "too few churns", "0.4", "0.9", churned=19)
    assert backtest.judged(few).passed
    none = line("all", 30, "too few churns", "null", "null", churned=0)
    assert backtest.judged(none).passed
    assert backtest.judged(line("small", 30, "signal", "0.4", "0.9")).passed


def test_the_daily_job_runs_it(project_copy: ProjectCopy) -> None:
    told = (
        "from orchestration.definitions import defs\n"
        "job = defs().get_repository_def().get_job('everything')\n"
        "print([node.name for node in job.graph.nodes])\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", told],
        cwd=project_copy.root,
        env=project_copy.environment | {"DAGSTER_HOME": str(project_copy.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "score_beats_its_baseline" in finished.stdout
