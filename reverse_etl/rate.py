"""How fast a tool may be called: one budget per account, shared by everything that calls it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from reverse_etl.errors import RateLimited, UserError
from reverse_etl.quota import Quota, QuotaMemory

PACE = 0.99
"""Part of a limit that is used: windows are stretched by it, as clocks on both sides differ."""
PATIENCE_S = 60.0
"""A longer pause is not slept through: the rest is left to a later run."""


@dataclass(frozen=True)
class Window:
    """At most ``calls`` in any ``seconds``."""

    calls: int
    seconds: float


class RateBudget:
    """Sliding windows over several threads.

    A call counts from its start until a full window after its *end*: the tool has seen it somewhere
    in between, so no window of the tool's ever holds more than its limit, whatever the latency.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        quota: Quota | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tracks = [_Track(window) for window in windows]
        self._quota = quota
        self._paused_until = clock() + quota.pause() if quota else 0.0
        self._starts = 0
        self._running = 0
        self._own = threading.local()
        self._granted, self._granted_until = 0, 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for a place, then hold it during the call. Raises RateLimited when the tool asked
        for a pause that is too long to wait for, QuotaSpent when no call is left today."""
        while (pause := self._start()) > 0:
            self._sleep(pause)
        try:
            yield
        finally:
            with self._lock:
                now = self._clock()
                self._running -= 1
                for track in self._tracks:
                    track.running -= 1
                    track.ended.append(now)

    def pause(self, seconds: float) -> None:
        """Nobody calls for so long: the tool asked for it. A long pause outlives this run."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
        if self._quota and seconds > PATIENCE_S:
            self._quota.remember_pause(seconds)

    def learn(self, calls: int, seconds: float, remaining: int) -> None:
        """What the tool's headers say: its limit in a window, and what is left of it now.

        Calls of others with the same account (or of this program before it started) show as a
        difference to our own count, and then take places here too.
        """
        with self._lock:
            track = next((t for t in self._tracks if t.window.seconds == seconds), None)
            if track is None:
                track = _Track(Window(calls, seconds))
                track.running = self._running
                self._tracks.append(track)
            track.window = Window(calls, seconds)
            now = self._clock()
            track.forget(now)
            others = (calls - remaining) - (track.running + len(track.ended))
            track.ended.extend([now] * max(0, others))

    def grant(self, remaining: int, seconds: float) -> None:
        """What the tool's headers say where they name no window: ``remaining`` calls until its
        count starts anew in ``seconds``. Calls that started after the one whose answer this is may
        not be counted in it yet, so they are taken off."""
        with self._lock:
            self._granted = remaining - self._uncounted()
            self._granted_until = self._clock() + seconds

    def learn_daily(self, allowed: int, remaining: int) -> None:
        """What the tool's headers say of the day's calls."""
        if self._quota:
            self._quota.learn(allowed, remaining - self._uncounted())

    @property
    def calls(self) -> int:
        """Calls made so far."""
        return self._starts

    @property
    def remaining_today(self) -> int | None:
        """Calls left today; None where no daily limit is known."""
        return self._quota.remaining if self._quota else None

    def _uncounted(self) -> int:
        """Calls that started after this thread's last one: its answer may not count them yet."""
        started: int = getattr(self._own, "started", self._starts)
        return self._starts - started

    def _start(self) -> float:
        """Take a place and return 0, or return the seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            asked = self._paused_until - now
            if asked > PATIENCE_S:
                words = f"The tool asked for a pause; {asked:.0f} s of it are left."
                raise RateLimited(words, code="paused", retry_after=asked)
            is_granted = now >= self._granted_until or self._granted > 0
            until_reset = 0.0 if is_granted else self._granted_until - now
            pause = max([asked, until_reset, *(track.wait(now) for track in self._tracks)])
            if pause > 0:
                return min(pause, PATIENCE_S)
            if self._quota:
                self._quota.take()
            for track in self._tracks:
                track.running += 1
            self._granted -= 1
            self._starts += 1
            self._running += 1
            self._own.started = self._starts
            return 0.0


class Budgets:
    """One budget for each account and part of its API, whoever asks for it."""

    def __init__(self, memory: QuotaMemory | None = None) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._budgets: dict[str, RateBudget] = {}
        self._quotas: list[Quota] = []

    def budget(
        self, account: str, part: str, windows: Sequence[Window], daily: int | None
    ) -> RateBudget:
        """The budget of that name, made with these limits when it is first asked for."""
        name = f"{account}/{part}" if part else account
        with self._lock:
            if name not in self._budgets:
                quota = Quota(name, daily, self._memory) if self._memory else None
                self._quotas += [quota] if quota else []
                self._budgets[name] = RateBudget(windows, quota=quota)
            return self._budgets[name]

    def remaining_today(self, account: str) -> int | None:
        """Calls left to an account today; None where no limit is known."""
        with self._lock:
            budget = self._budgets.get(account)
        return budget.remaining_today if budget else None

    def calls(self, account: str) -> int:
        """Calls made of an account so far, of any part of its API."""
        with self._lock:
            return sum(
                budget.calls
                for name, budget in self._budgets.items()
                if name == account or name.startswith(f"{account}/")
            )

    def close(self) -> None:
        """Give back calls that were set aside and not made; where that fails they are lost."""
        for quota in self._quotas:
            with suppress(UserError):
                quota.close()


class _Track:
    """The calls of one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.running = 0
        self.ended: deque[float] = deque()

    @property
    def _length(self) -> float:
        return self.window.seconds / PACE

    def forget(self, now: float) -> None:
        while self.ended and self.ended[0] + self._length <= now:
            self.ended.popleft()

    def wait(self, now: float) -> float:
        """Seconds until a place may be free; 0 where one is."""
        self.forget(now)
        if self.running + len(self.ended) < self.window.calls:
            return 0.0
        if not self.ended:
            return 0.005  # every place is held by a running call
        return max(self.ended[0] + self._length - now, 0.001)
