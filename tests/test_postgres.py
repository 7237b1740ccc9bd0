"""The same models on Postgres give the same marts: moving there is a line in profiles.yml."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from psycopg2 import sql

from tests.conftest import ROOT
from tests.postgres_server import PostgresServer, binaries, running

pytestmark = pytest.mark.slow

DBT = Path(sys.executable).parent / "dbt"
NULL = r"\N"
BATCH = "batch_id"  # names the run that wrote the row
COMPARED = ("marts", "segments", "triggers")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    folder = binaries()
    if folder is None:
        pytest.skip("Postgres is not installed here (Debian: apt-get install postgresql)")
    with running(folder) as server:
        yield server


@pytest.fixture(scope="module")
def duckdb_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB warehouse with the sample landed and every model built."""
    folder = tmp_path_factory.mktemp("duckdb")
    environment = _environment(folder)
    _run([sys.executable, "-m", "orchestration.landing"], environment, ROOT)
    _dbt(["build", "--exclude-resource-type", "unit_test", "test"], environment)
    return folder / "warehouse.duckdb"


@pytest.fixture(scope="module")
def built(
    postgres: PostgresServer, duckdb_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> PostgresServer:
    """Postgres with the same raw tables, and every model, test and unit test built on it."""
    _copy_raw_tables(duckdb_file, postgres)
    environment = _environment(tmp_path_factory.mktemp("postgres")) | postgres.environment
    _dbt(["build", "--target", "postgres", "--warn-error"], environment)
    return postgres


def test_the_whole_project_builds_on_postgres_and_agrees_with_duckdb(
    built: PostgresServer, duckdb_file: Path
) -> None:
    differences = {}
    with duckdb.connect(str(duckdb_file), read_only=True) as ours, built.connect() as theirs:
        tables = ours.execute(
            "select table_schema, table_name from information_schema.tables"
            " where list_contains(?, table_schema) order by all",
            [list(COMPARED)],
        ).fetchall()
        assert len(tables) > 10
        for schema, table in tables:
            columns = [
                row[0]
                for row in ours.execute(
                    "select column_name from information_schema.columns where table_schema = ?"
                    " and table_name = ? and data_type not in ('DOUBLE', 'FLOAT')"
                    " and column_name <> ?",
                    [schema, table, BATCH],
                ).fetchall()
            ]
            names = ", ".join(f'"{name}"' for name in columns)
            query = f'select {names} from "{schema}"."{table}"'
            here = _counted(ours, query)
            # a cursor with a name leaves the rows on the server until they are read
            with theirs.cursor(name="counted") as cursor:
                there = _counted(cursor, query)
            if here != there:
                only_here = _examples(ours, query, here - there)
                with theirs.cursor(name="examples") as cursor:
                    only_there = _examples(cursor, query, there - here)
                counts = (here.total(), there.total())
                differences[f"{schema}.{table}"] = (*counts, only_here, only_there)
    assert not differences, differences


def _counted(cursor: Any, query: str) -> Counter[bytes]:
    """How often each row occurs, by a digest of it: some tables have millions."""
    return Counter(digest for digest, _ in _digested(cursor, query))


def _examples(cursor: Any, query: str, wanted: Counter[bytes]) -> list[tuple[Any, ...]]:
    """Two rows that the other warehouse does not have as often."""
    return [row for digest, row in _digested(cursor, query) if digest in wanted][:2]


def _digested(cursor: Any, query: str) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    cursor.execute(query)
    while rows := cursor.fetchmany(10_000):
        for row in rows:
            text = "\x1f".join("" if value is None else str(value) for value in row)
            yield hashlib.md5(text.encode(), usedforsecurity=False).digest(), row


def _copy_raw_tables(duckdb_file: Path, server: PostgresServer) -> None:
    """Every raw table with its types, as a loader that lands in Postgres would leave it."""
    with duckdb.connect(str(duckdb_file), read_only=True) as ours, server.connect() as theirs:
        tables = ours.execute(
            "select table_schema, table_name, list((column_name, data_type) order by"
            " ordinal_position) from information_schema.columns"
            " where table_schema like 'raw@_%' escape '@' group by all order by all"
        ).fetchall()
        with theirs.cursor() as cursor:
            for schema, table, columns in tables:
                _create(cursor, schema, table, columns)
                rows = ours.execute(f'select * from "{schema}"."{table}"').fetchall()
                text = io.StringIO()
                written = csv.writer(text)
                written.writerows([NULL if cell is None else cell for cell in row] for row in rows)
                text.seek(0)
                copied = sql.SQL("copy {} from stdin with (format csv, null {})")
                name = sql.Identifier(schema, table)
                cursor.copy_expert(copied.format(name, sql.Literal(NULL)), text)
        theirs.commit()


def _create(cursor: Any, schema: str, table: str, columns: list[tuple[str, str]]) -> None:
    schema_name, name = sql.Identifier(schema), sql.Identifier(schema, table)
    cursor.execute(sql.SQL("create schema if not exists {}").format(schema_name))
    described = [
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_postgres_type(kind)))
        for column, kind in columns
    ]
    cursor.execute(sql.SQL("create table {} ({})").format(name, sql.SQL(", ").join(described)))


def _postgres_type(kind: str) -> str:
    names = {"VARCHAR": "text", "DOUBLE": "double precision", "JSON": "text"}
    return names.get(kind, kind.lower())


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "WAREHOUSE_PATH": str(folder / "warehouse.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder),
    }


def _dbt(arguments: list[str], environment: dict[str, str]) -> None:
    folder = str(ROOT / "dbt_project")
    _run(
        [
            str(DBT),
            "--no-use-colors",
            *arguments,
            "--project-dir",
            folder,
            "--profiles-dir",
            folder,
        ],
        environment,
        ROOT / "dbt_project",
    )


def _run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    finished = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, (finished.stdout + finished.stderr)[-6000:]
