"""Raw tables that some other process landed: a few of the columns, types of its own, and dirt."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.dbt_run import PROJECT, run_dbt, this_project

MARK = "\ufeff"
# what stands in a box for "do not write to me", and what it means: yes, where nobody can tell
OPT_OUTS = {
    " TRUE ": True,
    "1.0": True,
    "yes": True,
    "ask again": True,
    "No": False,
    "0": False,
    "": False,
}
Row = dict[str, Any]


def table(columns: str, *rows: tuple[Any, ...]) -> list[Row]:
    """Rows under their headings."""
    return [dict(zip(columns.split(), row, strict=True)) for row in rows]


STRIPE = {
    # read with its byte-order mark, so that the first heading has it too
    "customer": table(
        f"{MARK}id name email",
        ("cus_plain", "Plain", "ops@plain.example"),
        (f"{MARK}cus_marked", "Marked", None),
        (" cus_blank\u3000", "Blank", None),
        ("cus_twice", "Twice", None),
        ("cus_twice", "Twice and otherwise", "x@twice.example"),
        ("", "Empty key", None),
        (None, "No key", None),
        ("cus_long", "long" * 50_000, None),
        ("cus_later", "Later", None),
        ("cus_odd", "Odd", None),
        ("cus_huge", "Huge", None),
        ("cus_looker", "Never subscribed", None),
        ("cus_failed", "Never paid", None),
    ),
    # no history, upper case, and none of the columns that are not asked for
    "subscription": table(
        "ID CUSTOMER_ID STATUS START_DATE QUANTITY",
        ("sub_plain", "cus_plain", "active", "2026-01-01", "3"),
        ("sub_marked", "cus_marked", "ACTIVE", "2026-13-45", None),
        ("sub_blank", "cus_blank", "active", "n/a", None),
        ("sub_twice", "cus_twice", "active", "1767225600000", None),
        ("sub_long", "cus_long", "canceled", "2026-01-01", None),
        ("sub_later", "cus_later", "active", "2027-01-01", None),
        ("sub_odd", "cus_odd", "zombie", "0000-00-00", None),
        ("sub_huge", "cus_huge", "active", "2026-01-01", "999999999999999"),
        ("sub_failed", "cus_failed", "incomplete_expired", "2026-01-01", None),
        ("sub_orphan", "cus_nobody", "active", "2026-01-01", None),
    ),
    "subscription_item": table(
        "id subscription_id plan_id quantity",
        ("si_plain", "sub_plain", "price", "3"),
        ("si_marked", "sub_marked", "price", "2"),
        ("si_blank", "sub_blank", "price_negative", "2"),
        ("si_twice", "sub_twice", "price_unknown", "2"),
        ("si_huge", "sub_huge", "price", "999999999999999"),
        ("si_gold", "sub_huge", "price_gold", "1000000"),
        ("si_orphan", "sub_nowhere", "price", "2"),
    ),
    "price": table(
        "id currency unit_amount recurring_interval",
        ("price", "USD", "5000", "Month"),
        ("price_negative", "usd", "-5000", "month"),
        ("price_unknown", "xxx", "5000", "month"),
        ("price_gold", "usd", "10000000000", "day"),
        ("price_words", "usd", "fifty", "fortnight"),
    ),
}
OTHERS = {
    # numbers beside empty cells, as data frames land them
    "zendesk": {
        "organization": table(
            "id external_id",
            (101, "ws_plain"),
        ),
        "user": table(
            "id organization_id email",
            (201.0, 101.0, "user@plain.example"),
            (202.0, None, "stranger@elsewhere.example"),
        ),
        "ticket": table(
            "id requester_id organization_id status created_at",
            (301.0, 201.0, 101.0, None, "2026-10-01"),
            (302.0, 202.0, None, "open", "2026-10-01"),
            (303.0, None, 101.0, "open", None),
            (304.0, 201.0, 101.0, "open", "2027-01-01"),
            (305.0, 201.0, 101.0, "open", "soon"),
            (None, 201.0, 101.0, "open", "2026-10-01"),
        ),
    },
    # nothing that says when an event arrived
    "segment": {
        "tracks": table(
            "id user_id event timestamp",
            ("event", "user", "task_completed", "2026-10-01T00:00:00Z"),
            ("event", "user", "task_completed", "2026-10-01T00:00:00Z"),
            ("early", "user", "task_completed", "2020-10-01"),
            ("micro", "user", "task_completed", "1790812800000000"),
            ("nameless", "user", None, "2026-10-01"),
            ("timeless", "user", "task_completed", None),
            ("strange", None, "task_completed", "2026-10-01"),
            ("ahead", "user", "task_completed", "2030-01-01"),
        ),
        "groups": table(
            "id user_id group_id domain timestamp",
            ("group", "user", "ws_plain", "plain.example", "2026-01-01"),
        ),
    },
    "hubspot": {
        "company": table(
            "id property_stripe_customer_id property_lifecyclestage",
            (9001, "cus_plain", "Churned"),
            (9002, "cus_nobody", None),
        ),
        "contact": table(
            "id property_associatedcompanyid property_email property_hs_email_optout",
            (8001.0, 9001.0, "User@Plain.example\u3000", None),
            (8002.0, None, None, None),
            *(
                (8010.0 + at, 9001.0, f"{at}@plain.example", said)
                for at, said in enumerate(OPT_OUTS)
            ),
        ),
    },
    "surveys": {
        "nps_answers": table(
            "id email score answered_at",
            ("eleven", "user@plain.example", "11", "2026-10-01"),
            ("nobody", "nobody@elsewhere.example", "9", "2026-10-01"),
        ),
    },
}
EMPTY = (
    # only columns that nobody knows; no row; every column of a type that an empty one lands with
    "create table raw_stripe.product as select null as what, null as ever",
    "create table raw_stripe.invoice (id integer, created date, status integer, currency integer)",
    "create table raw_stripe.invoice_line_item as select null as id, null as amount where false",
    "create table raw_stripe.coupon as select null as id, null as duration, null as currency",
    "create table raw_stripe.discount as select null as id, null as type, null as coupon_id",
)
TYPES = {int: "bigint", float: "double"}


def land(connection: duckdb.DuckDBPyConnection, table: str, rows: list[Row]) -> None:
    """A table with the columns that any of the rows has, each of the type of its values."""
    values = {name: [row.get(name) for row in rows] for row in rows for name in row}
    kinds = {name: {type(value) for value in column} for name, column in values.items()}
    columns = [
        f'"{name}" {next((TYPES[kind] for kind in (float, int) if kind in found), "varchar")}'
        for name, found in kinds.items()
    ]
    connection.execute(f"create table {table} ({', '.join(columns)})")
    marks = ", ".join("?" for _ in columns)
    connection.executemany(
        f"insert into {table} values ({marks})",
        [list(row) for row in zip(*values.values(), strict=True)],
    )


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """What is built of it by a plain `dbt build`, tests and all."""
    folder = tmp_path_factory.mktemp("foreign")
    warehouse = folder / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        for source, tables in {"stripe": STRIPE, **OTHERS}.items():
            connection.execute(f"create schema raw_{source}")
            for table, rows in tables.items():
                land(connection, f'raw_{source}."{table}"', rows)
        for statement in EMPTY:
            connection.execute(statement)
    without = ("--exclude-resource-type", "unit_test")
    run_dbt(PROJECT, warehouse, "build", *without, target=folder, manifest=this_project())
    with duckdb.connect(str(warehouse)) as connection:
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def test_whoever_was_ever_on_trial_or_paid_is_a_customer(
    foreign: duckdb.DuckDBPyConnection,
) -> None:
    found = rows(foreign, "select customer_id, journey_stage from marts.customers order by 1")
    assert dict(found) == {
        "cus_plain": "adoption",
        # nobody can read since when they pay: they count from when they were landed
        "cus_marked": "onboarding",
        "cus_blank": "onboarding",
        "cus_twice": "adoption",
        "cus_huge": "adoption",
        "cus_long": "churned",
        "cus_odd": "churned",
    }


def test_revenue_is_what_can_be_believed(foreign: duckdb.DuckDBPyConnection) -> None:
    found = rows(foreign, "select customer_id, mrr from marts.customers where mrr <> 0 order by 1")
    # nobody can tell since when, and it is live now
    assert found == [("cus_marked", Decimal("100.00")), ("cus_plain", Decimal("150.00"))]
    [(start, end)] = rows(
        foreign,
        "select min(month)::varchar, sum(mrr_change)::varchar from marts.mrr_movements",
    )
    assert (start, end) == ("2026-01-01", "250.00")


def test_ids_find_each_other_whatever_they_landed_as(foreign: duckdb.DuckDBPyConnection) -> None:
    assert rows(
        foreign,
        "select workspace_id, hubspot_company_id, zendesk_organization_id"
        " from marts.customers where customer_id = 'cus_plain'",
    ) == [("ws_plain", "9001", "101")]
    assert rows(
        foreign,
        "select customer_id, email from marts.contacts where hubspot_contact_id = '8001'",
    ) == [("cus_plain", "user@plain.example")]
    assert rows(
        foreign,
        "select ticket_id, contact_id is not null, is_open"
        " from intermediate.int_tickets__attributed",
    ) == [("301", True, True)]


def test_whatever_does_not_say_no_to_being_left_alone_is_a_yes(
    foreign: duckdb.DuckDBPyConnection,
) -> None:
    found = rows(
        foreign,
        "select is_unsubscribed from marts.contacts"
        " where hubspot_contact_id >= '8010' order by hubspot_contact_id",
    )
    assert dict(zip(OPT_OUTS, [is_out for (is_out,) in found], strict=True)) == OPT_OUTS


def test_use_counts_for_the_workspace_that_somebody_joined(
    foreign: duckdb.DuckDBPyConnection,
) -> None:
    assert rows(
        foreign,
        "select activity_date::varchar, events from marts.customer_activity_daily order by 1",
    ) == [("2020-10-01", 1), ("2026-10-01", 3)]


def test_of_one_id_with_two_contents_every_build_keeps_the_same(
    foreign: duckdb.DuckDBPyConnection,
) -> None:
    assert rows(
        foreign, "select customer_name from marts.customers where customer_id = 'cus_twice'"
    ) == [("Twice and otherwise",)]


def test_everything_that_could_not_be_placed_is_counted(
    foreign: duckdb.DuckDBPyConnection,
) -> None:
    found = rows(foreign, "select source, rule, row_count, example_key from marts.data_quality")
    assert {f"{source}.{rule}": (count, key) for source, rule, count, key in found} == {
        "stripe.customer_without_key": (2, None),
        "stripe.customer_landed_again": (1, "cus_twice"),
        "stripe.customer_without_subscription": (2, "cus_later"),
        "stripe.product_without_key": (1, None),
        "stripe.coupon_without_key": (1, None),
        "stripe.discount_without_key": (1, None),
        "stripe.subscription_history_with_unreadable_time": (3, "sub_blank"),
        "stripe.subscription_history_with_unreadable_number": (1, "sub_huge"),
        "stripe.subscription_history_after_the_clock": (1, "sub_later"),
        "stripe.subscription_without_customer": (1, "sub_orphan"),
        "stripe.subscription_in_unknown_state": (1, "sub_odd"),
        "stripe.live_subscription_without_item": (1, "sub_orphan"),
        "stripe.version_without_start": (3, "sub_blank"),
        "stripe.subscription_item_with_unreadable_number": (1, "si_huge"),
        "stripe.item_without_subscription": (1, "si_orphan"),
        "stripe.item_beyond_belief": (1, "si_gold"),
        "stripe.price_below_zero": (1, "price_negative"),
        "stripe.price_in_unknown_currency": (1, "price_unknown"),
        "stripe.price_with_unreadable_number": (1, "price_words"),
        "stripe.price_with_unknown_interval": (1, "price_words"),
        "zendesk.ticket_without_key": (1, None),
        "zendesk.ticket_without_time": (1, "303"),
        "zendesk.ticket_after_the_clock": (1, "304"),
        "zendesk.ticket_with_unreadable_time": (1, "305"),
        "zendesk.ticket_without_customer": (1, "302"),
        "segment.tracks_landed_again": (1, "event"),
        "segment.tracks_without_time": (1, "timeless"),
        "segment.tracks_after_the_clock": (1, "ahead"),
        "segment.usage_without_customer": (1, "strange"),
        "segment.usage_before_first_subscription": (1, "early"),
        "hubspot.company_without_customer": (1, "9002"),
        "hubspot.contact_without_customer": (1, "8002"),
        "hubspot.churn_flag_contradicts_subscription": (1, "9001"),
        "surveys.nps_answer_without_contact": (1, "nobody"),
        "surveys.nps_answer_without_score": (1, "eleven"),
    }


def test_a_table_that_must_be_there_is_named_with_the_way_out(
    tmp_path: Path,
) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create schema raw_stripe")
        land(connection, "raw_stripe.customer", STRIPE["customer"])
    with pytest.raises(AssertionError) as failed:
        run_dbt(
            PROJECT,
            warehouse,
            *("run", "--select", "stg_stripe__prices"),
            target=tmp_path,
            manifest=this_project(),
        )
    assert "was not landed. Land it, or switch the source off: vars.sources.stripe" in str(
        failed.value
    )
