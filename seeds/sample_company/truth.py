"""The truth behind the data, written beside it and never into it."""

from typing import TYPE_CHECKING

from seeds.sample_company.calendar import DAY
from seeds.sample_company.product_usage import LAPSE_DAYS, lapsed_people
from seeds.sample_company.rows import Row
from seeds.sample_company.writer import time_text

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story


def customer_row(story: "Story") -> Row:
    """One row of truth/customers.csv; instants are seconds."""
    company = story.company
    last = story.subscriptions[-1]
    churned = story.churned_at
    ended = churned is not None or last.end_kind == "trial"
    day = story.window.day_of(churned) if churned is not None else story.window.days - 1
    return {
        "stripe_customer_id": company.stripe_id,
        "workspace_id": company.workspace_id,
        "hubspot_company_id": company.hubspot_id,
        "name": company.name,
        "domain": company.domain,
        "archetype": story.name,
        "started_at": _text(story.started_at),
        "churned_at": _text(churned),
        "churn_reason": last.reason if ended else None,
        "churn_kind": last.end_kind if churned is not None else None,
        "silent_struggler_from": _text(story.silent_from),
        "silent_struggler_until": _text(story.silent_until),
        "expansion_ready_from": _text(story.expansion_ready_from),
        "champion_left_at": _text(story.champion_left_at),
        "is_internal": "true" if story.is_internal else "false",
        "latent_health_at_end": f"{story.health[day]:.3f}",
    }


def identity_rows(story: "Story") -> list[Row]:
    """Who is the same person: one row per person, with the ids that exist."""
    return [
        {
            "stripe_customer_id": story.company.stripe_id,
            "person": person.key,
            "hubspot_contact_id": person.hubspot_id if person.in_crm else None,
            "product_user_id": person.user_id,
            "zendesk_user_id": person.zendesk_id if person.product_role else None,
            "community_user_id": person.community_id if person.in_community else None,
            "email": person.email,
        }
        for person in story.people
    ]


def episode_rows(story: "Story") -> list[Row]:
    """What the last day is about: one row per episode that begins then."""
    window = story.window
    last_day = _text(window.end - DAY + 1)
    base: Row = {
        "stripe_customer_id": story.company.stripe_id,
        "country": story.company.country.code,
    }
    if story.name == "late_onboarding":
        return [
            {
                "episode": "onboarding_low_usage",
                **base,
                "product_user_id": None,
                "feature": None,
                "since": _text(story.started_at),
                "shows_on": last_day,
            }
        ]
    if story.name == "recent_collapse":
        return [
            {
                "episode": "health_collapse",
                **base,
                "product_user_id": None,
                "feature": None,
                "since": _text(story.turns_at),
                "shows_on": last_day,
            }
        ]
    return [
        {
            "episode": "feature_lapse",
            **base,
            "product_user_id": person.user_id,
            "feature": feature,
            "since": _text(window.end - DAY + 1 - LAPSE_DAYS * DAY),
            "shows_on": last_day,
        }
        for person, feature in lapsed_people(story)
    ]


def _text(second: int | None) -> str | None:
    return None if second is None else time_text(second)
