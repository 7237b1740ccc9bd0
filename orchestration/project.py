"""The dbt project as Dagster sees it, with a manifest that is never older than its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject

from orchestration import manifest
from reverse_etl.settings import Settings

AS_OF_DATE_TAG = "as_of_date"


@dataclass(frozen=True)
class Project:
    """The parsed dbt project of one target."""

    settings: Settings
    dbt: DbtProject
    manifest: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Absolute: dbt's partial parse breaks when it is not."""
        return self.settings.project_root / "dbt_project"


def load_project(settings: Settings | None = None) -> Project:
    """The project with a manifest of now: parsed again when a file changed since.

    Raises UserError in dbt's words.
    """
    settings = settings or Settings.from_environment()
    folder = settings.project_root / "dbt_project"
    manifest.refresh(settings)
    return Project(
        settings=settings,
        dbt=DbtProject(
            project_dir=folder,
            profiles_dir=folder,
            target=settings.target,
            target_path=settings.manifest_path.parent,
        ),
        manifest=json.loads(settings.manifest_path.read_text()),
    )
