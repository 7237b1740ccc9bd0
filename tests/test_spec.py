"""What a model may say under meta.sync, and how mistakes are told."""

from pathlib import Path

import pytest

from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import ALERTED, CHAMPIONS, CONTACT_PROFILES, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    project = SmallProject(tmp_path)
    # Nothing listens at these ports: declaring a sync must not need the tools.
    sandbox = Sandbox(tmp_path / "unused.db", http_port=1, smtp_port=2)
    project.write_destinations(sandbox)
    return project


def test_one_model_to_two_destinations_is_two_syncs(project: SmallProject) -> None:
    project.declare("segments", "seg_a", CHAMPIONS | {"destinations": ["hubspot", "outbox"]})
    assert [sync.id for sync in project.engine.syncs()] == ["hubspot/seg_a", "outbox/seg_a"]


def test_a_trigger_goes_where_its_channel_points(project: SmallProject) -> None:
    project.declare("triggers", "trg_a", ALERTED)
    assert [sync.id for sync in project.engine.syncs()] == ["webhook/trg_a"]


def test_models_without_a_sync_are_no_concern(project: SmallProject) -> None:
    project.declare("marts", "customers", None)
    del project.nodes["model.customer_success.customers"]["config"]["meta"]["sync"]
    project.write_manifest()
    assert project.engine.syncs() == []


@pytest.mark.parametrize(
    ("sync", "told"),
    [
        (
            CHAMPIONS | {"destinations": ["hubspt"]},
            ["meta.sync.destinations[0]", "'hubspt'", "hubspot, outbox, smtp, webhook"],
        ),
        (ALERTED | {"channel": "fax"}, ["meta.sync.channel", "'fax'", "email"]),
        (CHAMPIONS | {"kay": "x"}, ["meta.sync.kay", "not a known key", "group_key"]),
        (CHAMPIONS | {"kind": "segmnt"}, ["meta.sync.kind", "'segment'"]),
        (CHAMPIONS | {"channel": "email"}, ["channel does not belong to kind segment"]),
        (CHAMPIONS | {"destinations": ["hubspot", "hubspot"]}, ["names one twice"]),
        ({"kind": "segment", "key": "contact_id"}, ["destinations is missing"]),
        ({"kind": "segment", "destinations": ["hubspot"]}, ["meta.sync.key"]),
        (ALERTED | {"key": "contact_id"}, ["key must be event_id"]),
        (CHAMPIONS | {"budget": {"share": 3}}, ["meta.sync.budget.share"]),
        ("hubspot", ["meta.sync"]),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_fix(
    project: SmallProject, sync: object, told: list[str]
) -> None:
    project.declare("segments", "seg_a", sync)
    with pytest.raises(UserError) as error:
        project.engine.syncs()
    for part in ["dbt_project/models/segments/seg_a.sql", *told]:
        assert part in str(error.value)


def test_what_a_destination_cannot_do_is_refused_before_anything_is_read(
    project: SmallProject,
) -> None:
    project.declare("marts", "contact_profiles", CONTACT_PROFILES | {"destinations": ["smtp"]})
    with pytest.raises(UserError, match=r"contact_profiles.sql: .*smtp destination takes no prof"):
        project.engine.plan()


def test_a_mirror_archives_what_is_gone(project: SmallProject) -> None:
    project.declare("marts", "a", CONTACT_PROFILES | {"mode": "mirror"})
    project.declare("marts", "b", CONTACT_PROFILES | {"mode": "mirror", "on_removal": "clear"})
    project.declare("marts", "c", CONTACT_PROFILES)
    removals = [sync.spec.removal for sync in project.engine.syncs()]
    assert removals == ["archive", "clear", "ignore"]


@pytest.mark.parametrize("pattern", ["hubspot/seg_a", "seg_a", "hubspot", "*/seg_*"])
def test_a_sync_is_selected_by_id_model_destination_or_pattern(
    project: SmallProject, pattern: str
) -> None:
    project.declare("segments", "seg_a", CHAMPIONS)
    project.declare("triggers", "trg_a", ALERTED)
    assert [sync.model for sync in project.engine.syncs([pattern])] == ["seg_a"]


def test_a_selection_that_matches_nothing_lists_what_there_is(project: SmallProject) -> None:
    project.declare("segments", "seg_a", CHAMPIONS)
    with pytest.raises(UserError, match=r"--select seg_b matches no sync.*hubspot/seg_a"):
        project.engine.syncs(["seg_b"])


def test_a_missing_or_broken_manifest_tells_what_to_run(project: SmallProject) -> None:
    manifest = project.settings.manifest_path
    manifest.write_text("{")
    with pytest.raises(UserError, match="dbt parse"):
        project.engine.syncs()
    manifest.unlink()
    with pytest.raises(UserError, match="make demo"):
        project.engine.syncs()
