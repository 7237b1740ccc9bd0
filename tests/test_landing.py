"""Raw files land as a loader would land them: typed where they fit, and never half."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from orchestration import landing
from orchestration.landing import RawTable
from reverse_etl.errors import UserError


@pytest.fixture
def table(tmp_path: Path) -> RawTable:
    types = {"id": "varchar", "amount": "bigint", "created": "timestamp", "end": "timestamp"}
    file = tmp_path / "seeds/raw/shop/orders.csv"
    file.parent.mkdir(parents=True)
    return RawTable("raw_shop", "raw_shop", "orders", types, "models/_shop__sources.yml", file)


def landed(table: RawTable, warehouse: Path) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    landing.land([table], warehouse)
    with duckdb.connect(str(warehouse)) as connection:
        relation = connection.sql(f"select * from {table.relation}")
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        return types, relation.fetchall()


def test_declared_types_are_kept_and_unknown_columns_come_along_as_text(
    table: RawTable, tmp_path: Path
) -> None:
    table.file.write_text(
        "id,amount,created,end,custom_c\no1,5,2026-01-01 00:00:00,,何か\n", encoding="utf-8"
    )
    types, rows = landed(table, tmp_path / "w.duckdb")
    assert types == {
        "id": "VARCHAR",
        "amount": "BIGINT",
        "created": "TIMESTAMP",
        "end": "TIMESTAMP",
        "custom_c": "VARCHAR",
    }
    assert rows[0][1] == 5
    assert rows[0][3:] == (None, "何か")


def test_a_column_with_one_cell_that_does_not_fit_lands_as_text_and_loses_nothing(
    table: RawTable, tmp_path: Path
) -> None:
    table.file.write_text("id,amount,created,end\no1,5,31/01/2026,\no2,six,2026-01-01,\n")
    types, rows = landed(table, tmp_path / "w.duckdb")
    assert types["amount"] == types["created"] == "VARCHAR"
    assert [row[1:3] for row in rows] == [("5", "31/01/2026"), ("six", "2026-01-01")]


def test_a_byte_order_mark_is_not_part_of_the_first_column(table: RawTable, tmp_path: Path) -> None:
    table.file.write_text("\ufeffid,amount,created,end\no1,5,,\n", encoding="utf-8")
    landing.check([table], tmp_path)
    assert list(landed(table, tmp_path / "w.duckdb")[0]) == ["id", "amount", "created", "end"]


def test_every_problem_is_named_at_once_before_anything_lands(
    table: RawTable, tmp_path: Path
) -> None:
    table.file.write_text("id,created\no1,\n")
    with pytest.raises(UserError) as error:
        landing.check([table], tmp_path)
    assert "no column 'amount'" in str(error.value)
    assert "no column 'end'" in str(error.value)


def test_a_file_that_cannot_be_read_leaves_the_warehouse_as_it_was(
    table: RawTable, tmp_path: Path
) -> None:
    table.file.write_text("id,amount,created,end\no1,5,,\n")
    warehouse = tmp_path / "w.duckdb"
    landed(table, warehouse)
    broken = RawTable(
        "raw_shop", "raw_shop", "refunds", {"id": "varchar"}, "x.yml", tmp_path / "torn.csv"
    )
    broken.file.write_text("id,name\nr1,refund\nr2,refund,and,more\n")
    table.file.write_text("id,amount,created,end\no2,6,,\n")
    with pytest.raises(duckdb.Error):
        landing.land([table, broken], warehouse)
    with duckdb.connect(str(warehouse)) as connection:
        assert connection.sql(f"select id from {table.relation}").fetchall() == [("o1",)]
