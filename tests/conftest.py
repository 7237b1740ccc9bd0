"""What several test files share: a copy of the project that can be built and broken."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "dbt_project",
    "orchestration",
    "reverse_etl",
    "seeds",
    "dagster.yaml",
    "destinations.yml",
    "pyproject.toml",
)


LONGEST = (
    *("demo", "health_history", "destination_contract", "people_tools", "dirty_data"),
    *("sources_switched_off", "foreign_raw_data", "revenue", "mistakes", "loaders", "decisions"),
    *("dbt_project", "checks", "new_trigger", "cli", "security", "triggers", "engine", "rules"),
)
"""The files that take longest, longest first: whichever comes last, one worker waits for it."""
SHARED = "SHARED_BY_TESTS"
"""Names a folder that all processes of one run of the tests share."""


def pytest_configure(config: pytest.Config) -> None:
    """The first process makes the shared folder; the others inherit its name."""
    if SHARED not in os.environ:
        folder = TemporaryDirectory()
        os.environ[SHARED] = folder.name

        def removed() -> None:
            del os.environ[SHARED]
            folder.cleanup()

        config.add_cleanup(removed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were."""
    rank = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@dataclass(frozen=True)
class ProjectCopy:
    """The whole project in a folder of its own, with ports of its own."""

    root: Path
    http_port: int
    smtp_port: int

    @property
    def environment(self) -> dict[str, str]:
        """A bare shell's environment: the copy's code, and nothing that names a file."""
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            "PYTHONPATH": str(self.root),
            "SANDBOX_PORT": str(self.http_port),
            "SANDBOX_SMTP_PORT": str(self.smtp_port),
            "COLUMNS": "160",
        }

    def demo(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """``make demo``, without making the environment."""
        return self._run([sys.executable, "-m", "orchestration.demo"], environment)

    def reverse_etl(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command line, from a folder that is not the project's."""
        command = [sys.executable, "-m", "reverse_etl.cli", *arguments]
        return self._run(command, environment, cwd=self.root.parent)

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json; it must end well."""
        finished = self.reverse_etl(*arguments, "--json")
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows from the warehouse."""
        path = str(self.root / "data/warehouse.duckdb")
        with duckdb.connect(path, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def replace(self, file: str, old: str, new: str) -> None:
        """Edit a file as a user would; what is replaced must be there."""
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new))

    def _run(
        self, command: list[str], environment: dict[str, str], cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectCopy]:
    """A copy of the project as a fresh clone has it; its sandbox is stopped at the end."""
    copy = ProjectCopy(tmp_path_factory.mktemp("project") / "clone", free_port(), free_port())
    copy.root.mkdir()
    ignored = shutil.ignore_patterns("target", "logs", "__pycache__", ".user.yml")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy.root / name, ignore=ignored)
        else:
            shutil.copy2(source, copy.root / name)
    yield copy
    copy.reverse_etl("sandbox", "--stop")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
