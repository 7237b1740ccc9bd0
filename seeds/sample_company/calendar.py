"""Days, months, time zones and holidays of the sample company. All instants are whole seconds
since 1970 in UTC.

The few daylight-saving rules stand here, not in the machine's time zone database, so that every
machine writes the same bytes.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

DAY = 86_400
HOUR = 3_600
FAR_FUTURE = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_EPOCH = date(1970, 1, 1)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def midnight(day: date) -> int:
    """The instant at which `day` begins in UTC."""
    return (day - _EPOCH).days * DAY


def add_months(second: int, months: int) -> int:
    """The same time of day `months` later; a day that the month lacks becomes its last, as Stripe
    does.
    """
    day = _EPOCH + timedelta(days=second // DAY)
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    moved = date(year, month, min(day.day, monthrange(year, month)[1]))
    return midnight(moved) + second % DAY


@dataclass(frozen=True)
class Window:
    """The days that the data covers, both ends included."""

    first: date
    last: date

    @classmethod
    def ending(cls, last: date, months: int) -> "Window":
        """The calendar months up to `last`, its own month included."""
        first = add_months(midnight(last.replace(day=1)), 1 - months)
        return cls(_EPOCH + timedelta(seconds=first), last)

    @cached_property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @cached_property
    def start(self) -> int:
        """First second."""
        return midnight(self.first)

    @cached_property
    def end(self) -> int:
        """Last second."""
        return midnight(self.last) + DAY - 1

    def day_of(self, second: int) -> int:
        """Index of the day in which an instant lies; may lie outside the window."""
        return (second - self.start) // DAY

    def second_of(self, day: float) -> int:
        """The instant `day` days after the start."""
        return self.start + int(day * DAY)


@dataclass(frozen=True)
class Zone:
    """A time zone, with the names that the tools give it, and its standard offset from UTC in
    hours.
    """

    name: str
    hubspot: str
    zendesk: str
    hours: float
    summer: str = ""

    @lru_cache(maxsize=64)  # noqa: B019 - zones are few constants
    def offsets(self, window: Window) -> Ints:
        """Offset from UTC in seconds at noon of each day of the window."""
        shift = [
            self.hours + _is_summer(self.summer, window.first + timedelta(days=day))
            for day in range(window.days)
        ]
        return (np.array(shift) * HOUR).astype(np.int64)


def _sunday(year: int, month: int, number: int) -> date:
    """The n-th Sunday of a month; -1 is the last."""
    days = [
        date(year, month, day)
        for day in range(1, monthrange(year, month)[1] + 1)
        if date(year, month, day).weekday() == 6
    ]
    return days[number - 1 if number > 0 else number]


def _is_summer(rule: str, day: date) -> bool:
    if rule == "us":
        return _sunday(day.year, 3, 2) <= day < _sunday(day.year, 11, 1)
    if rule == "eu":
        return _sunday(day.year, 3, -1) <= day < _sunday(day.year, 10, -1)
    if rule == "au":
        return not _sunday(day.year, 4, 1) <= day < _sunday(day.year, 10, 1)
    return False


# (month, day) from and to, and what is left of a normal day's work
_HOLIDAYS: dict[str, list[tuple[tuple[int, int], tuple[int, int], float]]] = {
    "JP": [
        ((1, 1), (1, 3), 0.03),
        ((4, 29), (4, 29), 0.2),
        ((5, 1), (5, 2), 0.6),
        ((5, 3), (5, 6), 0.05),
        ((8, 11), (8, 16), 0.2),
        ((11, 3), (11, 3), 0.1),
        ((11, 23), (11, 23), 0.1),
        ((12, 29), (12, 31), 0.1),
    ],
    "US": [
        ((1, 1), (1, 1), 0.03),
        ((7, 4), (7, 4), 0.05),
        ((11, 26), (11, 28), 0.2),
        ((12, 23), (12, 31), 0.2),
    ],
    "EU": [
        ((1, 1), (1, 2), 0.05),
        ((5, 1), (5, 1), 0.1),
        ((8, 3), (8, 21), 0.75),
        ((12, 23), (12, 31), 0.1),
    ],
}
_WEEKDAYS = np.array([1.0, 1.06, 1.08, 1.02, 0.88, 0.07, 0.05])


@lru_cache(maxsize=16)
def work_rhythm(window: Window, region: str) -> Floats:
    """How much people of a region work on each local day: about 1 on weekdays, little on weekends
    and holidays.
    """
    rhythm = np.empty(window.days)
    for index in range(window.days):
        day = window.first + timedelta(days=index)
        left = _WEEKDAYS[day.weekday()]
        for start, end, factor in _HOLIDAYS[region]:
            if start <= (day.month, day.day) <= end:
                left *= factor
        rhythm[index] = left
    return rhythm
