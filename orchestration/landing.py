"""Lands ``seeds/raw/<source>/*.csv`` in the raw schemas, as a loader of the company would.

What a raw table looks like is said once, in the sources' yml beside the staging models, and reaches
this module through dbt's manifest: schema, columns and their types. A column that does not fit its
type lands as text, as real loaders do; one that nobody declared lands as text and disturbs nobody.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.project import load_project
from reverse_etl import rules
from reverse_etl.errors import UserError
from reverse_etl.warehouse import connected


@dataclass(frozen=True)
class RawTable:
    """One table of one source: where it lands, from which file, with which declared columns."""

    source: str
    schema: str
    name: str
    types: Mapping[str, str]
    declared_in: str
    file: Path
    description: str = ""

    @property
    def relation(self) -> str:
        """The quoted name in the warehouse."""
        return f'"{self.schema}"."{self.name}"'


def raw_tables(manifest: Mapping[str, Any], project_root: Path) -> list[RawTable]:
    """Every raw table of an enabled source, in the order of the manifest; not those whose
    ``meta.landed_by`` says that they come from elsewhere."""
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
            description=node.get("description") or "",
        )
        for node in manifest["sources"].values()
        if "landed_by" not in {**node["source_meta"], **node["meta"]}
    ]


def check(tables: list[RawTable], project_root: Path) -> None:
    """Raise UserError naming every missing file and every missing column; reads headers only."""
    problems = [problem for table in tables for problem in _problems(table, project_root)]
    if problems:
        raise UserError("\n".join(problems))


def land(tables: list[RawTable], warehouse: Path) -> dict[str, int]:
    """Replace the raw tables by what the files hold; rows landed by ``schema.table``.

    All or none: a file that cannot be read leaves the warehouse as it was.
    """
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    with connected(warehouse, read_only=False) as connection:
        connection.begin()
        rows = {f"{table.schema}.{table.name}": _landed(table, connection) for table in tables}
        connection.commit()
    return rows


def _problems(table: RawTable, project_root: Path) -> list[str]:
    file = table.file.relative_to(project_root)
    if not table.file.is_file():
        return [
            f"{file} is missing: {table.source}.{table.name} is declared in {table.declared_in}. "
            "Put the file there, or switch the source off (vars.sources in "
            "dbt_project/dbt_project.yml)."
        ]
    header = _header(table.file)
    missing = [column for column in table.types if column not in header]
    return [
        f"{file} has no column {column!r}, which {table.declared_in} declares: add it."
        for column in missing
    ]


def _landed(table: RawTable, connection: duckdb.DuckDBPyConnection) -> int:
    header = _header(table.file)
    types = ", ".join(f"{_literal(name)}: 'varchar'" for name in header)
    connection.execute(f'create schema if not exists "{table.schema}"')
    # every cell as text first; the dialect is said, since guessing it takes longer than reading
    connection.execute(
        f"create or replace table {table.relation} as select * from read_csv("  # noqa: S608
        f"{_literal(str(table.file))}, columns = {{{types}}}, auto_detect = false, header = true,"
        " delim = ',', quote = '\"', escape = '\"')"
    )
    declared = {name: table.types[name] for name in header if name in table.types}
    fits = [
        f'coalesce(bool_and("{name}" is null or try_cast("{name}" as {kind}) is not null), true)'
        for name, kind in declared.items()
    ]
    counted = f"select {', '.join(['count(*)', *fits])} from {table.relation}"  # noqa: S608
    [(rows, *fitting)] = connection.execute(counted).fetchall()
    typed = {name for name, fit in zip(declared, fitting, strict=True) if fit}
    columns = [
        f'cast("{name}" as {declared[name]}) as "{name}"' if name in typed else f'"{name}"'
        for name in header
    ]
    connection.execute(
        f"create or replace table {table.relation} as"  # noqa: S608
        f" select {', '.join(columns)} from {table.relation}"
    )
    return int(rows)


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return next(csv.reader(opened), [])


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    """Land everything, for working with dbt alone; the exit code of the process."""
    try:
        project = load_project()
        settings = project.settings
        tables = raw_tables(project.manifest, settings.project_root)
        rules.require_valid(settings.project_root)
        check(tables, settings.project_root)
        rows = land(tables, settings.warehouse_path)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    where = settings.shown(settings.warehouse_path)
    sys.stdout.write(f"{len(rows)} raw tables with {sum(rows.values())} rows landed in {where}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
