"""What must hold of every tool that keeps people, whatever becomes of a call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reverse_etl.destinations import implementation
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import PORTAL, Sandbox
from tests.one_tool import CREDENTIALS, TRIGGER, OneTool

TOOLS = ["braze", "customer_io", "klaviyo"]
FAULTS: list[tuple[str, float]] = [
    ("latency", 0.2),
    ("status", 429),
    ("status", 500),
    ("status", 503),
    ("reset_before", 0),
    ("reset_after", 0),
    ("truncate", 0),
]
FAST = {name: [[10_000, 1]] for name in ("xs", "s", "m", "l", "xl")}
EVENTS = {"customer_io": "/api/v2/batch", "klaviyo": "/event-bulk", "braze": "/users/track"}
UNHURRIED: dict[str, list[list[int]]] = {part: [[10_000, 1]] for part in ("track", "export")}


def every_part(tool: str) -> dict[str, list[list[int]]]:
    """No limit on any part of a tool's API."""
    return {part: [[10_000, 1]] for part in implementation(tool).documented}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    portal["klaviyo"] |= {"tiers": FAST, "job_seconds": 0}
    portal["customer_io"] |= {"app_windows": [[10_000, 1]]}
    portal["braze"] |= {"windows": UNHURRIED}
    (folder / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(folder / "sandbox.db", portal=folder / "portal.yml") as sandbox:
        yield sandbox


@pytest.fixture(params=TOOLS)
def project(request: Any, tmp_path: Path, shared: Sandbox) -> OneTool:
    shared.reset()
    project = OneTool(tmp_path, shared)
    project.serve(request.param, options={"windows": every_part(request.param)})
    return project


def members(project: OneTool) -> int:
    counts = project.counts
    return int(counts.get("lists", counts.get("flags", {})).get("Champions", 0))


def filled(project: OneTool) -> None:
    """People, a list and a trigger past its first run."""
    project.profiles(20)
    project.members(1, 2, 3)
    project.events(0)
    project.apply()
    assert (project.counts["people"], members(project)) == (20, 3)


@pytest.mark.parametrize(("kind", "value"), FAULTS)
def test_people_and_lists_end_as_the_models_have_them(
    project: OneTool, kind: str, value: float
) -> None:
    times = 2  # the first try and the second
    project.profiles(20)
    project.members(*range(1, 8))
    project.arm(kind, value=value, times=times)
    project.apply()
    for _ in range(2):
        project.apply()
    assert (project.counts["people"], members(project)) == (20, 7)
    project.members(1, 2, budget={"share": 1})
    project.arm(kind, value=value, times=times)
    project.apply()
    project.apply()
    assert members(project) == 2
    assert project.counts["violations"] == 0
    assert all(plan.size == 0 for plan in project.plan().values())


@pytest.mark.parametrize(("kind", "value"), FAULTS)
def test_no_event_is_lost_or_sent_twice(project: OneTool, kind: str, value: float) -> None:
    filled(project)
    project.events(5)
    project.arm(kind, value=value, path=EVENTS[project.tool])
    first = project.result(TRIGGER)
    project.apply()
    arrived = sum(project.counts["events"].values())
    is_known = project.destination.dedupe_field is not None
    if is_known or not first.unknown:
        assert arrived == 5
    else:
        assert arrived == (5 if kind in ("reset_after", "truncate") else 0)
        assert first.unknown == 5
    assert project.counts.get("events_dropped", 0) == 0


def test_nothing_is_sent_again_that_did_not_change(project: OneTool) -> None:
    filled(project)
    before = project.counts["requests"]
    results = project.apply()
    assert all(result.planned == 0 for result in results.values())
    assert project.counts["requests"] == before


def test_totals_are_what_the_tool_counts(project: OneTool) -> None:
    filled(project)
    project.events(5)
    project.apply()
    syncs = {sync.id: sync for sync in project.engine.syncs()}
    counts = {
        syncs[f"{project.tool}/contact_profiles"]: {"": 20},
        syncs[f"{project.tool}/seg_champions"]: {"": 3},
        syncs[f"{project.tool}/{TRIGGER}"]: {"": 5},
    }
    totals = project.destination.totals(counts)
    assert totals == {
        "people": project.counts["people"],
        "customers": 0,
        "lists": {"Champions": members(project)},
        "events": project.counts["events"],
    }


def test_no_secret_is_in_what_is_said_of_a_failure(project: OneTool) -> None:
    project.profiles(1)
    project.arm("status", value=400, times=50)
    project.apply()
    told = " ".join(project.letters.values())
    secrets = [v for v in CREDENTIALS[project.tool].values() if len(v) > 8]
    assert not [secret for secret in secrets if secret in told]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"nowhere": [[1, 1]]}, r"options\.windows is 'nowhere', which does not exist"),
        ({"track": 3}, r"options\.windows\.\w+ must be a list"),
        ({"track": [["many", 1]]}, r"options\.windows\.\w+ must be a list"),
    ],
)
def test_windows_that_are_none_are_named(
    project: OneTool, written: dict[str, Any], told: str
) -> None:
    if project.tool == "klaviyo" and "track" in written:
        written = {"m": written["track"]}
    project.serve(project.tool, options={"windows": written})
    project.profiles(1)
    with pytest.raises(UserError, match=told):
        project.apply()


def test_a_wrong_address_is_found_before_anything_is_sent(project: OneTool) -> None:
    assert project.sandbox is not None
    project.serve(project.tool, base_url=f"{project.sandbox.http_url}/nowhere")
    project.profiles(100)
    result = project.result("contact_profiles")
    assert (result.delivered, result.rejected) == (0, 0)
    assert result.error


def test_a_credential_that_is_not_set_is_named_before_anything_is_sent(
    project: OneTool,
) -> None:
    names = CREDENTIALS[project.tool]
    project.serve(project.tool, credentials=dict.fromkeys(names, "${NOT_SET}"))
    project.profiles(1)
    with pytest.raises(UserError, match="NOT_SET is not set"):
        project.apply()
    assert project.counts["requests"] == 0
