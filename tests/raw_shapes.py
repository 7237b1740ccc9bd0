"""The same facts of Stripe and Zendesk as Fivetran, dlt and Airbyte land them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

EARLIER, LANDED = "2026-10-19 06:00:00", "2026-10-20 06:00:00"
Row = dict[str, Any]
Tables = dict[str, list[Row]]


def day(text: str) -> int:
    """Epoch seconds, as Stripe says a moment."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def price(name: str) -> Row:
    return {"id": name, "recurring": {"interval": "month"}}


# The facts as the tools' APIs tell them. `_landed` is the load, `_gone` what the tool deleted,
# `_from` since when this state held, which only a history keeps.
JANUARY, MARCH, OCTOBER, NOVEMBER = map(
    day, ("2026-01-05", "2026-03-01", "2026-10-05", "2026-11-05")
)
PERIOD = {"current_period_start": OCTOBER, "current_period_end": NOVEMBER}
PARTS = ("customer", "subscription", "item", "price", "product", "invoice", "line", "coupon")
DISCOUNT = {"id": "di_ended", "coupon": {"id": "launch"}, "customer": "cus_us", "start": JANUARY,
            "end": MARCH}  # fmt: skip
FACTS: dict[str, list[Row]] = {
    "customer": [
        {"id": "cus_jp", "name": "雲株式会社", "email": " Keiri@Kumo.Example.JP ",
         "currency": "JPY", "address": {"country": "jp"}, "created": JANUARY,
         "metadata": {"workspace_id": "ws_jp", "crm tier": "A"}},
        {"id": "cus_us", "name": "Old name", "email": "a@us.example", "currency": "usd",
         "address": {"country": "US"}, "metadata": {}, "created": JANUARY, "_landed": EARLIER},
        {"id": "cus_us", "name": "New name", "email": "b@us.example", "currency": "usd",
         "address": {"country": "US"}, "metadata": {}, "created": JANUARY},
        {"id": "cus_gone", "name": "Gone", "email": "c@gone.example", "currency": "usd",
         "address": {"country": "US"}, "metadata": {}, "created": JANUARY, "_gone": True},
    ],
    # the first as API 2025-03-31 tells it, with periods on the items
    "subscription": [
        {"id": "sub_jp", "customer": "cus_jp", "status": "past_due", "created": JANUARY,
         "start_date": JANUARY, "cancel_at_period_end": False, "_landed": EARLIER,
         "_from": JANUARY},
        {"id": "sub_jp", "customer": "cus_jp", "status": "active", "created": JANUARY,
         "start_date": JANUARY, "cancel_at_period_end": False, "_from": OCTOBER},
        {"id": "sub_trial", "customer": "cus_us", "status": "trialing", "created": OCTOBER,
         "start_date": OCTOBER, "trial_start": OCTOBER, "trial_end": NOVEMBER,
         "cancel_at_period_end": True, "cancel_at": NOVEMBER, "canceled_at": OCTOBER, **PERIOD,
         "_from": OCTOBER},
        {"id": "sub_ended", "customer": "cus_us", "status": "active", "created": JANUARY,
         "start_date": JANUARY, "cancel_at_period_end": False, "current_period_start": JANUARY,
         "current_period_end": MARCH, "_landed": EARLIER, "_from": JANUARY},
        {"id": "sub_ended", "customer": "cus_us", "status": "canceled", "created": JANUARY,
         "start_date": JANUARY, "cancel_at_period_end": False, "canceled_at": MARCH,
         "ended_at": MARCH, "current_period_start": JANUARY, "current_period_end": MARCH,
         "discount": DISCOUNT, "_from": MARCH},
        {"id": "sub_future", "customer": "cus_us", "status": "active",
         "created": day("2027-01-01"), "start_date": day("2027-01-01"), "_from": day("2027-01-01")},
    ],
    "item": [
        {"id": "si_old", "subscription": "sub_jp", "price": price("price_jpy"), "quantity": 3,
         "created": JANUARY, "_landed": EARLIER, "_gone": True},
        {"id": "si_jp", "subscription": "sub_jp", "price": price("price_jpy"), "quantity": 10,
         "created": JANUARY, **PERIOD},
        {"id": "si_jp_2", "subscription": "sub_jp", "price": price("price_jpy"), "quantity": 2,
         "created": MARCH, **PERIOD},
        {"id": "si_trial", "subscription": "sub_trial", "price": price("price_usd"),
         "quantity": 5, "created": OCTOBER},
        {"id": "si_ended", "subscription": "sub_ended", "price": price("price_usd"),
         "quantity": 1, "created": JANUARY},
    ],
    "price": [
        {"id": "price_jpy", "product": "prod_team", "currency": "jpy", "unit_amount": 1800,
         "recurring": {"interval": "month", "interval_count": 1}},
        {"id": "price_usd", "product": "prod_team", "currency": "usd", "unit_amount": 12000,
         "recurring": {"interval": "year", "interval_count": 1}},
        {"id": "price_once", "product": "prod_team", "currency": "usd", "unit_amount": 99,
         "recurring": None},
    ],
    "product": [{"id": "prod_team", "name": "Team チーム"}],
    "invoice": [
        {"id": "in_old_api", "customer": "cus_us", "subscription": "sub_ended", "status": "paid",
         "currency": "usd", "amount_due": 12000, "amount_remaining": 0, "created": JANUARY,
         "period_end": JANUARY, "due_date": MARCH},
        {"id": "in_new_api", "customer": "cus_jp", "status": "open", "currency": "jpy",
         "parent": {"subscription_details": {"subscription": "sub_jp"}}, "amount_due": 18000,
         "amount_remaining": 18000, "created": OCTOBER, "period_end": OCTOBER},
    ],
    "line": [
        {"id": "il_1", "invoice": "in_old_api", "subscription": "sub_ended", "quantity": 1,
         "price": price("price_usd"), "amount": -12000, "currency": "usd", "proration": True,
         "period": {"start": JANUARY, "end": MARCH}},
        {"id": "il_2", "invoice": "in_new_api", "quantity": 10, "amount": 18000, "currency": "jpy",
         "pricing": {"price_details": {"price": "price_jpy"}},
         "parent": {"subscription_item_details": {"subscription": "sub_jp", "proration": False}},
         "period": {"start": OCTOBER, "end": NOVEMBER}},
    ],
    "coupon": [
        {"id": "launch", "name": "Launch", "percent_off": 20.0, "duration": "repeating",
         "duration_in_months": 3, "created": JANUARY},
    ],
    "organization": [
        {"id": 101, "name": "Kumo", "external_id": "ws_jp", "created_at": "2026-01-05T09:00:00Z",
         "domain_names": ["Kumo.example.jp", "kumo.example"]},
        {"id": 102, "name": "Gone", "created_at": "2026-01-05T09:00:00Z", "_gone": True,
         "domain_names": ["gone.example"]},
    ],
    "user": [
        {"id": 201, "organization_id": 101, "email": "Sora@Kumo.example.jp", "name": "Sora",
         "role": "end-user", "locale": "ja", "time_zone": "Osaka",
         "created_at": "2026-01-05T09:00:00Z"},
    ],
    "ticket": [
        {"id": 301, "requester_id": 201, "organization_id": 101, "subject": "?", "status": "open",
         "type": "question", "created_at": "2026-10-01T00:30:00Z", "_landed": EARLIER,
         "updated_at": "2026-10-01T00:30:00Z"},
        {"id": 301, "requester_id": 201, "organization_id": 101, "subject": "?",
         "status": "solved", "type": "question", "created_at": "2026-10-01T00:30:00Z",
         "updated_at": "2026-10-02T00:00:00Z", "product_area": "a custom field"},
        {"id": 302, "requester_id": 201, "organization_id": 101, "subject": "spam",
         "status": "deleted", "type": None, "created_at": "2026-10-01T00:30:00Z",
         "updated_at": "2026-10-02T00:00:00Z"},
    ],
    "rating": [
        {"id": 401, "ticket_id": 301, "score": "good_with_comment",
         "updated_at": "2026-10-03T00:00:00Z"},
    ],
}  # fmt: skip


def fivetran(history: bool = True) -> Mapping[str, Tables]:
    """Flat, with names of its own, typed moments and flags for what was deleted."""
    names = {"customer": "customer_id", "subscription": "subscription_id", "product": "product_id",
             "price_id": "plan_id", "plan": "plan_id", "invoice": "invoice_id",
             "parent_subscription_details_subscription": "subscription_id",
             "parent_subscription_item_details_subscription": "subscription_id",
             "parent_subscription_item_details_proration": "proration",
             "pricing_price_details_price": "plan_id"}  # fmt: skip
    tables: dict[str, Tables] = {"raw_stripe": {}, "raw_zendesk": {}}
    for part, objects in FACTS.items():
        rows = []
        for thing in objects:
            flat = flattened({k: v for k, v in thing.items() if k != "metadata"}, "_")
            row = {names.get(k, k): moment(k, v) for k, v in flat.items() if k[0] != "_"}
            row["_fivetran_synced"] = datetime.fromisoformat(thing.get("_landed", LANDED))
            flag = "is_deleted" if part == "customer" else "_fivetran_deleted"
            rows.append(row | {flag: thing.get("_gone", False)})
            if "metadata" in thing:
                rows[-1]["metadata"] = json.dumps(thing["metadata"])
        table = {"item": "subscription_item", "line": "invoice_line_item"}.get(part, part)
        tables["raw_stripe" if part in PARTS else "raw_zendesk"][table] = rows
    stripe, zendesk = tables["raw_stripe"], tables["raw_zendesk"]
    subscriptions = stripe.pop("subscription")
    discounts = [row for row in subscriptions if "discount_id" in row]
    stripe["discount"] = [
        {"id": row["discount_id"], "coupon_id": row["discount_coupon_id"], "type": "subscription",
         "subscription_id": row["id"], "customer_id": row["discount_customer"],
         "start": row["discount_start"], "end": row["discount_end"],
         "_fivetran_synced": row["_fivetran_synced"]}
        for row in discounts
    ]  # fmt: skip
    for row in discounts:
        for name in [name for name in row if name.startswith("discount_")]:
            del row[name]
    if history:
        later = dict[str, datetime]()
        for row, thing in reversed(list(zip(subscriptions, FACTS["subscription"], strict=True))):
            begin = moment("_from", thing["_from"])
            row["_fivetran_start"] = begin
            row["_fivetran_end"] = later.get(row["id"], datetime(9999, 12, 31, 23, 59, 59))  # noqa: DTZ001
            row["_fivetran_active"] = row["id"] not in later
            later[row["id"]] = begin
        stripe["subscription_history"] = subscriptions
    else:
        stripe["subscription"] = subscriptions
    zendesk["domain_name"] = [
        {"organization_id": row["id"], "domain_name": name, "index": index,
         "_fivetran_deleted": row["_fivetran_deleted"], "_fivetran_synced": row["_fivetran_synced"]}
        for row in zendesk["organization"]
        for index, name in enumerate(row.pop("domain_names"))
    ]  # fmt: skip
    zendesk["ticket_field_history"] = [
        {"ticket_id": row["ticket_id"], "field_name": "satisfaction_score", "value": row["score"],
         "updated": row["updated_at"], "_fivetran_synced": row["_fivetran_synced"]}
        for row in zendesk.pop("rating")
    ]  # fmt: skip
    return tables


def dlt() -> Mapping[str, Tables]:
    """Two underscores for each level, lists as child tables, no column without a value."""
    loads = [{"load_id": str(day(at)) + ".25", "inserted_at": datetime.fromisoformat(at + "+00:00"),
              "status": 0} for at in (EARLIER, LANDED)]  # fmt: skip
    load_ids = {EARLIER: loads[0]["load_id"], LANDED: loads[1]["load_id"]}
    stripe: Tables = {"_dlt_loads": loads}
    zendesk: Tables = {"_dlt_loads": loads}
    children = {"item": ("subscription", "subscription__items__data"),
                "line": ("invoice", "invoice__lines__data")}  # fmt: skip
    for part, objects in FACTS.items():
        if part in children:
            continue
        tables = stripe if part in PARTS else zendesk
        table = part if part in PARTS else {"rating": "satisfaction_rating"}.get(part, part) + "s"
        for thing in objects:
            landed = thing.get("_landed", LANDED)
            if thing.get("_gone"):
                continue
            row = flattened({k.replace(" ", "_"): v for k, v in thing.items() if k[0] != "_"}, "__")
            row |= {"_dlt_id": f"{part}{thing['id']}{landed}", "_dlt_load_id": load_ids[landed]}
            row = {k: zoned(v) if k.endswith("_at") and part not in PARTS else v
                   for k, v in row.items()}  # fmt: skip
            for index, name in enumerate(row.pop("domain_names", [])):
                tables.setdefault("organizations__domain_names", []).append(
                    {"value": name, "_dlt_parent_id": row["_dlt_id"], "_dlt_list_idx": index}
                )
            tables.setdefault(table, []).append(row)
    for part, (parent, table) in children.items():
        for thing in FACTS[part]:
            landed = thing.get("_landed", LANDED)
            row = flattened({k: v for k, v in thing.items() if k[0] != "_"}, "__")
            # an invoice's line names its invoice in newer versions of the API only
            row.pop("invoice", None)
            row["_dlt_parent_id"] = f"{parent}{thing[parent]}{landed}"
            stripe.setdefault(table, []).append(row)
    return {"raw_stripe": stripe, "raw_zendesk": zendesk}


def airbyte(as_json: bool = False) -> Mapping[str, Tables]:
    """Plural tables with the API's names, JSON for what is nested, or all of it in one JSON."""
    names = {"item": "subscription_items", "line": "invoice_line_items",
             "rating": "satisfaction_ratings"}  # fmt: skip
    prefix = "_airbyte_raw_" if as_json else ""
    tables: dict[str, Tables] = {"raw_stripe": {}, "raw_zendesk": {}}
    for part, objects in FACTS.items():
        rows: list[Row] = []
        for thing in objects:
            landed = datetime.fromisoformat(thing.get("_landed", LANDED) + "+00:00")
            fields = {k: v for k, v in thing.items() if k[0] != "_"}
            if part in PARTS:
                fields["is_deleted"] = thing.get("_gone", False)
            elif part == "organization":
                fields["deleted_at"] = "2026-10-01T00:00:00Z" if thing.get("_gone") else None
            if part == "item" and "current_period_end" in fields:
                fields["current_period_end"] = str(fields["current_period_end"])
            if part == "ticket":
                fields["created_at"] = "2026-10-01T09:30:00+09:00"
            if as_json:
                rows.append({"_airbyte_ab_id": str(len(rows)), "_airbyte_emitted_at": landed,
                             "_airbyte_data": json.dumps(fields)})  # fmt: skip
            else:
                nested = {k: json.dumps(v) if isinstance(v, dict | list) else v
                          for k, v in fields.items()}  # fmt: skip
                rows.append(nested | {"_airbyte_raw_id": str(len(rows)), "_airbyte_meta": "{}",
                                      "_airbyte_extracted_at": landed})  # fmt: skip
        schema = "raw_stripe" if part in PARTS else "raw_zendesk"
        tables[schema][prefix + names.get(part, part + "s")] = rows
    return tables


def flattened(fields: Mapping[str, Any], separator: str) -> Row:
    """Nested objects as columns; a value that is null stays out."""
    row: Row = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            inner = flattened(value, separator)
            row |= {f"{name}{separator}{key}": held for key, held in inner.items()}
        elif value is not None:
            row[name] = value
    return row


def moment(name: str, value: Any) -> Any:
    if isinstance(value, int) and value > 10**9:
        return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)
    return zoned(value).replace(tzinfo=None) if name.endswith("_at") else value


def zoned(text: str) -> datetime:
    return datetime.fromisoformat(text)


def landed(file: Path, schemas: Mapping[str, Tables]) -> Path:
    """A warehouse with these tables: the columns that their rows have, typed by the first value."""
    types = {bool: "boolean", int: "bigint", float: "double", str: "varchar", list: "varchar"}
    with duckdb.connect(str(file)) as connection:
        for schema, tables in schemas.items():
            connection.execute(f"create schema if not exists {schema}")
            for table, rows in tables.items():
                columns: dict[str, str] = {}
                for name, value in ((k, v) for row in rows for k, v in row.items()):
                    is_zoned = isinstance(value, datetime) and value.tzinfo
                    kind = types.get(type(value), "timestamptz" if is_zoned else "timestamp")
                    columns.setdefault(name, "varchar" if value is None else kind)
                declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
                connection.execute(f'create table {schema}."{table}" ({declared})')
                connection.executemany(
                    f'insert into {schema}."{table}" values ({", ".join("?" * len(columns))})',
                    [[row.get(name) for name in columns] for row in rows],
                )
    return file
