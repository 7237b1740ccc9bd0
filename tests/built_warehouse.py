"""A warehouse of its own for a test: raw files landed, models built by real dbt for a day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.conftest import ROOT
from tests.dbt_run import PROJECT, run_dbt, this_project

HEALTH = ("+customer_health", "+customer_journey")


@dataclass
class BuiltWarehouse:
    """One DuckDB file, built as often as a test likes, by this project or a copy of it."""

    folder: Path
    raw: Path = ROOT / "seeds/raw"
    project: Path = PROJECT

    @property
    def file(self) -> Path:
        return self.folder / "warehouse.duckdb"

    def land(self) -> None:
        """Every CSV of the raw folder as a table of text, as a careless loader would."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(self.file)) as connection:
            for file in sorted(self.raw.glob("*/*.csv")):
                schema = f"raw_{file.parent.name}"
                connection.execute(f"create schema if not exists {schema}")
                connection.execute(
                    f"create or replace table {schema}.{file.stem} as"
                    f" from read_csv('{file}', all_varchar = true, header = true)"
                )

    def build(self, day: str, *select: str, exclude: tuple[str, ...] = ()) -> None:
        """``dbt build`` of these models (default: all), without tests."""
        chosen = ["--select", *select] if select else []
        left_out = ["--exclude", *exclude] if exclude else []
        tests = ("--exclude-resource-type", "test", "unit_test")
        self.dbt(day, "build", *chosen, *left_out, *tests)

    def dbt(self, day: str, *arguments: str) -> None:
        """Any command of dbt on this warehouse for a day; it must end well."""
        known = this_project() if self.project == PROJECT else None
        run_dbt(
            self.project,
            self.file,
            *arguments,
            day=day,
            target=self.folder / "target",
            manifest=known,
        )

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query, or the change it makes."""
        with duckdb.connect(str(self.file)) as connection:
            return connection.execute(sql).fetchall()

    def history(self, until: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """What was published up to a day, by customer, day and version; not when it was."""
        rows = self.run(
            "select customer_id, as_of_date, rules_version,"
            " * exclude (customer_id, as_of_date, rules_version, published_at)"
            f" from marts.customer_health_history where as_of_date <= '{until}'"
        )
        return {row[:3]: row[3:] for row in rows}
