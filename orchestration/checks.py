"""Checks of what was measured, beside those that dbt's tests are."""

import dagster as dg

from orchestration.project import Project
from orchestration.warehouse import TRANSLATOR, settings_of
from reverse_etl.warehouse import connected

LEAD_DAYS = 30
_FIGURES = """
    select verdict, customers, churned, auc, auc_low, auc_high, baseline_auc, activity_auc,
        tenure_auc, advantage_low, lift_worst_decile, risk_precision, risk_recall,
        median_days_warned
    from measurement.health_backtest
    where tier = 'all' and lead_days = ?
"""


def health_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """Whether the score still tells more than what costs nothing; none where it is not measured."""
    return [
        _score_beats_its_baseline(TRANSLATOR.get_asset_key(node))
        for node in project.manifest["nodes"].values()
        if node["resource_type"] == "model" and node["name"] == "health_backtest"
    ]


def _score_beats_its_baseline(key: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key,
        description=f"{LEAD_DAYS} days ahead the health score tells who leaves better than recent"
        " activity or tenure alone. Warns only once enough customers have churned to say.",
        pool="warehouse",
    )
    def score_beats_its_baseline(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with connected(settings_of(context).warehouse_path, read_only=True) as connection:
            result = connection.execute(_FIGURES, [LEAD_DAYS])
            names = [column[0] for column in result.description or []]
            row = result.fetchone() or [None] * len(names)
        figures = dict(zip(names, row, strict=True))
        auc, baseline = figures["auc"], figures["baseline_auc"]
        # too few of either kind to say anything is no reason to warn
        can_tell = figures["verdict"] in ("signal", "no signal") and None not in (auc, baseline)
        return dg.AssetCheckResult(
            passed=not can_tell or auc >= baseline,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"AUC {auc} where the better baseline has {baseline}"
            if can_tell
            else "Too few customers have churned to say.",
            metadata={name: _shown(value) for name, value in figures.items() if value is not None},
        )

    return score_beats_its_baseline


def _shown(value: object) -> str | int | float:
    """A figure as the UI plots it: the warehouse's decimals are numbers here."""
    return value if isinstance(value, str | int) else float(str(value))
