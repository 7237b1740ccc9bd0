"""The kinds of story that customers live through, in what shares, and how their latent health
runs.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from seeds.sample_company.people import country_deck


@dataclass(frozen=True)
class Archetype:
    """A kind of story.

    `knots` are (day since start, latent health 0-1) before the turning point; `after` are (days
    since the turning
    point, health), from which the story takes another course; an archetype without `after` has no
    turning point.
    """

    share: int
    knots: tuple[tuple[float, float], ...]
    after: tuple[tuple[float, float], ...] = ()
    turns_between: tuple[int, int] = (80, 220)
    reason: str = "low_adoption"
    questions: float = 0.16
    errors: float = 0.02
    errors_after: float = 0.02
    defects_after: float = 0.0
    seat_fill: float = 0.65
    annual: float = 0.3
    trial: float = 0.75
    is_silent: float = 0.0
    stays: bool = False
    starts: str = "any"


_GOOD: Final = ((0, 0.45), (40, 0.72), (600, 0.74))
ARCHETYPES: Final[dict[str, Archetype]] = {
    "thriving": Archetype(11, ((0, 0.5), (35, 0.82), (600, 0.86)), seat_fill=0.8),
    "steady": Archetype(11, ((0, 0.45), (45, 0.62), (600, 0.6))),
    "expanding": Archetype(9, ((0, 0.5), (60, 0.8), (300, 0.92)), seat_fill=0.95),
    "slow_starter": Archetype(6, ((0, 0.16), (50, 0.2), (110, 0.68), (600, 0.7)), questions=0.3),
    "never_activated": Archetype(
        6, ((0, 0.16), (60, 0.1), (600, 0.06)), seat_fill=0.35, is_silent=0.6, questions=0.08
    ),
    "silent_struggler": Archetype(
        9, _GOOD, ((0, 0.7), (35, 0.22), (200, 0.1)), errors_after=0.2, is_silent=1.0
    ),
    "silent_from_start": Archetype(
        3,
        ((0, 0.28), (30, 0.18), (600, 0.14)),
        errors=0.22,
        errors_after=0.22,
        is_silent=1.0,
        seat_fill=0.45,
    ),
    "noisy_but_fine": Archetype(5, ((0, 0.5), (40, 0.74), (600, 0.76)), questions=1.1),
    "defect_plagued": Archetype(
        5,
        _GOOD,
        ((0, 0.7), (60, 0.3), (200, 0.18)),
        reason="defects",
        errors_after=0.25,
        defects_after=1.3,
    ),
    "champion_left": Archetype(
        5, _GOOD, ((0, 0.7), (40, 0.32), (200, 0.2)), reason="champion_left"
    ),
    "price_sensitive": Archetype(4, _GOOD, ((0, 0.6), (60, 0.36), (250, 0.28)), reason="price"),
    "involuntary": Archetype(
        4,
        _GOOD,
        ((0, 0.62), (600, 0.6)),
        reason="payment_failed",
        annual=0.0,
        turns_between=(80, 420),
    ),
    "seasonal": Archetype(3, _GOOD),
    "dormant_annual": Archetype(
        3, ((0, 0.5), (40, 0.5), (90, 0.1), (600, 0.07)), annual=1.0, is_silent=1.0
    ),
    "trial_not_converted": Archetype(
        3, ((0, 0.25), (14, 0.1), (600, 0.05)), trial=1.0, questions=0.5
    ),
    "trial_in_progress": Archetype(1, ((0, 0.45), (20, 0.6)), trial=1.0, starts="in_trial"),
    "late_onboarding": Archetype(
        2, ((0, 0.07), (600, 0.07)), stays=True, questions=0.0, seat_fill=0.4, starts="last_week"
    ),
    "feature_lapse": Archetype(4, ((0, 0.5), (40, 0.74), (600, 0.74)), stays=True, starts="early"),
    "recent_collapse": Archetype(
        4,
        ((0, 0.5), (40, 0.8), (600, 0.82)),
        ((0, 0.82), (9, 0.1), (60, 0.04)),
        stays=True,
        starts="early",
        errors_after=0.15,
    ),
    "reactivated": Archetype(
        1,
        ((0, 0.45), (40, 0.55), (600, 0.5)),
        ((0, 0.4), (30, 0.1), (600, 0.05)),
        annual=0.0,
        turns_between=(70, 130),
        starts="early",
    ),
}
INTERNAL: Final = Archetype(1, ((0, 0.3), (600, 0.3)), stays=True, annual=0.0, starts="early")

# archetypes whose stories the demo tells on its last day, in Japanese and in English
_TOLD_IN_THE_DEMO: Final = {
    "late_onboarding": ["JP", "US"],
    "feature_lapse": ["JP", "US", "JP", "GB"],
    "recent_collapse": ["JP", "US", "GB", "JP"],
}


def story_deck(rng: np.random.Generator) -> list[tuple[str, str]]:
    """A hundred (archetype, country) pairs; customers go round this deck, so that any hundred
    have its shares.
    """
    countries = country_deck(rng)
    pairs: list[tuple[str, str]] = []
    # the told stories choose their countries first
    kinds = sorted(
        [*ARCHETYPES.items(), ("internal", INTERNAL)],
        key=lambda kind: kind[0] not in _TOLD_IN_THE_DEMO,
    )
    for name, archetype in kinds:
        for number in range(archetype.share):
            told = _TOLD_IN_THE_DEMO.get(name)
            wanted = told[number] if told else "US" if name == "internal" else None
            country = wanted if wanted in countries else countries[-1]
            countries.remove(country)
            pairs.append((name, country))
    return [pairs[place] for place in rng.permutation(len(pairs))]
