"""Product events stage to the same rows, whichever tool collected them."""

from __future__ import annotations

import json

import pytest

from tests.dbt_run import run_dbt
from tests.raw_shapes import Row, Tables, landed
from tests.staging_project import SOURCES, Staging, staged

# what the tools of product events have in common
TWINS = {
    "stg_segment__tracks": "stg_posthog__events",
    "stg_segment__pages": "stg_posthog__page_views",
    "stg_segment__identifies": "stg_posthog__identifies",
    "stg_segment__groups": "stg_posthog__groups",
}

MOMENT, LATER = "2026-10-01 00:00:00", "2026-10-01 00:00:05"
WHO = {"anonymous_id": "d1", "user_id": "u1", "timestamp": MOMENT, "received_at": LATER}
# as a company has them that never sent a role, an industry or an error: those have no column
SEGMENT: Tables = {
    "tracks": [
        {"id": "e1", "event": "report_created", "context_group_id": "ws", **WHO},
        {"id": "e1", "event": "report_created", "context_group_id": "ws", **WHO},
        {"id": "e2", "event": "report_created", **WHO, "received_at": "2026-10-29 00:00:00"},
    ],
    "pages": [{"id": "e3", "path": "/pricing", **WHO}],
    "identifies": [{"id": "e4", "email": " A@Customer.example", "name": "A", **WHO}],
    "groups": [{"id": "e5", "group_id": "ws", "name": "Workspace", **WHO}],
}
PERSON = {"distinct_id": "u1", "timestamp": MOMENT, "bq_ingested_timestamp": LATER}
POSTHOG_EVENTS: list[tuple[Row, Row]] = [
    ({"uuid": "e1", "event": "report_created"}, {"$group_0": "ws"}),
    ({"uuid": "e1", "event": "report_created"}, {"$group_0": "ws"}),
    (
        {"uuid": "e2", "event": "report_created", "bq_ingested_timestamp": "2026-10-29 00:00:00"},
        {"$group_0": "ws"},
    ),
    ({"uuid": "e3", "event": "$pageview"}, {"$pathname": "/pricing"}),
    (
        {"uuid": "e4", "event": "$identify"},
        {"$anon_distinct_id": "d1", "$set": {"email": " A@Customer.example", "name": "A"}},
    ),
    (
        {"uuid": "e5", "event": "$groupidentify"},
        {"$group_key": "ws", "$group_set": {"name": "Workspace"}},
    ),
]


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Staging:
    return Staging(tmp_path_factory.mktemp("staging"))


@pytest.mark.parametrize("loader", ["segment", "rudderstack"])
def test_product_events_stage_alike_from_each_tool(staging: Staging, loader: str) -> None:
    """What PostHog lands gives the rows and the columns that Segment and RudderStack give."""
    of_rudderstack = {"uuid_ts": LATER, "original_timestamp": MOMENT}
    more = of_rudderstack if loader == "rudderstack" else {}
    segment = {table: [row | more for row in rows] for table, rows in SEGMENT.items()}
    posthog = {
        "events": [
            PERSON | event | {"properties": json.dumps({"$device_id": "d1"} | properties)}
            for event, properties in POSTHOG_EVENTS
        ]
    }
    raw = {"raw_segment": segment, "raw_posthog": posthog}
    warehouse = landed(staging.warehouse(), raw)
    sources = {
        name: {"enabled": f"raw_{name}" in raw, "loader": loader, "schema": f"raw_{name}"}
        for name in SOURCES
    }
    chosen = ("--select", "staging.segment", "staging.posthog")
    run_dbt(
        staging.root / "dbt_project",
        warehouse,
        "run",
        *chosen,
        "--vars",
        json.dumps({"sources": sources}),
    )
    rows = staged(warehouse, (*TWINS, *TWINS.values(), "stg_segment__errors"))
    assert rows["stg_segment__errors"] == []
    for model, twin in TWINS.items():
        assert rows[model], model
        # $group_0 of an event says too who is in which workspace
        known = [row for row in rows[twin] if row.get("group_call_id") != "e1"]
        assert known == rows[model], model
