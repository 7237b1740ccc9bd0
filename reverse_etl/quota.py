"""Calls of an account by day (UTC): remembered in the ledger, shared by runs and processes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol

from reverse_etl.clock import Clock, utc_now
from reverse_etl.errors import QuotaSpent

LARGEST_LOT = 100


@dataclass(frozen=True)
class Lot:
    """Calls set aside, the day's calls used with them, and the day's limit where one is known."""

    taken: int
    used: int
    allowed: int | None


class QuotaMemory(Protocol):
    """What outlives a run. ``day`` is an ISO date."""

    def take_calls(self, account: str, day: str, calls: int, allowed: int | None) -> Lot:
        """Set up to so many calls aside. ``allowed`` is what was declared; what the tool itself
        told on that day stands above it."""

    def learn_calls(self, account: str, day: str, used: int, allowed: int) -> None:
        """The tool's own limit, and its count where that is above ours."""

    def return_calls(self, account: str, day: str, calls: int) -> None:
        """Set aside and not made."""

    def paused_until(self, account: str) -> datetime | None:
        """When the tool takes calls again, as far as it said so."""

    def pause_until(self, account: str, instant: datetime) -> None:
        """Remember a long pause."""


class Quota:
    """Set aside in lots, so that most calls cost no write; a killed run wastes at most one lot."""

    def __init__(
        self, account: str, allowed: int | None, memory: QuotaMemory, clock: Clock = utc_now
    ) -> None:
        self._account = account
        self._allowed = allowed
        self._memory = memory
        self._clock = clock
        self._lock = threading.Lock()
        self._day = ""
        self._lot = 0
        self._used = 0

    def take(self) -> None:
        """One call. Raises QuotaSpent when none is left today."""
        with self._lock:
            today = self._today()
            if today != self._day:
                self._day, self._lot, self._used = today, 0, 0
            if not self._lot:
                wanted = LARGEST_LOT if self._allowed is None else self._allowed // 1_000
                wanted = max(1, min(LARGEST_LOT, wanted))
                lot = self._memory.take_calls(self._account, today, wanted, self._allowed)
                self._lot, self._used, self._allowed = lot.taken, lot.used, lot.allowed
            if not self._lot:
                raise QuotaSpent(
                    f"The {self._allowed} calls of today are used up; the next run after "
                    "00:00 UTC goes on.",
                    code="quota",
                    retry_after=self._until_tomorrow(),
                )
            self._lot -= 1

    def learn(self, allowed: int, remaining: int) -> None:
        """The tool's own count, which others may have raised."""
        with self._lock:
            is_news, self._allowed = allowed != self._allowed, allowed
            remaining, self._day = max(0, remaining), self._day or self._today()
            excess = max(0, self._lot - remaining)
            if excess:
                self._memory.return_calls(self._account, self._day, excess)
                self._lot, self._used = self._lot - excess, self._used - excess
            counted = allowed - remaining + self._lot
            if is_news or counted > self._used:
                self._used = max(counted, self._used)
                self._memory.learn_calls(self._account, self._day, self._used, allowed)

    @property
    def remaining(self) -> int | None:
        """Calls left today; None where no limit is known."""
        with self._lock:
            return None if self._allowed is None else self._allowed - self._used + self._lot

    def pause(self) -> float:
        """Seconds until the tool takes calls again, 0 where it never said otherwise."""
        until = self._memory.paused_until(self._account)
        return max(0.0, (until - self._clock()).total_seconds()) if until else 0.0

    def remember_pause(self, seconds: float) -> None:
        """The tool asked for a pause that outlives this run."""
        self._memory.pause_until(self._account, self._clock() + timedelta(seconds=seconds))

    def close(self) -> None:
        """Give back what was not called."""
        with self._lock:
            if self._lot:
                self._memory.return_calls(self._account, self._day, self._lot)
                self._used, self._lot = self._used - self._lot, 0

    def _today(self) -> str:
        return self._clock().astimezone(UTC).date().isoformat()

    def _until_tomorrow(self) -> float:
        now = self._clock().astimezone(UTC)
        tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        return (tomorrow - now).total_seconds()
