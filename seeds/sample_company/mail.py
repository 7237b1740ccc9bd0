"""HubSpot marketing mail: newsletters and welcome mails with what became of each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from seeds.sample_company.calendar import DAY, HOUR, Window, add_months
from seeds.sample_company.crm import PORTAL_ID
from seeds.sample_company.people import Person
from seeds.sample_company.rows import Rows, base36

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

_APP_ID: Final = 2_286
_SENDER: Final = "Kumo <news@kumo.example>"
_AGENT: Final = "Mozilla/5.0 (mail)"
_SUBJECTS: Final = {
    "ja": ("Kumo 月次ニュース {year}年{month}月号", "Kumoへようこそ"),
    "en": ("Kumo monthly news, {year}-{month:02d}", "Welcome to Kumo"),
}
_HARD: Final = [("UNKNOWN_USER", "550"), ("MAILBOX_MISCONFIGURATION", "554")]
_SOFT: Final = [("MAILBOX_FULL", "452"), ("THROTTLED", "421")]


@dataclass(frozen=True)
class Campaign:
    """A mailing in one language; `sent_at` is null for automated ones."""

    id: int
    subject: str
    name: str
    language: str
    sent_at: int | None


def campaigns(window: Window) -> list[Campaign]:
    """All mailings: a welcome mail and a newsletter per month, in two languages."""
    found = []
    for offset, (language, (news, welcome)) in enumerate(_SUBJECTS.items()):
        found.append(Campaign(500 + offset, welcome, f"welcome_{language}", language, None))
        month = 0
        while (at := add_months(window.start, month) + 11 * DAY + 30 * HOUR) <= window.end:
            day = np.datetime64(at, "s").astype(object)
            found.append(
                Campaign(
                    1_000 + month * 10 + offset,
                    news.format(year=day.year, month=day.month),
                    f"news_{day:%Y_%m}_{language}",
                    language,
                    at,
                )
            )
            month += 1
    return found


def add_campaigns(rows: Rows, window: Window) -> None:
    """The mailings themselves."""
    for campaign in campaigns(window):
        rows.add(
            "hubspot.email_campaign",
            campaign.sent_at or window.start,
            id=campaign.id,
            app_id=_APP_ID,
            app_name="Batch" if campaign.sent_at else "Automation",
            content_id=campaign.id + 700_000,
            name=campaign.name,
            subject=campaign.subject,
            type="BATCH_EMAIL" if campaign.sent_at else "AUTOMATED_EMAIL",
        )


class _Mailbox:
    """Writes the events of one person's mails."""

    def __init__(self, story: "Story", person: Person, rows: Rows) -> None:
        self._window, self._person, self._rows = story.window, person, rows
        self._serial = 0

    def note(
        self,
        kind: str,
        at: int,
        campaign: Campaign,
        sent: tuple[str, int] | None = None,
        by_machine: bool = False,
    ) -> str | None:
        """Adds an event; null when it lies after the window."""
        if at > self._window.end:
            return None
        event_id = f"e{self._person.key}{base36(self._serial, 2)}"
        self._serial += 1
        self._rows.add(
            "hubspot.email_event",
            at,
            id=event_id,
            app_id=_APP_ID,
            created=at,
            email_campaign_id=campaign.id,
            portal_id=PORTAL_ID,
            sent_by_id=sent[0] if sent else None,
            sent_by_created=sent[1] if sent else None,
            type=kind,
            filtered_event=by_machine,
            recipient=self._person.email,
        )
        return event_id

    def detail(
        self, kind: str, event_id: str | None, at: int, **values: str | int | bool | None
    ) -> None:
        """Adds the row of the event's own table."""
        if event_id is not None:
            self._rows.add(f"hubspot.email_event_{kind}", at, id=event_id, **values)


def add_mail(story: "Story", rows: Rows) -> None:
    """What was mailed to one customer's people and how they reacted."""
    if story.is_internal:
        return
    rng = story.rng("mail")
    all_campaigns = campaigns(story.window)
    for person in story.people:
        subscribed, taste = rng.random() < 0.24, float(rng.beta(2, 2.5))
        drops_out = rng.random() < 0.05 and story.name not in ("late_onboarding", "feature_lapse")
        opted_after = int(rng.integers(30, 300)) * DAY
        if not person.in_crm or person.legal_basis is None:
            continue
        language = "ja" if person.language == "ja" else "en"
        mailbox = _Mailbox(story, person, rows)
        stops_at = person.joined_at + opted_after if drops_out or person.opted_out else None
        for campaign in all_campaigns:
            if campaign.language != language:
                continue
            at = campaign.sent_at
            if at is None:
                at = person.joined_at + HOUR if person.product_role else None
            elif not subscribed:
                at = None
            if at is None or not person.joined_at < at <= story.window.end:
                continue
            ends = story.churned_at
            if ends is not None and at > ends + 30 * DAY:
                continue
            if stops_at is not None and at > stops_at:
                _unsubscribe(mailbox, campaign, person, stops_at)
                break
            if not _send(story, rng, mailbox, campaign, person, at, taste):
                break


def _send(
    story: "Story",
    rng: np.random.Generator,
    mailbox: _Mailbox,
    campaign: Campaign,
    person: Person,
    at: int,
    taste: float,
) -> bool:
    """One mail and its consequences; False when the address is dead."""
    draws = rng.random(6)
    delays = rng.integers([40, 300, 60], [900, 2 * DAY, 1_800]).tolist()
    event_id = mailbox.note("SENT", at, campaign)
    if event_id is None:
        return True
    sent = (event_id, at)
    mailbox.detail(
        "sent", event_id, at, **{"from": _SENDER, "reply_to": None, "subject": campaign.subject}
    )
    if person.hard_bounces or (person.left_at is not None and at > person.left_at):
        category, status = _HARD[0 if draws[0] < 0.8 else 1]
        bounce = mailbox.note("BOUNCE", at + delays[0], campaign, sent)
        mailbox.detail(
            "bounce",
            bounce,
            at,
            category=category,
            response=f"{status} 5.1.1 refused",
            status=status,
        )
        return False
    if draws[0] < 0.01:
        category, status = _SOFT[0 if draws[1] < 0.5 else 1]
        bounce = mailbox.note("BOUNCE", at + delays[0], campaign, sent)
        mailbox.detail(
            "bounce", bounce, at, category=category, response=f"{status} 4.2.2 later", status=status
        )
        return True
    mailbox.note("DELIVERED", at + delays[0], campaign, sent)
    if person.opens_by_machine and draws[1] < 0.8:
        opened = mailbox.note("OPEN", at + delays[0] + 5, campaign, sent, by_machine=True)
        mailbox.detail("open", opened, at, user_agent="scanner")
    health = story.health[int(np.clip(story.window.day_of(at), 0, story.window.days - 1))]
    if draws[2] < taste * (0.2 + 0.85 * health):
        opened_at = at + delays[0] + delays[1]
        opened = mailbox.note("OPEN", opened_at, campaign, sent)
        mailbox.detail(
            "open", opened, opened_at, duration=int(2_000 + 20_000 * draws[3]), user_agent=_AGENT
        )
        if draws[4] < 0.22:
            clicked = mailbox.note("CLICK", opened_at + delays[2], campaign, sent)
            mailbox.detail(
                "click",
                clicked,
                opened_at,
                url="https://www.kumo.example/blog/release-notes",
                user_agent=_AGENT,
            )
    if draws[5] < 0.0005:
        mailbox.note("SPAMREPORT", at + delays[0] + 60, campaign, sent)
        return False
    return True


def _unsubscribe(mailbox: _Mailbox, campaign: Campaign, person: Person, at: int) -> None:
    changed = mailbox.note("STATUSCHANGE", at, campaign)
    person.opted_out = True
    mailbox.detail(
        "status_change",
        changed,
        at,
        bounced=False,
        portal_subscription_status="UNSUBSCRIBED",
        requested_by=person.email,
        source="SOURCE_RECIPIENT",
        subscriptions="[]",
    )
