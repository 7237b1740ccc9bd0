"""Revenue against a reference in Python, to the cent: subscription histories that hypothesis draws,
lives told by hand and the sample company, in one warehouse, through the real models.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from orchestration.landing import land, raw_tables
from tests.conftest import ProjectCopy
from tests.dbt_run import run_dbt, this_project_as_json
from tests.revenue_histories import LIVES, drawn, together
from tests.revenue_reference import Raw, Reference, Revenue, months_later, retention

CLOCK = datetime.fromisoformat("2026-10-28 23:59:59")
KINDS = ("new", "expansion", "reactivation", "contraction", "churn")
DATA_TESTS = (
    "assert_revenue_months_follow_each_other",
    "assert_revenue_movements_add_up",
    "assert_revenue_is_the_sum_of_its_customers",
)
# written into the model, since dbt reads the whole project anew when a variable changes
DISCOUNTS = "dbt_project/models/intermediate/revenue/int_subscription_months__discounted.sql"
THE_VARIABLE = "var('mrr_discounts', 'stripe')"
AFTER_DISCOUNTS = (
    "int_subscription_months__discounted",
    "int_subscription_months__priced",
    "int_customer_months__summed",
    "mrr_movements",
    "revenue_monthly",
)


@dataclass(frozen=True)
class Base:
    """A warehouse with every customer in it, built by the real models."""

    copy: ProjectCopy
    every_discount: bool

    @property
    def reference(self) -> Revenue:
        keys = {"subscription_history": "id, _fivetran_start"}
        tables = "coupon discount invoice_line_item price subscription_history subscription_item"
        raw: Raw = {}
        with duckdb.connect(str(self.copy.root / "data/warehouse.duckdb")) as connection:
            for table in tables.split():
                last_landed = connection.sql(
                    f"select * from raw_stripe.{table} qualify 1 = row_number() over"
                    f" (partition by {keys.get(table, 'id')} order by _fivetran_synced desc)"
                )
                raw[table] = last_landed.to_arrow_table().to_pylist()
        known = self.rows("select customer_id from intermediate.int_customers__identified")
        return Reference(raw, {who for (who,) in known}, CLOCK, self.every_discount).revenue()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.copy.query(sql)


def dbt(copy: ProjectCopy, *arguments: str) -> None:
    run_dbt(copy.root / "dbt_project", copy.root / "data/warehouse.duckdb", *arguments)


@pytest.fixture(scope="module")
def landed(project_copy: ProjectCopy) -> ProjectCopy:
    """The sample company, and beside it the customers that were drawn and told."""
    (project_copy.root / "data").mkdir()
    manifest = json.loads(this_project_as_json())
    warehouse = project_copy.root / "data/warehouse.duckdb"
    land(raw_tables(manifest, project_copy.root), warehouse)
    count = int(os.environ.get("REVENUE_HISTORIES", "150"))
    customers = {f"drawn_{number:05}": history for number, history in enumerate(drawn(count))}
    raw = together(customers | {name: history for name, (history, _) in LIVES.items()})
    with duckdb.connect(str(warehouse)) as connection:
        for table, rows in raw.items():
            connection.register("rows_of_table", pa.Table.from_pylist(rows))
            connection.execute(f"insert into raw_stripe.{table} by name from rows_of_table")
            connection.unregister("rows_of_table")
    return project_copy


@pytest.fixture(scope="module", params=["stripe", "chartmogul"])
def base(request: pytest.FixtureRequest, landed: ProjectCopy) -> Base:
    """The same warehouse, built for one way of counting discounts after the other."""
    if request.param == "stripe":
        selected = ["--select", "+revenue_monthly", *DATA_TESTS]
        quick = ["--indirect-selection", "cautious", "--exclude-resource-type", "unit_test"]
        dbt(landed, "build", *selected, *quick)
        return Base(landed, every_discount=False)
    landed.replace(DISCOUNTS, THE_VARIABLE, f"'{request.param}'")
    dbt(landed, "run", "--select", *AFTER_DISCOUNTS)
    landed.replace(DISCOUNTS, f"'{request.param}' %}}", f"{THE_VARIABLE} %}}")
    return Base(landed, every_discount=True)


def test_every_customer_month_and_movement_is_the_references_to_the_cent(base: Base) -> None:
    expected = base.reference
    ends = base.rows(
        "select customer_id, month, end_mrr from intermediate.int_customer_months__summed"
    )
    assert {(who, month): mrr for who, month, mrr in ends} == expected.ends
    moves = base.rows("select customer_id, month, movement, mrr_change from marts.mrr_movements")
    assert {(who, month): (what, much) for who, month, what, much in moves} == expected.movements
    assert len(moves) == len(expected.movements)
    # what was drawn is worth comparing, and the sample company is among it
    assert {kind for kind, _ in expected.movements.values()} == set(KINDS)
    assert {who[0] for who, _ in expected.ends if who.startswith(("cus_", "drawn_"))} == {"c", "d"}

    sums = ", ".join(f"{kind}_mrr" for kind in KINDS)
    months = base.rows(
        f"select month, end_mrr, {sums}, customers_at_end from marts.revenue_monthly order by 1"
    )
    assert [month for month, *_ in months] == expected.months
    for month, end, *moved, customers in months:
        assert end == expected.total(month)
        assert moved == [expected.moved(month, kind) for kind in KINDS]
        assert customers == len(expected.paying(month))
    shares = base.rows(
        "select month, nrr_month, grr_month, nrr_12m, grr_12m, logo_churn"
        " from marts.revenue_monthly"
    )
    for month, *found in shares:
        assert found == pytest.approx(retention(expected, month), abs=Decimal("0.0001"))


def test_lives_told_by_hand_move_as_people_say(base: Base) -> None:
    for name, (_, told) in LIVES.items():
        found = base.rows(
            "select month, movement, mrr_change from marts.mrr_movements"
            f" where customer_id = '{name}' order by month"
        )
        moves = [(date.fromisoformat(day), kind, Decimal(much)) for day, kind, much in told]
        if name == "has_a_discount_once" and base.every_discount:
            month = date(2025, 1, 1)
            moves = [
                (month, "new", Decimal(10)),
                (months_later(month, 1), "expansion", Decimal(10)),
            ]
        assert found == moves, name


def test_a_word_that_mrr_discounts_does_not_know_is_refused_by_name(landed: ProjectCopy) -> None:
    landed.replace(DISCOUNTS, THE_VARIABLE, "'stirpe'")
    with pytest.raises(AssertionError, match=r"vars\.mrr_discounts is 'stirpe'"):
        dbt(landed, "parse")
    landed.replace(DISCOUNTS, "'stirpe' %}", f"{THE_VARIABLE} %}}")
