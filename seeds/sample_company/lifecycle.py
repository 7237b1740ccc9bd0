"""Subscriptions as the story decides them: trial, seats, plans, failed payments, notice, end,
return.

Churn is drawn from latent health at each decision, so it is caused by what also drives usage, and
never certain.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from seeds.sample_company.calendar import DAY, Floats, add_months
from seeds.sample_company.effects import horizon
from seeds.sample_company.rows import pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

PLANS = ["Starter", "Team", "Business", "Enterprise"]
_TRIAL_SECONDS = 14 * DAY
_UNPAID_AFTER = 14 * DAY
_CANCELED_AFTER = 24 * DAY


@dataclass
class Change:
    """Plan and seats from an instant on."""

    at: int
    plan: str
    seats: int


@dataclass
class Failure:
    """A payment that failed for the period starting at `at`; never recovered when `paid_at` is
    null.
    """

    at: int
    paid_at: int | None


@dataclass
class Subscription:
    """One subscription from creation to end."""

    number: int
    created_at: int
    trial_ends_at: int | None
    paid_from: int
    months: int
    changes: list[Change]
    failures: list[Failure] = field(default_factory=list)
    notice_at: int | None = None
    ended_at: int | None = None
    end_kind: str | None = None
    pauses: bool = False
    reason: str | None = None

    @property
    def was_paid(self) -> bool:
        """Whether it did not end in its trial."""
        return self.end_kind != "trial" and (
            self.ended_at is None or self.ended_at > self.paid_from
        )

    def state_at(self, second: int) -> Change:
        """Plan and seats at an instant."""
        return [change for change in self.changes if change.at <= second][-1]

    def periods(self, end: int) -> list[tuple[int, int]]:
        """Paid billing periods that start no later than `end`."""
        stop = end if self.ended_at is None else min(end, self.ended_at - 1)
        spans = []
        number = 0
        while (start := add_months(self.paid_from, number * self.months)) <= stop:
            number += 1
            spans.append((start, add_months(self.paid_from, number * self.months)))
        return spans


def live_through(story: "Story") -> None:
    """Fills in the story's subscriptions."""
    rng = story.rng("lifecycle")
    annual = rng.random() < story.archetype.annual
    first = _open(story, rng, story.started_at, 12 if annual else 1, 0)
    story.subscriptions.append(first)
    _run(story, rng, first)
    if story.name == "reactivated" and first.ended_at is not None and first.was_paid:
        _return(story, rng, first)
    elif first.was_paid and story.name in ("thriving", "expanding") and rng.random() < 0.2:
        # a second team buys its own small subscription
        started_at = first.paid_from + int(rng.integers(40, 150)) * DAY
        if started_at < story.window.end and (
            first.ended_at is None or first.ended_at > started_at
        ):
            second = Subscription(
                1,
                started_at,
                None,
                started_at,
                1,
                [Change(started_at, "Starter", int(rng.integers(2, 6)))],
            )
            second.ended_at, second.end_kind = first.ended_at, first.end_kind
            second.reason, second.notice_at = first.reason, first.notice_at
            if second.notice_at is not None and second.notice_at <= started_at:
                return
            story.subscriptions.append(second)


def _open(
    story: "Story", rng: np.random.Generator, created_at: int, months: int, number: int
) -> Subscription:
    seats = int(np.clip(rng.lognormal(1.95, 0.65), 3, 60))
    plan = PLANS[int(np.searchsorted([6, 12, 26], seats * rng.normal(1, 0.2)))]
    trial = number == 0 and rng.random() < story.archetype.trial
    if story.name == "late_onboarding":
        # one of each kind: in its trial, and paying from the first day
        trial = story.company.country.code != "JP"
    trial_ends_at = created_at + _TRIAL_SECONDS if trial else None
    return Subscription(
        number,
        created_at,
        trial_ends_at,
        trial_ends_at or created_at,
        months,
        [Change(created_at, plan, seats)],
    )


def mean_health(story: "Story", until: int, days: int) -> float:
    """Mean latent health of the `days` before an instant."""
    last = int(np.clip(story.window.day_of(until), 1, story.window.days))
    first = max(story.window.day_of(story.started_at), last - days, 0)
    span: Floats = story.health[min(first, last - 1) : last]
    return float(span.mean())


def _run(story: "Story", rng: np.random.Generator, item: Subscription) -> None:
    """Lives through trial and periods until the subscription ends or the window does."""
    end = story.window.end
    frailty = float(rng.normal(0, 0.7))
    if item.trial_ends_at is not None:
        if item.trial_ends_at > end:
            return
        keeps = 0.0 if story.name == "trial_not_converted" else 0.97
        if rng.random() >= keeps and not story.archetype.stays:
            item.ended_at, item.end_kind = item.trial_ends_at, "trial"
            item.notice_at = item.created_at + int(rng.integers(5, 14)) * DAY
            item.reason = "trial_not_converted"
            # Stripe pauses a trial that ends without a means of payment, where the seller says so
            item.pauses = bool(rng.random() < 0.3)
            return
    expansions = _expansion_times(story, rng, item)
    number = 0
    while True:
        start = add_months(item.paid_from, number * item.months)
        stop = add_months(item.paid_from, (number + 1) * item.months)
        number += 1
        if start > end:
            return
        if _payment_is_lost(story, rng, item, start):
            return
        for at in expansions:
            if start < at < stop and at < end:
                _expand(rng, item, at)
        decided_at = stop - int(rng.integers(*((2, 26) if item.months == 1 else (15, 80)))) * DAY
        if rng.random() < 0.25:
            # a quarter cancels on the very last day
            decided_at = stop - DAY
        if decided_at > end:
            return
        if _gives_notice(story, rng, item, decided_at, frailty):
            item.notice_at, item.ended_at, item.end_kind = decided_at, stop, "voluntary"
            return
        _contract(story, rng, item, stop)


def _gives_notice(
    story: "Story", rng: np.random.Generator, item: Subscription, at: int, frailty: float
) -> bool:
    """Draws the decision to leave; also says why."""
    monthly = item.months == 1
    health = mean_health(story, at, 45 if monthly else 120)
    by_health = 1 / (1 + np.exp((4.3 if monthly else 2.2) - 9 * (0.5 - health) - frailty))
    by_chance = 0.004 if monthly else 0.04
    draw = float(rng.random())
    chance_reason = pick(rng, ["budget_cut", "merged_with_another_company", "project_ended"])
    touched_at = story.won_over("health_dropped")
    if touched_at is not None and touched_at < at <= touched_at + horizon("health_dropped"):
        return False
    if story.name == "reactivated" and story.turns_at is not None and item.number == 0:
        item.reason = "low_adoption"
        return at > story.turns_at
    if story.archetype.stays:
        return False
    if draw < by_health:
        item.reason = story.archetype.reason if health < 0.5 else "low_adoption"
        if item.reason == "payment_failed":
            item.reason = "low_adoption"
        return True
    if draw < by_health + by_chance:
        item.reason = chance_reason
        return True
    return False


def _payment_is_lost(
    story: "Story", rng: np.random.Generator, item: Subscription, start: int
) -> bool:
    """Draws whether this period's payment fails; True when it is never made and the subscription
    ends.
    """
    draw, days = rng.random(), int(rng.integers(2, 20))
    if story.is_internal or story.name in ("feature_lapse", "late_onboarding"):
        return False
    lost = story.name == "involuntary" and story.turns_at is not None and start > story.turns_at
    if lost:
        item.failures.append(Failure(start, None))
        if start + _CANCELED_AFTER <= story.window.end:
            item.ended_at, item.end_kind = start + _CANCELED_AFTER, "involuntary"
            item.reason = "payment_failed"
        return True
    if draw < 0.025:
        item.failures.append(Failure(start, start + days * DAY))
    return False


def _expansion_times(story: "Story", rng: np.random.Generator, item: Subscription) -> list[int]:
    """When the customer buys more; sets from when it was ready for the last of these, bought or
    not yet.
    """
    chance = {"expanding": 1.0, "thriving": 0.5, "steady": 0.15, "noisy_but_fine": 0.4}
    if rng.random() >= chance.get(story.name, 0.0):
        return []
    times = []
    at = item.paid_from
    for _ in range(3):
        at += int(rng.integers(90, 190)) * DAY
        ready = at - int(rng.integers(25, 50)) * DAY
        if ready < story.window.end:
            story.expansion_ready_from = ready
        times.append(at)
    return times


def _expand(rng: np.random.Generator, item: Subscription, at: int) -> None:
    now = item.changes[-1]
    seats = now.seats + max(1, int(now.seats * rng.uniform(0.15, 0.4)))
    place = PLANS.index(now.plan)
    plan = PLANS[min(place + 1, 3)] if rng.random() < 0.35 else now.plan
    item.changes.append(Change(at, plan, seats))


def _contract(story: "Story", rng: np.random.Generator, item: Subscription, at: int) -> None:
    """At the end of a period some give back seats or take a smaller plan."""
    if at > story.window.end or story.archetype.stays:
        return
    now = item.changes[-1]
    low = mean_health(story, at, 45) < 0.45
    if rng.random() < (0.1 if low else 0.008) * (1 if item.months == 1 else 4):
        place = PLANS.index(now.plan)
        if story.name == "price_sensitive" and place > 0:
            item.changes.append(Change(at, PLANS[place - 1], now.seats))
        elif now.seats > 3:
            item.changes.append(
                Change(at, now.plan, max(2, int(now.seats * rng.uniform(0.55, 0.85))))
            )


def _return(story: "Story", rng: np.random.Generator, first: Subscription) -> None:
    """Comes back with a new subscription, and this time it goes well."""
    back_at = (first.ended_at or 0) + int(rng.integers(35, 80)) * DAY
    if back_at > story.window.end - 20 * DAY:
        return
    day = story.window.day_of(back_at)
    story.health[day:] = np.clip(0.68 + story.health[day:] - story.health[day:].mean(), 0.05, 0.95)
    now = first.changes[-1]
    second = Subscription(1, back_at, None, back_at, 1, [Change(back_at, now.plan, now.seats)])
    story.subscriptions.append(second)
    _run(story, rng, second)
