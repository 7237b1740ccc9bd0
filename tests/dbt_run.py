"""dbt in the process of the tests: to start it anew for each run would take longer than the run."""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt.parser.manifest import extended_mashumuro_decoder

from tests.conftest import ROOT, SHARED

LAST_DAY = "2026-10-28"
PROJECT = ROOT / "dbt_project"


def run_dbt(
    project: Path,
    warehouse: Path,
    *arguments: str,
    day: str = LAST_DAY,
    target: Path | None = None,
    manifest: Manifest | None = None,
) -> Any:
    """Run dbt on the project in a folder, on a day; its result. It must end well.

    ``target``: where it writes what it reads and compiles, by default into the project.
    ``manifest``: what it would read of the project, which it then does not.
    """
    folders = ("--project-dir", str(project), "--profiles-dir", str(project))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WAREHOUSE_PATH", str(warehouse))
        environment.setenv("AS_OF_DATE", day)
        # a line for each statement, for nobody
        environment.setenv("DBT_LOG_LEVEL_FILE", "none")
        environment.delenv("DBT_TARGET_PATH", raising=False)
        if target:
            environment.setenv("DBT_TARGET_PATH", str(target))
        try:
            done = dbtRunner(manifest).invoke([arguments[0], "--quiet", *folders, *arguments[1:]])
        finally:
            # the profile keeps the file open until its process ends
            DuckDBConnectionManager.close_all_connections()
    told = [result.message for result in getattr(done.result, "results", [])]
    assert done.success, (done.exception, told)
    return done.result


@dataclass(frozen=True)
class Parsed:
    """What dbt read of a project: packed as it keeps it, and as the file that it leaves others."""

    packed: bytes
    text: str

    def manifest(self) -> Manifest:
        """For one run, which writes into it."""
        manifest = Manifest.from_msgpack(self.packed, decoder=extended_mashumuro_decoder)
        manifest.build_flat_graph()
        return manifest


@cache
def parsed(project: Path, *arguments: str) -> Parsed:
    """Read once for all runs with these variables, whichever process of the tests they are in: that
    takes ten seconds, and to unpack it less than one. Their warehouses must be called
    warehouse.duckdb, since relations bear the file's name."""
    name = hashlib.sha256(repr((project, arguments)).encode()).hexdigest()
    folder = Path(os.environ[SHARED], name)
    folder.mkdir(exist_ok=True)
    packed, text = folder / "partial_parse.msgpack", folder / "manifest.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not text.is_file():
            run_dbt(project, folder / "warehouse.duckdb", "parse", *arguments, target=folder)
    return Parsed(packed.read_bytes(), text.read_text())


def this_project() -> Manifest:
    """What dbt reads of the project as it is."""
    return parsed(PROJECT).manifest()


def this_project_as_json() -> str:
    """The same as the file that dbt leaves for others."""
    return parsed(PROJECT).text
