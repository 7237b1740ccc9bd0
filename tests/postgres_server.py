"""A real Postgres of its own for a test: started in an empty folder, stopped and removed after."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2


@dataclass(frozen=True)
class PostgresServer:
    """Where a server listens: trusting, on the loopback only."""

    port: int
    user: str = "postgres"
    database: str = "warehouse"

    def connect(self) -> Any:
        """A connection to the database."""
        return _connection(self, self.database)

    @property
    def environment(self) -> dict[str, str]:
        """What libpq and dbt's profile read."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
        }


def binaries() -> Path | None:
    """The folder with initdb and pg_ctl, newest version first; none where Postgres is not there."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    found = shutil.which("initdb")
    candidates = [*folders, *([Path(found).parent] if found else [])]
    return next((folder for folder in candidates if (folder / "pg_ctl").is_file()), None)


@contextmanager
def running(folder_of_binaries: Path) -> Iterator[PostgresServer]:
    """A server with an empty database ``warehouse``. It refuses to run as root: root steps down."""
    with tempfile.TemporaryDirectory(prefix="postgres_") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = PostgresServer(port=free.getsockname()[1])
        free.close()
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        control = [str(folder_of_binaries / "pg_ctl"), "-D", data, "-w"]
        initdb = [str(folder_of_binaries / "initdb"), "-D", data, "-A", "trust", "-E", "UTF8"]
        initdb += ["-U", server.user, "--locale", "C", "--no-sync"]
        _as_postgres(initdb, folder)
        options = f"-p {server.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _as_postgres([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            with closing(_connection(server, "postgres")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(f"create database {server.database}")
            yield server
        finally:
            _as_postgres([*control, "-m", "immediate", "stop"], folder)


def _connection(server: PostgresServer, database: str) -> Any:
    return psycopg2.connect(host="127.0.0.1", port=server.port, user=server.user, dbname=database)


def _as_postgres(command: list[str], folder: Path) -> None:
    stepping_down = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    finished = subprocess.run(
        [*stepping_down, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def _version(folder: Path) -> float:
    return float(folder.parent.name) if folder.parent.name.replace(".", "").isdigit() else 0.0
