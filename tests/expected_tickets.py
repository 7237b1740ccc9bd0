"""A model of how many tickets a customer should have raised, to see whether who stays below it
struggles in silence more surely than who raised none. Kept for the comparison: the rule won.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 50


@dataclass(frozen=True)
class CustomerDay:
    """What was known of a paying customer who had not given notice, at the end of a day."""

    customer_id: str
    usage_score: float
    tenure_days: int
    seats: int
    tickets_90d: int
    answers_90d: int
    errors_28d: int
    features_failed_28d: int
    has_first_value: bool

    @property
    def could_struggle(self) -> bool:
        """Uses little for its peers, and is not just new: the half both ways share."""
        return self.usage_score < 35 and self.tenure_days >= 21

    @property
    def is_silent(self) -> bool:
        """The plain rule: nobody asked, nobody answered."""
        return self.could_struggle and self.tickets_90d + self.answers_90d == 0


QUERY = """
    select
        history.customer_id, history.usage_score, measured.tenure_days, measured.seats_bought,
        (select count(*) from intermediate.int_tickets__attributed as tickets
            where tickets.customer_id = history.customer_id
                and tickets.created_date <= history.as_of_date
                and tickets.created_date > history.as_of_date - 90),
        (select count(*) from intermediate.int_survey_answers__attributed as answers
            where answers.customer_id = history.customer_id
                and answers.answered_date <= history.as_of_date
                and answers.answered_date > history.as_of_date - 90),
        coalesce(used.errors, 0), coalesce(used.features_failed, 0),
        coalesce(measured.first_value_reached_raw, 0) = 1
    from marts.customer_health_history as history
    inner join intermediate.int_customer_days__measured as measured
        using (customer_id, as_of_date, rules_version)
    left join (
        select customer_id, sum(errors) as errors,
            count(distinct feature) filter (errors > 0) as features_failed
        from intermediate.int_usage__daily
        where known_date <= date '{day}' and known_date > date '{day}' - 28
        group by customer_id
    ) as used using (customer_id)
    where history.as_of_date = date '{day}' and measured.is_paying
        and not measured.has_given_notice and history.usage_score is not null
"""


def customer_days(rows: list[tuple[Any, ...]]) -> list[CustomerDay]:
    """The rows of ``QUERY``."""
    return [CustomerDay(row[0], float(row[1]), *map(int, row[2:8]), bool(row[8])) for row in rows]


def expected_tickets(days: list[CustomerDay]) -> NDArray[np.float64]:
    """Tickets expected of each in its last 90 days: a Poisson regression on seats, errors, failed
    features and an onboarding that has not reached first value, over these same days.
    """
    features = np.array(
        [
            [
                1.0,
                np.log1p(day.seats),
                np.log1p(day.errors_28d),
                np.log1p(day.features_failed_28d),
                float(not day.has_first_value),
                float(day.tenure_days < 90),
            ]
            for day in days
        ]
    )
    tickets = np.array([day.tickets_90d for day in days], dtype=np.float64)
    seen = np.log([min(day.tenure_days + 1, 90) / 90 for day in days])
    weights = np.zeros(features.shape[1])
    weights[0] = np.log(tickets.mean() + 0.01)
    for _ in range(ROUNDS):
        expected = np.exp(np.clip(features @ weights + seen, -20, 8))
        slope = features.T @ (tickets - expected)
        # a little ridge, so that a feature that says nothing stays at nothing
        curve = (features * expected[:, None]).T @ features + 0.1 * np.eye(len(weights))
        step = np.linalg.solve(curve, slope - 0.1 * weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(np.exp(np.clip(features @ weights + seen, -20, 8)))


def silent_by_model(days: list[CustomerDay], surprise: float) -> list[bool]:
    """Uses little, answers nothing, and so few tickets had at most this chance."""
    return [
        day.could_struggle
        and day.answers_90d == 0
        and _chance_of_at_most(day.tickets_90d, expected) <= surprise
        for day, expected in zip(days, expected_tickets(days), strict=True)
    ]


def _chance_of_at_most(count: int, mean: float) -> float:
    return sum(exp(-mean) * mean**number / factorial(number) for number in range(count + 1))
