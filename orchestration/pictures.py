"""What people would rather look at: pictures of what was measured, each an asset with its image."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from time import monotonic

import dagster as dg

from orchestration.project import Project
from orchestration.warehouse import TRANSLATOR, settings_of
from reverse_etl.warehouse import connected

GROUP = "measurement"


@dataclass(frozen=True)
class Picture:
    """One image. ``query`` gives the rows that charts draws under the same name."""

    name: str
    models: tuple[str, ...]
    description: str
    query: str

    @property
    def key(self) -> dg.AssetKey:
        """The asset's key."""
        return dg.AssetKey(["pictures", self.name])


PICTURES = (
    Picture(
        "segment_sizes",
        ("segment_sizes",),
        "Members of each segment, day by day.",
        "select as_of_date, segment_name, sum(size)::integer from measurement.segment_sizes"
        " where size is not null group by 1, 2 order by 1, 2",
    ),
    Picture(
        "health_distribution",
        ("customer_health_history",),
        "Customers by band of health, week by week, under the rules of now.",
        "select as_of_date, health_band, count(*) from marts.customer_health_history"
        " where rules_version = (select max_by(rules_version, published_at)"
        " from marts.customer_health_history) and (select max(as_of_date)"
        " from marts.customer_health_history) - as_of_date in (from range(0, 1100, 7))"
        " group by 1, 2 order by 1, 2",
    ),
    Picture(
        "stage_funnel",
        ("customer_journey_history",),
        "Customers that ever reached each stage, and those that are in it now.",
        "select journey_stage, count(distinct customer_id), count(*) filter (exited_at is null)"
        " from marts.customer_journey_history group by 1 order by"
        " list_position(['presales', 'onboarding', 'adoption', 'growth', 'churned'],"
        " journey_stage)",
    ),
    Picture(
        "backtest",
        ("health_backtest",),
        "How well the score told who left, by how long before, with intervals.",
        "select lead_days, auc::double, auc_low::double, auc_high::double, baseline_auc::double"
        " from measurement.health_backtest where tier = 'all' and auc is not null order by 1",
    ),
    Picture(
        "trigger_lift",
        ("trigger_lift",),
        "What each trigger changed against those who were held out, with intervals.",
        "select trigger_name, metric, lift::double, lift_low::double, lift_high::double, verdict"
        " from measurement.trigger_lift order by lift is null, 1, 2",
    ),
)


def picture_assets(project: Project) -> list[dg.AssetsDefinition]:
    """One asset for each picture whose models the project has."""
    nodes = {
        node["name"]: node
        for node in project.manifest["nodes"].values()
        if node["resource_type"] == "model"
    }
    pictures = [one for one in PICTURES if all(model in nodes for model in one.models)]
    if not pictures:
        return []

    @dg.multi_asset(
        name="pictures",
        specs=[
            dg.AssetSpec(
                one.key,
                deps=[TRANSLATOR.get_asset_key(nodes[model]) for model in one.models],
                group_name=GROUP,
                kinds={"python"},
                description=one.description,
            )
            for one in pictures
        ],
        can_subset=True,
        pool="warehouse",
    )
    def drawn(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        # takes more than a second, which nobody who loads the definitions should wait for
        charts = import_module("orchestration.charts")
        chosen = [one for one in pictures if one.key in context.selected_asset_keys]
        with connected(settings_of(context).warehouse_path, read_only=True) as connection:
            rows = {one.name: connection.execute(one.query).fetchall() for one in chosen}
        for one in chosen:
            started = monotonic()
            picture = charts.DRAWN[one.name](rows[one.name])
            yield dg.MaterializeResult(
                asset_key=one.key,
                metadata={
                    "picture": dg.MetadataValue.md(picture),
                    "rows": len(rows[one.name]),
                    "seconds": round(monotonic() - started, 3),
                },
            )

    return [drawn]
