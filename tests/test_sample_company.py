"""The sample generator: the same bytes every time, declared types, any size, planted effects."""

import csv
import hashlib
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import jinja2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seeds.sample_company.__main__ import main
from seeds.sample_company.calendar import Window, add_months, midnight
from seeds.sample_company.company import derive
from seeds.sample_company.effects import EFFECTS, Touches, TreatedFileError, read_touches
from seeds.sample_company.people import COUNTRIES
from seeds.sample_company.rows import base36, base36_array
from seeds.sample_company.stories import tell
from seeds.sample_company.tables import LANDED_AT, TABLES
from tests.sample_files import END, ROOT, SEEDS, latest, read, truth

WINDOW = Window.ending(date(2026, 10, 28), 18)
YML_TYPES = {
    "text": "varchar",
    "int": "bigint",
    "bool": "boolean",
    "time": "timestamp",
    "float": "double",
    "money": "decimal(18,2)",
}


def digests(root: Path) -> dict[str, str]:
    files = [path for name in ("raw", "truth") for path in (root / name).rglob("*.*")]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def second_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("again")
    assert main(["--out", str(out)]) == 0
    return out


def test_running_without_arguments_writes_the_shipped_files_byte_for_byte(
    second_run: Path,
) -> None:
    assert digests(second_run) == digests(SEEDS)


def test_the_shipped_sample_is_small() -> None:
    size = sum(path.stat().st_size for path in (SEEDS / "raw").rglob("*.csv"))
    assert size < 24_000_000
    assert 100_000 < len(read("segment.tracks")) < 120_000
    assert 2_200 < len(latest("hubspot.contact")) < 2_900
    assert len(truth("customers")) == 300


@pytest.mark.parametrize("source", sorted({table.split(".")[0] for table in TABLES}))
def test_the_sources_yml_declares_exactly_the_columns_of_the_files(source: str) -> None:
    path = ROOT / f"dbt_project/models/staging/{source}/_{source}__sources.yml"
    (declared,) = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    assert declared["name"] == f"raw_{source}"
    assert declared["schema"] == "{{ var('sources')." + source + ".schema }}"
    tables = {f"{source}.{table['name']}": table for table in declared["tables"]}
    assert list(tables) == [table for table in TABLES if table.startswith(f"{source}.")]
    for name, table in tables.items():
        types = {column["name"]: column["data_type"] for column in table["columns"]}
        assert types == {column: YML_TYPES[kind] for column, kind in TABLES[name].items()}
        assert table["description"].startswith("One row per")
        assert as_configured(table["config"]["loaded_at_field"]) == LANDED_AT[name]
        assert table["config"]["freshness"] == {"warn_after": {"count": 36, "period": "hour"}}
        assert all(column["description"] for column in table["columns"])
        with (SEEDS / "raw" / source / f"{table['name']}.csv").open(encoding="utf-8") as file:
            assert next(csv.reader(file)) == list(types)


def as_configured(text: str) -> str:
    """The text as dbt renders it with the project's variables."""
    project = yaml.safe_load((ROOT / "dbt_project/dbt_project.yml").read_text(encoding="utf-8"))
    return jinja2.Template(text).render(var=project["vars"].__getitem__)


def _is_valid(value: str, kind: str) -> bool:
    try:
        if kind == "int":
            int(value)
        elif kind in ("float", "money"):
            float(value)
        elif kind == "time":
            return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S}" == value
        elif kind == "bool":
            return value in ("true", "false")
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_value_has_the_declared_type_and_no_row_lands_after_the_end(table: str) -> None:
    rows = read(table)
    assert rows
    for column, kind in TABLES[table].items():
        if kind != "text":
            wrong = [
                row[column] for row in rows if row[column] and not _is_valid(row[column], kind)
            ]
            assert not wrong, f"{table}.{column}"
    assert max(row[LANDED_AT[table]] for row in rows) <= END


def test_a_customer_does_not_change_with_the_number_of_customers(
    tmp_path: Path, second_run: Path
) -> None:
    main(["--customers", "12", "--out", str(tmp_path)])
    few = read("segment.tracks", tmp_path / "raw")
    assert few == read("segment.tracks", second_run / "raw")[: len(few)]
    few_truth = read("customers", tmp_path / "truth")
    assert few_truth == truth("customers")[:12]


def test_another_seed_gives_another_company(tmp_path: Path) -> None:
    main(["--customers", "5", "--seed", "8", "--out", str(tmp_path)])
    assert read("customers", tmp_path / "truth") != truth("customers")[:5]


def test_parquet_is_typed_and_holds_the_same_rows_as_csv(tmp_path: Path) -> None:
    main(["--customers", "8", "--out", str(tmp_path / "csv")])
    main(["--customers", "8", "--out", str(tmp_path / "pq"), "--format", "parquet"])
    for table, types in TABLES.items():
        folder = (tmp_path / "pq" / "raw").joinpath(*table.split("."))
        loaded = pq.read_table(folder)
        rows = read(table, tmp_path / "csv" / "raw")
        assert loaded.num_rows == len(rows), table
        assert loaded.column_names == list(types)
        for column, kind in types.items():
            if kind == "time" and rows:
                assert str(loaded.schema.field(column).type) == "timestamp[us]"
                assert [str(value or "") for value in loaded[column].to_pylist()] == [
                    row[column] for row in rows
                ]


def test_a_smaller_parquet_run_leaves_no_part_of_a_larger_one(tmp_path: Path) -> None:
    main(["--customers", "120", "--out", str(tmp_path), "--format", "parquet"])
    main(["--customers", "3", "--out", str(tmp_path), "--format", "parquet"])
    assert len(list((tmp_path / "raw/segment/tracks").iterdir())) == 1


def test_the_scale_multiplies_events_and_nothing_else(tmp_path: Path) -> None:
    for scale in ("1", "6"):
        main(
            [
                "--customers",
                "6",
                "--out",
                str(tmp_path / scale),
                "--events-per-customer-scale",
                scale,
            ]
        )
    usual, more = (read("segment.tracks", tmp_path / scale / "raw") for scale in ("1", "6"))
    assert len(more) > 2.5 * len(usual)
    same = "stripe/invoice.csv"
    first, second = ((tmp_path / scale / "raw" / same).read_bytes() for scale in ("1", "6"))
    assert first == second


def test_a_touch_shifts_behaviour_only_after_it_and_only_of_the_touched(tmp_path: Path) -> None:
    touched = tmp_path / "treated.csv"
    ids = [f"cus_{base36(index, 3)}" for index in range(60)]
    lines = [f"onboarding_low_usage,{key},2026-06-01 09:00:00" for key in ids[::2]]
    touched.write_text("trigger_name,customer_id,touched_at\n" + "\n".join(lines) + "\n")
    for name, extra in (("without", []), ("with", ["--treated-file", str(touched)])):
        main(["--customers", "60", "--out", str(tmp_path / name), *extra])
    worlds = []
    for name in ("without", "with"):
        rows = read("segment.tracks", tmp_path / name / "raw")
        worlds.append({(row["user_id"], row["event"], row["timestamp"]) for row in rows})
    added, lost = worlds[1] - worlds[0], worlds[0] - worlds[1]
    assert not lost
    assert added
    assert {event for _, event, _ in added} == {"dashboard_shared"}
    assert all("2026-06-01 09" <= at < "2026-06-15 09" for _, _, at in added)
    assert {f"cus_{user[1:4]}" for user, _, _ in added} <= set(ids[::2])


def test_the_planted_effect_keeps_customers_who_would_have_left() -> None:
    saved, left = 0, 0
    for index in range(400):
        alone = tell(11, index, WINDOW, Touches({}))
        if alone.churned_at is None or alone.subscriptions[0].end_kind != "voluntary":
            continue
        notice = alone.subscriptions[0].notice_at or 0
        key = ("health_dropped", alone.company.stripe_id)
        helped = tell(11, index, WINDOW, Touches({key: notice - 86_400}))
        left += 1
        saved += helped.subscriptions[0].notice_at != notice
    planted = next(item.effect for item in EFFECTS if item.trigger_name == "health_dropped")
    margin = 3 * (planted * (1 - planted) / left) ** 0.5
    print(f"\nkept {saved} of {left}; planted {planted}")
    assert abs(saved / left - planted) < margin


def test_one_effect_is_zero_and_changes_nothing() -> None:
    zero = [item for item in EFFECTS if item.effect == 0]
    assert len(zero) == 1
    everyone = {(zero[0].trigger_name, f"cus_{base36(i, 3)}"): WINDOW.start for i in range(20)}
    for index in range(20):
        alone, touched = (
            derive(tell(7, index, WINDOW, Touches(at)), 1.0)[0] for at in ({}, everyone)
        )
        assert alone.single == touched.single


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trigger_name,customer_id\n", "touched_at"),
        ("trigger_name,customer_id,touched_at\nx,cus_000,soon\n", "line 2"),
        ("trigger_name,customer_id,touched_at\nx,cus_000,2026-01-01\nx,cus_001\n", "line 3"),
    ],
)
def test_a_treated_file_that_cannot_be_read_is_named_with_its_fix(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "treated.csv"
    path.write_text(text)
    with pytest.raises(TreatedFileError, match=message):
        read_touches(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--customers", "0"],
        ["--customers", "99999"],
        ["--months", "2"],
        ["--until", "tomorrow"],
        ["--events-per-customer-scale", "0"],
        ["--treated-file", "missing.csv"],
        ["--seed", "-1"],
    ],
)
def test_a_wrong_argument_ends_with_one_message_and_code_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    index=st.integers(0, 46_655),
    until=st.dates(date(2024, 1, 1), date(2030, 12, 31)),
    months=st.integers(8, 30),
)
def test_any_customer_of_any_seed_and_window_can_be_told(
    seed: int, index: int, until: date, months: int
) -> None:
    window = Window.ending(until, months)
    rows, _ = derive(tell(seed, index, window, Touches({})), 1.0)
    for table, single in rows.single.items():
        landed = [int(row[LANDED_AT[table]] or 0) for row in single]
        assert max(landed) <= window.end
    for block in rows.blocks.get("segment.tracks", []):
        assert (block["timestamp"] >= window.start).all()
        assert (block["received_at"] <= window.end).all()


def test_local_offsets_agree_with_the_time_zone_database() -> None:
    for country in COUNTRIES.values():
        for zone in country.zones:
            offsets = zone.offsets(WINDOW)
            for day in range(WINDOW.days):
                noon = datetime.combine(WINDOW.first, datetime.min.time()) + timedelta(
                    days=day, hours=12
                )
                expected = noon.replace(tzinfo=ZoneInfo(zone.name)).utcoffset()
                assert timedelta(seconds=int(offsets[day])) == expected, (zone.name, noon)


@given(st.integers(0, 36**5 - 1))
def test_ids_are_the_same_one_by_one_and_many_at_once(number: int) -> None:
    (many,) = base36_array("t0ab", np.array([number]), 5)
    assert many == "t0ab" + base36(number, 5)


def test_a_month_later_keeps_the_day_or_takes_the_last() -> None:
    start = midnight(date(2026, 1, 31)) + 5
    assert add_months(start, 1) == midnight(date(2026, 2, 28)) + 5
    assert add_months(start, 2) == midnight(date(2026, 3, 31)) + 5
    assert add_months(start, -2) == midnight(date(2025, 11, 30)) + 5
