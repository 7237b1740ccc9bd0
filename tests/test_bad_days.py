"""Full disks, read-only files, locks, rebuilds: one clear message, nothing lost, nothing twice."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reverse_etl import warehouse
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.small_project import ALERTED, MAILED, SmallProject


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, shared: Sandbox) -> SmallProject:
    shared.reset()
    return SmallProject(tmp_path, shared)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size; skips where nobody may make one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only an administrator may make a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def immutable(*files: Path) -> Iterator[None]:
    """Files that nobody can write, root neither; skips where that cannot be done."""
    if os.geteuid() or not shutil.which("chattr"):
        pytest.skip("only an administrator can make a file immutable")
    done = subprocess.run(["chattr", "+i", *map(str, files)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, files)], check=True)


def mails(shared: Sandbox) -> list[str]:
    return [row[0] for row in shared._store.rows("select message_id from mails")]


def test_a_full_disk_ends_in_one_message_and_sends_nothing_twice(
    project: SmallProject, shared: Sandbox, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk:
        project.environment["LEDGER_URL"] = f"sqlite:///{disk / 'ledger.db'}"
        project.episodes("trg_feature_unused", MAILED, 0)
        project.apply()
        project.episodes("trg_feature_unused", MAILED, 200)
        filler = disk / "filler"
        filler.touch()

        def fill(_: object) -> None:  # something else eats what is left, once we are under way
            with filler.open("ab", buffering=0) as stream, suppress(OSError):
                while True:
                    stream.write(b"x" * 4096)

        with pytest.raises(UserError, match="cannot be used: database or disk is full") as error:
            project.engine.apply(None, fill)
        assert str(error.value).count("\n") == 0
        sent = len(mails(shared))
        assert 0 < sent < 200
        filler.unlink()
        result = project.apply()["smtp/trg_feature_unused"]
        arrived = mails(shared)
        assert len(set(arrived)) == len(arrived)
        unknown = project.plan()["smtp/trg_feature_unused"].unknown
        assert unknown <= 1  # the mail that was under way when the disk was full
        assert result.delivered + sent >= 199
        assert 199 <= len(arrived) <= 200
        assert project.ledger.problems() == []


def test_a_read_only_ledger_sends_nothing(project: SmallProject, shared: Sandbox) -> None:
    project.contacts(3)
    project.apply()
    project.contacts(5)
    ledger = project.root / "data/ledger.db"
    with immutable(ledger), pytest.raises(UserError, match=r"cannot be (used|opened)"):
        project.apply()
    assert shared.counts()["hubspot"]["contacts"] == 3
    assert project.apply()["hubspot/contact_profiles"].delivered == 2


def test_a_warehouse_that_stays_locked_is_told_and_nothing_is_sent(
    project: SmallProject, shared: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "PATIENCE_S", 0.5)
    project.contacts(3)
    script = (
        f"import duckdb, sys; c = duckdb.connect({str(project.warehouse)!r});"
        " print('open', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    builder = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)
    try:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=r"stays locked .* Wait for the running build"):
            project.apply()
    finally:
        builder.communicate()
    assert shared.counts()["hubspot"]["contacts"] == 0
    assert project.apply()["hubspot/contact_profiles"].delivered == 3


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
def test_a_warehouse_that_is_none_is_told(project: SmallProject, content: bytes) -> None:
    project.contacts(3)
    project.warehouse.write_bytes(content)
    with pytest.raises(UserError, match="warehouse"):
        project.apply()


REBUILDER = """
import select, sys, time
from pathlib import Path
from reverse_etl.warehouse import connected
built = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    built += 1
    with connected(Path(sys.argv[1]), read_only=False) as connection:
        connection.begin()
        connection.execute(f"update marts.contact_profiles set jobtitle = 'build {built}'")
        connection.execute(f"update segments.seg_champions set reason = 'build {built}'")
        connection.commit()
    print("built", flush=True)
    time.sleep(0.02)
"""


def test_a_push_reads_one_build_however_often_others_follow(
    project: SmallProject, shared: Sandbox, tmp_path: Path
) -> None:
    """A build replaces profiles and list together, so any mixture of two builds shows."""
    project.contacts(50)
    project.champions(1)
    project.apply()
    told, pushes = tmp_path / "built", 0
    with told.open("w") as stream:
        builder = subprocess.Popen(
            [sys.executable, "-c", REBUILDER, str(project.warehouse)],
            stdin=subprocess.PIPE,
            stdout=stream,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def builds() -> int:
        return told.read_text().count("built")

    try:
        while not builds() and builder.poll() is None:
            time.sleep(0.05)
        while (pushes < 8 or builds() <= 5) and builder.poll() is None:
            project.apply()
            pushes += 1
    finally:
        builder.communicate()
    titles = {
        row[0]
        for row in shared._store.rows("select json_extract(properties, '$.jobtitle') from records")
    }
    assert builder.returncode == 0
    assert builds() > 5
    assert len(titles) == 1


BUILDER = """
import sys, time
from pathlib import Path
from reverse_etl.warehouse import connected
for line in sys.stdin:
    time.sleep(float(line))
    with connected(Path(sys.argv[1]), read_only=False) as connection:
        connection.execute("create or replace table marts.scratch as from range(1000)")
    print("built", flush=True)
"""


@pytest.mark.slow
def test_a_build_and_a_push_started_together_a_hundred_times_meet_no_lock(
    project: SmallProject, shared: Sandbox
) -> None:
    pipe = subprocess.PIPE
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(project.warehouse)],
        stdin=pipe,
        stdout=pipe,
        text=True,
        bufsize=1,
        cwd=Path(__file__).parent.parent,
    )
    assert builder.stdin is not None
    assert builder.stdout is not None
    try:
        for number in range(100):
            project.contacts(20 + number)
            builder.stdin.write(f"{number % 10 / 100}\n")
            assert project.apply()["hubspot/contact_profiles"].is_clean
            assert builder.stdout.readline() == "built\n"
    finally:
        builder.stdin.close()
        assert builder.wait(timeout=10) == 0
        builder.stdout.close()
    assert shared.counts()["hubspot"]["contacts"] == 119


# compares wall times, which a busy machine stretches
@pytest.mark.slow
def test_one_dead_destination_slows_the_others_by_no_more_than_five_percent(
    tmp_path: Path,
) -> None:
    """The living one is bound by its limit, so that its time is the same from run to run."""
    limits = {"hubspot": RateLimit(calls=10, window_seconds=1.0)}
    seconds = {}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        for state, address in (("alive", None), ("dead", "http://127.0.0.1:9/webhook")):
            sandbox.reset()
            project = SmallProject(tmp_path / state, sandbox)
            project.episodes("trg_health_dropped", ALERTED, 0)
            project.apply()
            if address:
                project.write_destinations(sandbox, webhook={"base_url": address})
                project.apply()
            project.episodes("trg_health_dropped", ALERTED, 50)
            project.contacts(5_000)
            started = time.monotonic()
            results = project.apply()
            seconds[state] = time.monotonic() - started
            assert results["hubspot/contact_profiles"].delivered == 5_000
            assert bool(results["webhook/trg_health_dropped"].error) is (state == "dead")
        assert sandbox.counts()["hubspot"]["violations"] == 0
    assert seconds["dead"] <= 1.05 * seconds["alive"], seconds


def test_new_values_from_a_newer_library_are_noticed_before_anything_is_sent(
    project: SmallProject, shared: Sandbox
) -> None:
    project.contacts(3)
    project.apply()
    import sqlite3

    with sqlite3.connect(project.root / "data/ledger.db") as connection:
        connection.execute("update ledger_meta set value = 'other' where name = 'canary'")
    project.contacts(4)
    with pytest.raises(UserError, match=r"This version of DuckDB writes values differently"):
        project.apply()
    assert shared.counts()["hubspot"]["contacts"] == 3
