"""Lists that a tool shows page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

P = TypeVar("P")


def pages(ask: Callable[[str], P], following: Callable[[P], Any], first: str = "") -> Iterator[P]:
    """Each page is asked for by what the one before says of it; where that is empty, it was the
    last."""
    at = first
    while True:
        page = ask(at)
        yield page
        at = str(following(page) or "")
        if not at:
            return


def by_offset(ask: Callable[[int], Sequence[Any]], size: int) -> Iterator[Any]:
    """The items of all pages of ``size``, each asked for by how many came before; one that is not
    full is the last."""
    offset = 0
    while True:
        items = ask(offset)
        yield from items
        offset += len(items)
        if len(items) < size:
            return
