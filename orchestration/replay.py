"""``python -m orchestration.replay --rules FOLDER``: the past under present rules and under others.

Health, stages and triggers of the last days are built twice on a copy of the warehouse: under A,
the rules in ``seeds/rules``, and under B, where the CSV files of FOLDER stand in for those of the
same name. What B would have flagged earlier or later is printed, which stages differ, and how many
touches each would have caused. The warehouse itself is only read, and nothing is sent.

Days published under A count as they were published; what is not there yet is scored from the facts
as they are known now. A touch is an episode that a trigger opened, before consent, caps and holdout
decide about it, and as the triggers see it from the last day: who is no longer a customer then, or
changed stage since, counts by what they are now.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson

from orchestration.manifest import DBT, dbt_environment
from orchestration.replay_report import Replay, compared, keep, printed
from reverse_etl.errors import UserError
from reverse_etl.settings import Settings
from reverse_etl.warehouse import connected

DAYS = 90
# whatever the rules change, it is seen in one of these
GOALS = ("customer_health", "customer_journey", "trg_*")
WINDOW = "episode_days"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 printed, 2 a mistake that somebody can fix."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.replay",
        description="What other rules would have flagged, and how many touches they would cause.",
    )
    parser.add_argument(
        "--rules", type=Path, required=True, help="folder with the rule files that differ"
    )
    parser.add_argument(
        "--days", type=int, default=DAYS, help=f"days up to the clock's own (default {DAYS})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    given = parser.parse_args(arguments)
    try:
        found = replay(Settings.from_environment(), given.rules, given.days)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    if given.json:
        sys.stdout.write(orjson.dumps(found.as_dict(), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        printed(found)
    return 0


def replay(settings: Settings, rules: Path, days: int = DAYS) -> Replay:
    """Both sets of rules over ``days`` days up to the clock's own.

    Raises UserError naming what of the folder, the warehouse or the models cannot be used.
    """
    if days < 1:
        raise UserError(f"--days is {days}: at least one day must be replayed.")
    present = settings.project_root / "seeds/rules"
    changed = _changed(rules, present)
    if settings.target == "postgres":
        raise UserError("A replay needs a copy of the warehouse, which only a DuckDB file gives.")
    if not settings.warehouse_path.is_file():
        raise UserError(f"There is no warehouse at {settings.warehouse_path}: run make demo first.")
    with tempfile.TemporaryDirectory(prefix="replay_") as name:
        folder = Path(name)
        ours = replace(settings, warehouse_path=folder / "warehouse.duckdb")
        _copy(settings.warehouse_path, ours.warehouse_path)
        _build(ours, _project(settings.project_root, folder / "a", [], days), GOALS_WITH_PARENTS)
        with duckdb.connect(str(ours.warehouse_path)) as connection:
            keep(connection, "a", settings.as_of_date, days)
        # days are scored anew under other rules, whatever file it is that differs
        begun = [*(file.stem for file in changed), "int_days"]
        select = [f"{seed}+,+{goal}" for seed in begun for goal in GOALS]
        _build(ours, _project(settings.project_root, folder / "b", changed, days), select)
        with duckdb.connect(str(ours.warehouse_path)) as connection:
            keep(connection, "b", settings.as_of_date, days)
            return compared(connection, settings.as_of_date, days, [file.name for file in changed])


GOALS_WITH_PARENTS = [f"+{goal}" for goal in GOALS]


def _changed(rules: Path, present: Path) -> list[Path]:
    """The rule files of a folder. Raises UserError naming what the project has no place for."""
    if not rules.is_dir():
        raise UserError(f"{rules} is no folder: name one that holds rule files (*.csv).")
    files = sorted(rules.glob("*.csv"))
    if not files:
        raise UserError(f"{rules} holds no rule file (*.csv): copy one of {present} and edit it.")
    for file in files:
        own = present / file.name
        if not own.is_file():
            names = ", ".join(sorted(path.name for path in present.glob("*.csv")))
            raise UserError(f"{file} is no rule file of this project. Those are: {names}.")
        columns, expected = _header(file), _header(own)
        if set(columns) != set(expected):
            raise UserError(
                f"{file} has the columns {', '.join(columns)}; {own.name} of this project has "
                f"{', '.join(expected)}."
            )
    return files


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as text:
        return next(csv.reader(text), [])


def _copy(warehouse: Path, copy: Path) -> None:
    """One finished build: who reads keeps writers away meanwhile."""
    with connected(warehouse, read_only=True):
        shutil.copy2(warehouse, copy)


def _project(root: Path, folder: Path, changed: list[Path], days: int) -> Path:
    """A copy of the dbt project with these rule files in the place of its own; its folder.

    Its triggers look at all of the days, not only at the last few.
    """
    ignored = shutil.ignore_patterns("target", "logs", "__pycache__")
    shutil.copytree(root / "dbt_project", folder / "dbt_project", ignore=ignored)
    shutil.copytree(root / "seeds/rules", folder / "seeds/rules")
    for file in changed:
        shutil.copyfile(file, folder / "seeds/rules" / file.name)
    thresholds = folder / "seeds/rules/thresholds.csv"
    rows = list(csv.DictReader(io.StringIO(thresholds.read_text(encoding="utf-8"))))
    windows = [row for row in rows if row["rule"] == WINDOW]
    if not windows:
        raise UserError(
            f"thresholds.csv has no line {WINDOW}: add it, since triggers go back as many days."
        )
    windows[0]["value"] = str(days)
    with thresholds.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "dbt_project"


def _build(settings: Settings, project: Path, select: list[str]) -> None:
    """``dbt build`` of a part of the project, without tests. Raises UserError in dbt's words."""
    target = replace(settings, manifest_path=project / "target/manifest.json")
    finished = subprocess.run(  # noqa: S603 - fixed program, no shell
        [
            str(DBT),
            *("--quiet", "--no-use-colors", "build", "--select", *select),
            *("--exclude-resource-type", "test", "unit_test"),
            *("--project-dir", str(project), "--profiles-dir", str(project)),
        ],
        env=dbt_environment(target),
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise UserError(
            f"dbt cannot build the models under these rules:\n"
            f"{(finished.stdout + finished.stderr).strip()}"
        )


if __name__ == "__main__":
    sys.exit(main())
