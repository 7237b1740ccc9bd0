"""The diff: against a plain-dictionary reference, for every type, and with its budgets."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverse_etl.configuration import DestinationConfig
from reverse_etl.errors import UserError
from reverse_etl.packing import RECORD, UNIT
from reverse_etl.planner import GROUP_MARK, Known, Plan, baseline_of_trigger, canary, plan_sync
from reverse_etl.plans import OWN
from reverse_etl.spec import Sync, SyncSpec
from reverse_etl.values import as_json
from reverse_etl.warehouse import Rows

NOW = datetime(2026, 10, 28, tzinfo=UTC)
LATER, EARLIER = (
    f"{NOW + timedelta(hours=hours):%Y-%m-%dT%H:00:00.000000+00:00}" for hours in (1, -1)
)
TEXTS = ("key", "fingerprint", "state", "is_there")


def a_sync(**spec: Any) -> Sync:
    given = {"kind": "profile", "key": "id", "destinations": ["tool"], "on_removal": "clear"} | spec
    if given["kind"] != "profile":
        del given["on_removal"]
    if given["kind"] == "trigger":
        del given["destinations"]
    tool = DestinationConfig("tool", "outbox", "", Path())
    return Sync("m", "marts", "m", "m.sql", (), SyncSpec.model_validate(given), tool)


def known(
    acknowledged: Mapping[str, tuple[str, str]] | None = None,
    refused: Mapping[str, tuple[str, str]] | None = None,
    *,
    baseline: bool = False,
    repeatable: bool = True,
) -> Known:
    """``acknowledged``: fingerprint and state by key. ``refused``: fingerprint and next retry."""
    there = [
        dict(zip(TEXTS, (key, fingerprint, state, "yes"), strict=True))
        for key, (fingerprint, state) in (acknowledged or {}).items()
    ]
    letters = [
        {"key": key, "fingerprint": fingerprint, "next_retry_at": at}
        for key, (fingerprint, at) in (refused or {}).items()
    ]
    text = pa.string()
    return Known(
        pa.Table.from_pylist(there, pa.schema([(name, text) for name in TEXTS])),
        pa.Table.from_pylist(
            letters, pa.schema([(n, text) for n in ("key", "fingerprint", "next_retry_at")])
        ),
        baseline,
        repeatable,
        NOW,
    )


def planned(rows: pa.Table, past: Known, **spec: Any) -> Plan:
    return plan_sync(a_sync(**spec), Rows.of(rows), rows.column_names, past)


def fingerprints(rows: pa.Table) -> dict[str, str]:
    return {change.key: change.fingerprint for change in planned(rows, known(baseline=True))}


def rows_of(values: Mapping[str, str | None]) -> pa.Table:
    schema = pa.schema([("id", pa.string()), ("value", pa.string())])
    return pa.Table.from_pylist([{"id": k, "value": v} for k, v in values.items()], schema)


states = st.dictionaries(
    st.text(
        st.characters(exclude_characters=f"\0{GROUP_MARK}{UNIT}{RECORD}", codec="utf-8"), min_size=1
    ),
    st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(before=states, after=states)
def test_the_diff_is_what_two_dictionaries_say(
    before: dict[str, str | None], after: dict[str, str | None]
) -> None:
    past = {key: (mark, "acknowledged") for key, mark in fingerprints(rows_of(before)).items()}
    plan = planned(rows_of(after), known(past), budget={"share": 1.0})
    expected = dict.fromkeys(after.keys() - before.keys(), "add")
    expected |= dict.fromkeys(before.keys() - after.keys(), "remove")
    expected |= {k: "change" for k in after.keys() & before.keys() if after[k] != before[k]}
    assert {change.key: change.action for change in plan} == expected
    assert plan.unchanged == len(after) - plan.adds - plan.changes
    assert all(c.payload["value"] == after[c.key] for c in plan if c.action != "remove")


def test_null_differs_from_empty_and_columns_do_not_run_together() -> None:
    table = pa.table(
        {
            "id": ["1", "2", "3", "4", "5"],
            "a": ["", None, "x", "xy", "x2:y"],
            "b": ["", "", "yz", "z", None],
        }
    )
    marks = [
        fingerprints(
            pa.table({"id": ["k"], "a": [a], "b": [b]}).cast(
                pa.schema([("id", pa.string()), ("a", pa.string()), ("b", pa.string())])
            )
        )["k"]
        for a, b in zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True)
    ]
    assert len(set(marks)) == len(marks)


def test_the_order_of_columns_and_the_shown_zone_are_no_change() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one = pa.table({"id": ["k"], "a": ["x"], "at": pa.array([at], pa.timestamp("us", "UTC"))})
    two = pa.table(
        {"at": pa.array([at], pa.timestamp("us", "Asia/Tokyo")), "a": ["x"], "id": ["k"]}
    )
    assert fingerprints(one) == fingerprints(two)


def test_money_is_compared_digit_by_digit() -> None:
    def mark(amount: str) -> dict[str, str]:
        money = pa.array([Decimal(amount)], pa.decimal128(18, 2))
        return fingerprints(pa.table({"id": ["k"], "mrr": money}))

    assert mark("10.50") == mark("10.5")
    assert mark("9007199254740993.01") != mark("9007199254740993.02")


def test_the_canary_is_what_it_was() -> None:
    # A change here means that every row of every ledger would be sent again.
    assert canary() == "2c7e7b600f3f084df8596d479b1e7c4d"


@pytest.mark.parametrize(
    ("keys", "told"),
    [(["a", None], "id is null in 1 of 2 rows"), (["a", "b", "b"], "b occurs 2 times")],
)
def test_a_key_that_identifies_nothing_is_refused(keys: list[str | None], told: str) -> None:
    with pytest.raises(UserError, match=rf"m\.sql: meta\.sync\.key: .*{told}"):
        planned(pa.table({"id": keys}), known())


@pytest.mark.parametrize("mark", [UNIT, RECORD])
def test_a_key_that_the_ledger_could_not_read_back_is_refused(mark: str) -> None:
    with pytest.raises(UserError, match="control character"):
        planned(rows_of({"fine": "1", f"a{mark}b": "2"}), known())


def test_a_key_that_is_no_column_lists_the_columns() -> None:
    with pytest.raises(UserError, match=r"no column 'id'. Its columns: ident, name"):
        planned(pa.table({"ident": ["a"], "name": ["b"]}), known())


def test_a_grouped_segment_is_unique_by_member_and_group() -> None:
    rows = pa.table({"id": ["a", "a"], "team": ["x", "y"]})
    plan = planned(rows, known(baseline=True), kind="segment", group_key="team")
    assert [(c.identity, c.group) for c in plan] == [("a", "x"), ("a", "y")]
    twice = pa.table({"id": ["a", "a"], "team": ["x", "x"]})
    with pytest.raises(UserError, match="a in x occurs 2 times"):
        planned(twice, known(), kind="segment", group_key="team")


def test_a_pending_row_is_sent_again_even_when_its_value_went_back() -> None:
    rows = rows_of({"a": "x"})
    plan = planned(rows, known({"a": ("", "pending")}))
    assert (plan.adds, plan.changes, plan.unchanged) == (0, 1, 0)


def test_a_profile_is_left_alone_on_removal_unless_it_says_otherwise() -> None:
    past = dict.fromkeys("ab", ("f", "acknowledged"))
    assert planned(rows_of({"a": "x"}), known(past), on_removal="ignore").removes == 0
    assert planned(rows_of({"a": "x"}), known(past), on_removal="clear").removes == 1


def events(*keys: str) -> pa.Table:
    return pa.table({"event_id": pa.array(keys, pa.string())})


def as_trigger(rows: pa.Table, past: Known) -> Plan:
    return planned(rows, past, kind="trigger", key="event_id", channel="c")


@pytest.mark.parametrize("state", ["acknowledged", "seen", "suppressed"])
def test_an_event_is_never_sent_twice_nor_taken_back(state: str) -> None:
    past = known({"a": ("other", state), "gone": ("x", state)})
    plan = as_trigger(events("a", "b"), past)
    assert [change.key for change in plan] == ["b"]
    assert (plan.unchanged, plan.removes, plan.changes) == (1, 0, 0)


def test_an_open_event_is_repeated_only_where_a_repeat_is_recognised() -> None:
    past = {"a": ("", "pending"), "b": ("", "unknown")}
    assert [c.key for c in as_trigger(events("a", "b"), known(past))] == ["a"]
    careful = as_trigger(events("a", "b"), known(past, repeatable=False))
    assert (careful.size, careful.unknown) == (0, 2)
    assert "not repeated" in careful.reason


def test_a_refused_row_waits_unless_it_is_due_or_has_changed() -> None:
    rows = rows_of({"a": "1", "b": "2", "c": "3"})
    marks = fingerprints(rows)
    refused = {"a": (marks["a"], LATER), "b": (marks["b"], EARLIER), "c": ("old", LATER)}
    plan = planned(rows, known(refused=refused))
    assert [change.key for change in plan] == ["b", "c"]
    assert (plan.adds, plan.waiting, plan.retrying) == (2, 1, 1)


def test_a_dead_letter_that_nobody_asks_for_is_moot() -> None:
    plan = planned(rows_of({"a": "1"}), known(refused={"gone": ("x", LATER)}))
    assert plan.moot == ("gone",)


def test_a_shrunken_or_emptied_model_is_held_and_says_why() -> None:
    past = {f"k{n}": ("f", "acknowledged") for n in range(30)}
    shrunken = planned(rows_of({f"k{n}": "v" for n in range(15)}), known(past), kind="segment")
    assert shrunken.held
    assert "50% of 30 rows" in shrunken.reason
    assert "m.sql" in shrunken.reason
    emptied = planned(rows_of({}), known({"a": ("f", "acknowledged")}), kind="segment")
    assert emptied.held
    assert "the model is empty" in emptied.reason


def test_changed_values_alone_are_not_held() -> None:
    past = {f"k{n}": ("f", "acknowledged") for n in range(30)}
    plan = planned(rows_of({f"k{n}": "v" for n in range(30)}), known(past))
    assert (plan.changes, plan.held) == (30, False)


def test_a_baseline_is_exempt_from_shares_and_not_from_rows() -> None:
    rows = rows_of({f"k{n}": "v" for n in range(30)})
    plan = planned(rows, known(baseline=True))
    assert (plan.adds, plan.held) == (30, False)
    assert "first run" in plan.reason
    assert planned(rows, known(baseline=True), budget={"rows": 29}).held


def test_a_triggers_first_run_sends_nothing_and_counts_what_it_saw() -> None:
    plan = baseline_of_trigger(a_sync(kind="trigger", key="event_id", channel="c"), ["a", "b"])
    assert (plan.size, len(plan.seen), list(plan)) == (0, 2, [])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | st.text(max_size=20),
                "money": st.none() | st.decimals(-(10**15), 10**15, places=2),
                "share": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "number": st.none() | st.integers(-(2**63), 2**63 - 1),
                "truth": st.none() | st.booleans(),
                "day": st.none() | st.dates(),
                "at": st.none() | st.datetimes(),
                "zoned": st.none() | st.datetimes(timezones=st.just(UTC)),
            }
        ),
        max_size=5,
    )
)
def test_values_travel_as_they_are_and_no_row_weighs_more_than_told(
    rows: list[dict[str, Any]],
) -> None:
    fields = pa.schema(
        [
            *((name, pa.string()) for name in (*OWN, "text")),
            ("money", pa.decimal128(18, 2)),
            ("share", pa.float64()),
            ("number", pa.int64()),
            ("truth", pa.bool_()),
            ("day", pa.date32()),
            ("at", pa.timestamp("us")),
            ("zoned", pa.timestamp("us", "UTC")),
        ]
    )
    own = [dict(zip(OWN, (str(n), "add", "f"), strict=True)) for n in range(len(rows))]
    together = [mine | row for mine, row in zip(own, rows, strict=True)]
    plan = Plan(a_sync(), rows=pa.Table.from_pylist(together, fields))
    payloads = [change.payload for change in plan]
    assert payloads == rows
    for payload, row in zip(payloads, rows, strict=True):
        assert {n: type(v) for n, v in payload.items()} == {n: type(v) for n, v in row.items()}
    assert plan.heaviest is not None
    assert all(len(as_json(payload)) <= plan.heaviest for payload in payloads)


def test_the_digest_belongs_to_one_very_plan() -> None:
    digests = {planned(rows_of({"a": v, "b": "x"}), known()).digest for v in "12"}
    assert len(digests) == 2
    assert planned(rows_of({"b": "x", "a": "1"}), known()).digest in digests
