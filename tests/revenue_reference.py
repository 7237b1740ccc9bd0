"""Revenue as the definitions say it, in exact fractions: what the models are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
Raw = dict[str, list[Row]]
NOTHING = Decimal("0.00")
FOR_EVER = datetime.fromisoformat("9999-12-31 23:59:59")
RATES = {
    "usd": Fraction(1),
    "eur": Fraction("1.08"),
    "gbp": Fraction("1.27"),
    "jpy": Fraction("0.0067"),
}
PERIODS_PER_MONTH = {
    "month": Fraction(1),
    "year": Fraction(1, 12),
    "week": Fraction(52, 12),
    "day": Fraction(365, 12),
}


@dataclass(frozen=True)
class Revenue:
    """MRR at the end of every month from a customer's first paid one on, and what moved it."""

    ends: dict[tuple[str, date], Decimal]
    movements: dict[tuple[str, date], tuple[str, Decimal]]
    months: list[date]

    def paying(self, month: date) -> dict[str, Decimal]:
        return {who: mrr for (who, of), mrr in self.ends.items() if of == month and mrr > 0}

    def total(self, month: date) -> Decimal:
        return sum(self.paying(month).values(), NOTHING)

    def moved(self, month: date, kind: str) -> Decimal:
        moves = ((of, *move) for (_, of), move in self.movements.items())
        return sum((much for of, what, much in moves if (of, what) == (month, kind)), NOTHING)


class Reference:
    """MRR from raw rows, one subscription and instant at a time, in exact fractions."""

    def __init__(
        self, raw: Raw, customers: set[str], clock: datetime, every_discount: bool = False
    ) -> None:
        self.clock, self.customers, self.every_discount = clock, customers, every_discount
        self.prices = {row["id"]: row for row in raw["price"] if row["currency"] in RATES}
        self.coupons = {row["id"]: row for row in raw["coupon"]}
        self.given = by(raw["discount"], "customer_id")
        self.versions = by(raw["subscription_history"], "id")
        self.lines = by(raw["invoice_line_item"], "subscription_id")
        self.items = by(raw["subscription_item"], "subscription_id")

    def revenue(self) -> Revenue:
        month = min(
            row["_fivetran_start"].date().replace(day=1)
            for rows in self.versions.values()
            for row in rows
        )
        result = Revenue({}, {}, [])
        latest: dict[str, Decimal] = {}
        while month <= self.clock.date():
            end = datetime.combine(months_later(month, 1), datetime.min.time())
            now = self.by_customer(min(end - timedelta(seconds=1), self.clock))
            for customer in {*latest, *(who for who, mrr in now.items() if mrr)}:
                before, after = latest.get(customer), now.get(customer, NOTHING)
                if before != after:
                    change = abs(after - (before or NOTHING))
                    result.movements[customer, month] = (named(before, after), change)
                result.ends[customer, month] = latest[customer] = after
            if latest:
                result.months.append(month)
            month = months_later(month, 1)
        return result

    def by_customer(self, at: datetime) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for subscription, rows in self.versions.items():
            holding = [row for row in rows if row["_fivetran_start"] <= at < row["_fivetran_end"]]
            version = max(holding, key=lambda row: row["_fivetran_start"], default=None)
            if version is None or version["customer_id"] not in self.customers:
                continue
            if version["status"] in ("active", "past_due"):
                who = version["customer_id"]
                found[who] = found.get(who, NOTHING) + self.mrr(subscription, version, at)
        return found

    def mrr(self, subscription: str, version: Row, at: datetime) -> Decimal:
        items = [row for row in self.items.get(subscription, []) if row["created"] <= self.clock]
        items.sort(key=lambda row: (row["created"], row["id"]))
        items = [row for row in items if row["created"] <= at] or items[:1]
        amount, periods = Fraction(0), Fraction(0)
        for item in items or [{"plan_id": None, "quantity": None}]:
            line = self.line(subscription, at, item["plan_id"] if len(items) > 1 else None)
            price = self.prices.get((line or item)["plan_id"])
            if price is None:
                continue
            seats = [version["quantity"]] if len(items) <= 1 else []
            seats += [line["quantity"]] if line else []
            quantity = next(one for one in [*seats, item["quantity"], 0] if one is not None)
            a_period = PERIODS_PER_MONTH[price["recurring_interval"]]
            a_period /= price["recurring_interval_count"]
            periods = min(periods or a_period, a_period)
            amount += max(quantity, 0) * major(price["unit_amount"], price["currency"]) * a_period
        off = Fraction(0)
        for coupon in self.discounts(subscription, version["customer_id"], at):
            if coupon["percent_off"] is not None:
                amount *= 1 - Fraction(str(coupon["percent_off"])) / 100
            else:
                off += major(coupon["amount_off"], coupon["currency"]) * periods
        return cents(max(amount - off, Fraction(0)))

    def line(self, subscription: str, at: datetime, price: str | None) -> Row | None:
        """The line that has the price in force: it bills for the instant and begins last."""
        covering = [
            row
            for row in self.lines.get(subscription, [])
            if row["period_start"] <= at < row["period_end"]
            and row["amount"] >= 0
            and row["plan_id"] in self.prices
            and price in (None, row["plan_id"])
        ]
        order = ("period_start", "proration", "amount", "id")
        return max(covering, key=lambda row: [row[name] for name in order], default=None)

    def discounts(self, subscription: str, customer: str, at: datetime) -> list[Row]:
        own, of_customer = [], []
        for row in self.given.get(customer, []):
            coupon = self.coupons[row["coupon_id"]]
            duration = coupon["duration"]
            months = {"once": 1, "repeating": coupon["duration_in_months"]}.get(duration)
            end = row["end"] or (later(row["start"], months) if months else FOR_EVER)
            if row["start"] <= at < end and (duration == "forever" or self.every_discount):
                if row["subscription_id"] == subscription:
                    own.append(coupon)
                elif row["subscription_id"] is None:
                    of_customer.append(coupon)
        return own or of_customer


def by(rows: list[Row], column: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row[column], []).append(row)
    return grouped


def named(before: Decimal | None, after: Decimal) -> str:
    if before is None:
        return "new"
    if not before:
        return "reactivation"
    if not after:
        return "churn"
    return "expansion" if after > before else "contraction"


def major(minor: int, currency: str) -> Fraction:
    return Fraction(minor, 1 if currency == "jpy" else 100) * RATES[currency]


def cents(exact: Fraction) -> Decimal:
    """Half up to six digits, then half up to two: the rounding that the models define."""
    six = Decimal(int(exact * 1_000_000 + Fraction(1, 2))).scaleb(-6)
    return six.quantize(NOTHING, ROUND_HALF_UP)


def months_later(month: date, months: int) -> date:
    years, zero_based = divmod(month.month - 1 + months, 12)
    return date(month.year + years, zero_based + 1, 1)


def later(moment: datetime, months: int) -> datetime:
    first = months_later(moment.date().replace(day=1), months)
    last_day = (months_later(first, 1) - timedelta(days=1)).day
    return datetime.combine(first.replace(day=min(moment.day, last_day)), moment.time())


def retention(expected: Revenue, month: date) -> list[Decimal | None]:
    before, then = (expected.paying(months_later(month, back)) for back in (-1, -12))
    now = expected.paying(month)

    def kept(cohort: dict[str, Decimal], at_most: bool) -> Decimal | None:
        if not cohort:
            return None
        left = [(now.get(who, NOTHING), mrr) for who, mrr in cohort.items()]
        sizes = [min(after, mrr) if at_most else after for after, mrr in left]
        return sum(sizes, NOTHING) / sum(cohort.values(), NOTHING)

    lost = Decimal(len(before.keys() - now.keys()))
    logos = lost / len(before) if before else None
    return [
        *(kept(before, at_most) for at_most in (False, True)),
        *(kept(then, at_most) for at_most in (False, True)),
        logos,
    ]
