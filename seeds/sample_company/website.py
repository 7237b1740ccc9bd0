"""Segment pages: visits to the website before and during the customer's life, and visitors who
stay unknown.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY
from seeds.sample_company.rows import Rows, base36, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_SITE: Final = "https://www.kumo.example"
_BLOG: Final = ["planning-rituals", "remote-teams", "release-notes", "customer-stories"]
_DOCS: Final = ["dashboards", "automation", "reports", "integrations", "forecasts", "permissions"]
_RIVALS: Final = ["boardly", "taskforge", "planwise"]
_REFERRERS: Final = ["https://search.example/", "https://news.example/", None, None]
_CONSENT_SHARE: Final = 0.85
_CAMPAIGNS: Final = [
    ("newsletter", "email", "monthly-news"),
    ("search", "cpc", "work-planning"),
    ("social", "post", "customer-stories"),
]


def consents(story: "Story", browser: str) -> bool:
    """Whether its user agreed to be analysed by cookie, asked on the first visit."""
    return bool(story.rng(f"cookies of {browser}").random() < _CONSENT_SHARE)


def add_pages(story: "Story", rows: Rows) -> None:
    """Page views of one customer's people and of a few strangers."""
    rng = story.rng("pages")
    window, company = story.window, story.company
    ends = min(window.end, story.churned_at or window.end)
    visits: list[tuple[int, str, str, str | None]] = []
    champion = story.people[min(1, len(story.people) - 1)]
    decision = next((one for one in story.people if one.buying_role == "DECISION_MAKER"), champion)

    # before buying the champion reads as an unknown visitor, from the browser used later
    for _ in range(int(rng.integers(1, 5))):
        at = story.started_at - int(rng.integers(1, 25 * DAY))
        visits.append(
            (at, pick(rng, ["/pricing", "/", f"/blog/{pick(rng, _BLOG)}"]), champion.key, None)
        )
    for person in story.people:
        if not person.product_role:
            continue
        days = max(1, (ends - person.joined_at) // DAY)
        for at in person.joined_at + rng.integers(0, days * DAY, rng.poisson(days / 190)):
            keen = story.health[int(np.clip(window.day_of(int(at)), 0, window.days - 1))]
            page = (
                f"/docs/{pick(rng, _DOCS)}" if rng.random() < 0.6 else f"/blog/{pick(rng, _BLOG)}"
            )
            if rng.random() < 0.25 + keen and not (person.left_at and at > person.left_at):
                visits.append((int(at), page, person.key, person.user_id))
    visits += _telling_visits(
        story, rng, champion.key, champion.user_id, decision.key, decision.user_id
    )
    for stranger in range(int(rng.integers(1, 4))):
        at = window.start + int(rng.integers(window.days * DAY))
        for page in ("/", "/pricing")[: int(rng.integers(1, 3))]:
            visits.append((at, page, f"x{company.key}{stranger}", None))
            at += 90
    agreed = {browser: consents(story, browser) for _, _, browser, _ in visits}
    for serial, (at, path, browser, user_id) in enumerate(
        sorted(visits, key=lambda visit: visit[:3])
    ):
        campaign = pick(rng, _CAMPAIGNS) if rng.random() < 0.12 else None
        referrer, late = pick(rng, _REFERRERS), int(rng.integers(2, 40))
        if rng.random() < 0.01:
            late = int(rng.integers(2, 60)) * 3_600
        if not window.start <= at or at + late > window.end:
            continue
        search = f"?utm_source={campaign[0]}" if campaign else None
        rows.add(
            "segment.pages",
            at,
            id=f"w{company.key}{base36(serial, 3)}",
            anonymous_id=f"a{browser}",
            user_id=user_id,
            url=_SITE + path + (search or ""),
            path=path,
            title=f"Kumo {path.rsplit('/', 1)[-1].replace('-', ' ')}".strip(),
            search=search,
            referrer=referrer,
            context_campaign_source=campaign[0] if campaign else None,
            context_campaign_medium=campaign[1] if campaign else None,
            context_campaign_name=campaign[2] if campaign else None,
            context_consent_category_preferences_analytics=agreed[browser],
            timestamp=at,
            sent_at=at + 1,
            received_at=at + late,
        )


def _telling_visits(
    story: "Story",
    rng: np.random.Generator,
    champion: str,
    champion_user: str | None,
    decision: str,
    decision_user: str | None,
) -> list[tuple[int, str, str, str | None]]:
    """Visits that say what is coming: rivals compared, upper plans looked at."""
    visits: list[tuple[int, str, str, str | None]] = []
    if story.name == "price_sensitive" and story.turns_at is not None:
        for at in story.turns_at + rng.integers(0, 100 * DAY, rng.integers(3, 8)):
            visits.append((int(at), f"/compare/{pick(rng, _RIVALS)}", champion, champion_user))
            visits.append((int(at) + 120, "/pricing", decision, decision_user))
    elif rng.random() < 0.06:
        at = story.started_at + int(rng.integers(30, 300)) * DAY
        visits.append((at, f"/compare/{pick(rng, _RIVALS)}", champion, champion_user))
    if story.expansion_ready_from is not None:
        for at in story.expansion_ready_from + rng.integers(0, 40 * DAY, rng.integers(2, 6)):
            plan = pick(rng, ["business", "enterprise", "enterprise"])
            visits.append((int(at), f"/plans/{plan}", champion, champion_user))
    ends = story.churned_at or story.window.end
    return [visit for visit in visits if visit[0] <= ends]
