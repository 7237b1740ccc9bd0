"""The staging models of some sources alone, run over raw tables that a test lands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import duckdb

from tests.conftest import ROOT
from tests.dbt_run import LAST_DAY, parsed, run_dbt
from tests.raw_shapes import Row

SOURCES = ("stripe", "zendesk", "segment", "posthog", "hubspot")


class Staging:
    """The staging models of some sources alone, with a warehouse for each run."""

    def __init__(self, folder: Path) -> None:
        self.root, self.runs = folder, 0
        project, ours = folder / "dbt_project", ROOT / "dbt_project"
        for part in ("macros", "snapshots"):
            shutil.copytree(ours / part, project / part)
        (project / "models").mkdir()
        for file in ("dbt_project.yml", "profiles.yml", "models/groups.yml"):
            shutil.copy2(ours / file, project / file)
        for source in ("stripe", "zendesk", "segment", "posthog"):
            staging = Path("models/staging") / source
            (project / staging).mkdir(parents=True)
            shutil.copy2(ours / staging / f"_{source}__sources.yml", project / staging)
            for model in (ours / staging).glob("*.sql"):
                shutil.copy2(model, project / staging)

    def warehouse(self) -> Path:
        """A file for the next run."""
        self.runs += 1
        folder = self.root / f"run_{self.runs}"
        folder.mkdir()
        return folder / "warehouse.duckdb"

    def built(self, warehouse: Path, loader: str = "fivetran") -> dict[str, list[Row]]:
        """What is staged of Stripe and Zendesk, by model, in an order that is always the same."""
        self.run(warehouse, loader, "run")
        found = [path.stem for path in self.root.glob("dbt_project/models/staging/*/stg_*.sql")]
        return staged(warehouse, [name for name in found if "stripe" in name or "zendesk" in name])

    def run(self, warehouse: Path, loader: str, command: str, day: str = LAST_DAY) -> None:
        """Build Stripe and Zendesk as they were landed, and as they are known on a day."""
        sources = {
            name: {
                "enabled": name in ("stripe", "zendesk"),
                "loader": loader,
                "schema": f"raw_{name}",
            }
            for name in SOURCES
        }
        variables = ("--vars", json.dumps({"sources": sources}))
        chosen = ("--select", "staging.stripe", "staging.zendesk", "resource_type:snapshot")
        project = self.root / "dbt_project"
        manifest = parsed(project, *variables).manifest()
        arguments = (command, *chosen, *variables)
        run_dbt(project, warehouse, *arguments, day=day, manifest=manifest)


def staged(warehouse: Path, models: Iterable[str]) -> dict[str, list[Row]]:
    """The rows of staging models with the types of their columns."""
    rows = {}
    with duckdb.connect(str(warehouse)) as connection:
        for model in models:
            found = connection.sql(f"select * from staging.{model} order by all")
            rows[model] = [
                dict(zip(found.columns, row, strict=True)) | {"types": str(found.types)}
                for row in found.fetchall()
            ]
    return rows
