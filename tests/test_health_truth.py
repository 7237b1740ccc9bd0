"""Companies that no rule was tuned to, whose truth is known: what the score and the signals tell of
it is printed, with intervals; what must hold of any company is asserted, never a good figure.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from math import comb
from pathlib import Path
from typing import Any

import pytest

from seeds.sample_company.__main__ import main as write_sample
from tests.built_warehouse import BuiltWarehouse
from tests.expected_tickets import QUERY, CustomerDay, customer_days, silent_by_model

pytestmark = pytest.mark.slow

SEEDS = (11, 12)
CUSTOMERS = 600
LAST_DAY = date(2026, 10, 28)
DAYS = [LAST_DAY - timedelta(days=30 * months) for months in range(6)]
SURPRISES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PERMUTATIONS = 20
# one verdict in forty may be a false alarm: an interval of 95% leaves 2.5% above it
FALSE_ALARM = 0.025

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Company:
    """A company of a seed, built, and the truth about its customers."""

    seed: int
    warehouse: BuiltWarehouse
    truth: dict[str, dict[str, str]]

    def struggles_in_silence(self, customer_id: str, day: date) -> bool:
        """What really was so at the end of that day."""
        row, moment = self.truth[customer_id], f"{day} 23:59:59"
        begun, ended = row["silent_struggler_from"], row["silent_struggler_until"]
        return bool(begun) and begun <= moment and (not ended or ended > moment)

    def known(self, day: date) -> list[CustomerDay]:
        """Its paying customers as they were known on a day."""
        return customer_days(self.warehouse.run(QUERY.format(day=day)))


@pytest.fixture(scope="module", params=SEEDS)
def company(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Company:
    folder = tmp_path_factory.mktemp(f"seed_{request.param}")
    sample = ["--seed", str(request.param), "--customers", str(CUSTOMERS)]
    assert write_sample([*sample, "--until", str(LAST_DAY), "--out", str(folder)]) == 0
    warehouse = BuiltWarehouse(folder / "built", raw=folder / "raw")
    warehouse.land()
    warehouse.build(str(LAST_DAY), "+health_backtest", "+customer_signals")
    with (folder / "truth/customers.csv").open(encoding="utf-8") as file:
        truth = {row["stripe_customer_id"]: row for row in csv.DictReader(file)}
    return Company(request.param, warehouse, truth)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str], company: Company) -> Tell:
    """Prints a line whether the test passes or not."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  seed {company.seed}, {CUSTOMERS} customers: {text}", end="")

    return line


def test_the_score_tells_who_leaves_and_how_surely_is_said(company: Company, tell: Tell) -> None:
    rows = company.warehouse.run(
        "select tier, lead_days, churned, auc, auc_low, auc_high, baseline_auc, verdict,"
        " lift_worst_decile, beats_baseline from measurement.health_backtest order by all"
    )
    assert len(rows) == 16
    for tier, lead, churned, auc, low, high, baseline, verdict, lift, beats in rows:
        if tier == "all":
            tell(
                f"{lead:>2} days ahead AUC {auc} ({low} to {high}), baseline {baseline},"
                f" lift of the worst tenth {lift}, {churned} churns: {verdict}"
                f"{', beats the baseline' if beats else ''}"
            )
        if auc is not None:
            assert low <= auc <= high, (tier, lead)
        surely = low is not None and low > 0.5
        expected = "too few churns" if churned < 20 else "signal" if surely else "no signal"
        assert verdict == expected, (tier, lead)
    [verdict] = [row[7] for row in rows if row[:2] == ("all", 30)]
    assert verdict == "signal", "these companies have one"


def test_scores_of_other_customers_tell_nothing(company: Company, tell: Tell) -> None:
    """Each customer gets the scores of another: whatever is found then is an accident."""
    verdicts, areas = [], []
    for number in range(PERMUTATIONS):
        [(verdict, auc)] = _backtest_of_strangers(company.warehouse, number)
        verdicts.append(verdict)
        areas.append(auc)
    alarms = verdicts.count("signal")
    allowed = next(
        count
        for count in range(PERMUTATIONS + 1)
        if sum(_binomial(more, PERMUTATIONS) for more in range(count + 1, PERMUTATIONS + 1)) < 0.001
    )
    tell(
        f"scores of strangers, {PERMUTATIONS} times: AUC {min(areas)} to {max(areas)},"
        f" {alarms} false alarms where {FALSE_ALARM * PERMUTATIONS} are expected"
        f" and more than {allowed} have a chance under 0.1%"
    )
    assert "too few churns" not in verdicts
    assert alarms <= allowed


def test_silent_strugglers_are_found_better_than_by_chance(company: Company, tell: Tell) -> None:
    days = company.known(LAST_DAY)
    flagged = {
        row[0]
        for row in company.warehouse.run(
            "select customer_id from marts.customer_signals where is_silent_struggler"
        )
    }
    # what the comparison below calls the rule is the rule
    assert flagged == {day.customer_id for day in days if day.is_silent}
    silent = {
        day.customer_id for day in days if company.struggles_in_silence(day.customer_id, LAST_DAY)
    }
    found = len(flagged & silent)
    tell(
        f"silent strugglers on {LAST_DAY}: {len(silent)} of {len(days)}, {len(flagged)} flagged,"
        f" precision {found / len(flagged):.2f}, recall {found / len(silent):.2f}"
    )
    # the chance to find as many by drawing lots
    lots = sum(
        comb(len(silent), hits) * comb(len(days) - len(silent), len(flagged) - hits)
        for hits in range(found, min(len(silent), len(flagged)) + 1)
    ) / comb(len(days), len(flagged))
    assert lots < 0.001


def test_the_plain_rule_and_expected_tickets_side_by_side(company: Company, tell: Tell) -> None:
    """Nothing is asserted of who wins: the figures are why the plain rule was kept."""
    known = [(day, company.known(day)) for day in DAYS]
    truth = [
        company.struggles_in_silence(one.customer_id, day) for day, ones in known for one in ones
    ]
    rule = [one.is_silent for _, ones in known for one in ones]
    tell(f"over {len(DAYS)} days, the rule: {_told(rule, truth)}")
    assert any(rule)
    for surprise in SURPRISES:
        model = [flag for _, ones in known for flag in silent_by_model(ones, surprise)]
        tell(f"  fewer tickets than expected, chance up to {surprise}: {_told(model, truth)}")


def _told(flags: list[bool], truth: list[bool]) -> str:
    found = sum(flag and true for flag, true in zip(flags, truth, strict=True))
    precision, recall = found / max(sum(flags), 1), found / max(sum(truth), 1)
    both = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"precision {precision:.2f}, recall {recall:.2f}, F1 {both:.2f}"


def _binomial(count: int, times: int) -> float:
    return comb(times, count) * FALSE_ALARM**count * (1 - FALSE_ALARM) ** (times - count)


def _backtest_of_strangers(warehouse: BuiltWarehouse, number: int) -> list[tuple[Any, ...]]:
    """Verdict and AUC at 30 days by the models' own SQL, with scores moved between customers."""
    customers = [row[0] for row in warehouse.run(_SCORED)]
    strangers = random.Random(number).sample(customers, len(customers))
    pairs = ", ".join(
        f"('{one}', '{other}')" for one, other in zip(customers, strangers, strict=True)
    )
    warehouse.run(
        "create or replace table main.strange_history as select history.* replace"
        " (pairs.other as customer_id) from marts.customer_health_history as history"
        f" inner join (values {pairs}) as pairs(customer_id, other) using (customer_id)"
    )
    history = {'"warehouse"."marts"."customer_health_history"': "main.strange_history"}
    observed = _compiled(warehouse, "health_observations", history)
    warehouse.run(
        "create or replace table main.strange_observations as"
        f" select * from ({observed}) where lead_days = 30"
    )
    observations = {'"warehouse"."measurement"."health_observations"': "main.strange_observations"}
    backtest = _compiled(warehouse, "health_backtest", history | observations)
    return warehouse.run(f"select verdict, auc from ({backtest}) where tier = 'all'")


_SCORED = "select distinct customer_id from marts.customer_health_history order by 1"


def _compiled(warehouse: BuiltWarehouse, model: str, instead: dict[str, str]) -> str:
    """The SQL that dbt ran for a model, reading other tables; each must be there to replace."""
    folder = warehouse.folder / "target/compiled/customer_success/models/measurement"
    text = Path(folder / f"{model}.sql").read_text()
    for relation, other in instead.items():
        assert relation in text, (model, relation)
        text = text.replace(relation, other)
    return text
