"""What a push came to, as Dagster shows it: counts and words, never a row that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from reverse_etl.engine import SyncResult
from reverse_etl.ledger import Ledger
from reverse_etl.planning import LOST
from reverse_etl.spec import GROUP_MARK, Sync

UPSTREAM = "upstream_checks_passed"
ARRIVED = "every_row_arrived"
NOT_HELD = "not_held"
Event = dg.MaterializeResult[None] | dg.AssetCheckResult
_COUNTS = (
    *("planned", "delivered", "rejected", "retryable", "unknown", "suppressed", "expired"),
    *("seen", "waiting", "adds", "changes", "removes"),
)
_SHORTEST = 5.0
"""Seconds; over less a rate says nothing, since a window may begin with a burst."""
_LONGEST = 200
SHOWN = 10


@dataclass(frozen=True)
class Told:
    """What a tool said of single rows, without a value of theirs, and where a person sees them.

    ``refused``: key, action, code, words, attempts; ``unknown``: key, action, code, words, when.
    """

    refused: Sequence[Sequence[Any]] = ()
    unknown: Sequence[Sequence[Any]] = ()
    page: str | None = None

    @classmethod
    def of(cls, ledger: Ledger, sync: Sync, result: SyncResult) -> Told:
        """As the ledger has it after a push; it is read only where something is left."""
        refused: list[Sequence[Any]] = []
        unknown: list[Sequence[Any]] = []
        if result.rejected or result.waiting:
            names = ("key", "action", "code", "message", "attempts")
            letters = ledger.dead_letters(sync.id).slice(0, SHOWN).to_pylist()
            refused = [[letter[name] for name in names] for letter in letters]
        if result.unknown:
            names = ("key", "action", "code", "message", "attempted_at")
            rows = ledger.deliveries(sync.id, None, 1_000)
            unknown = [[row[n] for n in names] for row in rows if row["status"] == "unknown"]
        return cls(refused, unknown[:SHOWN], sync.destination.page)


def outcome_metadata(result: SyncResult, told: Told) -> dict[str, Any]:
    """A materialisation's metadata; ``told``: what the tool said."""
    figures: dict[str, Any] = {name: getattr(result, name) for name in _COUNTS}
    figures |= {"baseline": result.baseline, "held": result.held}
    figures |= {"reason": result.error or result.reason, "seconds": result.seconds}
    figures |= {"calls": result.calls}
    if result.calls_per_second is not None:
        figures["calls a second, at most"] = round(result.calls_per_second, 2)
        if result.calls and result.seconds >= _SHORTEST:
            figures["calls a second"] = round(result.calls / result.seconds, 2)
    if result.calls_left is not None:
        figures["calls left today"] = result.calls_left
    if result.samples:
        figures["sample of changes"] = _lines(
            (f"{one.action} {one.key}", _listed(one.values)) for one in result.samples
        )
    if told.refused:
        figures["refused rows"] = _lines(
            (f"{action} {key}", f"{code}: {words}", f"({attempts} times)")
            for key, action, code, words, attempts in told.refused
        )
    if told.unknown:
        figures["unknown outcomes"] = _lines(
            (f"{action} {key}", words or code, at) for key, action, code, words, at in told.unknown
        )
    if told.page:
        figures["in the tool"] = dg.MetadataValue.url(told.page)
    return figures


def outcome_checks(key: dg.AssetKey, result: SyncResult) -> Iterator[dg.AssetCheckResult]:
    """The checks of a sync that was not refused."""
    yield _check(UPSTREAM, key, True, "")
    yield _check(ARRIVED, key, result.is_clean, left_words(result))
    yield _check(NOT_HELD, key, not result.held, hold_words(result) if result.held else "")


def left_words(result: SyncResult) -> str:
    """What did not arrive, in words; nothing where all did."""
    counts = ("rejected", "retryable", "unknown")
    told = [f"{getattr(result, one)} {one}" for one in counts if getattr(result, one)]
    return ", ".join([*told, *([result.error] if result.error else [])])


def hold_words(result: SyncResult) -> str:
    """Why a plan is held, and how a person releases it."""
    # a lost ledger is no plan's fault, and its reason names the way out
    if result.reason == LOST or not result.plan:
        return result.reason
    return (
        f"{result.reason}. To send it as it is: the job approve with `plan: {result.plan}`, or "
        f"`reverse-etl approve {result.plan}`"
    )


def refused_check(key: dg.AssetKey, words: Sequence[str]) -> dg.AssetCheckResult:
    """The check of a sync that was not pushed, since something above it is not in order."""
    return _check(UPSTREAM, key, False, "\n".join(words))


def as_event(event: Event) -> dg.AssetMaterialization | dg.AssetCheckEvaluation:
    """The same where no asset is materialised by its own step."""
    if isinstance(event, dg.MaterializeResult):
        assert event.asset_key is not None
        return dg.AssetMaterialization(event.asset_key, metadata=event.metadata or {})
    key = check_key(event)
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=event.passed,
        metadata=event.metadata,
        description=event.description,
    )


def check_key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    """Which check it is about."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)


def _lines(rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """A line for each row, its first words in bold: a table would be wider than its place."""
    lines = [
        " ".join([f"- **{_cell(first)}**", *(_cell(one) for one in rest if one not in ("", None))])
        for first, *rest in rows
    ]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    """What a tool said stays text, whatever it looks like."""
    text = " ".join(str("" if value is None else value).split()).replace(GROUP_MARK, " in ")
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", shown)


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _check(name: str, key: dg.AssetKey, passed: bool, words: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=passed,
        description=words or None,
        metadata={"reason": words} if words else {},
    )
