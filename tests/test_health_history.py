"""A day of health is published once: nothing that comes later rewrites it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.built_warehouse import HEALTH, BuiltWarehouse
from tests.conftest import ROOT

EARLY, LATE = "2026-10-20", "2026-10-28"


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> BuiltWarehouse:
    """The sample company as it was known on an early day."""
    warehouse = BuiltWarehouse(tmp_path_factory.mktemp("early"))
    warehouse.land()
    warehouse.build(EARLY, *HEALTH)
    return warehouse


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> BuiltWarehouse:
    """The same company, first built on a late day."""
    warehouse = BuiltWarehouse(tmp_path_factory.mktemp("late"))
    warehouse.land()
    warehouse.build(LATE, *HEALTH)
    return warehouse


def test_a_past_day_rebuilt_from_the_same_raw_data_is_the_same(
    early: BuiltWarehouse, late: BuiltWarehouse
) -> None:
    published, rebuilt = early.history(EARLY), late.history(EARLY)
    assert len(published) > 50_000
    assert published == rebuilt


def test_late_facts_and_a_loader_that_syncs_again_change_no_published_day(
    early: BuiltWarehouse, late: BuiltWarehouse
) -> None:
    published = early.history(EARLY)
    early.run(
        # events of a published day that arrive after it, and everything landed once more
        "insert into raw_segment.tracks by name select * replace ("
        " 'late_' || id as id, cast(cast(received_at as timestamp) + interval 12 day as varchar)"
        " as received_at) from raw_segment.tracks"
        " where cast(timestamp as date) between '2026-10-13' and '2026-10-15'"
    )
    early.run("update raw_stripe.subscription_history set _fivetran_synced = '2026-10-27 00:00:00'")
    early.run("update raw_zendesk.ticket set _fivetran_synced = '2026-10-27 00:00:00'")
    early.build(LATE, *HEALTH)
    assert early.history(EARLY) == published
    # and the late events act on the days that follow
    changed = early.history(LATE).items() - late.history(LATE).items()
    days = {str(key[1]) for key, _ in changed}
    assert days
    assert min(days) > EARLY


def test_a_changed_rule_is_a_new_version_beside_the_old_one(
    late: BuiltWarehouse, tmp_path: Path
) -> None:
    published = late.history(LATE)
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns("target", "logs", "raw", "truth")
    for name in ("dbt_project", "seeds"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    bands = copy / "seeds/rules/health_bands.csv"
    bands.write_text(bands.read_text().replace("healthy,65", "healthy,60"))
    changed = BuiltWarehouse(late.folder, project=copy / "dbt_project")
    changed.build(LATE, *HEALTH, "rules_versions")
    after = changed.history(LATE)
    assert {key: after[key] for key in published} == published
    assert len(after) == 2 * len(published)
    versions = changed.run(
        "select is_present, bands_changed, mean_difference from measurement.rules_versions"
        " order by 1"
    )
    assert [row[0] for row in versions] == [False, True]
    assert versions[0][1] > 0, "a lower bar makes some customers healthy"
    assert versions[0][2] == 0, "and no score changes"
    assert versions[1][1] == 0


def test_no_model_above_staging_reads_a_clock_of_its_own() -> None:
    clocks = re.compile(
        r"\b(current_date|current_timestamp|now\(\)|getdate|localtimestamp|run_started_at)\b", re.I
    )
    folders = ("intermediate", "marts", "segments", "triggers", "measurement")
    for folder in folders:
        for file in (ROOT / "dbt_project/models" / folder).rglob("*.sql"):
            assert not clocks.search(file.read_text()), file.name
    for file in (ROOT / "dbt_project/macros").rglob("*.sql"):
        if file.name != "clock.sql":
            assert not clocks.search(file.read_text()), file.name
