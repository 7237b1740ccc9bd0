"""Stripe: customers, subscription versions, items, prices, invoices with lines that add up,
coupons, discounts.
"""

import json
from typing import TYPE_CHECKING, Final

from seeds.sample_company.calendar import DAY, FAR_FUTURE, HOUR, Window, add_months
from seeds.sample_company.lifecycle import PLANS, Subscription
from seeds.sample_company.rows import Rows, Value, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

# monthly price of one seat in minor units; a year costs ten months
_SEAT_PRICES: Final = {
    "usd": [1_200, 2_000, 3_500, 6_000],
    "eur": [1_100, 1_900, 3_300, 5_600],
    "gbp": [950, 1_600, 2_800, 4_800],
    "jpy": [1_500, 2_600, 4_800, 8_200],
}
# id, name, percent off, months it lasts (None: for ever)
_COUPONS: Final = [
    ("WELCOME20", "Welcome 20%", 20, 3),
    ("NONPROFIT15", "Non-profit 15%", 15, None),
    ("ONCE10", "First invoice 10%", 10, 1),
]
_PAYMENT_DAYS: Final = 7


def unit_amount(currency: str, plan: str, months: int) -> int:
    """Price of one seat for one billing period, in minor units."""
    monthly = _SEAT_PRICES[currency][PLANS.index(plan)]
    return monthly * 10 if months == 12 else monthly


def price_id(currency: str, plan: str, months: int) -> str:
    """Stripe id of a price."""
    return f"price_{plan.lower()}_{currency}_{'year' if months == 12 else 'month'}"


def add_catalogue(rows: Rows, window: Window) -> None:
    """Products, prices and coupons, which all customers share."""
    created = window.start - 400 * DAY
    for plan in PLANS:
        product_id = f"prod_{plan.lower()}"
        rows.add(
            "stripe.product",
            created,
            id=product_id,
            name=plan,
            active=True,
            created=created,
            is_deleted=False,
            metadata="{}",
        )
        for currency in _SEAT_PRICES:
            for months in (1, 12):
                interval = "year" if months == 12 else "month"
                rows.add(
                    "stripe.price",
                    created,
                    id=price_id(currency, plan, months),
                    product_id=product_id,
                    currency=currency,
                    unit_amount=unit_amount(currency, plan, months),
                    recurring_interval=interval,
                    recurring_interval_count=1,
                    type="recurring",
                    nickname=f"{plan} {currency.upper()} per {interval}",
                    active=True,
                    created=created,
                    livemode=True,
                    metadata="{}",
                )
    for coupon_id, name, percent, months_off in _COUPONS:
        duration = "forever" if months_off is None else "once" if months_off == 1 else "repeating"
        rows.add(
            "stripe.coupon",
            created,
            id=coupon_id,
            name=name,
            percent_off=float(percent),
            duration=duration,
            duration_in_months=months_off if duration == "repeating" else None,
            valid=True,
            created=created,
        )


def add_billing(story: "Story", rows: Rows) -> None:
    """Everything that Stripe knows of one customer."""
    rng = story.rng("billing")
    company, window = story.company, story.window
    created = story.started_at - int(rng.integers(60, 40 * 60))
    has_metadata = rng.random() >= 0.08
    payer = story.people[0].email
    delinquent = False
    for item in story.subscriptions:
        coupon = pick(rng, _COUPONS) if rng.random() < 0.12 and item.number == 0 else None
        _add_subscription(story, item, rows)
        if coupon is not None and item.paid_from <= window.end:
            _add_discount(story, item, coupon, rows)
        for start, stop in item.periods(window.end):
            delinquent = _add_period(story, item, start, stop, coupon, rows)
    odd = rng.random()
    rows.add(
        "stripe.customer",
        created,
        id=company.stripe_id,
        created=created,
        name=story.company.name,
        email=payer.upper() if odd < 0.04 else f"{payer} " if odd < 0.07 else payer,
        currency=company.country.currency,
        delinquent=delinquent,
        description="Kumo test account" if story.is_internal else None,
        address_country=company.country.code if rng.random() >= 0.04 else None,
        metadata=json.dumps({"workspace_id": company.workspace_id}) if has_metadata else "{}",
        livemode=True,
        is_deleted=False,
    )
    if rng.random() < 0.02:
        _add_false_start(story, created, rows)
    if rng.random() < 0.03:
        # an item whose subscription was never landed
        lost = f"si_{company.key}x"
        rows.add(
            "stripe.subscription_item",
            created,
            id=lost,
            subscription_id=f"sub_{company.key}x",
            plan_id=price_id(company.country.currency, "Starter", 1),
            quantity=1,
            created=created,
            current_period_start=created,
            current_period_end=add_months(created, 1),
            metadata="{}",
        )


def _add_false_start(story: "Story", created: int, rows: Rows) -> None:
    """A first try whose payment never went through."""
    rows.add(
        "stripe.subscription_history",
        created,
        id=f"sub_{story.company.key}f",
        customer_id=story.company.stripe_id,
        status="incomplete_expired",
        quantity=1,
        created=created,
        start_date=created,
        current_period_start=created,
        current_period_end=add_months(created, 1),
        cancel_at_period_end=False,
        ended_at=created,
        metadata="{}",
        livemode=True,
        _fivetran_start=created,
        _fivetran_end=FAR_FUTURE,
        _fivetran_active=True,
    )


def subscription_id(story: "Story", item: Subscription) -> str:
    """Stripe id of a subscription."""
    return f"sub_{story.company.key}{item.number}"


def _add_subscription(story: "Story", item: Subscription, rows: Rows) -> None:
    """One version for every instant at which something about the subscription changed."""
    end = story.window.end
    periods = item.periods(end)
    instants = {item.created_at, *(start for start, _ in periods), *(c.at for c in item.changes)}
    for failure in item.failures:
        instants.add(failure.at + HOUR)
        instants.add(failure.paid_at or failure.at + 14 * DAY)
    instants.update(at for at in (item.notice_at, item.ended_at) if at is not None)
    last = min(end, item.ended_at if item.ended_at is not None else end)
    ordered = sorted(at for at in instants if at <= last)
    period = (item.created_at, item.trial_ends_at or item.paid_from)
    for place, at in enumerate(ordered):
        period = next((span for span in reversed(periods) if span[0] <= at), period)
        is_last = place == len(ordered) - 1
        noticed = item.notice_at is not None and at >= item.notice_at and not item.pauses
        ended = item.ended_at is not None and at >= item.ended_at and not item.pauses
        rows.add(
            "stripe.subscription_history",
            at,
            id=subscription_id(story, item),
            customer_id=story.company.stripe_id,
            status=_status(item, at),
            quantity=item.state_at(at).seats,
            created=item.created_at,
            start_date=item.created_at,
            current_period_start=period[0],
            current_period_end=period[1],
            trial_start=item.created_at if item.trial_ends_at else None,
            trial_end=item.trial_ends_at,
            cancel_at=item.ended_at if noticed else None,
            cancel_at_period_end=noticed and not ended,
            canceled_at=item.notice_at if noticed else item.ended_at if ended else None,
            ended_at=item.ended_at if ended else None,
            metadata="{}",
            livemode=True,
            _fivetran_start=at,
            _fivetran_end=FAR_FUTURE if is_last else ordered[place + 1],
            _fivetran_active=is_last,
        )
    now = item.state_at(ordered[-1])
    rows.add(
        "stripe.subscription_item",
        ordered[-1],
        id=f"si_{story.company.key}{item.number}",
        subscription_id=subscription_id(story, item),
        plan_id=price_id(story.company.country.currency, now.plan, item.months),
        quantity=now.seats,
        created=item.created_at,
        current_period_start=period[0],
        current_period_end=period[1],
        metadata="{}",
    )


def _status(item: Subscription, at: int) -> str:
    if item.ended_at is not None and at >= item.ended_at:
        return "paused" if item.pauses else "canceled"
    if at < item.paid_from:
        return "trialing"
    for failure in item.failures:
        if failure.at + HOUR <= at and (failure.paid_at is None or at < failure.paid_at):
            lost = failure.paid_at is None and at >= failure.at + 14 * DAY
            return "unpaid" if lost else "past_due"
    return "active"


def _add_discount(
    story: "Story", item: Subscription, coupon: tuple[str, str, int, int | None], rows: Rows
) -> None:
    months = coupon[3]
    rows.add(
        "stripe.discount",
        item.paid_from,
        id=f"di_{story.company.key}{item.number}",
        coupon_id=coupon[0],
        customer_id=story.company.stripe_id,
        subscription_id=subscription_id(story, item),
        start=item.paid_from,
        end=add_months(item.paid_from, months) if months else None,
        type="subscription",
        type_id=subscription_id(story, item),
    )


def _add_period(
    story: "Story",
    item: Subscription,
    start: int,
    stop: int,
    coupon: tuple[str, str, int, int | None] | None,
    rows: Rows,
) -> bool:
    """The invoice of a period and one for each change within it; True when the payment is still
    open.
    """
    currency = story.company.country.currency
    failure = next((item_ for item_ in item.failures if item_.at == start), None)
    state = item.state_at(start)
    price = unit_amount(currency, state.plan, item.months)
    first = start == item.paid_from
    reason = "subscription_create" if first and not item.trial_ends_at else "subscription_cycle"
    off = _percent_off(item, start, coupon)
    lines = [(state.plan, state.seats, price * state.seats, start, False)]
    is_open = _add_invoice(story, item, start, stop, lines, reason, off, failure is not None, rows)
    before = state
    for change in item.changes:
        if not start < change.at < stop or change.at > story.window.end:
            continue
        left = (stop - change.at) / (stop - start)
        old = unit_amount(currency, before.plan, item.months) * before.seats
        new = unit_amount(currency, change.plan, item.months) * change.seats
        lines = [
            (before.plan, before.seats, -round(old * left), change.at, True),
            (change.plan, change.seats, round(new * left), change.at, True),
        ]
        _add_invoice(
            story,
            item,
            change.at,
            stop,
            lines,
            "subscription_update",
            _percent_off(item, change.at, coupon),
            False,
            rows,
        )
        before = change
    return is_open


def _percent_off(
    item: Subscription, at: int, coupon: tuple[str, str, int, int | None] | None
) -> int:
    if coupon is None:
        return 0
    months = coupon[3]
    return coupon[2] if months is None or at < add_months(item.paid_from, months) else 0


def _add_invoice(
    story: "Story",
    item: Subscription,
    start: int,
    stop: int,
    lines: list[tuple[str, int, int, int, bool]],
    reason: str,
    percent_off: int,
    failed: bool,
    rows: Rows,
) -> bool:
    company, end = story.company, story.window.end
    serial = len(rows.single.get("stripe.invoice", [])) + 1
    invoice_id = f"in_{company.key}{serial}"
    subtotal = sum(line[2] for line in lines)
    net = subtotal - round(subtotal * percent_off / 100)
    tax = round(net * company.country.tax)
    total = net + tax
    failure = next((one for one in item.failures if one.at == start), None) if failed else None
    paid_at = start + HOUR if failure is None else failure.paid_at
    is_paid = paid_at is not None and paid_at <= end
    given_up = not is_paid and item.ended_at is not None and item.ended_at <= end
    status = "paid" if is_paid else "open"
    if given_up and company.index % 5 < 2:
        status = "uncollectible"
    currency: Value = company.country.currency
    rows.add(
        "stripe.invoice",
        max(start, min(paid_at or start, end)),
        id=invoice_id,
        customer_id=company.stripe_id,
        subscription_id=subscription_id(story, item),
        status=status,
        currency=currency,
        amount_due=total,
        amount_paid=total if is_paid else 0,
        amount_remaining=0 if is_paid else total,
        subtotal=subtotal,
        tax=tax,
        total=total,
        created=start,
        due_date=start + _PAYMENT_DAYS * DAY,
        period_start=start,
        period_end=stop,
        billing_reason=reason,
        paid=is_paid,
        attempt_count=1 if failure is None else 4,
        number=f"KUMO-{company.key.upper()}-{serial:04d}",
        metadata="{}",
        livemode=True,
        is_deleted=False,
    )
    for place, (plan, seats, amount, at, prorated) in enumerate(lines):
        verb = "Remaining time on" if amount >= 0 else "Unused time on"
        rows.add(
            "stripe.invoice_line_item",
            start,
            id=f"il_{company.key}{serial}_{place}",
            invoice_id=invoice_id,
            subscription_id=subscription_id(story, item),
            subscription_item_id=f"si_{company.key}{item.number}",
            plan_id=price_id(company.country.currency, plan, item.months),
            quantity=seats,
            amount=amount,
            currency=currency,
            period_start=at,
            period_end=stop,
            proration=prorated,
            type="subscription",
            unique_id=f"ul_{company.key}{serial}_{place}",
            description=f"{verb} {seats} × {plan}" if prorated else f"{seats} × {plan}",
            metadata="{}",
        )
    return not is_paid
