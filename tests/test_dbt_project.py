"""What must hold of the dbt project as text: described, one clock, no warnings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, ProjectCopy

MODELS = ROOT / "dbt_project/models"
PUBLIC = ("marts", "segments", "triggers", "measurement")


@pytest.fixture(scope="module")
def parsed(project_copy: ProjectCopy) -> subprocess.CompletedProcess[str]:
    folder = project_copy.root / "dbt_project"
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "dbt"),
            "--show-all-deprecations",
            *("parse", "--project-dir", str(folder), "--profiles-dir", str(folder)),
        ],
        env=project_copy.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def manifest(parsed: subprocess.CompletedProcess[str], project_copy: ProjectCopy) -> dict[str, Any]:
    assert parsed.returncode == 0, parsed.stdout
    loaded: dict[str, Any] = json.loads(
        (project_copy.root / "dbt_project/target/manifest.json").read_text()
    )
    return loaded


def test_parses_without_a_warning_or_a_deprecation(
    parsed: subprocess.CompletedProcess[str],
) -> None:
    told = parsed.stdout + parsed.stderr
    assert parsed.returncode == 0, told
    assert "WARNING" not in told
    assert "eprecat" not in told


def test_every_public_model_says_its_grain_first_and_describes_its_columns(
    manifest: dict[str, Any],
) -> None:
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    public = [node for node in models if node["schema"] in PUBLIC]
    assert len(public) > 10
    for node in public:
        assert node["description"].startswith("Grain: "), node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert len(column["description"]) > 3, (node["name"], column["name"])


def test_columns_with_personal_data_are_tagged(manifest: dict[str, Any]) -> None:
    personal = {"email", "full_name", "first_name", "last_name", "owner_email", "contact_name"}
    for node in manifest["nodes"].values():
        for name, column in node.get("columns", {}).items():
            if name in personal:
                assert "pii" in column["config"].get("tags", []), (node["name"], name)


def test_every_segment_trigger_and_measure_file_is_in_the_variable_of_its_unions() -> None:
    variables = yaml.safe_load((ROOT / "dbt_project/dbt_project.yml").read_text())["vars"]
    for variable, prefix, files in (
        ("segments", "seg_", MODELS.glob("segments/seg_*.sql")),
        ("triggers", "trg_", MODELS.glob("triggers/trg_*.sql")),
        ("measures", "int_measure__", MODELS.glob("intermediate/health/measures/*.sql")),
    ):
        assert sorted(variables[variable]) == sorted(
            file.stem.removeprefix(prefix) for file in files
        ), variable


def test_every_unit_test_has_a_name_that_postgres_keeps_whole(manifest: dict[str, Any]) -> None:
    names = [test["name"] for test in manifest["unit_tests"].values()]
    assert len(names) > 50
    # 63 characters are kept, and dbt may add to them
    assert not [name for name in names if len(name) > 60]


def test_only_the_clock_reads_a_clock() -> None:
    reads = re.compile(r"\b(current_date|current_timestamp|now\(|getdate|sysdate|run_started_at)")
    files = [*MODELS.rglob("*.sql"), *(ROOT / "dbt_project/macros").rglob("*.sql")]
    assert len(files) > 50
    for file in files:
        if file.name != "clock.sql":
            assert not reads.search(file.read_text()), file.name


def test_every_staging_intermediate_and_public_model_has_a_yml_beside_it() -> None:
    for file in MODELS.rglob("*.sql"):
        assert file.with_suffix(".yml").is_file(), file.name


@pytest.mark.slow
def test_lint_needs_no_warehouse(project_copy: ProjectCopy) -> None:
    """Without a folder to put one in, DuckDB would be asked again and again for half a minute."""
    assert not (project_copy.root / "data").exists()
    linted = subprocess.run(
        [
            str(Path(sys.executable).parent / "sqlfluff"),
            *("lint", "models/marts/data_quality.sql"),
        ],
        cwd=project_copy.root / "dbt_project",
        env=project_copy.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert not (project_copy.root / "data").exists()
