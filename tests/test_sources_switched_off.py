"""A source that a company does not have is switched off by one variable, and everything builds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from orchestration.landing import land as land_files
from orchestration.landing import raw_tables
from tests.conftest import ROOT
from tests.dbt_run import PROJECT, run_dbt, this_project_as_json

SOURCES: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "dbt_project/dbt_project.yml").read_text()
)["vars"]["sources"]
IN_USE = [name for name, source in SOURCES.items() if source["enabled"]]
# without billing there is no customer; the smallest company has billing and its product
SMALLEST = ("stripe", "segment")
CASES = {
    **{f"without_{name}": [name] for name in IN_USE},
    "with_billing_and_product_alone": [name for name in IN_USE if name not in SMALLEST],
}
QUICK = ("with_billing_and_product_alone",)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample company, landed and not built."""
    warehouse = tmp_path_factory.mktemp("landed") / "warehouse.duckdb"
    land_files(raw_tables(json.loads(this_project_as_json()), ROOT), warehouse)
    return warehouse


@pytest.mark.parametrize(
    "case",
    [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_everything_is_built_without_it(tmp_path: Path, raw: Path, case: str) -> None:
    off = CASES[case]
    warehouse = Path(shutil.copy(raw, tmp_path))
    with duckdb.connect(str(warehouse)) as connection:
        for name in off:
            connection.execute(f"drop schema if exists {SOURCES[name]['schema']} cascade")
    sources = {name: source | {"enabled": source["enabled"] and name not in off}
               for name, source in SOURCES.items()}  # fmt: skip
    without_tests = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
    variables = ("--vars", json.dumps({"sources": sources}))
    run_dbt(PROJECT, warehouse, "build", *without_tests, *variables, target=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    left = {table.schema for table in raw_tables(manifest, ROOT)}
    # our own deliveries come from the ledger, not from a file
    from_files = [name for name in IN_USE if name != "activation"]
    assert left == {SOURCES[name]["schema"] for name in from_files if name not in off}
    with duckdb.connect(str(warehouse)) as connection:
        [(customers,)] = connection.sql("select count(*) from marts.customers").fetchall()
        typed = connection.sql("select * from staging.stg_zendesk__tickets")
        types = dict(zip(typed.columns, map(str, typed.types), strict=True))
        told = connection.sql("select distinct source from marts.data_quality").fetchall()
    assert (customers > 100) is ("stripe" not in off)
    assert (types["ticket_id"], types["created_at"]) == ("VARCHAR", "TIMESTAMP")
    assert not set(off) & {source for (source,) in told}
