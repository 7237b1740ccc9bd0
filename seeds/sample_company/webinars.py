"""Webinars that all customers may join, and who came."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY, HOUR, Window, add_months
from seeds.sample_company.rows import Rows, base36

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

# topic, Japanese title, English title; one topic a month, in both languages
_PROGRAMME: Final = [
    ("dashboards", "伝わるダッシュボードの作り方", "Dashboards people read"),
    ("automation", "自動化でムダを減らす", "Automate the routine"),
    ("reports", "経営に届くレポート", "Reports for the board"),
    ("onboarding", "最初の30日", "Your first thirty days"),
    ("integrations", "連携の始め方", "Connecting your tools"),
    ("forecasts", "予測機能の活用", "Planning with forecasts"),
]


@dataclass(frozen=True)
class Webinar:
    """One session in one language."""

    id: str
    topic: str
    title: str
    language: str
    starts_at: int
    minutes: int


def webinars(window: Window) -> list[Webinar]:
    """All sessions announced by the end of the window; the last ones lie ahead of it."""
    found = []
    month = 0
    while (at := add_months(window.start, month) + 16 * DAY) <= window.end + 30 * DAY:
        topic, japanese, english = _PROGRAMME[month % len(_PROGRAMME)]
        for title, language, hour in ((japanese, "ja", 5), (english, "en", 15)):
            key = f"web{month:02d}{language}"
            found.append(Webinar(key, topic, title, language, at + hour * HOUR, 45))
        month += 1
    return found


def add_webinars(rows: Rows, window: Window) -> None:
    """The sessions themselves, announced forty days before."""
    for webinar in webinars(window):
        rows.add(
            "webinars.webinar",
            min(window.end, webinar.starts_at - 40 * DAY),
            id=webinar.id,
            topic=webinar.topic,
            title=webinar.title,
            language=webinar.language,
            starts_at=webinar.starts_at,
            minutes=webinar.minutes,
        )


def add_registrations(story: "Story", rows: Rows) -> None:
    """Who of one customer registered, and how long they stayed; one now and then is a stranger."""
    if story.is_internal:
        return
    rng, window = story.rng("webinars"), story.window
    ends = min(window.end, story.churned_at or window.end)
    serial = 0
    for webinar in webinars(window):
        for person in story.people:
            wants, comes, odd = rng.random(3)
            ahead, stays = (
                int(rng.integers(HOUR, 20 * DAY)),
                int(rng.integers(3, webinar.minutes + 1)),
            )
            registered_at = webinar.starts_at - ahead
            language = "ja" if person.language == "ja" else "en"
            if language != webinar.language or not person.joined_at < registered_at <= ends:
                continue
            if person.left_at is not None and person.left_at < registered_at:
                continue
            day = int(np.clip(window.day_of(registered_at), 0, window.days - 1))
            if wants > 0.08 * float(story.health[day]):
                continue
            is_over = webinar.starts_at + webinar.minutes * 60 <= window.end
            came = is_over and comes < 0.6
            email = person.email.title() if odd < 0.05 else person.email
            rows.add(
                "webinars.registration",
                webinar.starts_at if is_over else registered_at,
                id=f"r{story.company.key}{base36(serial, 3)}",
                webinar_id="web_unknown" if odd > 0.995 else webinar.id,
                email="guest@webinar.example" if 0.98 < odd < 0.99 else email,
                name=person.name,
                registered_at=registered_at,
                joined_at=webinar.starts_at + (webinar.minutes - stays) * 60 if came else None,
                attended_minutes=stays if came else None,
            )
            serial += 1
