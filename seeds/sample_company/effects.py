"""What a touch changes: the planted treatment effects, and the file that says who was touched.

An effect is the probability that a touched customer, which would not have shown the metric by
itself, shows it after
all. The lift of the metric is therefore effect x (1 - share that shows it untouched); running the
generator with and
without the file gives both worlds of every customer.
"""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from seeds.sample_company.calendar import DAY
from seeds.sample_company.rows import Row, stream


@dataclass(frozen=True)
class Effect:
    """A planted effect: on what, how large, within how many days of the touch."""

    trigger_name: str
    metric: str
    effect: float
    horizon_days: int


EFFECTS: Final = [
    Effect("feature_unused", "key_feature_used", 0.25, 14),
    Effect("onboarding_low_usage", "first_value_reached", 0.30, 14),
    Effect("health_dropped", "retained", 0.35, 90),
    # planted zero: whoever finds a lift here finds noise
    Effect("competitor_comparison_visited", "retained", 0.0, 90),
]
_COLUMNS: Final = ["trigger_name", "customer_id", "touched_at"]


class TreatedFileError(Exception):
    """The file of touched customers cannot be used; the message names row and fix."""


@dataclass(frozen=True)
class Touches:
    """When each customer was touched by each trigger: (trigger, Stripe customer id) -> first
    instant.
    """

    at: dict[tuple[str, str], int]

    def won_over(self, seed: int, index: int, customer_id: str, trigger_name: str) -> int | None:
        """The instant of the touch, if it changes this customer's behaviour."""
        touched_at = self.at.get((trigger_name, customer_id))
        if touched_at is None:
            return None
        size = next((item.effect for item in EFFECTS if item.trigger_name == trigger_name), 0.0)
        coin = stream(seed, index, f"effect:{trigger_name}").random()
        return touched_at if coin < size else None


def horizon(trigger_name: str) -> int:
    """Seconds within which the effect of a trigger shows."""
    return next(item.horizon_days for item in EFFECTS if item.trigger_name == trigger_name) * DAY


def read_touches(path: Path | None) -> Touches:
    """Reads trigger_name, customer_id, touched_at (YYYY-MM-DD HH:MM:SS UTC). Raises
    TreatedFileError on bad input.
    """
    if path is None:
        return Touches({})
    if not path.is_file():
        raise TreatedFileError(f"{path}: no such file; give a CSV with {', '.join(_COLUMNS)}")
    at: dict[tuple[str, str], int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise TreatedFileError(
                f"{path}: column {', '.join(missing)} is missing from the header"
            )
        for line, row in enumerate(reader, start=2):
            try:
                touched = datetime.fromisoformat(row["touched_at"] or "")
            except ValueError as error:
                raise TreatedFileError(
                    f"{path}, line {line}: touched_at {row['touched_at']!r} is no time;"
                    " write YYYY-MM-DD HH:MM:SS"
                ) from error
            zone = touched.tzinfo or UTC
            second = int(touched.replace(tzinfo=zone).timestamp())
            key = (row["trigger_name"], row["customer_id"])
            at[key] = min(second, at.get(key, second))
    return Touches(at)


def effect_rows() -> list[Row]:
    """The rows of truth/effects.csv."""
    return [
        {
            "trigger_name": item.trigger_name,
            "metric": item.metric,
            "effect": item.effect,
            "horizon_days": item.horizon_days,
        }
        for item in EFFECTS
    ]
