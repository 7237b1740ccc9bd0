"""Subscription histories to compute revenue of: drawn by hypothesis, and told by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.revenue_reference import FOR_EVER, RATES, Raw, Row, later, months_later

LANDED = datetime.fromisoformat("2026-10-20 00:00:00")
BOUNDARIES = [
    datetime.combine(months_later(date(2025, 1, 1), month), datetime.min.time())
    for month in range(24)
]
INSTANTS = st.one_of(
    st.integers(0, 720 * 86_400).map(lambda second: BOUNDARIES[0] + timedelta(seconds=second)),
    st.builds(
        lambda boundary, second: boundary + timedelta(seconds=second),
        st.sampled_from(BOUNDARIES),
        st.integers(-2, 1),
    ),
)
STATUSES = st.sampled_from(
    ["active"] * 6
    + ["past_due"] * 2
    + ["trialing", "unpaid", "paused", "canceled", "incomplete", "incomplete_expired"]
)
SEATS = st.one_of(st.integers(0, 60), st.integers(0, 60), st.none())
PRICES: list[Row] = [
    {
        "id": f"price_{currency}_{amount}_{interval}{count}",
        "product_id": "prod",
        "currency": currency,
        "unit_amount": amount,
        "recurring_interval": interval,
        "recurring_interval_count": count,
    }
    for currency in (*RATES, "xxx")
    for amount, interval, count in (
        (1000, "month", 1),
        (10_000, "month", 1),
        (999, "month", 3),
        # seats of this make whole and half cents of a twelfth
        (1, "year", 1),
        (12_345, "year", 2),
        (77, "week", 1),
    )
]
COUPONS: list[Row] = [
    {"id": f"{duration}_{name}", "percent_off": percent, "amount_off": amount}
    | {"currency": currency, "duration": duration}
    | {"duration_in_months": 3 if duration == "repeating" else None}
    for name, percent, amount, currency in (
        ("15", 15.5, None, None),
        ("50", 50.0, None, None),
        ("all", 100.0, None, None),
        ("yen", None, 700, "jpy"),
        ("euro", None, 450, "eur"),
    )
    for duration in ("forever", "once", "repeating")
]


@st.composite
def histories(draw: st.DrawFn) -> Raw:
    """A customer with one to three subscriptions; ids are local and made unique afterwards."""
    currency = draw(st.sampled_from([*RATES, "usd", "jpy", "xxx"]))
    prices = [row["id"] for row in PRICES if row["currency"] == currency]
    raw: Raw = {
        table: []
        for table in ("subscription_history", "subscription_item", "invoice_line_item", "discount")
    }
    for subscription in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        cuts = sorted(draw(st.lists(INSTANTS, min_size=1, max_size=6, unique=True)))
        for place, start in enumerate(cuts):
            following = cuts[place + 1] if place + 1 < len(cuts) else FOR_EVER
            # now and then a version ends late, so that two overlap, or early, so that none holds
            end = draw(st.sampled_from([following] * 6 + [FOR_EVER, start + timedelta(days=20)]))
            version = {"id": subscription, "customer_id": "", "_fivetran_start": start}
            version |= {"status": draw(STATUSES), "quantity": draw(SEATS)}
            last = {"_fivetran_end": FOR_EVER if place + 1 == len(cuts) else end}
            raw["subscription_history"].append(version | last | {"_fivetran_synced": LANDED})
            if draw(st.integers(0, 5)) == 0:
                again = {"quantity": 7, "_fivetran_end": FOR_EVER, "_fivetran_synced": start}
                raw["subscription_history"].append(version | again)
        for number in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2, 3]))):
            raw["subscription_item"].append(
                {"id": f"si_{subscription}{number}", "subscription_id": subscription}
                | {"plan_id": draw(st.sampled_from(prices)), "quantity": draw(SEATS)}
                | {"created": draw(st.sampled_from(cuts)), "_fivetran_synced": LANDED}
            )
        for number in range(draw(st.integers(0, 5))):
            start = draw(st.one_of(st.sampled_from(cuts), INSTANTS))
            raw["invoice_line_item"].append(
                {"id": f"il_{subscription}{number}", "subscription_id": subscription}
                | {"plan_id": draw(st.sampled_from([*prices, "gone"])), "quantity": draw(SEATS)}
                | {"amount": draw(st.integers(-500, 5000)), "proration": draw(st.booleans())}
                | {"period_start": start, "period_end": later(start, draw(st.integers(1, 12)))}
            )
        for number in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            of = draw(st.sampled_from([subscription, subscription, None]))
            raw["discount"].append(
                {"id": f"di_{subscription}{number}", "customer_id": "", "subscription_id": of}
                | {"coupon_id": draw(st.sampled_from(COUPONS))["id"], "start": draw(INSTANTS)}
                | {"end": draw(st.one_of(st.none(), INSTANTS))}
                | {"type": "subscription" if of else "customer"}
            )
    return raw


def drawn(count: int) -> list[Raw]:
    """As many histories as hypothesis is asked for: one warehouse takes them all."""
    found: list[Raw] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(histories())
    def collect(raw: Raw) -> None:
        found.append(raw)

    collect()
    return found


def together(histories_drawn: dict[str, Raw]) -> Raw:
    """All customers in one set of raw tables, every id prefixed by its customer's."""
    raw: Raw = {"price": PRICES, "coupon": COUPONS, "customer": []}
    for customer, history in histories_drawn.items():
        raw["customer"].append(
            {"id": customer, "created": BOUNDARIES[0], "email": f"billing@{customer}.example"}
        )
        for table, rows in history.items():
            for row in rows:
                prefixed = {
                    name: f"{customer}_{value}"
                    for name, value in row.items()
                    if name in ("id", "subscription_id") and value is not None
                }
                owner = {"customer_id": customer} if "customer_id" in row else {}
                raw.setdefault(table, []).append({**row, **prefixed, **owner})
    return raw


def life(*versions: tuple[str, str, int], price: str, coupon: str = "", changed: str = "") -> Raw:
    """A life told by hand: (day, status, seats) one after the other; ``changed`` is the day from
    which a line bills a hundred a month instead.
    """
    starts = [datetime.fromisoformat(day) for day, _, _ in versions]
    item: Row = {"id": "si", "subscription_id": "s", "quantity": 1, "created": starts[0]}
    discount = {"id": "di", "customer_id": "", "subscription_id": "s", "type": "subscription"}
    line: Row = {"id": "il", "subscription_id": "s", "plan_id": "price_usd_10000_month1"}
    line |= {"quantity": 1, "amount": 1, "proration": True, "period_end": FOR_EVER}
    return {
        "subscription_history": [
            {"id": "s", "customer_id": "", "status": status, "quantity": seats}
            | {"_fivetran_start": start, "_fivetran_end": end, "_fivetran_synced": start}
            for (_, status, seats), start, end in zip(
                versions, starts, [*starts[1:], FOR_EVER], strict=True
            )
        ],
        "subscription_item": [item | {"plan_id": price, "_fivetran_synced": starts[0]}],
        "invoice_line_item": [line | {"period_start": datetime.fromisoformat(changed)}]
        if changed
        else [],
        "discount": [discount | {"coupon_id": coupon, "start": starts[0], "end": None}]
        if coupon
        else [],
    }


TEN = "price_usd_1000_month1"
LIVES: dict[str, tuple[Raw, list[tuple[str, str, str]]]] = {
    "returns": (
        life(
            ("2025-01-10", "active", 1),
            ("2025-03-10", "canceled", 1),
            ("2025-06-10", "active", 9),
            price=TEN,
        ),
        [
            ("2025-01-01", "new", "10.00"),
            ("2025-03-01", "churn", "10.00"),
            ("2025-06-01", "reactivation", "90.00"),
        ],
    ),
    "changes_plan": (
        life(("2025-01-10", "active", 1), price=TEN, changed="2025-04-05"),
        [("2025-01-01", "new", "10.00"), ("2025-04-01", "expansion", "90.00")],
    ),
    "shrinks": (
        life(("2025-01-10", "active", 5), ("2025-02-10", "active", 3), price=TEN),
        [("2025-01-01", "new", "50.00"), ("2025-02-01", "contraction", "20.00")],
    ),
    "is_late_then_unpaid": (
        life(
            ("2025-01-10", "active", 1),
            ("2025-02-10", "past_due", 1),
            ("2025-04-10", "unpaid", 1),
            price=TEN,
        ),
        [("2025-01-01", "new", "10.00"), ("2025-04-01", "churn", "10.00")],
    ),
    "only_tries": (
        life(("2025-01-10", "trialing", 3), ("2025-02-10", "canceled", 3), price=TEN),
        [],
    ),
    "buys_after_the_trial": (
        life(("2025-01-20", "trialing", 3), ("2025-02-03", "active", 3), price=TEN),
        [("2025-02-01", "new", "30.00")],
    ),
    "ends_with_the_last_second": (
        life(("2025-01-10", "active", 1), ("2025-01-31 23:59:59", "canceled", 1), price=TEN),
        [],
    ),
    "pays_yen": (
        life(("2025-01-10", "active", 10), price="price_jpy_1000_month1"),
        [("2025-01-01", "new", "67.00")],
    ),
    "pays_by_the_year_and_half_a_cent_rounds_up": (
        life(("2025-01-10", "active", 6), price="price_usd_1_year1"),
        [("2025-01-01", "new", "0.01")],
    ),
    "has_a_discount_for_ever": (
        life(("2025-01-10", "active", 2), price=TEN, coupon="forever_50"),
        [("2025-01-01", "new", "10.00")],
    ),
    "has_a_discount_once": (
        life(("2025-01-10", "active", 2), price=TEN, coupon="once_50"),
        [("2025-01-01", "new", "20.00")],
    ),
    "begins_after_the_clock": (life(("2026-10-29", "active", 2), price=TEN), []),
}
