"""Many things a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def by_weight(
    items: Iterable[T], weigh: Callable[[T], int], most: int, heaviest: int
) -> Iterator[list[T]]:
    """Lists of up to ``most`` items that weigh up to ``heaviest`` together; what is heavier alone
    stands alone."""
    piece: list[T] = []
    size = 0
    for item in items:
        weight = weigh(item)
        if piece and (len(piece) == most or size + weight > heaviest):
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += weight
    if piece:
        yield piece
