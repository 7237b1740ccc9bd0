"""Where things are and what day it is, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path

import yaml
from dotenv import dotenv_values

from reverse_etl.clock import Clock
from reverse_etl.errors import UserError
from reverse_etl.yaml_files import read_yaml


@dataclass(frozen=True)
class Settings:
    """Paths are absolute; ``as_of_date`` is the day (UTC) the warehouse was built for.

    ``environment`` is the process environment laid over the project's ``.env`` file: credentials
    are looked up there when a destination is used, and only then.
    """

    project_root: Path
    target: str
    warehouse_path: Path
    ledger_url: str
    destinations_file: Path
    as_of_date: date
    manifest_path: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, project_root: Path | None = None
    ) -> Settings:
        """Read ``.env`` and then ``environ`` (default: the process's); the latter wins.

        Raises UserError when AS_OF_DATE, or the sample's day it falls back to, is not a date.
        """
        root = (project_root or _project_root()).resolve()
        from_file = dotenv_values(root / ".env", interpolate=False)
        given = os.environ if environ is None else environ
        environment = {k: v for k, v in from_file.items() if v is not None} | dict(given)

        def path(variable: str, default: str) -> Path:
            return root / (environment.get(variable) or default)

        target = environment.get("DBT_TARGET") or "dev"
        return cls(
            project_root=root,
            target=target,
            warehouse_path=path("WAREHOUSE_PATH", "data/warehouse.duckdb"),
            ledger_url=environment.get("LEDGER_URL") or f"sqlite:///{root / 'data/ledger.db'}",
            destinations_file=path("DESTINATIONS_FILE", "destinations.yml"),
            as_of_date=_as_of_date(environment, root, target),
            manifest_path=path("DBT_TARGET_PATH", "dbt_project/target") / "manifest.json",
            environment=environment,
        )

    def day_clock(self, clock: Clock) -> Clock:
        """The clock that decisions count from: the given one, which stands still at the end of the
        day that the warehouse was built for."""
        end = datetime.combine(self.as_of_date, time(23, 59, 59), UTC)
        return lambda: min(clock(), end)

    def shown(self, path: Path) -> str:
        """A path as a reader knows it: relative to the project where it lies inside."""
        return str(path.relative_to(self.project_root) if self._holds(path) else path)

    def _holds(self, path: Path) -> bool:
        return path.is_relative_to(self.project_root)


def _project_root() -> Path:
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    return Path.cwd()


def _as_of_date(environment: Mapping[str, str], root: Path, target: str) -> date:
    if text := environment.get("AS_OF_DATE"):
        return _parsed(text, "AS_OF_DATE")
    if target == "prod":
        return datetime.now(UTC).date()
    file = root / "dbt_project" / "dbt_project.yml"
    try:
        text = str(read_yaml(file.read_text())["vars"]["sample_as_of_date"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            "No day to work for: set AS_OF_DATE (YYYY-MM-DD) in the environment or .env, or "
            "vars.sample_as_of_date in dbt_project/dbt_project.yml."
        ) from error
    return _parsed(text, "vars.sample_as_of_date in dbt_project/dbt_project.yml")


def _parsed(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{name} is {text!r}, not a date. Write it as YYYY-MM-DD.") from None
