"""HubSpot engagements: calls, meetings and tasks of the success managers, mostly with larger and
riskier customers.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY, HOUR
from seeds.sample_company.crm import PORTAL_ID
from seeds.sample_company.people import Person
from seeds.sample_company.rows import Rows, pick
from seeds.sample_company.stories import seats_by_day

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_CALLS: Final = {
    "ja": ["ご利用状況の確認", "課題のヒアリング", "設定のご相談"],
    "en": ["Check-in", "What is in the way", "Setup questions"],
}
_MEETINGS: Final = {
    "ja": ("キックオフ", "四半期レビュー"),
    "en": ("Kick-off", "Quarterly review"),
}
_TASKS: Final = {
    "ja": ["議事録を送る", "活用事例を共有する", "更新の準備をする"],
    "en": ["Send the notes", "Share a customer story", "Prepare the renewal"],
}
_DISPOSITIONS: Final = ["Connected", "Connected", "Connected", "No answer", "Left voicemail"]


def add_engagements(story: "Story", rows: Rows) -> None:
    """What the owner of one customer did and plans; needs the company row."""
    owner = rows.single["hubspot.company"][0]["property_hubspot_owner_id"]
    if owner is None or story.is_internal:
        return
    rng = story.rng("engagements")
    diary = _Diary(story, rows, rng, int(owner))
    window, company = story.window, story.company
    ends = story.churned_at or window.end
    language = "ja" if company.country.code == "JP" else "en"
    seats = seats_by_day(story)
    kickoff, review = _MEETINGS[language]
    diary.meeting(kickoff, story.started_at + int(rng.integers(2, 9)) * DAY)
    at = story.started_at + 90 * DAY
    while at < ends + 20 * DAY:
        if seats[min(window.day_of(at), window.days - 1)] >= 12:
            diary.meeting(review, at + int(rng.integers(0, 10)) * DAY)
        at += 91 * DAY
    at = story.started_at + int(rng.integers(10, 40)) * DAY
    while at < ends:
        day = int(np.clip(window.day_of(at), 0, window.days - 1))
        need = 0.08 + 0.5 * float(1 - story.health[day]) ** 2 + min(float(seats[day]), 40) / 160
        called, follows = rng.random() < need, rng.random() < 0.4
        if called:
            diary.call(pick(rng, _CALLS[language]), at)
            if follows:
                diary.task(pick(rng, _TASKS[language]), at + HOUR)
        at += int(rng.integers(20, 45)) * DAY


class _Diary:
    """Writes one owner's engagements with one customer."""

    def __init__(self, story: "Story", rows: Rows, rng: np.random.Generator, owner: int) -> None:
        self._story, self._rows, self._rng, self._owner = story, rows, rng, owner
        self._serial = 0
        # people of weight: whoever decides, administers or champions
        self._people = [
            person
            for person in story.people
            if person.in_crm and person.buying_role not in (None, "END_USER")
        ] or story.people[:1]

    def call(self, title: str, at: int) -> None:
        """A call that was made."""
        disposition, duration = pick(self._rng, _DISPOSITIONS), int(self._rng.integers(4, 45))
        engagement_id = self._note("CALL", at, at)
        if engagement_id is not None:
            self._rows.add(
                "hubspot.engagement_call",
                at,
                engagement_id=engagement_id,
                property_hs_call_title=title,
                property_hs_call_disposition=disposition,
                property_hs_call_duration=duration * 60_000 if disposition == "Connected" else 0,
                property_hs_call_status="COMPLETED",
            )

    def meeting(self, title: str, at: int) -> None:
        """A meeting, booked two weeks before; it may lie ahead."""
        missed = self._rng.random()
        booked = at - int(self._rng.integers(3, 15)) * DAY
        engagement_id = self._note("MEETING", booked, at)
        if engagement_id is None:
            return
        held = "NO_SHOW" if missed < 0.06 else "CANCELED" if missed < 0.1 else "COMPLETED"
        is_ahead = at > self._story.window.end
        self._rows.add(
            "hubspot.engagement_meeting",
            booked if is_ahead else at,
            engagement_id=engagement_id,
            property_hs_meeting_title=title,
            property_hs_meeting_outcome="SCHEDULED" if is_ahead else held,
            property_hs_meeting_start_time=at,
            property_hs_meeting_end_time=at + HOUR,
        )

    def task(self, subject: str, at: int) -> None:
        """A task; some are late, and some never done."""
        due = at + int(self._rng.integers(2, 12)) * DAY
        done = due + int(self._rng.integers(-3, 6)) * DAY
        is_done = self._rng.random() < 0.85 and done <= self._story.window.end
        engagement_id = self._note("TASK", at, due)
        if engagement_id is not None:
            self._rows.add(
                "hubspot.engagement_task",
                done if is_done else at,
                engagement_id=engagement_id,
                property_hs_task_subject=subject,
                property_hs_task_status="COMPLETED" if is_done else "NOT_STARTED",
                property_hs_task_priority=pick(self._rng, ["LOW", "MEDIUM", "HIGH"]),
                property_hs_task_completion_date=max(done, at) if is_done else None,
            )

    def _note(self, kind: str, created_at: int, at: int) -> int | None:
        """The engagement with its company and people; null when it was created after the end."""
        rng, company = self._rng, self._story.company
        places = rng.permutation(len(self._people))[: 1 + int(rng.random() < 0.3)]
        draw = rng.random()
        if created_at > self._story.window.end:
            return None
        engagement_id = 30_000_000_000 + company.index * 10_000 + self._serial
        self._serial += 1
        self._rows.add(
            "hubspot.engagement",
            created_at,
            id=engagement_id,
            is_deleted=draw < 0.006,
            active=True,
            owner_id=self._owner,
            portal_id=PORTAL_ID,
            type=kind,
            created_at=created_at,
            last_updated=created_at,
            timestamp=at,
        )
        # a few name the people and not the company, or a company that was merged away
        if draw < 0.95:
            self._rows.add(
                "hubspot.engagement_company",
                created_at,
                engagement_id=engagement_id,
                company_id=company.hubspot_id if draw < 0.94 else 8_999_999_999,
            )
        people: list[Person] = [self._people[place] for place in places]
        for person in people:
            if person.joined_at <= created_at and not (
                person.left_at and person.left_at < created_at
            ):
                self._rows.add(
                    "hubspot.engagement_contact",
                    created_at,
                    engagement_id=engagement_id,
                    contact_id=person.hubspot_id,
                )
        return engagement_id
