"""Surveys: NPS by person and season, satisfaction and effort after tickets. Who struggles
in silence does not answer.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY, HOUR
from seeds.sample_company.rows import Rows
from seeds.sample_company.support import AskedForHelp

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_COMMENTS: Final = {
    "ja": {
        "good": "チーム全員が毎日使っています。とても便利です。",
        "bad": "動作が遅く、設定が分かりにくいです。",
        "fair": "概ね満足していますが、レポート機能の改善を期待しています。",
    },
    "en": {
        "good": "The whole team plans its week in Kumo now.",
        "bad": "Too many errors, and nobody here knows how to set it up.",
        "fair": "Good overall, reports could be better.",
    },
}


def add_voice(story: "Story", solved: list[AskedForHelp], rows: Rows) -> None:
    """Answers of one customer's people."""
    rng = story.rng("voice")
    if story.is_internal:
        return
    if not story.is_silent and story.name != "late_onboarding":
        _add_nps(story, rng, rows)
    _add_csat(story, rng, solved, rows)


def _health_on(story: "Story", at: int) -> float:
    return float(story.health[int(np.clip(story.window.day_of(at), 0, story.window.days - 1))])


def _add_nps(story: "Story", rng: np.random.Generator, rows: Rows) -> None:
    ends = min(story.window.end, story.churned_at or story.window.end)
    serial = 0
    for person in story.people:
        if not person.in_crm:
            continue
        asked_at = person.joined_at + int(rng.integers(50, 100)) * DAY
        while asked_at < ends:
            health = _health_on(story, asked_at)
            answers = rng.random() < 0.1 + 0.2 * health
            score = int(np.clip(round(rng.normal(2.5 + 8.0 * health, 1.9)), 0, 10))
            answered_at = asked_at + int(rng.integers(HOUR, 9 * DAY))
            comments, odd = rng.random() < 0.3, rng.random()
            if (
                answers
                and answered_at <= ends
                and not (person.left_at and answered_at > person.left_at)
            ):
                serial += 1
                language = "ja" if person.language == "ja" else "en"
                mood = "good" if score >= 9 else "bad" if score <= 6 else "fair"
                rows.add(
                    "surveys.nps_answers",
                    answered_at,
                    id=f"nps_{story.company.key}{serial}",
                    email=person.email.title() if odd < 0.06 else person.email,
                    score=score,
                    comment=_COMMENTS[language][mood] if comments else None,
                    language=language,
                    asked_at=asked_at,
                    answered_at=answered_at,
                )
            asked_at += int(rng.integers(110, 135)) * DAY


def _add_csat(
    story: "Story", rng: np.random.Generator, solved: list[AskedForHelp], rows: Rows
) -> None:
    for ticket in solved:
        answers = rng.random() < 0.28
        asked_at = ticket.solved_at + 2 * HOUR
        answered_at = asked_at + int(rng.integers(HOUR, 3 * DAY))
        pleased = _health_on(story, ticket.solved_at) - (0.3 if ticket.is_incident else 0)
        mark = float(np.clip(rng.normal(0.45 + 0.5 * pleased, 0.2), 0, 1))
        if not answers or answered_at > story.window.end:
            continue
        # the form had seven steps before it was replaced by one with five
        best = 7 if story.window.day_of(asked_at) < 200 else 5
        rows.add(
            "surveys.csat_answers",
            answered_at,
            id=f"cs_{ticket.ticket_id}",
            ticket_id=ticket.ticket_id,
            email=ticket.requester.email,
            score=1 + round(mark * (best - 1)),
            scale_min=1,
            scale_max=best,
            asked_at=asked_at,
            answered_at=answered_at,
        )


def add_effort(story: "Story", solved: list[AskedForHelp], rows: Rows) -> None:
    """Answers to how easy it was, after some tickets: 7 is best."""
    rng = story.rng("effort")
    if story.is_internal:
        return
    for ticket in solved:
        answers, odd = rng.random(2)
        asked_at = ticket.solved_at + 5 * HOUR
        answered_at = asked_at + int(rng.integers(HOUR, 4 * DAY))
        ease = _health_on(story, ticket.solved_at) - (0.25 if ticket.is_incident else 0)
        score = int(np.clip(round(rng.normal(2.5 + 4.5 * ease, 1.2)), 1, 7))
        if answers > 0.2 or answered_at > story.window.end:
            continue
        email = ticket.requester.email
        rows.add(
            "surveys.ces_answers",
            answered_at,
            id=f"ce_{ticket.ticket_id}",
            email="somebody@else.example" if odd > 0.99 else email.upper() if odd < 0.05 else email,
            question="It was easy to get this done.",
            score=score,
            scale_min=1,
            scale_max=7,
            higher_is_better=True,
            asked_at=asked_at,
            answered_at=answered_at,
        )
