"""How fast a tool may be called: one budget per account, shared by everything that calls it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

PACE = 0.98
"""Part of a limit that is used: windows are stretched by it, as clocks on both sides differ."""


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
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tracks = [_Track(window) for window in windows]
        self._paused_until = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for a place, then hold it during the call."""
        while (pause := self._start()) > 0:
            self._sleep(pause)
        try:
            yield
        finally:
            with self._lock:
                now = self._clock()
                for track in self._tracks:
                    track.running -= 1
                    track.ended.append(now)

    def pause(self, seconds: float) -> None:
        """Nobody calls for so long: the tool asked for it."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def learn(self, calls: int, seconds: float, remaining: int) -> None:
        """What the tool's headers say: its limit in a window, and what is left of it now.

        Calls of others with the same account (or of this program before it started) show as a
        difference to our own count, and then take places here too.
        """
        with self._lock:
            track = next((t for t in self._tracks if t.window.seconds == seconds), None)
            if track is None:
                track = _Track(Window(calls, seconds))
                self._tracks.append(track)
            track.window = Window(calls, seconds)
            now = self._clock()
            track.forget(now)
            others = (calls - remaining) - (track.running + len(track.ended))
            track.ended.extend([now] * max(0, others))

    def _start(self) -> float:
        """Take a place and return 0, or return the seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            pause = max([self._paused_until - now, *(track.wait(now) for track in self._tracks)])
            if pause > 0:
                return pause
            for track in self._tracks:
                track.running += 1
            return 0.0


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
