"""When each raw table was last loaded, told by files: nobody opens the warehouse to look.

A loader touches ``data/loads/<schema>.<table>`` (or ``data/loads/<schema>`` for all of its tables)
once its rows are committed. Outside prod the files of ``seeds/raw`` are what is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestration.project import Project

FOLDER = "data/loads"


@dataclass(frozen=True)
class LoadedTable:
    """A raw table, by its id in dbt's manifest, and the files that tell of its loads."""

    node: str
    source: str
    name: str
    files: tuple[Path, ...]

    def loaded(self) -> int:
        """When it was last loaded, in nanoseconds; 0 where nobody told."""
        return max((_modified(file) for file in self.files), default=0)


def loaded_tables(project: Project) -> list[LoadedTable]:
    """Every raw table that a loader fills."""
    settings = project.settings
    folder = settings.project_root / (settings.environment.get("LOADS_FOLDER") or FOLDER)
    found = []
    for identity, node in project.manifest["sources"].items():
        if "landed_by" in {**node["source_meta"], **node["meta"]}:
            continue
        files = [folder / f"{node['schema']}.{node['identifier']}", folder / node["schema"]]
        if settings.target != "prod":
            raw = settings.project_root / "seeds/raw"
            source = node["source_name"].removeprefix("raw_")
            files.append(raw / source / f"{node['identifier']}.csv")
        found.append(LoadedTable(identity, node["source_name"], node["name"], tuple(files)))
    return found


def _modified(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
