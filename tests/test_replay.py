"""Past days under other rules, on a real warehouse that a replay must leave as it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.replay import main as replay_main
from seeds.sample_company.__main__ import main as write_sample
from tests.built_warehouse import BuiltWarehouse
from tests.conftest import ROOT

RULES = ROOT / "seeds/rules"
DAY = "2026-10-28"
DAYS = 60


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> BuiltWarehouse:
    """A small company, built under the present rules."""
    folder = tmp_path_factory.mktemp("replayed")
    assert write_sample(["--seed", "5", "--customers", "60", "--out", str(folder)]) == 0
    built = BuiltWarehouse(folder / "built", raw=folder / "raw")
    built.land()
    built.build(DAY, "+customer_health", "+customer_journey", "+trg_*")
    return built


def changed(folder: Path, **rules: tuple[str, str]) -> Path:
    """A folder of rule files, each of ours with one text replaced."""
    folder.mkdir()
    for name, (old, new) in rules.items():
        text = (RULES / f"{name}.csv").read_text()
        assert old in text, name
        (folder / f"{name}.csv").write_text(text.replace(old, new))
    return folder


def replayed(
    warehouse: BuiltWarehouse, rules: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestration.replay", "--rules", str(rules), *more],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "WAREHOUSE_PATH": str(warehouse.file), "AS_OF_DATE": DAY},
        capture_output=True,
        text=True,
        check=False,
    )


def as_json(warehouse: BuiltWarehouse, rules: Path) -> Any:
    finished = replayed(warehouse, rules, "--days", str(DAYS), "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.slow
def test_a_stricter_band_flags_earlier_and_never_later(
    warehouse: BuiltWarehouse, tmp_path: Path
) -> None:
    before = hashlib.sha256(warehouse.file.read_bytes()).hexdigest()
    rules = changed(
        tmp_path / "rules",
        health_bands=("watch,45", "watch,55"),
        health_thresholds=("onboarding_max_days,60", "onboarding_max_days,20"),
        thresholds=("feature_unused_days,21", "feature_unused_days,14"),
    )
    found = as_json(warehouse, rules)
    assert hashlib.sha256(warehouse.file.read_bytes()).hexdigest() == before
    assert found["version_a"] != found["version_b"]
    assert found["changed"] == ["health_bands.csv", "health_thresholds.csv", "thresholds.csv"]
    # every customer has a band under both, on the last day
    assert sum(found["bands_a"].values()) == sum(found["bands_b"].values()) > 20
    published = dict(
        warehouse.run(
            "select customer_id, min(as_of_date) from marts.customer_health_history"
            f" where health_band = 'risk' and as_of_date > date '{DAY}' - {DAYS} group by 1"
        )
    )
    flags = {flag["customer_id"]: flag for flag in found["flags"]}
    under_a = {name: flag["first_at_risk_a"] for name, flag in flags.items()}
    assert {name: day for name, day in under_a.items() if day} == {
        name: str(day) for name, day in published.items()
    }
    assert any(flag["first_at_risk_a"] is None for flag in flags.values())
    touched = {one["trigger"]: one for one in found["touches"]}
    unused = touched["trg_feature_unused"]
    assert 0 < unused["both"] <= min(unused["a"], unused["b"])
    # a week less without a feature asks after it a week earlier
    assert unused["days_earlier"] == 7
    assert found["stage_days_differing"] >= sum(one["customers"] for one in found["stages"])


@pytest.mark.slow
def test_the_present_rules_against_themselves_differ_in_nothing(
    warehouse: BuiltWarehouse, tmp_path: Path
) -> None:
    found = as_json(warehouse, changed(tmp_path / "rules", health_bands=("watch,45", "watch,45")))
    assert found["version_a"] == found["version_b"]
    assert found["bands_a"] == found["bands_b"]
    assert all(flag["days_earlier"] == 0 for flag in found["flags"])
    assert found["stages"] == []
    assert found["stage_days_differing"] == 0
    assert all(one["a"] == one["b"] == one["both"] for one in found["touches"])
    assert sum(one["a"] for one in found["touches"]) > 0
    assert {one["days_earlier"] for one in found["touches"]} <= {0, None}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("health_weight.csv", "a,b\n", "is no rule file of this project. Those are: "),
        ("health_bands.csv", "band,minimum\n", "has the columns band, minimum"),
        ("notes.txt", "nothing", "holds no rule file (*.csv)"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_before_anything_is_built(
    name: str,
    text: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAREHOUSE_PATH", str(tmp_path / "none.duckdb"))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / name).write_text(text)
    assert replay_main(["--rules", str(tmp_path / "rules")]) == 2
    assert told in capsys.readouterr().err


def test_what_else_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_PATH", str(tmp_path / "none.duckdb"))
    assert replay_main(["--rules", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err
    rules = changed(tmp_path / "rules", health_bands=("watch,45", "watch,50"))
    assert replay_main(["--rules", str(rules)]) == 2
    assert "There is no warehouse at" in capsys.readouterr().err
    assert replay_main(["--rules", str(rules), "--days", "0"]) == 2
    assert "at least one day" in capsys.readouterr().err


@pytest.mark.slow
def test_a_rule_that_dbt_cannot_use_is_told_in_its_words(
    warehouse: BuiltWarehouse, tmp_path: Path
) -> None:
    rules = changed(tmp_path / "rules", health_bands=("watch,45", "watch,many"))
    finished = replayed(warehouse, rules)
    assert finished.returncode == 2
    assert "dbt cannot build the models under these rules" in finished.stderr
    assert "Traceback" not in finished.stderr
