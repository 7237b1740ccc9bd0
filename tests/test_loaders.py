"""Stripe and Zendesk stage to the same rows, whoever landed them; dirty values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import duckdb
import pytest

from tests.conftest import ROOT
from tests.raw_shapes import Row, airbyte, dlt, fivetran, landed
from tests.staging_project import Staging

RAW_SEEDS = ROOT.parent / "shared/raw_seeds"
KEYS = {
    "stg_stripe__customers": "stripe_customer_id",
    "stg_stripe__subscriptions": "subscription_id",
    "stg_stripe__subscription_items": "subscription_item_id",
    "stg_stripe__prices": "price_id",
    "stg_stripe__products": "product_id",
    "stg_stripe__invoices": "invoice_id",
    "stg_stripe__invoice_line_items": "invoice_line_item_id",
    "stg_stripe__coupons": "coupon_id",
    "stg_stripe__discounts": "discount_id",
    "stg_zendesk__organizations": "zendesk_organization_id",
    "stg_zendesk__domains": "zendesk_organization_id",
    "stg_zendesk__users": "zendesk_user_id",
    "stg_zendesk__tickets": "ticket_id",
    "stg_zendesk__ticket_field_changes": "ticket_id",
}
VERSIONS = "stg_stripe__subscription_versions"


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Staging:
    return Staging(tmp_path_factory.mktemp("staging"))


SHAPES = {
    "fivetran": ("fivetran", fivetran()),
    "fivetran_without_history": ("fivetran", fivetran(history=False)),
    "dlt": ("dlt", dlt()),
    "airbyte": ("airbyte", airbyte()),
    "airbyte_json": ("airbyte", airbyte(as_json=True)),
}


@pytest.fixture(scope="module")
def staged(staging: Staging) -> Callable[[str], dict[str, list[Row]]]:
    """What is staged of the facts in one of the shapes; built once."""

    @functools.cache
    def built(shape: str) -> dict[str, list[Row]]:
        loader, schemas = SHAPES[shape]
        return staging.built(landed(staging.warehouse(), schemas), loader)

    return built


@pytest.fixture(scope="module")
def by_fivetran(staged: Callable[[str], dict[str, list[Row]]]) -> dict[str, list[Row]]:
    return staged("fivetran")


def comparable(rows: Iterable[Row]) -> list[Row]:
    """Without the deleted customer, whom dlt cannot know, and the version's begin, see below."""
    return [
        {name: value for name, value in row.items() if name != "valid_from"}
        for row in rows
        if not row.get("is_deleted")
    ]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "fivetran"])
def test_the_same_facts_stage_to_the_same_rows(
    staged: Callable[[str], dict[str, list[Row]]],
    by_fivetran: dict[str, list[Row]],
    shape: str,
) -> None:
    for model in KEYS:
        assert comparable(staged(shape)[model]) == comparable(by_fivetran[model]), model


def paid_months(rows: Iterable[Row]) -> set[tuple[str, str, int]]:
    """Who paid for which subscription at which month's end of 2026."""
    ends = [datetime(2026, month, 28) for month in range(1, 11)]  # noqa: DTZ001
    return {
        (row["stripe_customer_id"], row["subscription_id"], end.month)
        for row in rows
        for end in ends
        if row["status"] in ("active", "past_due")
        and row["valid_from"] <= end < (row["valid_to"] or datetime.max)  # noqa: DTZ901
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_every_loader_tells_the_same_paid_months(
    staged: Callable[[str], dict[str, list[Row]]], shape: str
) -> None:
    """Only a history knows the versions themselves (when it was overdue, the seats of old)."""
    versions = staged(shape)[VERSIONS]
    assert paid_months(versions) == {
        *(("cus_jp", "sub_jp", month) for month in range(1, 11)),
        ("cus_us", "sub_ended", 1),
        ("cus_us", "sub_ended", 2),
    }
    assert {row["subscription_id"] for row in versions} == {"sub_jp", "sub_ended", "sub_trial"}


def test_where_a_loader_keeps_the_present_only_snapshots_keep_what_changes(
    staging: Staging,
) -> None:
    warehouse = landed(staging.warehouse(), dlt())

    def changed(sql: str) -> None:
        with duckdb.connect(str(warehouse)) as connection:
            connection.execute(sql)

    staging.run(warehouse, "dlt", "build", "2026-10-28")
    changed("update raw_stripe.subscription__items__data set quantity = 15 where id = 'si_jp'")
    changed("update raw_zendesk.tickets set status = 'closed' where status = 'solved'")
    staging.run(warehouse, "dlt", "build", "2026-10-31")
    # it ends when it says so, and not when the next build sees it
    changed("update raw_stripe.subscription set status = 'canceled', ended_at = 1793527200"
            " where id = 'sub_jp'")  # fmt: skip
    staging.run(warehouse, "dlt", "build", "2026-11-02")
    with duckdb.connect(str(warehouse)) as connection:
        versions = connection.sql(
            f"select status, seats, valid_from::varchar, valid_to::varchar from staging.{VERSIONS}"
            " where subscription_id = 'sub_jp' order by valid_from, status"
        ).fetchall()
        items = connection.sql(
            "select quantity from snapshots.snap_stripe__subscription_items"
            " where subscription_item_id = 'si_jp' order by dbt_valid_from"
        ).fetchall()
        tickets = connection.sql(
            "select status, dbt_valid_to is null from snapshots.snap_zendesk__tickets"
            " where ticket_id = '301' order by dbt_valid_from"
        ).fetchall()
    assert versions == [
        ("active", None, "2026-01-05 00:00:00", "2026-10-28 23:59:59"),
        ("active", 12, "2026-10-28 23:59:59", "2026-10-31 23:59:59"),
        ("active", 17, "2026-10-31 23:59:59", "2026-11-01 10:00:00"),
        ("canceled", 17, "2026-11-02 23:59:59", None),
    ]
    assert items == [(10,), (15,)]
    assert tickets == [("solved", False), ("closed", True)]


def test_a_child_whose_parent_was_not_landed_is_kept_without_one(staging: Staging) -> None:
    tables = dlt()
    [item, *_] = tables["raw_stripe"]["subscription__items__data"]
    tables["raw_stripe"]["subscription__items__data"].append(
        item | {"id": "si_lost", "_dlt_id": "lost", "_dlt_parent_id": "nowhere"}
    )
    items = staging.built(landed(staging.warehouse(), tables), "dlt")[
        "stg_stripe__subscription_items"
    ]
    found = {row["subscription_item_id"]: row["subscription_id"] for row in items}
    assert found["si_lost"] is None
    assert found["si_jp"] == "sub_jp"


def test_the_facts_are_staged_as_they_are(by_fivetran: dict[str, list[Row]]) -> None:
    def told(model: str, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(row[column] for column in columns) for row in by_fivetran[model]]

    assert told("stg_stripe__customers", "stripe_customer_id", "customer_name", "email",
                "currency", "country", "workspace_id", "is_deleted") == [
        ("cus_gone", "Gone", "c@gone.example", "usd", "US", None, True),
        ("cus_jp", "雲株式会社", "keiri@kumo.example.jp", "jpy", "JP", "ws_jp", False),
        ("cus_us", "New name", "b@us.example", "usd", "US", None, False),
    ]  # fmt: skip
    october, november = datetime(2026, 10, 5), datetime(2026, 11, 5)  # noqa: DTZ001
    january, march = datetime(2026, 1, 5), datetime(2026, 3, 1)  # noqa: DTZ001
    assert told("stg_stripe__subscriptions", "subscription_id", "status", "seats",
                "period_started_at", "period_ends_at", "cancelled_at", "ended_at") == [
        ("sub_ended", "canceled", 1, january, march, march, march),
        ("sub_jp", "active", 12, october, november, None, None),
        ("sub_trial", "trialing", 5, october, november, october, None),
    ]  # fmt: skip
    assert told("stg_stripe__prices", "price_id", "unit_amount_minor", "billing_interval") == [
        ("price_jpy", 1800, "month"), ("price_once", 99, None), ("price_usd", 12000, "year"),
    ]  # fmt: skip
    assert told("stg_stripe__invoices", "invoice_id", "subscription_id", "due_at") == [
        ("in_new_api", "sub_jp", None), ("in_old_api", "sub_ended", march),
    ]  # fmt: skip
    assert told("stg_stripe__invoice_line_items", "invoice_id", "subscription_id", "price_id",
                "amount_minor", "is_proration") == [
        ("in_old_api", "sub_ended", "price_usd", -12000, True),
        ("in_new_api", "sub_jp", "price_jpy", 18000, False),
    ]  # fmt: skip
    assert told("stg_zendesk__domains", "zendesk_organization_id", "domain") == [
        ("101", "kumo.example"), ("101", "kumo.example.jp"),
    ]  # fmt: skip
    assert told("stg_zendesk__tickets", "ticket_id", "status", "created_at") == [
        ("301", "solved", datetime(2026, 10, 1, 0, 30)),  # noqa: DTZ001
    ]  # fmt: skip
    assert told("stg_zendesk__ticket_field_changes", "ticket_id", "field_name", "field_value") == [
        ("301", "satisfaction_score", "good"),
    ]  # fmt: skip


# what a moment may look like, and the UTC second it means; None where nobody can tell
MOMENTS: dict[str, str | None] = {
    "2026-01-01T09:00:00+09:00": "2026-01-01 00:00:00",
    "2026-01-01 09:00:00+09": "2026-01-01 00:00:00",
    "2026-01-01T09:00+0900": "2026-01-01 00:00:00",
    "2025-12-31T19:30:00.000-04:30": "2026-01-01 00:00:00",
    "2026-01-01 09:00:00 Asia/Tokyo": "2026-01-01 00:00:00",
    "2026-01-01T00:00:00Z": "2026-01-01 00:00:00",
    "2026-01-01 00:00:00 UTC": "2026-01-01 00:00:00",
    " 2026-01-01 00:00:00 ": "2026-01-01 00:00:00",
    "2026-01-01": "2026-01-01 00:00:00",
    "2026/1/1 0:00": "2026-01-01 00:00:00",
    "1767225600": "2026-01-01 00:00:00",
    "1767225600.0": "2026-01-01 00:00:00",
    "1767225600000": "2026-01-01 00:00:00",
    "9999-12-31 23:59:59": "9999-12-31 23:59:59",
    "2024-02-29T23:59:59Z": "2024-02-29 23:59:59",
    **dict.fromkeys(
        (
            *("2026-02-30", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00+09:00", "20260101"),
            *("1/2/2026", "yesterday", "", " ", "null", "NaN", "-1", "99999999999999999999", "０"),
            *("0000-00-00 00:00:00", "infinity", "2026-01-01 09:00:00 Nowhere", "\ufeff"),
        )
    ),
}


def test_a_moment_is_read_whatever_its_spelling_and_never_breaks_a_run(staging: Staging) -> None:
    tables = fivetran()
    tables["raw_zendesk"]["ticket"] = [
        {"id": number, "status": "open", "created_at": "2026-01-01T00:00:00Z",
         "updated_at": text, "_fivetran_synced": text}
        for number, text in enumerate(MOMENTS)
    ]  # fmt: skip
    for row in tables["raw_stripe"]["customer"]:
        row |= {"created": "2026-01-05T09:00:00+09:00", "metadata": "{not json"}
    for row in tables["raw_stripe"]["price"]:
        row |= {"unit_amount": "12 dollars", "recurring_interval_count": "1.0"}
    for row in tables["raw_stripe"]["subscription_history"]:
        row |= {"cancel_at_period_end": "perhaps", "_fivetran_active": "TRUE"}
    staged = staging.built(landed(staging.warehouse(), tables))
    tickets = {row["ticket_id"]: row for row in staged["stg_zendesk__tickets"]}
    for number, (text, expected) in enumerate(MOMENTS.items()):
        for column in ("updated_at", "loaded_at"):
            read = tickets[str(number)][column]
            assert (None if read is None else str(read)) == expected, (text, column)
    customers = staged["stg_stripe__customers"]
    assert {str(row["created_at"]) for row in customers} == {"2026-01-05 00:00:00"}
    assert {row["workspace_id"] for row in customers} == {None}
    prices = staged["stg_stripe__prices"]
    read = {(row["unit_amount_minor"], row["billing_interval_count"]) for row in prices}
    assert read == {(None, 1)}


@pytest.mark.skipif(not RAW_SEEDS.is_dir(), reason="real raw files lie beside a checkout only")
def test_files_that_nobody_here_wrote_are_staged_with_every_key(staging: Staging) -> None:
    warehouse = staging.warehouse()
    tables = {
        "stripe": "customer subscription_history subscription_item price product invoice"
        " invoice_line_item coupon discount",
        "zendesk": "organization domain_name user ticket ticket_field_history",
    }
    with duckdb.connect(str(warehouse)) as connection:
        for source, names in tables.items():
            connection.execute(f"create schema raw_{source}")
            for name in names.split():
                connection.execute(
                    f'create table raw_{source}."{name}" as'
                    f" select * from read_csv('{RAW_SEEDS}/{source}/{name}_data.csv')"
                )
        counted = {
            table: connection.execute(f"select count(distinct id) from {table}").fetchall()[0][0]
            for table in ("raw_stripe.customer", "raw_stripe.invoice", "raw_stripe.price",
                          "raw_stripe.invoice_line_item", "raw_stripe.product",
                          "raw_stripe.subscription_item", "raw_zendesk.organization",
                          'raw_zendesk."user"')
        }  # fmt: skip
    staged = staging.built(warehouse)
    for model, key in KEYS.items():
        assert staged[model], model
        assert all(row[key] for row in staged[model]), model
    for table, ids in counted.items():
        model = "stg_" + table.removeprefix("raw_").replace(".", "__").replace('"', "") + "s"
        assert len(staged[model]) == ids, model
    assert [row["status"] for row in staged["stg_stripe__subscriptions"]] == ["active"]
    # discount_data.csv leaves the load time empty; its columns stand beside their headings
    assert {model for model, rows in staged.items() for row in rows if not row["loaded_at"]} == {
        "stg_stripe__discounts"
    }
