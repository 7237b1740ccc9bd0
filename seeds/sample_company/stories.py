"""The hidden story of one customer: company, people, latent health by day. Every raw fact is
derived from it.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from seeds.sample_company.archetypes import ARCHETYPES, INTERNAL, Archetype, story_deck
from seeds.sample_company.calendar import DAY, HOUR, Floats, Ints, Window
from seeds.sample_company.effects import Touches
from seeds.sample_company.lifecycle import Subscription, live_through
from seeds.sample_company.people import Company, Person, make_company, make_person
from seeds.sample_company.rows import stream

INTERNAL_DOMAIN = "kumo.example"
TRIAL_DAYS = 14


@dataclass
class Story:
    """One customer's life. Arrays have one value per day of the window."""

    seed: int
    window: Window
    company: Company
    name: str
    archetype: Archetype
    started_at: int
    turns_at: int | None
    health: Floats
    is_silent: bool
    has_owner: bool
    lives: Floats = field(default_factory=lambda: np.zeros(0))
    people: list[Person] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    expansion_ready_from: int | None = None
    champion_left_at: int | None = None
    silent_from: int | None = None
    silent_until: int | None = None
    touches: Touches = field(default_factory=lambda: Touches({}))

    @property
    def is_internal(self) -> bool:
        """Whether this is a test account of the vendor itself."""
        return self.name == "internal"

    @property
    def churned_at(self) -> int | None:
        """When the last subscription ended, if none lives at the end."""
        paid = [item for item in self.subscriptions if item.was_paid]
        ends = [item.ended_at for item in paid if item.ended_at is not None]
        if not ends or len(ends) < len(paid) or max(ends) > self.window.end:
            return None
        return max(ends)

    def rng(self, purpose: str) -> np.random.Generator:
        """This customer's random stream for one purpose."""
        return stream(self.seed, self.company.index, purpose)

    def errors(self) -> Floats:
        """Errors per session, by day."""
        rates = np.full(self.window.days, self.archetype.errors)
        if self.turns_at is not None:
            rates[max(0, self.window.day_of(self.turns_at)) :] = self.archetype.errors_after
        return rates

    def won_over(self, trigger_name: str) -> int | None:
        """The instant of a touch that changes this customer's behaviour; see effects."""
        return self.touches.won_over(
            self.seed, self.company.index, self.company.stripe_id, trigger_name
        )


@lru_cache(maxsize=4)
def _deck(seed: int) -> list[tuple[str, str]]:
    return story_deck(stream(seed, 0, "deck"))


def tell(seed: int, index: int, window: Window, touches: Touches) -> Story:
    """The story of customer number `index`; it depends on nothing but the arguments."""
    deck = _deck(seed)
    name, country = deck[index % len(deck)]
    archetype = ARCHETYPES.get(name, INTERNAL)
    rng = stream(seed, index, "story")
    company = make_company(rng, index, country)
    if name == "internal":
        company = Company(
            index,
            f"Kumo Test {index}",
            INTERNAL_DOMAIN,
            company.country,
            company.zone,
            "Software",
            40,
        )
    started_at = _start(rng, archetype, window, company)
    turns_at = None
    if archetype.after:
        low, high = archetype.turns_between
        turns_at = started_at + int(rng.integers(low, high)) * DAY
        if name == "recent_collapse":
            turns_at = window.end - int(rng.integers(9, 16)) * DAY
    story = Story(
        seed=seed,
        window=window,
        company=company,
        name=name,
        archetype=archetype,
        started_at=started_at,
        turns_at=turns_at,
        health=_health(rng, name, archetype, window, started_at, turns_at),
        is_silent=bool(rng.random() < archetype.is_silent),
        has_owner=name == "recent_collapse" or bool(rng.random() >= 0.12),
        touches=touches,
    )
    live_through(story)
    story.lives = _activity_span(story)
    _people(story)
    _mark_silence(story)
    return story


def _start(rng: np.random.Generator, archetype: Archetype, window: Window, company: Company) -> int:
    """When trial or subscription begins: in local office hours, many early, so that history
    exists.
    """
    local = 10 * HOUR + int(rng.integers(6 * HOUR))
    office = (local - int(company.zone.offsets(window)[-1])) % DAY
    last = window.days - 1
    if archetype.starts == "last_week":
        return window.second_of(last - 7) + office
    if archetype.starts == "in_trial":
        return window.second_of(last - int(rng.integers(2, 11))) + office
    newest = last - (170 if archetype.starts == "early" else 40)
    if rng.random() < 0.3:
        newest = min(newest, 60)
    return window.second_of(int(rng.integers(0, max(1, newest)))) + office


def _health(
    rng: np.random.Generator,
    name: str,
    archetype: Archetype,
    window: Window,
    started_at: int,
    turns_at: int | None,
) -> Floats:
    """Latent health by day: the archetype's course, the customer's own level, slow wandering."""
    age = np.arange(window.days) - window.day_of(started_at)
    course = _course(age, archetype.knots)
    if turns_at is not None:
        since = np.arange(window.days) - window.day_of(turns_at)
        turned = _course(since, archetype.after)
        course = np.where(since >= 0, np.minimum(course, turned), course)
    if name == "seasonal":
        course = course + 0.28 * np.sin(2 * np.pi * (age + rng.integers(180)) / 180)
    shocks = rng.normal(0, 0.022, window.days)
    wander = np.empty(window.days)
    level = 0.0
    for day, shock in enumerate(shocks):
        level = 0.97 * level + shock
        wander[day] = level
    # weak customers wander less: there is no way up from nothing
    health = course + (rng.normal(0, 0.06) + wander) * np.clip(course * 1.6, 0.15, 1.0)
    clipped: Floats = np.clip(health, 0.02, 0.98)
    return clipped


def _course(days: Ints, knots: tuple[tuple[float, float], ...]) -> Floats:
    """Straight lines between (day, level) knots."""
    course: Floats = np.interp(days, [day for day, _ in knots], [level for _, level in knots])
    return course


def _activity_span(story: Story) -> Floats:
    """1 while a subscription lives, fading after notice, 0 outside."""
    lives = np.zeros(story.window.days)
    seconds = story.window.start + (np.arange(story.window.days) + 1) * DAY
    for item in story.subscriptions:
        end = item.ended_at if item.ended_at is not None else story.window.end + DAY
        inside = (seconds > item.created_at) & (seconds - DAY < end)
        level = np.ones(story.window.days)
        if item.notice_at is not None:
            level[seconds > item.notice_at] = 0.6
        lives = np.maximum(lives, np.where(inside, level, 0.0))
    return lives


def seats_by_day(story: Story) -> Floats:
    """Seats bought on each day, over all subscriptions; 0 while none lives."""
    seats = np.zeros(story.window.days)
    for item in story.subscriptions:
        held = np.zeros(story.window.days)
        for change in item.changes:
            held[max(0, story.window.day_of(change.at)) :] = change.seats
        if item.ended_at is not None:
            held[max(0, story.window.day_of(item.ended_at) + 1) :] = 0
        seats += held
    return seats


def _people(story: Story) -> None:
    """People join as seats are filled; decision makers are known to sales and rarely log in."""
    rng = story.rng("people")
    window, company = story.window, story.company
    first_day = window.day_of(story.started_at)
    age = np.arange(window.days) - first_day
    ramp = np.interp(age, [0, 25, 120], [0.45, 0.85, 1.0])
    fill = story.archetype.seat_fill * float(np.clip(rng.normal(1, 0.12), 0.6, 1.05))
    wanted = np.maximum.accumulate(np.where(age >= 0, seats_by_day(story) * fill * ramp, 0))
    users = int(np.clip(np.ceil(wanted.max()), 2, 60))
    taken: set[str] = set()
    for number in range(users):
        kind = "admin" if number == 0 else "champion" if number == 1 else "member"
        role = (
            "admin" if number == 0 else "viewer" if number > 2 and rng.random() < 0.2 else "member"
        )
        reached = int(np.argmax(wanted > number)) if number > 1 else first_day
        joined_at = max(
            story.started_at + number * 900, window.second_of(reached) + int(rng.integers(9 * HOUR))
        )
        if joined_at > window.end:
            continue
        story.people.append(make_person(rng, company, number, kind, role, joined_at, taken))
    for number in range(users, users + 1 + int(rng.integers(0, 4))):
        login = "viewer" if rng.random() < 0.1 else None
        kind = "decision" if number == users or rng.random() < 0.4 else "member"
        joined_at = max(window.start, story.started_at - int(rng.integers(0, 20)) * DAY)
        story.people.append(make_person(rng, company, number, kind, login, joined_at, taken))
    if story.name in ("late_onboarding", "feature_lapse"):
        # the demo mails these people, so nothing may stand in the way
        for person in story.people[:3]:
            person.legal_basis, person.opted_out = "Freely given consent from contact", False
            person.in_crm, person.is_deleted, person.hard_bounces = True, False, False
            person.language, person.locale = company.country.language, company.country.locale
    turned = story.turns_at is not None and story.turns_at < (story.churned_at or window.end)
    if story.name == "champion_left" and turned:
        champion = story.people[1]
        champion.left_at = story.champion_left_at = story.turns_at
        champion.is_deleted = bool(rng.random() < 0.4)


def _mark_silence(story: Story) -> None:
    """From when until when the customer struggles without asking anyone, for the truth."""
    if not story.is_silent:
        return
    from_day = story.window.day_of(story.started_at) + 21
    if story.archetype.after and story.turns_at is not None:
        from_day = story.window.day_of(story.turns_at) + 14
    low = np.flatnonzero((story.health < 0.4) & (np.arange(story.window.days) >= from_day))
    end = story.churned_at
    if len(low) == 0 or (end is not None and story.window.second_of(int(low[0])) >= end):
        return
    if not any(item.was_paid for item in story.subscriptions):
        return
    story.silent_from = story.window.second_of(int(low[0]))
    story.silent_until = end
