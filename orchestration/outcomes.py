"""What a push came to, as Dagster shows it: counts and words, never a row that can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from reverse_etl.engine import SyncResult

UPSTREAM = "upstream_checks_passed"
ARRIVED = "every_row_arrived"
NOT_HELD = "not_held"
Event = dg.MaterializeResult[None] | dg.AssetCheckResult
_COUNTS = (
    *("planned", "delivered", "rejected", "retryable", "unknown", "suppressed", "expired"),
    *("seen", "waiting"),
)


def outcome_metadata(result: SyncResult) -> dict[str, Any]:
    """A materialisation's metadata."""
    return {
        **{name: getattr(result, name) for name in _COUNTS},
        "baseline": result.baseline,
        "held": result.held,
        "reason": result.error or result.reason,
        "seconds": result.seconds,
    }


def outcome_checks(key: dg.AssetKey, result: SyncResult) -> Iterator[dg.AssetCheckResult]:
    """The checks of a sync that was not refused."""
    yield _check(UPSTREAM, key, True, "")
    yield _check(ARRIVED, key, result.is_clean, result.error)
    yield _check(NOT_HELD, key, not result.held, result.reason if result.held else "")


def refused_check(key: dg.AssetKey, words: Sequence[str]) -> dg.AssetCheckResult:
    """The check of a sync that was not pushed, since something above it is not in order."""
    return _check(UPSTREAM, key, False, "\n".join(words))


def check_key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    """Which check it is about."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)


def _check(name: str, key: dg.AssetKey, passed: bool, words: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=passed,
        description=words or None,
        metadata={"reason": words} if words else {},
    )
