"""Raw data as people really have it: nothing crashes, and what cannot be placed is counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from orchestration.landing import check, land, raw_tables
from tests.conftest import ProjectCopy
from tests.dbt_run import PROJECT, run_dbt, this_project, this_project_as_json

NEVER = "31/02/2026"
LONG_AGO = "2020-01-01 00:00:00"
FOREVER = "9999-12-31 23:59:59"
# 2026-10-01 00:00 in UTC
SPELLINGS = (
    "1790812800",
    "1790812800000",
    "2026-10-01T09:00:00+09:00",
    "2026-10-01T00:00:00Z",
    "2026-10-01",
    "2026/10/1 0:00",
)


@pytest.fixture(scope="module")
def dirty(project_copy: ProjectCopy) -> ProjectCopy:
    """The sample company with dirt rubbed in, landed and built."""
    raw = project_copy.root / "seeds/raw"
    event = {"event": "task_completed", "sent_at": "2026-10-01 00:00:00"}
    when = {"timestamp": "2026-10-01 00:00:00", "received_at": "2026-10-01 00:00:01"}
    append(
        raw / "segment/tracks.csv",
        event | when | {"id": "dirt_unreadable", "timestamp": NEVER, "user_id": "u00000"},
        event | when | {"id": "", "user_id": "u00000"},
        event | when | {"id": "dirt_twice", "user_id": "u00000"},
        event | when | {"id": "dirt_twice", "user_id": "u00000"},
        event
        | when
        | {"id": "dirt_early", "user_id": "u00000", "timestamp": "2020-01-01 00:00:00"},
        event | when | {"id": "dirt_stranger", "user_id": "nobody"},
    )
    add_byte_order_mark(raw / "segment/tracks.csv")
    add_column(raw / "segment/tracks.csv", "context_experiment_c", "variant")
    append(
        raw / "zendesk/ticket.csv",
        {"id": "99", "status": "open", "type": "incident", "created_at": "2026-10-01 00:00:00"},
    )
    append(
        raw / "surveys/nps_answers.csv",
        {"id": "dirt_score", "score": "eleven", "answered_at": "2026-10-01 00:00:00"},
        {"id": "dirt_day", "score": "9", "answered_at": NEVER},
    )
    append(
        raw / "stripe/subscription_history.csv",
        {
            "id": "dirt_orphan",
            "customer_id": "cus_nobody",
            "status": "active",
            "created": NEVER,
            "start_date": "2026-01-01 00:00:00",
            "_fivetran_start": "2026-01-01 00:00:00",
            "_fivetran_end": "9999-12-31 23:59:59",
            "_fivetran_active": "true",
        },
    )
    edit(raw / "hubspot/company.csv", "property_stripe_customer_id", "cus_000", "churned")
    edit(raw / "hubspot/company.csv", "property_stripe_customer_id", "cus_001", " Churned ")
    rub_into_billing(raw / "stripe")
    rub_into_support(raw / "zendesk")
    warehouse = project_copy.root / "data/warehouse.duckdb"
    tables = raw_tables(json.loads(this_project_as_json()), project_copy.root)
    check(tables, project_copy.root)
    land(tables, warehouse)
    without = ("--exclude-resource-type", "unit_test")
    target = project_copy.root / "dbt_project/target"
    run_dbt(PROJECT, warehouse, "build", *without, target=target, manifest=this_project())
    return project_copy


def rub_into_billing(stripe: Path) -> None:
    """Rows of Stripe that contradict each other, are unreadable, or landed out of order."""
    version = {
        "customer_id": "cus_000",
        "status": "active",
        "quantity": "4",
        "created": "2026-01-01 00:00:00",
        "start_date": "2026-01-01 00:00:00",
        "_fivetran_start": "2026-01-01 00:00:00",
        "_fivetran_end": FOREVER,
        "_fivetran_active": "true",
        "_fivetran_synced": "2026-01-01 00:00:00",
    }
    append(
        stripe / "subscription_history.csv",
        version | {"id": "dirt_below", "quantity": "-4"},
        version | {"id": "dirt_no_start", "start_date": "", "_fivetran_start": ""},
        version | {"id": "dirt_again", "_fivetran_synced": "2026-01-02 00:00:00", "quantity": "5"},
        version | {"id": "dirt_again"},
        # ended, says one field, and active, says the other
        version | {"id": "dirt_undead", "ended_at": "2026-02-01 00:00:00"},
        version | {"id": ""},
    )
    item = {"plan_id": "price_team_usd_month", "created": "2026-01-01 00:00:00"}
    append(
        stripe / "subscription_item.csv",
        item
        | {"id": "dirt_item", "quantity": "5", "_fivetran_synced": "2026-01-02 00:00:00"}
        | {"subscription_id": "dirt_again"},
        item
        | {"id": "dirt_item", "quantity": "500", "_fivetran_synced": "1767225600"}
        | {"subscription_id": "dirt_again"},
        item | {"id": "dirt_minus", "quantity": "-4", "subscription_id": "dirt_below"},
        item | {"id": "dirt_plus", "quantity": "4", "subscription_id": "dirt_undead"},
        item | {"id": "dirt_free", "quantity": "4", "plan_id": "no_price"}
        | {"subscription_id": "dirt_below"},
    )  # fmt: skip
    append(
        stripe / "discount.csv",
        {"id": "dirt_discount", "coupon_id": "nothing", "customer_id": "cus_000"}
        | {"subscription_id": "dirt_again", "start": "2026-01-01 00:00:00"},
    )
    append(stripe / "customer.csv", {"id": "dirt_customer", "created": "2026-02-30"}, {"id": ""})
    add_byte_order_mark(stripe / "customer.csv")


def rub_into_support(zendesk: Path) -> None:
    """One moment in every spelling, people and tickets without an organisation."""
    append(
        zendesk / "ticket.csv",
        *(
            {"id": f"{number}", "status": "open", "type": "question", "created_at": spelling}
            | {"requester_id": "380000000002", "_fivetran_synced": spelling}
            for number, spelling in enumerate(SPELLINGS, 9001)
        ),
        {"id": "9099", "status": "open", "created_at": NEVER, "requester_id": "380000000002"},
        {"id": "", "status": "open", "created_at": LONG_AGO},
    )
    add_byte_order_mark(zendesk / "ticket.csv")


def rows_of(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        return list(reader.fieldnames or []), list(reader)


def write(file: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def append(file: Path, *more: dict[str, str]) -> None:
    header, rows = rows_of(file)
    write(file, header, [*rows, *({**dict.fromkeys(header, ""), **row} for row in more)])


def add_column(file: Path, name: str, value: str) -> None:
    text = file.read_text(encoding="utf-8").splitlines()
    file.write_text(
        "\n".join([f"{text[0]},{name}", *(f"{line},{value}" for line in text[1:])]) + "\n",
        encoding="utf-8",
    )


def add_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


def edit(file: Path, key: str, value: str, stage: str) -> None:
    header, rows = rows_of(file)
    [found] = [row for row in rows if row[key] == value][:1]
    found["property_lifecyclestage"] = stage
    write(file, header, rows)


def counted(project: ProjectCopy, source: str, rule: str) -> tuple[Any, ...]:
    """How many rows break a rule, and an example."""
    rows = project.query(
        "select row_count, example_key from marts.data_quality"
        f" where source = '{source}' and rule = '{rule}'"
    )
    assert len(rows) == 1, f"{source}.{rule} is not in marts.data_quality"
    return rows[0]


def test_every_landed_event_is_staged_or_counted(dirty: ProjectCopy) -> None:
    [(landed,)] = dirty.query("select count(*) from raw_segment.tracks")
    [(staged,)] = dirty.query("select count(*) from staging.stg_segment__tracks")
    again, _ = counted(dirty, "segment", "tracks_landed_again")
    without_key, _ = counted(dirty, "segment", "tracks_without_key")
    unreadable, _ = counted(dirty, "segment", "tracks_with_unreadable_time")
    assert landed == staged + again + without_key + unreadable
    assert (without_key, unreadable) == (1, 1)


def test_no_event_is_counted_twice(dirty: ProjectCopy) -> None:
    rows = dirty.query(
        "select count(*) from staging.stg_segment__tracks where event_id = 'dirt_twice'"
    )
    assert rows == [(1,)]


@pytest.mark.parametrize(
    ("source", "rule", "example"),
    [
        ("segment", "tracks_with_unreadable_time", "dirt_unreadable"),
        ("segment", "usage_before_first_subscription", "dirt_early"),
        ("zendesk", "ticket_without_customer", "99"),
        ("surveys", "nps_answers_with_unreadable_time", "dirt_day"),
        ("stripe", "subscription_without_customer", "dirt_orphan"),
        ("stripe", "version_with_negative_seats", "dirt_below"),
        ("stripe", "item_with_negative_quantity", "dirt_minus"),
        ("stripe", "version_without_start", "dirt_no_start"),
        ("stripe", "discount_without_coupon", "dirt_discount"),
        ("stripe", "item_without_price", "dirt_free"),
        ("stripe", "customer_with_unreadable_time", "dirt_customer"),
        ("stripe", "customer_without_key", None),
        ("stripe", "subscription_history_without_key", None),
        ("zendesk", "ticket_with_unreadable_time", "9099"),
        ("zendesk", "ticket_without_key", None),
    ],
)
def test_what_cannot_be_placed_is_counted_with_an_example(
    dirty: ProjectCopy, source: str, rule: str, example: str | None
) -> None:
    assert counted(dirty, source, rule) == (1, example)


def test_usage_of_strangers_is_counted_and_belongs_to_no_customer(dirty: ProjectCopy) -> None:
    [(unplaced,)] = dirty.query(
        "select sum(uses + errors) from intermediate.int_usage__daily where customer_id is null"
    )
    assert counted(dirty, "segment", "usage_without_customer")[0] == unplaced


def test_an_unreadable_answer_is_no_answer(dirty: ProjectCopy) -> None:
    rows = dirty.query("select score from staging.stg_surveys__nps_answers where score is null")
    assert rows == [(None,)]


def test_the_stage_follows_the_subscription_and_not_the_flag(dirty: ProjectCopy) -> None:
    rows = dirty.query("select journey_stage from marts.customers where customer_id = 'cus_000'")
    assert rows != [("churned",)]


def test_a_flag_in_the_crm_does_not_end_a_subscription(dirty: ProjectCopy) -> None:
    flagged = counted(dirty, "hubspot", "churn_flag_contradicts_subscription")
    assert flagged == (2, "9000000000")
    rows = dirty.query(
        "select count(*) from marts.customers"
        " where customer_id in ('cus_000', 'cus_001') and journey_stage <> 'churned'"
    )
    assert rows == [(2,)]


def test_every_landed_ticket_is_staged_or_counted(dirty: ProjectCopy) -> None:
    [(landed,)] = dirty.query("select count(*) from raw_zendesk.ticket")
    [(staged,)] = dirty.query("select count(*) from staging.stg_zendesk__tickets")
    [(deleted,)] = dirty.query("select count(*) from raw_zendesk.ticket where status = 'deleted'")
    rules = ("ticket_landed_again", "ticket_without_key", "ticket_with_unreadable_time")
    assert landed == staged + deleted + sum(counted(dirty, "zendesk", rule)[0] for rule in rules)


def test_one_moment_is_one_moment_in_every_spelling(dirty: ProjectCopy) -> None:
    rows = dirty.query(
        "select created_at::varchar, count(*), count(loaded_at) from staging.stg_zendesk__tickets"
        " where ticket_id between '9001' and '9006' and length(ticket_id) = 4 group by 1"
    )
    assert rows == [("2026-10-01 00:00:00", len(SPELLINGS), len(SPELLINGS))]


def test_tickets_without_an_organisation_are_the_requesters(dirty: ProjectCopy) -> None:
    rows = dirty.query(
        "select count(*), count(distinct customer_id), min(customer_id)"
        " from intermediate.int_tickets__attributed"
        " where ticket_id between '9001' and '9006' and length(ticket_id) = 4"
    )
    assert rows == [(len(SPELLINGS), 1, "cus_000")]


def test_of_rows_with_one_id_the_one_that_landed_last_counts(dirty: ProjectCopy) -> None:
    items = dirty.query(
        "select quantity from staging.stg_stripe__subscription_items"
        " where subscription_item_id = 'dirt_item'"
    )
    seats = dirty.query(
        "select distinct seats from intermediate.int_subscription_months__priced"
        " where subscription_id = 'dirt_again'"
    )
    assert (items, seats) == ([(5,)], [(5,)])


def test_a_negative_quantity_is_worth_nothing(dirty: ProjectCopy) -> None:
    rows = dirty.query(
        "select distinct mrr from intermediate.int_subscription_months__priced"
        " where subscription_id = 'dirt_below'"
    )
    assert rows == [(0,)]
