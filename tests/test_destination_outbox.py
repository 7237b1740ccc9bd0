"""The outbox: complete lines, once per event, for its owner only."""

import json
import stat
from pathlib import Path

import pytest

from tests.small_project import ALERTED, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return SmallProject(tmp_path)  # without destinations.yml


def lines(project: SmallProject, name: str) -> list[dict[str, object]]:
    file = project.root / "data/outbox" / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_unconfigured_project_writes_files(project: SmallProject) -> None:
    project.champions(1, 2)
    project.episodes("trg_health_dropped", ALERTED, 0)
    assert set(project.apply()) == {"hubspot/seg_champions", "outbox/trg_health_dropped"}
    project.champions(2)
    project.episodes("trg_health_dropped", ALERTED, 3)
    project.apply()
    members = lines(project, "hubspot__seg_champions")
    assert [(line["action"], line["key"]) for line in members] == [
        ("add", "c_1"),
        ("add", "c_2"),
        ("remove", "c_1"),
    ]
    assert len(lines(project, "outbox__trg_health_dropped")) == 3
    file = project.root / "data/outbox/hubspot__seg_champions.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_line_cut_short_by_a_crash_is_written_again_once(project: SmallProject) -> None:
    sync = "outbox/trg_health_dropped"
    project.episodes("trg_health_dropped", ALERTED, 0)
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 2)
    project.apply()
    file = project.root / "data/outbox/outbox__trg_health_dropped.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    both = [(f"trg_health_dropped-{number}", "add", "") for number in (1, 2)]
    project.ledger.intend("run", sync, both, 1)
    project.apply()
    keys = [line["key"] for line in lines(project, "outbox__trg_health_dropped")]
    assert keys == ["trg_health_dropped-1", "trg_health_dropped-2"]


def test_a_folder_that_cannot_be_written_leaves_the_rows_for_later(project: SmallProject) -> None:
    (project.root / "data/outbox").touch()
    project.champions(1)
    result = project.apply()["hubspot/seg_champions"]
    assert (result.delivered, result.retryable) == (0, 1)
    (project.root / "data/outbox").unlink()
    assert project.apply()["hubspot/seg_champions"].delivered == 1
