"""The sensor ``alerts``: what is wrong now against what was told before, so that each change of
state is told once, its end too."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from orchestration.freshness import FRESH
from orchestration.outcomes import NOT_HELD
from orchestration.project import Project
from orchestration.pushes import sync_key
from orchestration.warehouse import TRANSLATOR
from reverse_etl import schema
from reverse_etl.alerts import Alert, Messenger
from reverse_etl.destinations import implementation
from reverse_etl.ledger import Ledger
from reverse_etl.settings import Settings
from reverse_etl.spec import Sync

NAME = "alerts"
INTERVAL_S = 60
NEARLY = 0.9
"""Of a day's calls: so many used is worth a word."""
_LOOKED_BACK = 100
_BACKTEST = "score_beats_its_baseline"


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong now. ``since`` names this very occurrence."""

    title: str
    text: str = ""
    since: str = ""


def alert_sensor(project: Project, syncs: Sequence[Sync]) -> dg.SensorDefinition:
    """Off until somebody switches it on; says nothing where destinations.yml names nobody."""
    late = [
        dg.AssetCheckKey(dg.AssetKey([node["source_name"], node["name"]]), FRESH)
        for node in project.manifest["sources"].values()
    ]
    backtest = [
        dg.AssetCheckKey(TRANSLATOR.get_asset_key(node), _BACKTEST)
        for node in project.manifest["nodes"].values()
        if node["name"] == "health_backtest"
    ]
    settings = project.settings

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Tells whom destinations.yml names under alerts, once for each change: runs "
        "that fail, plans that are held, refused rows, late raw data, the backtest's verdict and "
        "calls that run out.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        messenger = Messenger(settings)
        if not messenger.is_configured:
            return dg.SkipReason("destinations.yml names nobody under alerts.")
        instance = context.instance
        checks = _latest(instance, [*late, *backtest, *_held_keys(syncs)])
        now = {
            **_failed_runs(instance),
            **_held(syncs, checks),
            **_late(late, checks),
            **_of_the_ledger(settings, syncs),
        }
        verdict = next((_verdict(checks.get(key)) for key in backtest), None)
        told = json.loads(context.cursor) if context.cursor else {"open": {}, "verdict": None}
        after, troubles = tell(messenger, told, now, verdict)
        context.update_cursor(json.dumps(after))
        if troubles:
            words = "; ".join(dict.fromkeys(troubles))
            context.log.error(words)
            return dg.SkipReason(f"Not everybody was reached; the next tick tries again. {words}")
        return dg.SkipReason(f"{len(now)} things are wrong, and everybody knows.")

    return alerts


def tell(
    messenger: Messenger,
    told: Mapping[str, Any],
    now: Mapping[str, Trouble],
    verdict: str | None,
) -> tuple[dict[str, Any], list[str]]:
    """Send what changed since; what is known to everybody from now on, and whom it did not reach.
    What reached nobody or not all counts as not told."""
    known: dict[str, str] = dict(told["open"])
    troubles: list[str] = []

    def sent(alert: Alert) -> bool:
        failed = messenger.send(alert)
        troubles.extend(failed)
        return not failed

    for name, trouble in now.items():
        if name not in known:
            key = f"{name}:open:{trouble.since}"
            if sent(Alert(key, "open", trouble.title, trouble.text)):
                known[name] = trouble.title
    for name in [name for name in known if name not in now]:
        key = f"{name}:over:{datetime.now(UTC):%Y%m%dT%H%M}"
        if sent(Alert(key, "over", known[name])):
            del known[name]
    before = told["verdict"]
    if verdict is not None and before is not None and verdict != before:
        title = f"The backtest of health says {verdict!r}; before it said {before!r}"
        if not sent(Alert(f"verdict:{before}:{verdict}", "news", title)):
            verdict = before
    return {"open": known, "verdict": verdict or before}, troubles


def _failed_runs(instance: dg.DagsterInstance) -> dict[str, Trouble]:
    """Jobs whose latest run that ended failed."""
    ended = RunsFilter(statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE])
    latest: dict[str, dg.DagsterRun] = {}
    for run in instance.get_runs(ended, limit=_LOOKED_BACK):
        latest.setdefault(run.job_name, run)
    return {
        f"run:{job}": Trouble(
            f"A run of {job.strip('_').lower().replace('_', ' ')} failed",
            f"Run {run.run_id[:8]}. Its logs are in Dagster, under Runs.",
            run.run_id,
        )
        for job, run in latest.items()
        if run.status == DagsterRunStatus.FAILURE
    }


def _held_keys(syncs: Iterable[Sync]) -> list[dg.AssetCheckKey]:
    return [dg.AssetCheckKey(sync_key(sync), NOT_HELD) for sync in syncs]


def _held(
    syncs: Sequence[Sync], checks: Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord]
) -> dict[str, Trouble]:
    found = {}
    for sync, key in zip(syncs, _held_keys(syncs), strict=True):
        evaluation = checks[key].evaluation if key in checks else None
        if evaluation is not None and not evaluation.passed:
            words = evaluation.description or ""
            found[f"held:{sync.id}"] = Trouble(f"{sync.id} is held", words, checks[key].run_id)
    return found


def _late(
    keys: Sequence[dg.AssetCheckKey],
    checks: Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord],
) -> dict[str, Trouble]:
    """By source: its tables stop together."""
    tables: dict[str, list[str]] = {}
    for key in keys:
        evaluation = checks[key].evaluation if key in checks else None
        if evaluation is not None and not evaluation.passed:
            source, table = key.asset_key.path
            tables.setdefault(source, []).append(f"{table} ({evaluation.description})")
    return {
        f"late:{source}": Trouble(f"{source} is late", ", ".join(names))
        for source, names in tables.items()
    }


def _of_the_ledger(settings: Settings, syncs: Sequence[Sync]) -> dict[str, Trouble]:
    found = {}
    ledger = Ledger(settings.ledger_url)
    try:
        letters = ledger.counts(schema.dead_letters, schema.dead_letters.c.action)
        for sync, counts in letters.items():
            words = "reverse-etl deliveries, retry and dismiss show them and settle them."
            rows = sum(counts.values())
            found[f"refused:{sync}"] = Trouble(f"{sync} has refused rows", f"{rows} now. {words}")
        declared = {}
        for config in {sync.destination.name: sync.destination for sync in syncs}.values():
            tool = implementation(config.type)(config, ledger)
            declared[tool.account] = (config.name, tool.limits("profile").daily)
            tool.close()
        today = datetime.now(UTC).date().isoformat()
        for account, (used, allowed) in ledger.accounts.calls_of(today).items():
            name, limit = declared.get(account, (account, None))
            most = allowed or limit
            if most and used >= NEARLY * most:
                text = f"{used} of {most} calls of {today} (UTC) are used."
                found[f"calls:{name}"] = Trouble(f"{name} has few calls left today", text, today)
    finally:
        ledger.close()
    return found


def _verdict(record: AssetCheckExecutionRecord | None) -> str | None:
    evaluation = record.evaluation if record else None
    told = evaluation.metadata.get("verdict") if evaluation else None
    return str(told.value) if told else None


def _latest(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord]:
    summaries = instance.event_log_storage.get_asset_check_summary_records(keys)
    return {
        key: record
        for key, summary in summaries.items()
        if (record := summary.last_completed_check_execution_record) is not None
    }
