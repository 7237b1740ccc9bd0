"""dbt's manifest, never older than the files it tells of. Imports little: it can start first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reverse_etl.errors import UserError
from reverse_etl.settings import Settings

DBT = Path(sys.executable).parent / "dbt"


def refresh(settings: Settings) -> None:
    """Parse the dbt project when a file of it changed since. Raises UserError in dbt's words."""
    if _is_older(settings.manifest_path, settings.project_root):
        _parse(settings)


def _parse(settings: Settings) -> None:
    """Write the manifest anew; a model that dbt cannot read is the user's to mend."""
    folder = settings.project_root / "dbt_project"
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    finished = subprocess.run(  # noqa: S603 - fixed program, no shell
        [str(DBT), "--quiet", "parse", "--project-dir", str(folder), "--profiles-dir", str(folder)],
        env=dbt_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise UserError(
            f"dbt cannot parse dbt_project:\n{(finished.stdout + finished.stderr).strip()}"
        )


def dbt_environment(settings: Settings) -> dict[str, str]:
    """What dbt's profile and clock read, absolute whatever the working directory."""
    return {
        **os.environ,
        "WAREHOUSE_PATH": str(settings.warehouse_path),
        "AS_OF_DATE": settings.as_of_date.isoformat(),
        "DBT_TARGET": settings.target,
        "DBT_TARGET_PATH": str(settings.manifest_path.parent),
        # of a part of the graph only the tests that need no other part
        "DBT_INDIRECT_SELECTION": "cautious",
        # what dbt says is in Dagster's compute log already
        "DBT_LOG_LEVEL_FILE": "none",
    }


def _is_older(manifest: Path, root: Path) -> bool:
    if not manifest.is_file():
        return True
    folders = [root / "dbt_project" / name for name in ("models", "macros", "data_tests")] + [
        root / "seeds/rules"
    ]
    files = [root / "dbt_project" / name for name in ("dbt_project.yml", "profiles.yml")]
    parsed_at = manifest.stat().st_mtime
    # a folder's own time tells of files that were removed
    inputs = (path for folder in folders for path in (folder, *folder.rglob("*")))
    return any(path.stat().st_mtime > parsed_at for path in (*files, *inputs))
