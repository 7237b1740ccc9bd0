"""The ledger: durable, versioned, private, and one process per sync."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from reverse_etl import migrations, schema
from reverse_etl.database import Database
from reverse_etl.errors import BusyError, UserError
from reverse_etl.ledger import FIRST_PAUSE, Intent, Ledger, Settlement, Touched
from reverse_etl.sandbox.server import Sandbox
from tests.postgres_server import PostgresServer, binaries, running
from tests.small_project import MAILED, SmallProject

SYNC = "tool/model"


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 28, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer | None]:
    """A real server for this module; None where Postgres is not installed."""
    folder = binaries()
    if folder is None:
        yield None
        return
    with running(folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer | None) -> str:
    """An empty ledger's URL, of each kind."""
    if request.param == "sqlite":
        return url(tmp_path)
    if postgres is None:
        pytest.skip("Postgres is not installed here (Debian: apt-get install postgresql)")
    name = f"ledger_{uuid4().hex}"
    with closing(postgres.connect()) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
    return f"postgresql://{postgres.user}@127.0.0.1:{postgres.port}/{name}"


@pytest.fixture
def ledger(address: str, time: Time) -> Iterator[Ledger]:
    ledger = Ledger(address, clock=time)
    yield ledger
    ledger.close()


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def known(ledger: Ledger) -> dict[str, tuple[str, str]]:
    return {
        row["key"]: (row["state"], row["fingerprint"])
        for row in ledger.acknowledged(SYNC).to_pylist()
    }


def sent(
    ledger: Ledger, key: str, status: str, action: str = "add", *, repeatable: bool = True
) -> None:
    [intent] = ledger.intend("run", SYNC, [(key, action, "f")], 1)
    ledger.settle(SYNC, [Settlement(intent, status, "c", "why")], repeatable=repeatable)


def test_a_row_is_pending_from_the_intent_until_the_outcome(ledger: Ledger) -> None:
    [intent] = ledger.intend("run", SYNC, [("a", "add", "f")], 1)
    assert known(ledger) == {"a": ("pending", "")}
    ledger.settle(SYNC, [Settlement(intent, "delivered")], repeatable=True)
    assert known(ledger) == {"a": ("acknowledged", "f")}


def test_a_delivered_removal_is_forgotten(ledger: Ledger) -> None:
    sent(ledger, "a", "delivered")
    sent(ledger, "a", "delivered", "remove")
    assert known(ledger) == {}


@pytest.mark.parametrize("status", ["rejected", "retryable"])
def test_what_the_tool_surely_never_had_is_not_remembered(ledger: Ledger, status: str) -> None:
    sent(ledger, "a", status)
    assert known(ledger) == {}


@pytest.mark.parametrize("status", ["rejected", "retryable"])
def test_a_failed_change_of_what_the_tool_has_is_sent_again(ledger: Ledger, status: str) -> None:
    sent(ledger, "a", "delivered")
    sent(ledger, "a", status, "change")
    assert known(ledger) == {"a": ("pending", "")}


def test_an_unknown_outcome_stays_open_where_a_repeat_is_safe(ledger: Ledger) -> None:
    sent(ledger, "a", "unknown")
    sent(ledger, "a", "retryable")  # a second try that surely failed does not undo the first
    assert known(ledger) == {"a": ("pending", "")}


def test_an_unknown_outcome_is_final_where_a_repeat_would_reach_somebody_twice(
    ledger: Ledger,
) -> None:
    sent(ledger, "a", "unknown", repeatable=False)
    assert known(ledger) == {"a": ("unknown", "")}


@pytest.mark.parametrize(("repeatable", "state"), [(True, "pending"), (False, "unknown")])
def test_a_crash_between_intent_and_outcome_is_taken_up(
    ledger: Ledger, repeatable: bool, state: str
) -> None:
    ledger.intend("run", SYNC, [("a", "add", "f")], 1)
    ledger.begin(SYNC, "account", repeatable=repeatable)
    assert known(ledger) == {"a": (state, "")}
    from reverse_etl import schema

    assert ledger.counts(schema.deliveries, schema.deliveries.c.status) == {SYNC: {"unknown": 1}}


def test_another_account_is_another_memory(ledger: Ledger) -> None:
    ledger.begin(SYNC, "one", repeatable=True)
    sent(ledger, "a", "delivered")
    ledger.end(SYNC, baseline=True)
    ledger.begin(SYNC, "two", repeatable=True)
    assert known(ledger) == {}
    assert ledger.state(SYNC).baseline_at is None


def test_pauses_of_a_refused_row_grow_and_start_over_with_a_new_payload(
    ledger: Ledger, time: Time
) -> None:
    pauses = []
    for _ in range(8):
        sent(ledger, "a", "rejected")
        [letter] = ledger.dead_letters(SYNC).to_pylist()
        pauses.append(datetime.fromisoformat(letter["next_retry_at"]) - time.now)
    assert pauses[:3] == [FIRST_PAUSE, 4 * FIRST_PAUSE, 16 * FIRST_PAUSE]
    assert pauses[-1] == timedelta(days=7)
    [intent] = ledger.intend("run", SYNC, [("a", "add", "other")], 1)
    ledger.settle(SYNC, [Settlement(intent, "rejected")], repeatable=True)
    [letter] = ledger.dead_letters(SYNC).to_pylist()
    assert datetime.fromisoformat(letter["next_retry_at"]) - time.now == FIRST_PAUSE


def test_a_delivery_clears_the_dead_letter(ledger: Ledger) -> None:
    sent(ledger, "a", "rejected")
    sent(ledger, "a", "delivered")
    assert ledger.dead_letters(SYNC).num_rows == 0


def test_suppressions_match_addresses_in_any_case(ledger: Ledger) -> None:
    ledger.suppress("Someone@Example.com", "unsubscribed", "test")
    ledger.suppress("C_1", "erased", "test")
    assert ledger.suppressed(["someone@example.com", "C_1", "c_1"]) == {
        "someone@example.com",
        "C_1",
    }


def test_an_approval_is_for_very_rows_until_they_are_carried_out(ledger: Ledger) -> None:
    first, second = [("a", "add", "f")], [("b", "add", "f"), ("c", "remove", "")]
    ledger.approvals.approve(SYNC, "one", "somebody", first)
    ledger.approvals.approve(SYNC, "two", "somebody", second)
    agreed = ledger.approvals.rows(SYNC).to_pylist()
    assert [tuple(row.values()) for row in agreed] == second
    assert ledger.approvals.rows("tool/other").num_rows == 0
    ledger.approvals.use_up(SYNC)
    assert ledger.approvals.rows(SYNC).num_rows == 0


def test_external_ids_are_found_by_account_and_object(ledger: Ledger) -> None:
    ids = {f"k{n}": str(n) for n in range(1_200)}
    ledger.remember_external_ids("one", "contacts", ids)
    assert ledger.external_ids("one", "contacts", ids) == ids
    assert ledger.external_ids("two", "contacts", ids) == {}


def test_it_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    ledger = Ledger(url(tmp_path))
    sent(ledger, "a", "delivered")
    with ledger.lock(SYNC):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) >= 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_it_survives_being_closed(address: str) -> None:
    first = Ledger(address)
    sent(first, "a", "delivered")
    first.close()
    assert known(Ledger(address)) == {"a": ("acknowledged", "f")}


def test_a_newer_schema_is_refused_and_left_alone(address: str) -> None:
    Ledger(address).close()
    execute(address, "update ledger_meta set value = '99' where name = 'schema_version'")
    with pytest.raises(UserError, match=r"newer version \(schema 99"):
        Ledger(address)
    execute(address, "select 1 from acknowledged")


FIRST_SCHEMA = """
create table ledger_meta (name varchar primary key, value text);
create table sync_state (sync varchar primary key, account varchar not null, baseline_at varchar,
    last_run_at varchar);
create table acknowledged (sync varchar, key varchar, fingerprint varchar not null,
    state varchar not null, acknowledged_at varchar, primary key (sync, key));
create table external_ids (account varchar, object varchar, key varchar,
    external_id varchar not null, primary key (account, object, key));
create table deliveries (delivery_id varchar primary key, run_id varchar not null,
    sync varchar not null, key varchar not null, action varchar not null, attempt integer not null,
    status varchar not null, code varchar not null, message text not null,
    attempted_at varchar not null, settled_at varchar);
create index deliveries_by_sync on deliveries (sync, status);
create table dead_letters (sync varchar, key varchar, fingerprint varchar not null,
    action varchar not null, code varchar not null, message text not null,
    attempts integer not null, next_retry_at varchar not null, primary key (sync, key));
create table suppressions (who varchar primary key, reason varchar not null,
    source varchar not null, suppressed_at varchar not null);
create table runs (run_id varchar primary key, started_at varchar not null, finished_at varchar);
create table plans (run_id varchar, sync varchar, digest varchar not null, adds integer not null,
    changes integer not null, removes integer not null, held boolean not null, reason text not null,
    primary key (run_id, sync));
create table approvals (sync varchar, digest varchar, approved_by varchar not null,
    approved_at varchar not null, primary key (sync, digest));
insert into ledger_meta values ('schema_version', '1'), ('canary', 'one');
insert into acknowledged values
    ('tool/model', 'a', 'f', 'acknowledged', '2026-01-01T00:00:00.000000+00:00'),
    ('tool/model', 'b', '', 'pending', null);
insert into external_ids values ('tool', 'contacts', 'a', '7');
insert into deliveries values ('run-1', 'run', 'tool/model', 'b', 'add', 1, 'attempted', '', '',
    '2026-01-01T00:00:00.000000+00:00', null);
insert into suppressions values ('a@b.example', 'unsubscribed', 'test', '2026-01-01');
"""


def execute(address: str, *statements: str) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_ledger_of_the_first_schema_is_brought_to_this_one_with_all_it_knew(
    address: str, time: Time
) -> None:
    execute(address, *(part for part in FIRST_SCHEMA.split(";") if part.strip()))
    ledger = Ledger(address, canary="one", clock=time)
    assert known(ledger) == {"a": ("acknowledged", "f"), "b": ("pending", "")}
    assert ledger.external_ids("tool", "contacts", ["a"]) == {"a": "7"}
    assert ledger.suppressed(["a@b.example"]) == {"a@b.example"}
    ledger.begin(SYNC, "account", repeatable=True)
    [left_open] = ledger.deliveries(SYNC, ["b"], 10)
    assert left_open["status"] == "unknown"
    sent(ledger, "b", "delivered")
    ledger.approvals.approve(SYNC, "digest", "somebody", [("a", "remove", "")])
    run = ledger.start_run()
    figures = {"adds": 1, "changes": 0, "removes": 0, "held": False, "reason": "", "digest": "d"}
    ledger.record_plan(run, SYNC, figures | {"mrr": None})
    ledger.close()
    database = Database(address)
    with database.reading() as connection:
        version = connection.scalar(
            text("select value from ledger_meta where name = 'schema_version'")
        )
    assert version == str(migrations.VERSION)
    database.close()


def level(ledger: Ledger, *rows: tuple[str, str, str]) -> list[Intent]:
    return ledger.intend_level("run", SYNC, rows, 1)


def test_rows_of_an_open_request_are_pending_until_it_is_answered(ledger: Ledger) -> None:
    intents = level(ledger, ("a", "add", "f"), ("b", "add", "g"))
    assert known(ledger) == {"a": ("pending", ""), "b": ("pending", "")}
    ledger.settle_level(SYNC, [Settlement(intent, "delivered") for intent in intents])
    assert known(ledger) == {"a": ("acknowledged", "f"), "b": ("acknowledged", "g")}
    found = ledger.deliveries(SYNC, ["b"], 10)
    assert [(row["key"], row["status"]) for row in found] == [("b", "delivered")]


def test_of_one_request_each_row_has_its_own_outcome(ledger: Ledger) -> None:
    old = level(ledger, ("c", "add", "old"), ("d", "add", "old"), ("e", "add", "old"))
    ledger.settle_level(SYNC, [Settlement(intent, "delivered") for intent in old])
    rows = [(key, "change", "new") for key in "cde"]
    changed, refused, lost = level(ledger, *rows)
    ledger.settle_level(
        SYNC,
        [
            Settlement(changed, "retryable", "503", "later"),
            Settlement(refused, "rejected", "400", "no"),
            Settlement(lost, "unknown", "reset", "gone"),
        ],
    )
    # What surely was not taken is as it was, and differs from what the next plan wants.
    assert known(ledger) == {
        "c": ("acknowledged", "old"),
        "d": ("acknowledged", "old"),
        "e": ("pending", ""),
    }
    found = {row["key"]: row["status"] for row in ledger.deliveries(SYNC, None, 3)}
    assert found == {"c": "retryable", "d": "rejected", "e": "unknown"}
    [letter] = ledger.dead_letters(SYNC).to_pylist()
    assert (letter["key"], letter["code"]) == ("d", "400")
    assert ledger.level_rows() == {SYNC: 3}


def test_a_crash_between_a_request_and_its_answer_is_taken_up(ledger: Ledger) -> None:
    old = level(ledger, ("a", "add", "old"))
    ledger.settle_level(SYNC, [Settlement(old[0], "delivered")])
    level(ledger, ("a", "change", "new"), ("b", "add", "new"))
    pending = {"a": ("pending", ""), "b": ("pending", "")}
    assert known(ledger) == pending
    ledger.begin(SYNC, "account", repeatable=True)
    assert known(ledger) == pending
    statuses = [row["status"] for row in ledger.deliveries(SYNC, None, 10)]
    assert statuses == ["unknown", "unknown", "delivered"]
    assert ledger.counts(schema.deliveries, schema.deliveries.c.status) == {SYNC: {"unknown": 2}}


def test_what_threads_write_together_is_each_ones_own(address: str) -> None:
    """Many write at once and some fail: the others' rows are there, and only theirs are not."""
    database = Database(address)
    schema_names = ("name", "value")
    outcomes: dict[int, str] = {}
    ready = threading.Barrier(12)

    def write(number: int) -> None:
        def work(connection: Connection) -> None:
            row = (f"row {number}", "there")
            database.put(connection, schema.ledger_meta, schema_names, [row])
            if number % 5 == 3:
                raise ValueError(number)

        ready.wait()
        try:
            database.together(work)
            outcomes[number] = "done"
        except ValueError as error:
            outcomes[number] = str(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = {3, 8}
    assert outcomes == {n: str(n) if n in failed else "done" for n in range(12)}
    with database.reading() as connection:
        names = set(connection.scalars(text("select name from ledger_meta")))
    assert {f"row {n}" for n in range(12) if n not in failed} <= names
    assert not {f"row {n}" for n in failed} & names
    database.close()


def test_a_million_rows_are_read_in_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reverse_etl.database.PIECE", 7)
    keys = [f"{n:03d}" for n in range(50)]
    intents = level(ledger, *((key, "add", f"f{key}") for key in keys))
    ledger.settle_level(SYNC, [Settlement(intent, "delivered") for intent in intents])
    assert known(ledger) == {key: ("acknowledged", f"f{key}") for key in keys}


def test_a_person_is_forgotten_wherever_they_are_named(ledger: Ledger) -> None:
    from reverse_etl.spec import GROUP_MARK

    grouped = f"p1{GROUP_MARK}ja"
    intents = level(ledger, ("p1", "add", "f"), (grouped, "add", "f"), ("p12", "add", "f"))
    ledger.settle_level(SYNC, [Settlement(intent, "delivered") for intent in intents])
    rows = [("event_1", "add", "f"), ("event_2", "add", "f")]
    touched = {"event_1": Touched("c1", "p1"), "event_2": Touched("c2", "p2")}
    first, second = ledger.intend("run", "mail/trg", rows, 1, touched)
    said = "nobody reads mail for one@b.example"
    refused = [Settlement(i, "rejected", "550", said) for i in (first, second)]
    ledger.settle("mail/trg", refused, repeatable=False)
    ledger.remember_external_ids("tool", "contacts", {"p1": "7", "p12": "8"})
    ledger.suppress("one@b.example", "bounced", "test")

    assert ledger.people.forget("p1", ["one@b.example"]) > 0
    assert known(ledger) == {"p12": ("acknowledged", "f")}
    assert ledger.suppressed(["one@b.example"]) == set()
    assert ledger.external_ids("tool", "contacts", ["p1", "p12"]) == {"p12": "8"}
    everything = str(ledger.deliveries(None, None, 100)) + str(ledger.ended_attempts().to_pylist())
    everything += str(ledger.dead_letters("mail/trg").to_pylist())
    assert "one@b.example" not in everything
    assert "'p1'" not in everything
    assert "p2" in everything
    assert ledger.deliveries(None, ["p1"], 10) == []


def test_settled_triggers_are_told_with_whom_they_were_about(ledger: Ledger) -> None:
    rows = [("event_1", "add", "f"), ("event_2", "add", "f"), ("event_3", "add", "f")]
    touched = {"event_1": Touched("c1", "p1"), "event_2": Touched("c2"), "event_3": Touched("c3")}
    first, second, _ = ledger.intend("run", SYNC, rows, 1, touched)
    ledger.settle(
        SYNC,
        [Settlement(first, "delivered"), Settlement(second, "retryable", "429", "later")],
        repeatable=False,
    )
    sent(ledger, "a profile", "delivered")
    told = [
        (row["event_id"], row["customer_id"], row["contact_id"], row["outcome"])
        for row in ledger.ended_attempts().to_pylist()
    ]
    assert told == [
        ("event_1", "c1", "p1", "delivered"),
        ("event_2", "c2", None, "retryable"),
    ]


def test_values_written_differently_than_before_are_noticed(tmp_path: Path) -> None:
    Ledger(url(tmp_path), canary="one").close()
    Ledger(url(tmp_path), canary="one").close()
    with pytest.raises(UserError, match="DuckDB"):
        Ledger(url(tmp_path), canary="two")


@pytest.mark.parametrize("bad", ["nonsense", "nosuchdatabase://x", "sqlite:////proc/no/ledger.db"])
def test_a_ledger_that_cannot_be_opened_says_so(bad: str) -> None:
    with pytest.raises(UserError, match="LEDGER_URL"):
        Ledger(bad)


def test_a_file_that_is_no_ledger_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"something else entirely, and long enough" * 50)
    with pytest.raises(UserError, match="cannot be used"):
        Ledger(url(tmp_path))
    assert (tmp_path / "ledger.db").read_bytes().startswith(b"something else")


def test_a_second_ledger_of_this_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """Closing any handle of a file drops a process's locks on it: another process would then think
    itself alone, and take the log away that the first one still reads."""
    ledger = Ledger(url(tmp_path))
    sent(ledger, "a", "delivered")
    Ledger(url(tmp_path)).close()
    code = (
        "from reverse_etl.ledger import Ledger\n"
        f"other = Ledger({url(tmp_path)!r}); other.start_run(); other.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "ledger.db-wal").exists()
    assert ledger.problems() == []


def test_two_processes_cannot_hold_one_sync(ledger: Ledger, address: str) -> None:
    code = (
        "import sys, time; from reverse_etl.ledger import Ledger\n"
        f"with Ledger({address!r}).lock({SYNC!r}):\n"
        "    print('held', flush=True); time.sleep(30)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=SYNC), ledger.lock(SYNC):
            pass
        with ledger.lock("tool/other"):
            pass
    finally:
        os.kill(holder.pid, 9)
        holder.wait()
    for attempt in range(100):  # a killed process holds nothing, once a server has noticed
        try:
            with ledger.lock(SYNC):
                break
        except BusyError:
            assert attempt < 99
            sleep(0.05)


def test_whole_runs_work_on_it(address: str, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        project = SmallProject(tmp_path / "project", sandbox)
        project.environment["LEDGER_URL"] = address
        for events in (0, 3):
            project.contacts(250 + events)
            project.champions(1, 2, 3)
            project.episodes("trg_feature_unused", MAILED, events)
            project.run(
                "update marts.contact_profiles set email = 'nonsense' where contact_id = 'c_77'"
            )
            project.apply()
        assert sandbox.counts()["hubspot"]["contacts"] == 252
        assert sandbox.counts()["smtp"]["mails"] == 3
        assert project.plan()["hubspot/contact_profiles"].waiting == 1
        [result] = project.engine.retry(["contact_profiles"], None)
        assert (result.planned, result.rejected) == (1, 1)
        project.champions()
        held = project.plan()["hubspot/seg_champions"]
        assert held.held
        project.engine.approve(held.id, "somebody")
        assert project.apply()["hubspot/seg_champions"].delivered == 3
        assert not any(plan.size for plan in project.plan().values())
