"""Lands ``seeds/raw/<source>/*.csv`` in the raw schemas, as a loader of the company would.

What a raw table looks like is said once, in the sources' yml beside the staging models, and reaches this module
through dbt's manifest: schema, columns and their types. A column that does not fit its type lands as text, as real
loaders do; a column that nobody declared lands as text too and disturbs nobody.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.locks import connected
from orchestration.project import load_project
from reverse_etl.errors import UserError


@dataclass(frozen=True)
class RawTable:
    """One table of one source: where it lands, from which file, with which declared columns."""

    source: str
    schema: str
    name: str
    types: Mapping[str, str]
    declared_in: str
    file: Path

    @property
    def relation(self) -> str:
        """The quoted name in the warehouse."""
        return f'"{self.schema}"."{self.name}"'


def raw_tables(manifest: Mapping[str, Any], project_root: Path) -> list[RawTable]:
    """Every raw table that an enabled source declares, in the order of the manifest."""
    return [
        RawTable(
            source=node["source_name"],
            schema=node["schema"],
            name=node["identifier"],
            types={
                name: column["data_type"] or "varchar" for name, column in node["columns"].items()
            },
            declared_in=f"dbt_project/{node['original_file_path']}",
            file=project_root
            / "seeds/raw"
            / node["source_name"].removeprefix("raw_")
            / f"{node['identifier']}.csv",
        )
        for node in manifest["sources"].values()
    ]


def check(tables: list[RawTable], project_root: Path) -> None:
    """Raise UserError naming every file that is missing and every column missing in one; reads headers only."""
    problems = [problem for table in tables for problem in _problems(table, project_root)]
    if problems:
        raise UserError("\n".join(problems))


def land(tables: list[RawTable], warehouse: Path) -> dict[str, int]:
    """Replace the raw tables by what the files hold; rows landed by ``schema.table``.

    All of them or none: one transaction, so that a file that cannot be read leaves the warehouse as it was.
    """
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    with connected(warehouse) as connection:
        connection.begin()
        rows = {f"{table.schema}.{table.name}": _landed(table, connection) for table in tables}
        connection.commit()
    return rows


def _problems(table: RawTable, project_root: Path) -> list[str]:
    file = table.file.relative_to(project_root)
    if not table.file.is_file():
        return [
            f"{file} is missing: {table.source}.{table.name} is declared in {table.declared_in}. Put the file there, "
            f"or switch the source off (vars.sources in dbt_project/dbt_project.yml)."
        ]
    with table.file.open(encoding="utf-8-sig", newline="") as opened:
        header = next(csv.reader(opened), [])
    missing = [column for column in table.types if column not in header]
    return [
        f"{file} has no column {column!r}, which {table.declared_in} declares: add it."
        for column in missing
    ]


def _landed(table: RawTable, connection: duckdb.DuckDBPyConnection) -> int:
    connection.execute(f'create schema if not exists "{table.schema}"')
    text = f"read_csv('{_quoted(table.file)}', header = true, all_varchar = true, delim = ',', quote = '\"')"
    relation = connection.sql(f"select * from {text}")
    declared = {column: table.types[column] for column in relation.columns if column in table.types}
    fits = ", ".join(
        f'coalesce(bool_and(try_cast("{column}" as {kind}) is not null or "{column}" is null), true)'
        for column, kind in declared.items()
    )
    row = connection.execute(f"select count(*), {fits} from {text}").fetchone()
    assert row is not None
    types = dict.fromkeys(relation.columns, "varchar") | {
        column: kind if fit else "varchar"
        for (column, kind), fit in zip(declared.items(), row[1:], strict=True)
    }
    columns = ", ".join(
        f'cast("{column}" as {kind}) as "{column}"' for column, kind in types.items()
    )
    connection.execute(f"create or replace table {table.relation} as select {columns} from {text}")
    return int(row[0])


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")


def main() -> int:
    """Land everything, for working with dbt alone; the exit code of the process."""
    try:
        project = load_project()
        tables = raw_tables(project.manifest, project.settings.project_root)
        check(tables, project.settings.project_root)
        rows = land(tables, project.settings.warehouse_path)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    print(
        f"{len(rows)} raw tables, {sum(rows.values())} rows in {project.settings.shown(project.settings.warehouse_path)}"
    )  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
