"""The ledger: durable, versioned, private, and one process per sync."""

import os
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reverse_etl.errors import BusyError, UserError
from reverse_etl.ledger import FIRST_PAUSE, Ledger, Settlement, Touched

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


@pytest.fixture
def ledger(tmp_path: Path, time: Time) -> Ledger:
    return Ledger(url(tmp_path), clock=time)


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


def test_it_is_readable_by_its_owner_only(ledger: Ledger, tmp_path: Path) -> None:
    sent(ledger, "a", "delivered")
    with ledger.lock(SYNC):
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) >= 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_it_survives_being_closed(tmp_path: Path) -> None:
    first = Ledger(url(tmp_path))
    sent(first, "a", "delivered")
    first.close()
    assert known(Ledger(url(tmp_path))) == {"a": ("acknowledged", "f")}


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Ledger(url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("update ledger_meta set value = '99' where name = 'schema_version'")
    with pytest.raises(UserError, match=r"newer version \(schema 99"):
        Ledger(url(tmp_path))


def test_a_ledger_of_the_first_schema_is_brought_to_this_one(tmp_path: Path) -> None:
    Ledger(url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("alter table deliveries drop column customer_id")
        connection.execute("alter table deliveries drop column contact_id")
        connection.execute("update ledger_meta set value = '1' where name = 'schema_version'")
    ledger = Ledger(url(tmp_path))
    sent(ledger, "a", "delivered")
    assert known(ledger) == {"a": ("acknowledged", "f")}
    assert ledger.ended_attempts().num_rows == 0


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


def test_a_second_ledger_of_this_process_leaves_the_locks_of_the_first(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Closing any handle of a file drops a process's locks on it: another process would then think
    itself alone, and take the log away that the first one still reads."""
    sent(ledger, "a", "delivered")
    Ledger(url(tmp_path)).close()
    code = (
        "from reverse_etl.ledger import Ledger\n"
        f"other = Ledger({url(tmp_path)!r}); other.start_run(); other.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "ledger.db-wal").exists()
    assert ledger.problems() == []


def test_two_processes_cannot_hold_one_sync(ledger: Ledger, tmp_path: Path) -> None:
    code = (
        "import sys, time; from reverse_etl.ledger import Ledger\n"
        f"with Ledger({url(tmp_path)!r}).lock({SYNC!r}):\n"
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
    with ledger.lock(SYNC):  # a killed process holds nothing
        pass
