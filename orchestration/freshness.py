"""Whether loaders still deliver: the newest row of each raw table against what its yml promises."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

import dagster as dg

from orchestration.project import Project
from orchestration.warehouse import settings_of
from reverse_etl.settings import Settings
from reverse_etl.warehouse import connected

FRESH = "is_fresh"
_UNITS = {"minute": 60, "hour": 3600, "day": 86_400}


def freshness_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """One check for each raw table with a ``freshness``, all in one step and one query."""
    sources = {
        dg.AssetKey([node["source_name"], node["name"]]): node
        for node in project.manifest["sources"].values()
        if node["loaded_at_field"] and allowed(node) is not None
    }
    if not sources:
        return []

    @dg.multi_asset_check(
        name="freshness",
        specs=[
            dg.AssetCheckSpec(
                FRESH,
                asset=key,
                description=f"Its newest row is not older than {_words(allowed(node))}.",
            )
            for key, node in sources.items()
        ],
        can_subset=True,
        pool="warehouse",
    )
    def fresh(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        settings = settings_of(context)
        chosen = {
            key.asset_key: sources[key.asset_key] for key in context.selected_asset_check_keys
        }
        newest = _newest(settings, chosen)
        now = now_of(settings)
        for key, node in chosen.items():
            age = now - newest[key] if newest[key] is not None else None
            most = allowed(node)
            assert most is not None
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=FRESH,
                passed=age is not None and age <= most,
                severity=dg.AssetCheckSeverity.WARN,
                description="It has no row." if age is None else f"{_words(age)} old",
                metadata={
                    "newest row": str(newest[key]),
                    "hours at most": most / timedelta(hours=1),
                },
            )

    return [fresh]


def allowed(node: Mapping[str, Any]) -> timedelta | None:
    """How old the newest row of a source may be, as its yml says; None where it does not."""
    limits = [(node["freshness"] or {}).get(name) or {} for name in ("warn_after", "error_after")]
    found = [
        timedelta(seconds=limit["count"] * _UNITS[limit["period"]])
        for limit in limits
        if limit.get("count") and limit.get("period")
    ]
    return min(found, default=None)


def now_of(settings: Settings) -> datetime:
    """Now, and never later than the day that the warehouse is built for. Naive, in UTC."""
    end = datetime.combine(settings.as_of_date, time(23, 59, 59))
    return min(datetime.now(UTC).replace(tzinfo=None), end)


def _newest(
    settings: Settings, chosen: Mapping[dg.AssetKey, Mapping[str, Any]]
) -> dict[dg.AssetKey, Any]:
    queries = [
        f"select {number}, max(try_cast({node['loaded_at_field']} as timestamp))"  # noqa: S608
        f' from "{node["schema"]}"."{node["identifier"]}"'
        for number, node in enumerate(chosen.values())
    ]
    with connected(settings.warehouse_path, read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        rows = connection.execute(" union all ".join(queries)).fetchall()
    found = dict(rows)
    return {key: found[number] for number, key in enumerate(chosen)}


def _words(age: timedelta | None) -> str:
    if age is None:
        return ""
    hours = age / timedelta(hours=1)
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
