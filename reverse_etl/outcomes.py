"""What became of rows, and how an answer is read into one outcome for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reverse_etl.errors import Refused

Status = Literal["delivered", "rejected", "retryable", "unknown"]


class Outcome(NamedTuple):
    """What became of one row, in the tool's own words."""

    key: str
    status: Status
    code: str = ""
    message: str = ""

    def of(self, key: str) -> Outcome:
        """The same of another row."""
        return self._replace(key=key)

    @property
    def is_delivered(self) -> bool:
        """Whether the tool has the row."""
        return self.status == "delivered"


DELIVERED = Outcome("", "delivered")


def of_each(outcome: Outcome, keys: Iterable[str]) -> list[Outcome]:
    """The same for every row."""
    return [outcome.of(key) for key in keys]


def silent(tool: str, thing: str = "record") -> Outcome:
    """A 200 that does not mention a row says nothing about it."""
    return Outcome("", "unknown", "silent", f"{tool} answered without a word on this {thing}.")


def by_place(
    keys: Iterable[str], refusals: Mapping[int, tuple[str, str]], others: Outcome = DELIVERED
) -> list[Outcome]:
    """An answer that names the rows it refuses, code and words, by their place in the request."""
    return [
        Outcome(key, "rejected", *refusals[place]) if place in refusals else others.of(key)
        for place, key in enumerate(keys)
    ]


def in_order(
    tool: str,
    keys: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Outcome],
) -> dict[str, Outcome]:
    """An answer that holds a result for each row, in the order of the request."""
    told = dict(zip(keys, map(read, results), strict=False))
    return {key: told.get(key, silent(tool)).of(key) for key in keys}


def of_person(contact_id: str, steps: Sequence[Outcome]) -> Outcome:
    """One outcome for a person out of several steps: the first that failed, else the last."""
    failed = (step for step in steps if not step.is_delivered)
    return next(failed, (DELIVERED, *steps)[-1]).of(contact_id)


def tried(key: str, step: Callable[[], object], harmless: str = "\0") -> Outcome:
    """What became of a step for one row; a refusal that says ``harmless`` is as good."""
    try:
        step()
    except Refused as refused:
        if harmless not in str(refused):
            return Outcome(key, "rejected", refused.code, str(refused))
    return DELIVERED.of(key)
