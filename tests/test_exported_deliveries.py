"""Deliveries become raw data of the warehouse: each attempt once, and never rewritten."""

from pathlib import Path

import duckdb
import pytest

from orchestration.deliveries import export
from reverse_etl.ledger import Ledger, Settlement, Touched

SYNC = "smtp/trg_feature_unused"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def attempted(ledger: Ledger, key: str, attempt: int, status: str) -> None:
    touched = {key: Touched("cus_1", "c_1")}
    [intent] = ledger.intend("run", SYNC, [(key, "add", "f")], attempt, touched)
    ledger.settle(SYNC, [Settlement(intent, status)], repeatable=False)


def rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    return connection.execute(
        "select event_id, attempt, outcome, contact_id, _loaded_at from raw_activation.deliveries"
        " order by delivery_id"
    ).fetchall()


def test_each_attempt_is_exported_once_and_keeps_the_moment_of_its_export(ledger: Ledger) -> None:
    with duckdb.connect() as connection:
        export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        assert rows(connection) == []
        attempted(ledger, "event_1", 1, "retryable")
        attempted(ledger, "event_1", 2, "delivered")
        ledger.intend("run", SYNC, [("event_2", "add", "f")], 1, {"event_2": Touched("cus_1")})
        export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        first = rows(connection)
        assert [row[:4] for row in first] == [
            ("event_1", 1, "retryable", "c_1"),
            ("event_1", 2, "delivered", "c_1"),
        ]
        attempted(ledger, "event_3", 1, "unknown")
        for _ in range(2):
            export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        again = rows(connection)
        assert again[:2] == first
        assert [row[:3] for row in again[2:]] == [("event_3", 1, "unknown")]


def test_an_older_table_gets_the_columns_that_came_later(ledger: Ledger) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "create schema raw_activation; create table raw_activation.deliveries as select"
            " 'old-1' as delivery_id, 's' as sync, 'event_0' as event_id, 'cus_1' as customer_id,"
            " 'c_1' as contact_id, 'delivered' as outcome, 'then' as settled_at,"
            " timestamp '2026-01-01' as _loaded_at"
        )
        attempted(ledger, "event_1", 1, "delivered")
        export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        assert [row[:3] for row in rows(connection)] == [
            ("event_0", None, "delivered"),
            ("event_1", 1, "delivered"),
        ]


def test_an_erasure_alone_rewrites_and_the_person_is_not_named_again(ledger: Ledger) -> None:
    from reverse_etl.registry import Found, Registry
    from reverse_etl.upstream import Relation

    with duckdb.connect() as connection:
        attempted(ledger, "event_1", 1, "delivered")
        export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        ledger.people.forget("c_1", [])
        exported = Relation("raw_activation.deliveries", "raw_activation", "deliveries")
        Registry(connection).remove(Found(("c_1",), ()), [exported])
        export(connection, "raw_activation", "deliveries", ledger.ended_attempts())
        [row] = rows(connection)
        assert row[:4] == ("event_1", 1, "delivered", None)
