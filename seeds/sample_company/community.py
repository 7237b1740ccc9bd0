"""The user community: members, posts, comments, and votes on a board of ideas that all customers
share.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

from seeds.sample_company.calendar import DAY, Window
from seeds.sample_company.rows import Rows, base36, pick

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

# the vendor's own people in the community, who write up ideas and answer
_STAFF: Final = [
    ("cmstaff1", "Kumo Community (Yuki)", "community.yuki@kumo.example"),
    ("cmstaff2", "Kumo Community (Sam)", "community.sam@kumo.example"),
]
# title, feature, day on which it was written, state changes (day, state)
_IDEAS: Final[list[tuple[str, str, int, list[tuple[int, str]]]]] = [
    ("Share a dashboard by link", "dashboard_shared", 20, [(90, "planned"), (250, "shipped")]),
    ("ダッシュボードに目標線を表示", "dashboard_shared", 35, [(160, "planned"), (430, "shipped")]),
    ("Schedule reports by mail", "report_exported", 40, [(120, "planned"), (390, "shipped")]),
    ("レポートをPDFで出力", "report_exported", 60, [(300, "planned")]),
    ("Copy an automation", "automation_created", 75, [(200, "shipped")]),
    ("自動化の実行履歴を見たい", "automation_run", 90, [(260, "planned"), (544, "shipped")]),
    ("Calendar integration", "integration_connected", 100, [(310, "planned")]),
    ("チャットツールとの連携", "integration_connected", 110, [(240, "planned"), (480, "shipped")]),
    ("Forecast by team", "forecast_viewed", 150, []),
    ("予測の前提を変更したい", "forecast_viewed", 170, [(400, "declined")]),
    ("Templates for audits", "template_applied", 190, []),
    ("コメントへのスタンプ", "comment_added", 210, [(470, "shipped")]),
    ("Bulk invite from CSV", "member_invited", 230, [(420, "planned")]),
    ("API rate limits per key", "api_call_made", 260, []),
    ("監査ログの保存期間を延長", "audit_log_viewed", 300, []),
    ("SSO for viewers", "sso_configured", 320, [(500, "planned")]),
]
_TOPICS: Final = ["dashboards", "automation", "reports", "onboarding", "integrations"]
_TITLES: Final = {
    "ja": "{topic} の使い方について教えてください",
    "en": "How do you use {topic} in your team?",
}


def add_staff(rows: Rows, window: Window) -> None:
    """The vendor's community managers."""
    for member_id, name, email in _STAFF:
        rows.add(
            "community.users",
            window.start,
            id=member_id,
            email=email,
            name=name,
            created_at=window.start - 100 * DAY,
        )


def add_ideas(rows: Rows, window: Window, votes: Counter[str]) -> None:
    """The board of ideas with its votes; written last, when all votes are known."""
    for number, (title, feature, day, changes) in enumerate(_IDEAS):
        created = window.second_of(day) + 7 * 3_600
        seen = [(window.second_of(at) + 5 * 3_600, status) for at, status in changes]
        seen = [change for change in seen if change[0] <= window.end]
        if created > window.end:
            continue
        idea_id = f"idea{number}"
        rows.add(
            "community.ideas",
            seen[-1][0] if seen else created,
            id=idea_id,
            author_id=_STAFF[number % 2][0],
            title=title,
            feature=feature,
            status=seen[-1][1] if seen else "open",
            vote_count=votes[idea_id],
            created_at=created,
        )
        for place, (at, status) in enumerate(seen):
            rows.add(
                "community.idea_status_changes",
                at,
                id=f"{idea_id}c{place}",
                idea_id=idea_id,
                status=status,
                changed_at=at,
            )


def add_community(story: "Story", rows: Rows) -> Counter[str]:
    """One customer's members with posts and votes; returns the votes per idea."""
    rng = story.rng("community")
    company, window = story.company, story.window
    votes: Counter[str] = Counter()
    serial = 0
    for person in story.people:
        joined_at = person.joined_at + int(rng.integers(5, 60)) * DAY
        ends = min(window.end, story.churned_at or window.end, person.left_at or window.end)
        if not person.in_community or joined_at >= ends or story.is_internal:
            person.in_community = False
            continue
        rows.add(
            "community.users",
            joined_at,
            id=person.community_id,
            email=person.email.upper() if rng.random() < 0.05 else person.email,
            name=person.name,
            created_at=joined_at,
        )
        keen = float(story.health[min(window.day_of(joined_at), window.days - 1)])
        for _ in range(0 if story.is_silent else int(rng.poisson(0.9 * keen))):
            serial += 1
            _add_post(story, person.community_id, person.language, joined_at, ends, serial, rows)
        for number, (_, _, day, _) in enumerate(_IDEAS):
            at = max(joined_at, window.second_of(day) + 8 * 3_600) + int(rng.integers(1, 90 * DAY))
            if rng.random() < 0.28 * keen and at <= ends:
                serial += 1
                votes[f"idea{number}"] += 1
                rows.add(
                    "community.votes",
                    at,
                    id=f"v{company.key}{base36(serial, 3)}",
                    item_id=f"idea{number}",
                    item_type="idea",
                    user_id=person.community_id,
                    value=1,
                    created_at=at,
                )
    return votes


def _add_post(
    story: "Story", author: str, language: str, joined_at: int, ends: int, serial: int, rows: Rows
) -> None:
    """A post, answered by the author's colleagues or the vendor's staff."""
    rng = story.rng(f"post{serial}")
    spoken = "ja" if language == "ja" else "en"
    topic = pick(rng, _TOPICS)
    at = int(rng.integers(joined_at, ends))
    post_id = f"p{story.company.key}{base36(serial, 3)}"
    colleagues = [
        person.community_id
        for person in story.people
        if person.in_community
        and person.community_id != author
        and person.joined_at + 60 * DAY < at
    ]
    answers = [at + int(delay) for delay in rng.integers(3_600, 6 * DAY, int(rng.integers(0, 4)))]
    answers = sorted(answer for answer in answers if answer <= story.window.end)
    accepted = bool(answers) and rng.random() < 0.6
    voters = [member for member, _, _ in _STAFF if at + DAY <= story.window.end]
    voters = voters[: int(rng.integers(0, 3))]
    rows.add(
        "community.posts",
        answers[-1] if answers else at,
        id=post_id,
        author_id=author,
        topic=topic,
        title=_TITLES[spoken].format(topic=topic),
        language=spoken,
        status="answered" if accepted else "open",
        vote_count=len(voters),
        comment_count=len(answers),
        created_at=at,
    )
    for place, answered_at in enumerate(answers):
        helper = (
            pick(rng, colleagues) if colleagues and rng.random() < 0.6 else pick(rng, _STAFF)[0]
        )
        rows.add(
            "community.post_comments",
            answered_at,
            id=f"{post_id}a{place}",
            post_id=post_id,
            author_id=helper,
            is_accepted=accepted and place == 0,
            created_at=answered_at,
        )
    for place, member in enumerate(voters):
        rows.add(
            "community.votes",
            at + DAY,
            id=f"{post_id}v{place}",
            item_id=post_id,
            item_type="post",
            user_id=member,
            value=1,
            created_at=at + DAY,
        )
