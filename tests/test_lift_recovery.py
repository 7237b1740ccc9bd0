"""Lift finds what the sample generator planted; ``benchmarks.lift_recovery`` asks 50 companies."""

from __future__ import annotations

import pytest

from benchmarks.lift_recovery import PLANTED, TRIGGERS, Recovery, compiled, recovered

CUSTOMERS = 3_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recoveries(tmp_path_factory: pytest.TempPathFactory) -> list[Recovery]:
    sql = compiled(tmp_path_factory.mktemp("lift"))
    return [one for seed in (1, 2) for one in recovered(sql, CUSTOMERS, seed)]


def test_the_interval_covers_the_planted_effect_and_the_planted_zero(
    recoveries: list[Recovery],
) -> None:
    for one in recoveries:
        assert one.is_covered, one
        assert (one.truth == 0) == (PLANTED[one.trigger_name].effect == 0)
    assert {one.trigger_name for one in recoveries} == set(TRIGGERS)


def test_an_effect_works_and_nothing_does_not(recoveries: list[Recovery]) -> None:
    for one in recoveries:
        is_planted = PLANTED[one.trigger_name].effect > 0
        assert (one.verdict == "works") == is_planted, one


def test_a_tenth_and_the_universal_holdout_are_held_out(recoveries: list[Recovery]) -> None:
    for one in recoveries:
        assert 0.09 < one.held_out / (one.treated + one.held_out) < 0.15
