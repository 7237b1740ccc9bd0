"""Questions whose answers hold for as long as whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Each is asked once, for all threads. An empty answer is asked for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Hashable, T] = {}

    def of(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer, asked for where it is not known."""
        with self._lock:
            found = self._found.get(question) or ask()
            self._found[question] = found
            return found

    def forget(self, question: Hashable) -> None:
        """The answer no longer holds."""
        with self._lock:
            self._found.pop(question, None)

    def forget_all(self) -> None:
        """No answer holds any more."""
        with self._lock:
            self._found.clear()

    def answers(self) -> list[T]:
        """What is known."""
        with self._lock:
            return list(self._found.values())
