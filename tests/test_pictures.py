"""Pictures of what was measured: images that a page shows without fetching anything."""

from __future__ import annotations

import base64
import re
from datetime import date
from xml.etree import ElementTree

import pytest

from orchestration.charts import DRAWN
from orchestration.pictures import PICTURES

DAYS = [date(2026, 10, 27), date(2026, 10, 28)]
ROWS = {
    "segment_sizes": [(day, name, size) for day in DAYS for name, size in (("先頭", 3), ("b", 0))],
    "health_distribution": [(day, "healthy", 7) for day in DAYS] + [(DAYS[1], "risk", 2)],
    "stage_funnel": [("onboarding", 9, 4), ("adoption", 5, 3)],
    "backtest": [(0, 0.8, 0.7, 0.9, 0.75), (30, 0.7, 0.6, 0.8, None)],
    "trigger_lift": [("welcome", "used", 0.2, 0.1, 0.3, "lift"), ("x", "m", None, None, None, "?")],
}


def svg(markdown: str) -> str:
    found = re.fullmatch(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found
    text = base64.b64decode(found[1]).decode()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    # namespaces are names; nothing is to be fetched
    assert not re.findall(r"(?:href|src)=\"http|url\(http|@import", text)
    return text


@pytest.mark.parametrize("name", [one.name for one in PICTURES])
def test_rows_become_one_image_that_says_what_they_say(name: str) -> None:
    text = svg(DRAWN[name](ROWS[name]))
    words = {
        "segment_sizes": ("先頭", "members"),
        "health_distribution": ("healthy", "risk"),
        "stage_funnel": ("onboarding", "adoption", ">3<"),
        "backtest": ("AUC", "chance"),
        "trigger_lift": ("welcome, used", "?"),
    }[name]
    assert all(word in text for word in words)
    assert len(text) < 100_000


@pytest.mark.parametrize("name", [one.name for one in PICTURES])
def test_nothing_measured_yet_is_an_empty_picture_and_no_error(name: str) -> None:
    assert svg(DRAWN[name]([]))


def test_the_same_rows_make_the_same_picture() -> None:
    assert len({DRAWN["stage_funnel"](ROWS["stage_funnel"]) for _ in range(2)}) == 1
