"""Rule files: a wrong cell is named with its file, row and column before anything is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reverse_etl.errors import UserError
from reverse_etl.rules import Rules, require_valid
from tests.conftest import ROOT
from tests.dbt_run import this_project_as_json


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The rule files and the SQL that they are compared with, to break."""
    shutil.copytree(ROOT / "seeds/rules", tmp_path / "seeds/rules")
    for folder in ("models", "macros"):
        shutil.copytree(ROOT / "dbt_project" / folder, tmp_path / "dbt_project" / folder)
    return tmp_path


def change(project: Path, file: str, old: str, new: str) -> None:
    path = project / "seeds/rules" / file
    text = path.read_text()
    assert old in text, f"{file} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1))


def told(project: Path) -> str:
    with pytest.raises(UserError) as caught:
        require_valid(project)
    return str(caught.value)


def test_the_rules_as_they_are_hold_no_mistake() -> None:
    rules = Rules.of(ROOT)
    assert rules.mistakes == []
    assert set(rules.files) == {file.stem for file in (ROOT / "seeds/rules").glob("*.csv")}


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        # dbt's own tests and types, told with their place
        (
            "playbooks.csv",
            "trial_ending,shadow",
            "trial_ending,shadw",
            ["row 6 (trial_ending), column state", "'shadw' is not one of paused, shadow, live"],
        ),
        (
            "playbooks.csv",
            "88,,stage_left",
            "high,,stage_left",
            ["row 6 (trial_ending), column priority", "'high' is not a whole number"],
        ),
        (
            "playbooks.csv",
            "88,,stage_left",
            "1_0,,stage_left",
            ["column priority", "'1_0' is not a whole number"],
        ),
        (
            "playbooks.csv",
            "stage_left,14",
            "happiness,14",
            ["column success_metric", "'happiness' is not one of", "nrr"],
        ),
        (
            "playbooks.csv",
            "welcome,onboarding,",
            "welcome,,",
            ["row 5 (welcome), column purpose is empty"],
        ),
        (
            "playbooks.csv",
            "key_feature_used,14,7,60",
            "key_feature_used,14,7,1",
            ["row 2 (feature_unused), column rearm_days: '1' is below 7"],
        ),
        (
            "playbooks.csv",
            "50,feature_unused,",
            "50,feature_abused,",
            [
                "column experiment",
                "does not stand in seeds/rules/experiments.csv, column experiment",
            ],
        ),
        (
            "playbooks.csv",
            "trial_ending,conversion",
            "welcome,conversion",
            [
                "row 6 (welcome), column trigger_name: 'welcome' already stands in row 5",
                "no row for dbt_project/models/triggers/trg_trial_ending.sql",
            ],
        ),
        (
            "playbooks.csv",
            "trial_ending,conversion",
            "trial_endng,conversion",
            ["there is no trigger 'trial_endng'"],
        ),
        # one cell against another
        (
            "playbooks.csv",
            "conversion,contact,email,",
            "conversion,owner,email,",
            ["row 6 (trial_ending), column channel: owner_alert is the channel to owners"],
        ),
        (
            "playbooks.csv",
            "alert,owner,owner_alert,service,,,customer_success,,shadow,exempt,95",
            "alert,owner,owner_alert,service,,,customer_success,,shadow,service,95",
            ["row 9 (risk_entered), column cap_class"],
        ),
        (
            "playbooks.csv",
            "email,service,email,onboarding,customer_success,welcome",
            "email,service,email,,customer_success,welcome",
            ["row 5 (welcome), column consent_purpose: is empty"],
        ),
        (
            "playbooks.csv",
            "research,product,survey_due,shadow,commercial",
            "research,product,survey_due,shadow,service",
            [
                "(survey_due), column cap_class: what is no service counts against the "
                "commercial caps"
            ],
        ),
        (
            "playbooks.csv",
            "onboarding,customer_success,welcome,",
            "onboarding,customer_success,welcom,",
            [
                "row 5 (welcome), column template: reverse_etl/templates/welcom.en.j2 does not "
                "exist",
                "welcom.ja.j2",
            ],
        ),
        (
            "playbooks.csv",
            "onboarding,customer_success,welcome,",
            "onboarding,customer_success,../mail,",
            ["column template"],
        ),
        (
            "playbooks.csv",
            "shadow,service,88,,",
            "shadow,service,88,feature_unused,",
            ["row 6 (trial_ending), column experiment: a service message is withheld from nobody"],
        ),
        # numbers
        (
            "experiments.csv",
            "0.02",
            "1.02",
            ["experiments.csv, row 2 (universal), column holdout_share: '1.02' is above 1"],
        ),
        ("experiments.csv", "0.02", "0.00002", ["has more than 4 decimals"]),
        ("experiments.csv", "0.02", "NaN", ["'NaN' is not a number"]),
        (
            "experiments.csv",
            "2025-01-01",
            "01.01.2025",
            ["column starts_on: '01.01.2025' is not a date"],
        ),
        (
            "caps.csv",
            "commercial,contact,2",
            "commercial,contact,-2",
            ["caps.csv, row 2 (commercial), column max_touches: '-2' is below 0"],
        ),
        (
            "features.csv",
            "planning,false,false",
            "planning,no,false",
            [
                "features.csv, row 2 (project_created), column is_key: 'no' is not one of true, "
                "false"
            ],
        ),
        (
            "thresholds.csv",
            "stage_behind_share,0.5",
            "stage_behind_share,50",
            ["(stage_behind_share), column value: a share is from 0 to 1"],
        ),
        (
            "thresholds.csv",
            "trial_ending_days,3",
            "trial_end_days,3",
            [
                "thresholds.csv has no row for 'trial_ending_days', which "
                "dbt_project/models/triggers/trg_trial_ending.sql asks for"
            ],
        ),
        # the library
        (
            "content.csv",
            "getting-started-en,lesson",
            "getting-started-en,film",
            [
                "content.csv, row 2 (getting-started-en), column kind: 'film' is not one of "
                "lesson, case_study, news"
            ],
        ),
        (
            "content.csv",
            "https://vendor.example/en/lessons/getting-started",
            "javascript:alert(1)",
            ["row 2 (getting-started-en), column url"],
        ),
        (
            "content.csv",
            "getting-started-ja",
            "getting-started-en",
            ["row 3 (getting-started-en), column content_id", "already stands in row 2"],
        ),
        (
            "content.csv",
            "onboarding_step,projects,",
            "onboarding_step,projekts,",
            [
                "column feature: 'projekts' does not stand in seeds/rules/features.csv, column "
                "feature"
            ],
        ),
        (
            "onboarding_steps.csv",
            "projects,1,2",
            "projects,1,0",
            ["column stuck_after_days: '0' is below 1"],
        ),
        # shape
        (
            "caps.csv",
            "cap_class,scope",
            "capclass,scope",
            ["caps.csv has no column cap_class", "'capclass', which nobody reads"],
        ),
        (
            "caps.csv",
            "commercial,contact,2,7",
            "commercial,contact,2,7,9",
            ["caps.csv, row 2 has 5 cells, not 4"],
        ),
    ],
)
def test_a_wrong_cell_is_named_with_file_row_and_column(
    project: Path, file: str, old: str, new: str, words: list[str]
) -> None:
    change(project, file, old, new)
    message = told(project)
    assert f"seeds/rules/{file}" in message
    for word in words:
        assert word in message


def test_all_mistakes_are_told_at_once_up_to_twenty(project: Path) -> None:
    change(project, "caps.csv", "commercial,contact,2", "commercial,contact,two")
    change(project, "experiments.csv", "0.02", "two")
    assert "caps.csv" in told(project)
    assert "experiments.csv" in told(project)
    path = project / "seeds/rules/content.csv"
    path.write_text(path.read_text().replace(",lesson,", ",film,"))
    assert len(told(project).splitlines()) == 21
    assert "more." in told(project)


def test_a_missing_file_and_bytes_that_are_no_text_are_told(project: Path) -> None:
    (project / "seeds/rules/caps.csv").unlink()
    (project / "seeds/rules/content.csv").write_bytes(b"content_id,\xff\xfe")
    assert "seeds/rules/caps.csv is missing" in told(project)
    assert "seeds/rules/content.csv is not a CSV file in UTF-8" in told(project)


def test_a_yml_that_cannot_be_read_is_named(project: Path) -> None:
    (project / "seeds/rules/_rules.yml").write_text("seeds: [{columns: 3}]")
    assert "seeds/rules/_rules.yml cannot be read" in told(project)


def test_blanks_around_a_cell_and_a_byte_order_mark_do_no_harm(project: Path) -> None:
    path = project / "seeds/rules/caps.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"contact,2,7", b"contact, 2 ,7"))
    require_valid(project)


def test_landing_refuses_before_it_writes(tmp_path: Path) -> None:
    """As a person meets it: nothing was landed, the exit code says that it is theirs to mend."""
    for name in ("dbt_project", "orchestration", "reverse_etl", "seeds"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("target", "logs", "__pycache__", "raw", "truth"),
        )
    for name in ("pyproject.toml", "destinations.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    change(tmp_path, "caps.csv", "commercial,contact,2", "commercial,contact,two")
    target = tmp_path / "dbt_project/target"
    target.mkdir()
    (target / "manifest.json").write_text(this_project_as_json())  # parsed, as after any run
    finished = subprocess.run(
        [sys.executable, "-m", "orchestration.landing"],
        cwd=tmp_path,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2, finished.stderr
    assert "caps.csv, row 2 (commercial), column max_touches: 'two'" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "data/warehouse.duckdb").exists()
