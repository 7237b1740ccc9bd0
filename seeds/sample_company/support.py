"""Zendesk: organisations, users, tickets with comments, states, ratings and tags. Silent
customers ask nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY, HOUR, Window, work_rhythm
from seeds.sample_company.people import Person
from seeds.sample_company.rows import Rows, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_AGENTS: Final = [
    (390_001, "Aya Kitagawa", "aya.kitagawa"),
    (390_002, "Joel Stone", "joel.stone"),
    (390_003, "Rin Matsuda", "rin.matsuda"),
    (390_004, "Carla Webb", "carla.webb"),
]
# subject and text by language and kind
_QUESTIONS: Final = {
    "ja": [
        (
            "ダッシュボードの共有方法について",
            "チーム外のメンバーにダッシュボードを共有する手順を教えてください。",
        ),
        ("自動化の設定について", "期限が近いタスクを自動で通知する設定はどこにありますか。"),
        ("レポート出力の形式", "レポートをCSVで出力することはできますか。"),
        ("メンバーの権限について", "閲覧のみの権限でメンバーを招待したいです。"),
    ],
    "en": [
        (
            "How do I share a dashboard?",
            "We would like to share a dashboard with people outside our team.",
        ),
        ("Setting up an automation", "Where do I set a reminder for tasks that are nearly due?"),
        ("Report formats", "Can reports be exported as CSV?"),
        ("Member permissions", "I want to invite someone who can only view."),
    ],
}
_INCIDENTS: Final = {
    "ja": [
        (
            "同期エラーが繰り返し発生します",
            "外部連携の同期が失敗し、E_SYNC_CONFLICTと表示されます。",
        ),
        ("画面が表示されません", "ダッシュボードを開くと読み込みが終わりません。"),
        ("インポートに失敗します", "CSVの取り込みがE_IMPORT_FORMATで止まります。"),
    ],
    "en": [
        ("Sync keeps failing", "Our integration stops with E_SYNC_CONFLICT several times a day."),
        ("Dashboard does not load", "The page never finishes loading since this morning."),
        ("Import fails", "The CSV import stops with E_IMPORT_FORMAT."),
    ],
}
_REPLIES: Final = {
    "ja": (
        "お問い合わせありがとうございます。手順をお送りします。",
        "ありがとうございます。試してみます。",
    ),
    "en": ("Thank you for asking. Here are the steps.", "Thanks, we will try that."),
}
_QUESTION_TAGS: Final = ["dashboards", "automation", "reports", "permissions"]
_INCIDENT_TAGS: Final = ["integration", "performance", "import"]


@dataclass(frozen=True)
class AskedForHelp:
    """A solved ticket, for the survey that follows it."""

    ticket_id: int
    requester: Person
    solved_at: int
    is_incident: bool


def add_agents(rows: Rows, window: Window) -> None:
    """The support team."""
    created = window.start - 500 * DAY
    for user_id, name, local in _AGENTS:
        rows.add(
            "zendesk.user",
            created,
            id=user_id,
            email=f"{local}@kumo.example",
            name=name,
            role="admin" if user_id == _AGENTS[0][0] else "agent",
            locale="en-US",
            time_zone="Osaka",
            active=True,
            suspended=False,
            created_at=created,
            updated_at=created,
        )


def add_support(story: "Story", rows: Rows) -> list[AskedForHelp]:
    """Organisation, people and tickets of one customer; returns the solved tickets."""
    rng = story.rng("support")
    company, window = story.company, story.window
    known = max(story.started_at, window.start)
    rows.add(
        "zendesk.organization",
        known,
        id=company.zendesk_id,
        name=company.name,
        external_id=company.workspace_id if rng.random() >= 0.1 else None,
        created_at=known,
        updated_at=known,
    )
    rows.add(
        "zendesk.domain_name",
        known,
        index=0,
        organization_id=company.zendesk_id,
        domain_name=company.domain.title() if rng.random() < 0.05 else company.domain,
    )
    users = [person for person in story.people if person.product_role]
    for person in users:
        unlinked = rng.random() < 0.04
        rows.add(
            "zendesk.user",
            person.joined_at,
            id=person.zendesk_id,
            email=person.email.upper() if rng.random() < 0.03 else person.email,
            name=person.name,
            role="end-user",
            organization_id=None if unlinked else company.zendesk_id,
            external_id=person.user_id,
            locale="ja" if person.language == "ja" else "en-US",
            time_zone=company.zone.zendesk,
            active=not person.is_deleted,
            suspended=False,
            created_at=person.joined_at,
            updated_at=person.joined_at,
        )
    solved = []
    for serial, (day, is_incident) in enumerate(_ticket_days(story, rng)):
        asked = _add_ticket(story, rng, serial, day, is_incident, users, rows)
        if asked is not None:
            solved.append(asked)
    return solved


def _ticket_days(story: "Story", rng: np.random.Generator) -> list[tuple[int, bool]]:
    """(day, whether it is about a defect) of each ticket: chance per working day."""
    if story.is_silent or story.is_internal:
        return []
    window = story.window
    rhythm = work_rhythm(window, story.company.country.region) * (story.lives > 0)
    days = np.arange(window.days)
    age = days - window.day_of(story.started_at)
    size = np.sqrt(len(story.people) / 6)
    questions = story.archetype.questions * size * np.where((age >= 0) & (age < 30), 2.2, 1.0) / 21
    # people ask while they use: with little health questions fade, but do not vanish
    questions = questions * (0.35 + 0.8 * story.health)
    defects = np.full(window.days, 0.05)
    if story.turns_at is not None and story.archetype.defects_after:
        since = days - window.day_of(story.turns_at)
        defects = np.where((since >= -10) & (since < 150), story.archetype.defects_after, defects)
    if story.name == "late_onboarding":
        defects = np.zeros(window.days)
    asked = rng.random(window.days) < questions * rhythm
    broken = rng.random(window.days) < defects * size / 21 * rhythm
    found = [(int(day), False) for day in np.flatnonzero(asked)]
    found += [(int(day), True) for day in np.flatnonzero(broken)]
    if story.name == "recent_collapse":
        # after weeks of leaving, the last day shows why: things are broken
        found += [(window.days - 1, True)] * 3
    return sorted(found)


def _add_ticket(
    story: "Story",
    rng: np.random.Generator,
    serial: int,
    day: int,
    is_incident: bool,
    users: list[Person],
    rows: Rows,
) -> AskedForHelp | None:
    company, window = story.company, story.window
    created = window.second_of(day) + 9 * HOUR + int(rng.integers(8 * HOUR))
    created -= int(company.zone.offsets(window)[day])
    present = [
        person
        for person in users
        if person.joined_at < created and (person.left_at is None or created < person.left_at)
    ]
    steps = np.cumsum(rng.exponential(1.0, 3) * np.array([5, 14, 20]) * HOUR).astype(int) + 600
    agent = pick(rng, _AGENTS)[0]
    draws = rng.random(7)
    if not present or not window.start <= created <= window.end - 60:
        return None
    who = present[min(int(rng.exponential(1.6)), len(present) - 1)]
    language = "ja" if who.language == "ja" else "en"
    choice = int(rng.integers(3))
    subject, text = (_INCIDENTS if is_incident else _QUESTIONS)[language][choice]
    ticket_id = 1_000_000 + company.index * 1_000 + serial
    changes: list[tuple[int, str, int | None]] = [(created, "new", who.zendesk_id)]
    comments = [(created, who.zendesk_id, text, True)]
    answered, replied, closed = (
        created + int(step * (1.8 if is_incident else 1)) for step in steps
    )
    changes += [(answered, "open", agent), (answered + 60, "pending", agent)]
    comments.append((answered, agent, _REPLIES[language][0], True))
    if draws[0] < 0.3:
        comments.append((answered + 1_800, agent, "Checked with engineering.", False))
    if draws[1] < 0.5:
        comments.append((replied, who.zendesk_id, _REPLIES[language][1], True))
    if draws[2] < 0.95:
        changes += [(closed, "solved", agent), (closed + 4 * DAY, "closed", None)]
    changes = [change for change in changes if change[0] <= window.end]
    updated = changes[-1][0]
    is_deleted = draws[3] < 0.01
    priority = pick(rng, ["normal", "high", "urgent"] if is_incident else ["low", "normal"])
    rows.add(
        "zendesk.ticket",
        updated,
        id=ticket_id,
        subject=subject,
        description=text,
        status="deleted" if is_deleted else changes[-1][1],
        priority=priority,
        type=("incident" if draws[4] < 0.8 else "problem")
        if is_incident
        else "question"
        if draws[4] < 0.85
        else None,
        requester_id=who.zendesk_id,
        submitter_id=who.zendesk_id,
        assignee_id=agent,
        organization_id=company.zendesk_id if draws[5] >= 0.05 else None,
        created_at=created,
        updated_at=updated,
        via_channel=pick(rng, ["web", "web", "email", "chat"]),
        is_public=True,
    )
    rows.add(
        "zendesk.ticket_tag",
        created,
        ticket_id=ticket_id,
        tag=(_INCIDENT_TAGS if is_incident else _QUESTION_TAGS)[choice],
    )
    if is_incident:
        rows.add("zendesk.ticket_tag", created, ticket_id=ticket_id, tag="defect")
    for number, (at, author, body, public) in enumerate(comments):
        if at <= window.end:
            rows.add(
                "zendesk.ticket_comment",
                at,
                id=ticket_id * 10 + number,
                ticket_id=ticket_id,
                user_id=author,
                body=body,
                created=at,
                public=public,
            )
    history = [("status", at, value, author) for at, value, author in changes]
    history.append(("priority", created, priority, who.zendesk_id))
    solved_at = closed if len(changes) > 3 else None
    if solved_at is not None:
        history += _rating(story, rng, solved_at, is_incident, who)
    for field_name, at, value, author_id in history:
        if at <= window.end:
            rows.add(
                "zendesk.ticket_field_history",
                at,
                ticket_id=ticket_id,
                field_name=field_name,
                updated=at,
                value=value,
                user_id=author_id,
            )
    if solved_at is None or is_deleted:
        return None
    return AskedForHelp(ticket_id, who, solved_at, is_incident)


def _rating(
    story: "Story", rng: np.random.Generator, solved_at: int, is_incident: bool, who: Person
) -> list[tuple[str, int, str, int | None]]:
    offered_at = solved_at + DAY
    rating: list[tuple[str, int, str, int | None]] = [
        ("satisfaction_score", offered_at, "offered", None)
    ]
    if rng.random() < 0.35:
        day = min(max(story.window.day_of(solved_at), 0), story.window.days - 1)
        good = rng.random() < 0.55 + 0.45 * story.health[day] - (0.3 if is_incident else 0)
        at = offered_at + int(rng.integers(HOUR, 2 * DAY))
        rating.append(("satisfaction_score", at, "good" if good else "bad", who.zendesk_id))
    return rating
