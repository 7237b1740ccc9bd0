"""Reads the sample company's files for tests."""

import csv
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from seeds.sample_company.tables import LANDED_AT

ROOT = Path(__file__).parents[1]
SEEDS = ROOT / "seeds"
END = "2026-10-28 23:59:59"


@lru_cache(maxsize=64)
def read(table: str, root: Path = SEEDS / "raw") -> list[dict[str, str]]:
    with root.joinpath(*table.split(".")).with_suffix(".csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def truth(name: str) -> list[dict[str, str]]:
    return read(name, SEEDS / "truth")


def latest(table: str, key: str = "id") -> dict[str, dict[str, str]]:
    """The row landed last per key."""
    rows = sorted(read(table), key=lambda row: row[LANDED_AT[table]])
    return {row[key]: row for row in rows}


def versions() -> dict[str, list[dict[str, str]]]:
    """The versions of each subscription, in order of time."""
    unique = {
        (row["id"], row["_fivetran_start"]): row for row in read("stripe.subscription_history")
    }
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for key in sorted(unique):
        found[key[0]].append(unique[key])
    return found
