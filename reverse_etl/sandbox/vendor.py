"""What every vendor of the sandbox is made of.

A vendor is one module of this package with a `VENDOR` class: `VENDOR.name` is its mount point,
`VENDOR(context).routes()` its API, `.counts()` what it received. Adding one is adding a file.
"""

import importlib
import pkgutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from starlette.routing import BaseRoute

import reverse_etl.sandbox as package
from reverse_etl.sandbox.store import Store


@dataclass(frozen=True)
class RateLimit:
    """Calls a tool accepts: per rolling window (seconds) and per day (UTC); None is no limit."""

    calls: int | None = None
    window_seconds: float = 10.0
    daily: int | None = None


@dataclass(frozen=True)
class Context:
    """What a vendor is given: the store, the clock (epoch seconds) and its part of portal.yml."""

    store: Store
    portal: Mapping[str, Any]
    limit: RateLimit
    clock: Callable[[], float] = time.time


class Vendor(Protocol):
    """One vendor's tool behind `/<name>/...`."""

    def routes(self) -> list[BaseRoute]: ...

    def counts(self) -> dict[str, Any]: ...

    def forget(self) -> None:
        """Drop what is held in memory; the store has just been emptied."""


class VendorType(Protocol):
    name: str

    def __call__(self, context: Context) -> Vendor: ...


def vendor_types() -> Iterator[VendorType]:
    """The vendors found in this package, by file name."""
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        found = getattr(importlib.import_module(f"{package.__name__}.{module}"), "VENDOR", None)
        if found is not None:
            yield cast(VendorType, found)


@dataclass
class Exchange:
    """Notes a vendor leaves on one request, for the request log."""

    violation: str | None = None
    fault: str | None = None


@dataclass
class RollingWindow:
    """Counts accepted calls in a rolling window and in the day.

    Refused calls do not use up the window: a client that waits as told is let in again.
    """

    limit: RateLimit
    clock: Callable[[], float]
    _accepted: deque[float] = field(default_factory=deque)
    _day: int = 0
    _today: int = 0

    def refusal(self) -> str | None:
        """Count one call. Returns None if let in, else `window` or `daily`."""
        now = self.clock()
        self._forget(now)
        if self.limit.daily is not None and self._today >= self.limit.daily:
            return "daily"
        if self.limit.calls is not None and len(self._accepted) >= self.limit.calls:
            return "window"
        self._accepted.append(now)
        self._today += 1
        return None

    def _forget(self, now: float) -> None:
        while self._accepted and self._accepted[0] <= now - self.limit.window_seconds:
            self._accepted.popleft()
        if int(now // 86_400) != self._day:
            self._day, self._today = int(now // 86_400), 0

    def resume(self, accepted_today: int) -> None:
        """Take over the day's count from before a restart."""
        self._day, self._today = int(self.clock() // 86_400), accepted_today

    @property
    def remaining(self) -> int:
        """Calls left in the window now."""
        return max(0, (self.limit.calls or 0) - len(self._accepted))

    @property
    def remaining_today(self) -> int:
        """Calls left in the day now."""
        return max(0, (self.limit.daily or 0) - self._today)


class Windows:
    """Calls in several rolling windows at once; a refused call does not use any of them up."""

    def __init__(self, limits: Sequence[tuple[int, float]], clock: Callable[[], float]) -> None:
        self._tracks = [(calls, seconds, deque[float]()) for calls, seconds in limits]
        self.limits = list(limits)
        self._clock = clock

    def admit(self) -> float | None:
        """Count one call. None if let in, else the seconds after which one will be."""
        now = self._clock()
        for calls, seconds, seen in self._tracks:
            while seen and seen[0] <= now - seconds:
                seen.popleft()
            if len(seen) >= calls:
                return seen[0] + seconds - now
        for _, _, seen in self._tracks:
            seen.append(now)
        return None

    def longest(self) -> tuple[int, int, float]:
        """Of the longest window: calls allowed, calls left, seconds until one is given back."""
        calls, seconds, seen = max(self._tracks, key=lambda track: track[1])
        reset = seen[0] + seconds - self._clock() if seen else seconds
        return calls, calls - len(seen), max(reset, 0.0)
