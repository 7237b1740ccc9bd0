"""Segment: events, errors, identifies and groups, drawn from the story's health by person and
day.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from seeds.sample_company.calendar import DAY, HOUR, Floats, Ints, work_rhythm
from seeds.sample_company.effects import horizon
from seeds.sample_company.people import Person
from seeds.sample_company.rows import Columns, Rows, base36, base36_array
from seeds.sample_company.website import consents

if TYPE_CHECKING:
    from seeds.sample_company.stories import Story

APP_OPENED, ERROR = "app_opened", "error_encountered"
# event: weight among a person's events, share of people who take it up, days until they do, least
# plan (0-3)
_FEATURES: Final[dict[str, tuple[float, float, float, int]]] = {
    "task_completed": (7.0, 1.00, 1, 0),
    "comment_added": (4.0, 0.90, 5, 0),
    "project_created": (1.0, 0.70, 2, 0),
    "template_applied": (0.6, 0.45, 8, 0),
    "member_invited": (0.3, 0.50, 3, 0),
    "dashboard_shared": (2.2, 0.60, 12, 0),
    "report_exported": (2.0, 0.50, 22, 0),
    "automation_created": (0.3, 0.35, 30, 1),
    "automation_run": (3.0, 0.45, 28, 1),
    "integration_connected": (1.4, 0.75, 20, 1),
    "api_call_made": (1.0, 0.18, 40, 1),
    "forecast_viewed": (2.0, 0.45, 40, 2),
    "sso_configured": (0.3, 0.80, 25, 3),
    "audit_log_viewed": (1.2, 0.80, 30, 3),
}
_ADMIN_ONLY: Final = {"sso_configured", "audit_log_viewed", "integration_connected"}
_FOR_VIEWERS: Final = {"comment_added", "forecast_viewed"}
KEY_FEATURES: Final = [
    "dashboard_shared",
    "automation_run",
    "report_exported",
    "integration_connected",
    "forecast_viewed",
]
EVENTS: Final = [APP_OPENED, *_FEATURES, ERROR]
_EVENT_TEXTS: Final = np.array([name.replace("_", " ").title() for name in EVENTS], dtype=object)
_EVENT_NAMES: Final = np.array(EVENTS, dtype=object)
_ERROR_CODES: Final = np.array(
    ["E_TIMEOUT", "E_PERMISSION", "E_IMPORT_FORMAT", "E_SYNC_CONFLICT", "E_QUOTA"], dtype=object
)
# days before the end on which the people of the feature_lapse story stop using their key feature
LAPSE_DAYS: Final = 21
_PEOPLE_WHO_LAPSE: Final = 2


def lapsed_people(story: "Story") -> list[tuple[Person, str]]:
    """Whose regular use of which key feature ends exactly LAPSE_DAYS before the end."""
    if story.name != "feature_lapse":
        return []
    return list(
        zip(story.people[:_PEOPLE_WHO_LAPSE], ["dashboard_shared", "report_exported"], strict=False)
    )


def add_usage(story: "Story", rows: Rows, scale: float) -> None:
    """All product events of one customer; `scale` multiplies the events of an active day."""
    users = [person for person in story.people if person.product_role]
    _add_people(story, users, rows)
    rng = story.rng("usage")
    active = rng.random((len(users), story.window.days)) < _activity(story, users, rng)
    who, day = np.nonzero(active)
    start = _session_starts(story, rng, day)
    joined = np.array([person.joined_at for person in users])
    # the first day's work comes after signing up
    signed_up = (day == (joined[who] - story.window.start) // DAY) & (start < joined[who])
    start = np.where(signed_up, joined[who] + 600, start)
    adopted = _adoption(story, users, rng)

    count = rng.poisson(1.0 * scale, len(who))
    feature_who, feature_day = np.repeat(who, count), np.repeat(day, count)
    feature_at = np.repeat(start, count) + rng.integers(20, 3 * HOUR, count.sum())
    kind = _choose_features(rng, adopted, feature_who, feature_day)
    error_count = rng.poisson(story.errors()[day])
    error_at = np.repeat(start, error_count) + rng.integers(20, 2 * HOUR, error_count.sum())

    who = np.concatenate([who, feature_who, np.repeat(who, error_count)])
    at = np.concatenate([start, feature_at, error_at])
    kind = np.concatenate(
        [
            np.zeros(len(start), np.int64),
            kind,
            np.full(len(error_at), len(EVENTS) - 1, np.int64),
        ]
    )
    who, at, kind = _tell_lapses(story, users, who, at, kind)
    # apart from the rest, so that a touch leaves every other row as it was
    for first_id, block in ((0, (who, at, kind)), (36**5 // 2, _won_over(story, users))):
        who, at, kind = block
        inside = (at >= story.started_at) & (at <= (story.churned_at or story.window.end))
        inside &= (kind >= 0) & (at >= joined[who])
        _write(story, users, rows, who[inside], at[inside], kind[inside], first_id)


def _activity(story: "Story", users: list[Person], rng: np.random.Generator) -> Floats:
    """Probability that a person works in the product on a day."""
    window = story.window
    daily = (
        np.power(story.health, 1.35)
        * story.lives
        * work_rhythm(window, story.company.country.region)
    )
    level = rng.beta(2.2, 2.4, len(users)) * 0.41
    level[:2] = np.maximum(level[:2], 0.36)
    for place, person in enumerate(users):
        if person.product_role == "viewer":
            level[place] *= 0.35
        if person.buying_role == "DECISION_MAKER":
            level[place] *= 0.15
    if story.name == "feature_lapse":
        level[:_PEOPLE_WHO_LAPSE] = 0.75
    chance: Floats = level[:, None] * daily[None, :]
    for place, person in enumerate(users):
        joined = window.day_of(person.joined_at)
        chance[place, : max(0, joined)] = 0
        if joined >= 0:
            # curiosity, fading over the first weeks
            span = chance[place, joined : joined + 21]
            span *= 1 + 1.6 * np.exp(-np.arange(len(span)) / 6)
        if person.left_at is not None:
            chance[place, window.day_of(person.left_at) :] = 0
    first = window.day_of(story.started_at)
    if story.name == "late_onboarding":
        chance[:, first + 2 :] = 0
        chance[0, first] = 1
    elif 0 <= first < window.days:
        chance[0, first] = max(chance[0, first], 0.9)
    return np.clip(chance, 0, 1)


def _session_starts(story: "Story", rng: np.random.Generator, day: Ints) -> Ints:
    """When sessions begin, in UTC: office hours of the customer's time zone."""
    local = np.clip(rng.normal(12.2, 2.3, len(day)), 6.5, 20.0) * HOUR
    offsets = story.company.zone.offsets(story.window)
    starts: Ints = story.window.start + day * DAY + local.astype(np.int64) - offsets[day]
    return starts


def _adoption(story: "Story", users: list[Person], rng: np.random.Generator) -> Floats:
    """Day of the window from which each person uses each feature; infinite for never."""
    window = story.window
    plan_order = ["Starter", "Team", "Business", "Enterprise"]
    rank = max(
        plan_order.index(change.plan) for item in story.subscriptions for change in item.changes
    )
    ability = float(
        np.clip(story.health[max(0, window.day_of(story.started_at)) :][:90].mean(), 0.05, 1)
    )
    days = np.full((len(users), len(_FEATURES)), np.inf)
    for column, (name, (_, share, lag, least)) in enumerate(_FEATURES.items()):
        for place, person in enumerate(users):
            takes = rng.random() < share * (0.35 + 0.95 * ability)
            after = rng.gamma(1.6, lag / 1.6) * (0.6 + 0.5 / ability)
            if name == "task_completed":
                takes, after = True, 0.0
            if person.product_role == "viewer":
                takes = name in _FOR_VIEWERS
            elif person.product_role != "admin":
                takes = takes and name not in _ADMIN_ONLY
            if takes and rank >= least:
                days[place, column] = window.day_of(person.joined_at) + after
    return days


def _choose_features(
    rng: np.random.Generator, adopted: Floats, who: Ints, day: Ints
) -> npt.NDArray[np.int64]:
    """Draws one feature per event among those that the person had taken up by then; -1 where
    there is none.
    """
    if not len(who):
        return np.zeros(0, np.int64)
    weights = np.array([feature[0] for feature in _FEATURES.values()])
    open_ = np.where(adopted[who] <= day[:, None] + 0.5, weights, 0.0)
    summed = np.cumsum(open_, axis=1)
    drawn = rng.random(len(who)) * summed[:, -1]
    chosen = (summed <= drawn[:, None]).sum(axis=1)
    return np.where(summed[:, -1] > 0, np.minimum(chosen, len(_FEATURES) - 1) + 1, -1)


def _tell_lapses(
    story: "Story", users: list[Person], who: Ints, at: Ints, kind: Ints
) -> tuple[Ints, Ints, Ints]:
    """Gives the lapsing people weekly use until the last day of it, none after, and other work to
    the end.
    """
    window = story.window
    last_day = window.days - 1 - LAPSE_DAYS
    midday = 14 * HOUR - int(story.company.zone.offsets(window)[last_day])
    for person, feature in lapsed_people(story):
        place, code = users.index(person), EVENTS.index(feature)
        late = (who == place) & (kind == code) & (at >= window.second_of(last_day + 1))
        who, at, kind = who[~late], at[~late], kind[~late]
        uses = [window.second_of(last_day - 7 * week) + midday for week in range(8)]
        work = [window.second_of(day) + midday + 900 for day in range(last_day + 1, window.days, 2)]
        who = np.concatenate([who, np.full(len(uses) + len(work), place)])
        at = np.concatenate([at, np.array(uses + work)])
        kind = np.concatenate(
            [kind, np.full(len(uses), code), np.full(len(work), EVENTS.index("task_completed"))]
        )
    return who, at, kind


def _won_over(story: "Story", users: list[Person]) -> tuple[Ints, Ints, Ints]:
    """The events that touches won over: whose, when and of which kind; none for most customers."""
    found: list[tuple[int, int, int]] = []
    for trigger_name in ("feature_unused", "onboarding_low_usage"):
        touched_at = story.won_over(trigger_name)
        if touched_at is None:
            continue
        rng = story.rng(f"effect-time:{trigger_name}")
        happens = touched_at + int(rng.integers(12 * HOUR, horizon(trigger_name) - DAY))
        present = [person for person in users if person.joined_at <= touched_at]
        lapsed = lapsed_people(story) if trigger_name == "feature_unused" else []
        for person, feature in lapsed or [(one, "dashboard_shared") for one in present[:1]]:
            found.append((users.index(person), happens, EVENTS.index(feature)))
    who, at, kind = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return who, at, kind


def _write(
    story: "Story",
    users: list[Person],
    rows: Rows,
    who: Ints,
    at: Ints,
    kind: Ints,
    first_id: int,
) -> None:
    """Tracks and errors in order of time, with late arrivals, unknown groups and doubles."""
    if not len(at):
        return
    rng = story.rng(f"arrival{first_id}")
    window, company = story.window, story.company
    order = np.lexsort((kind, who, at))
    who, at, kind = who[order], at[order], kind[order]
    count = len(at)
    ids = base36_array(f"t{company.key}", np.arange(first_id, first_id + count), 5)
    user_ids = np.array([person.user_id for person in users], dtype=object)
    browsers = np.array([f"a{person.key}" for person in users], dtype=object)
    sent = at + rng.integers(0, 3, count)
    delay = rng.integers(1, 30, count)
    is_late = rng.random(count) < 0.008
    told = np.isin(who, [users.index(person) for person, _ in lapsed_people(story)])
    is_late &= ~told
    delay = np.where(is_late, rng.integers(2 * HOUR, 5 * DAY, count), delay)
    # clocks of a few browsers are wrong by whole hours
    skew = np.where(rng.random(count) < 0.002, rng.integers(-9, 10, count) * HOUR, 0)
    groups = np.full(count, company.workspace_id, dtype=object)
    groups[rng.random(count) < 0.001] = "ws_unknown"
    known_users = user_ids[who]
    known_users[(kind == 0) & (rng.random(count) < 0.004)] = None
    columns: Columns = {
        "id": ids,
        "anonymous_id": browsers[who],
        "user_id": known_users,
        "event": _EVENT_NAMES[kind],
        "event_text": _EVENT_TEXTS[kind],
        "timestamp": at,
        "sent_at": sent + skew,
        "received_at": sent + delay,
        "context_group_id": groups,
    }
    arrived = np.flatnonzero(columns["received_at"] <= window.end)
    doubled = arrived[rng.random(len(arrived)) < 0.001]
    kept = np.concatenate([arrived, doubled])
    rows.add_block("segment.tracks", {name: values[kept] for name, values in columns.items()})
    errors = arrived[kind[arrived] == len(EVENTS) - 1]
    if len(errors):
        rows.add_block("segment.error_encountered", _errors(story, columns, errors))


def _errors(story: "Story", columns: Columns, errors: Ints) -> Columns:
    rng = story.rng("errors")
    features = np.array(list(_FEATURES), dtype=object)
    # each customer stumbles mostly over one thing
    favourite = int(rng.integers(len(_ERROR_CODES))), int(rng.integers(5, 11))
    usual = rng.random(len(errors)) < 0.7
    code = np.where(usual, favourite[0], rng.integers(len(_ERROR_CODES), size=len(errors)))
    feature = np.where(usual, favourite[1], rng.integers(len(features), size=len(errors)))
    block: dict[str, npt.NDArray[Any]] = {name: values[errors] for name, values in columns.items()}
    return {**block, "error_code": _ERROR_CODES[code], "feature": features[feature]}


def _add_people(story: "Story", users: list[Person], rows: Rows) -> None:
    """Identify and group calls: at sign-up, and again now and then."""
    rng = story.rng("identify")
    company, window = story.company, story.window
    serial = 0
    for person in users:
        again = rng.random() < 0.3
        agreed = consents(story, person.key)
        times = [person.joined_at]
        if again:
            times.append(person.joined_at + int(rng.integers(20, 120)) * DAY)
        for at in times:
            if at > min(window.end, story.churned_at or window.end) - 60:
                continue
            serial += 1
            odd = rng.random()
            email = (
                person.email.title()
                if odd < 0.04
                else f" {person.email}"
                if odd < 0.06
                else person.email
            )
            stamps = {"timestamp": at, "sent_at": at + 1, "received_at": at + 4}
            rows.add(
                "segment.identifies",
                at,
                id=f"i{company.key}{base36(serial, 3)}",
                anonymous_id=f"a{person.key}",
                user_id=person.user_id,
                email=email,
                name=person.name,
                title=person.job_title,
                role=person.product_role,
                locale=person.locale,
                timezone=company.zone.name,
                context_consent_category_preferences_analytics=agreed,
                **stamps,
            )
            rows.add(
                "segment.groups",
                at,
                id=f"g{company.key}{base36(serial, 3)}",
                anonymous_id=f"a{person.key}",
                user_id=person.user_id,
                group_id=company.workspace_id,
                name=company.name,
                industry=company.industry,
                employees=company.employees,
                domain=company.domain if rng.random() >= 0.05 else None,
                **stamps,
            )
