"""Dagster's event log keeps its files open and stays what the stock class writes and reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from orchestration.event_log import EventLog


@dg.asset
def leaf() -> None:
    """Nothing but its events."""


def _instance(folder: Path, module: str, name: str) -> dg.DagsterInstance:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        f"event_log_storage: {{module: {module}, class: {name}, "
        f"config: {{base_dir: {folder / 'runs'}}}}}\n"
    )
    return dg.DagsterInstance.from_config(str(folder))


OURS = ("orchestration.event_log", "EventLog")
STOCK = ("dagster._core.storage.event_log", "SqliteEventLogStorage")


@pytest.mark.parametrize(("writer", "reader"), [(OURS, STOCK), (STOCK, OURS)])
def test_either_class_reads_what_the_other_wrote(
    tmp_path: Path, writer: tuple[str, str], reader: tuple[str, str]
) -> None:
    with _instance(tmp_path, *writer) as instance:
        run_id = dg.materialize([leaf], instance=instance).run_id
        written = [entry.message for entry in instance.all_logs(run_id)]
    with _instance(tmp_path, *reader) as instance:
        assert [entry.message for entry in instance.all_logs(run_id)] == written
        assert instance.get_latest_materialization_event(leaf.key) is not None


def test_whoever_watches_a_run_sees_its_events_while_the_writer_has_the_file_open(
    tmp_path: Path,
) -> None:
    with _instance(tmp_path, *OURS) as writer, _instance(tmp_path, *OURS) as reader:
        assert isinstance(writer.event_log_storage, EventLog)
        first = dg.materialize([leaf], instance=writer)
        entry = writer.all_logs(first.run_id)[-1]
        seen: list[str] = []
        reader.watch_event_logs(first.run_id, None, lambda event, _: seen.append(event.message))
        time.sleep(0.2)
        assert not seen, "the file does not change before an event is stored"
        writer.event_log_storage.store_event(entry)
        _until(lambda: entry.message in seen)


def test_a_process_that_reads_many_runs_holds_only_a_few_files(tmp_path: Path) -> None:
    with _instance(tmp_path, *OURS) as instance:
        runs = [dg.materialize([leaf], instance=instance).run_id for _ in range(12)]
        log = instance.event_log_storage
        assert isinstance(log, SqliteEventLogStorage)
        held = {path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()}
        assert sum(path.parent == tmp_path / "runs" for path in held) < 3 * 9
        assert all(instance.all_logs(run_id) for run_id in runs)


def _until(happened: Callable[[], bool]) -> None:
    for _ in range(200):
        if happened():
            return
        time.sleep(0.05)
    pytest.fail("nothing was seen within ten seconds")
