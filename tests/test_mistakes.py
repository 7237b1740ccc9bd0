"""A user's mistake ends in one clear message and exit code 2, before anything is sent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ProjectCopy

CHAMPIONS = "dbt_project/models/segments/seg_champions.sql"


@pytest.fixture
def mistaken(project_copy: ProjectCopy) -> Iterator[ProjectCopy]:
    """The copy, with the files that a test breaks mended afterwards."""
    kept = {
        path: path.read_bytes()
        for folder in ("dbt_project/models/segments", "seeds/raw/stripe")
        for path in (project_copy.root / folder).iterdir()
    }
    destinations = project_copy.root / "destinations.yml"
    kept[destinations] = destinations.read_bytes()
    yield project_copy
    for path, content in kept.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


def refused(finished: subprocess.CompletedProcess[str], project: ProjectCopy, *words: str) -> None:
    told = finished.stdout + finished.stderr
    assert finished.returncode == 2, told
    assert "Traceback" not in told
    for word in words:
        assert word in told
    assert not Path(project.root, "data/warehouse.duckdb").exists(), "something was built"
    assert not Path(project.root, "data/sandbox.db").exists(), "something was sent"


def test_a_missing_raw_table_is_named_with_its_file_and_where_it_is_declared(
    mistaken: ProjectCopy,
) -> None:
    (mistaken.root / "seeds/raw/stripe/customer.csv").unlink()
    refused(
        mistaken.demo(),
        mistaken,
        "seeds/raw/stripe/customer.csv is missing",
        "dbt_project/models/staging/stripe/_stripe__sources.yml",
        "vars.sources",
    )


def test_a_missing_column_is_named_with_its_file(mistaken: ProjectCopy) -> None:
    mistaken.replace("seeds/raw/stripe/price.csv", "unit_amount", "amount_of_a_unit")
    refused(mistaken.demo(), mistaken, "seeds/raw/stripe/price.csv has no column 'unit_amount'")


def test_an_unset_credential_is_named_with_the_key_that_needs_it(mistaken: ProjectCopy) -> None:
    mistaken.replace(
        "destinations.yml", "${HUBSPOT_ACCESS_TOKEN:-sandbox-token}", "${HUBSPOT_ACCESS_TOKEN}"
    )
    refused(mistaken.demo(), mistaken, "HUBSPOT_ACCESS_TOKEN is not set", "destinations.yml")


def test_an_unknown_destination_is_named_with_the_model_and_the_known_ones(
    mistaken: ProjectCopy,
) -> None:
    mistaken.replace(CHAMPIONS, '"destinations": ["hubspot"]', '"destinations": ["hubspotte"]')
    refused(mistaken.demo(), mistaken, CHAMPIONS, "meta.sync.destinations[0]", "'hubspotte'")


def test_a_wrong_key_column_is_named_with_the_model_and_its_columns(mistaken: ProjectCopy) -> None:
    mistaken.replace(CHAMPIONS, '"key": "contact_id"', '"key": "contactid"')
    refused(mistaken.demo(), mistaken, CHAMPIONS, "meta.sync.key", "'contactid'", "customer_id")


def test_a_model_that_dbt_cannot_read_is_told_in_dbts_words(mistaken: ProjectCopy) -> None:
    mistaken.replace(CHAMPIONS, "ref('contacts')", "ref('contact')")
    refused(mistaken.demo(), mistaken, "seg_champions", "'contact'")


def test_a_day_that_is_no_date_is_named(mistaken: ProjectCopy) -> None:
    refused(mistaken.demo(AS_OF_DATE="28.10.2026"), mistaken, "AS_OF_DATE is '28.10.2026'")


def test_prod_has_no_demo(mistaken: ProjectCopy) -> None:
    refused(mistaken.demo(DBT_TARGET="prod"), mistaken, "DBT_TARGET is prod")
