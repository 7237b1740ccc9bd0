"""Each tool's rate is used to 97% and never passed, as the tool itself counts. Time is scaled: both
sides share a clock that moves when somebody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from reverse_etl.destinations import implementation
from reverse_etl.destinations import slack as slack_module
from reverse_etl.destinations.base import Limits
from reverse_etl.rate import RateBudget
from reverse_etl.sandbox.server import PORTAL, Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.one_tool import OPTIONS, TRIGGER, OneTool


class Time:
    """Waiting moves it; two who wait at once wait together, and no call lasts as long as a wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.budgets: list[RateBudget] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while any(budget._running for budget in list(self.budgets)):
            time.sleep(0.0005)
        with self._lock:
            self.now = max(self.now, until)


@dataclass(frozen=True)
class Pace:
    """``calls`` in ``seconds`` are what the vendor documents or, where it advises less, advises;
    of the calls whose path holds ``path``. ``limit`` is what its twin refuses beyond."""

    calls: int
    seconds: float
    path: str = ""
    limit: RateLimit | None = None
    options: dict[str, Any] = field(default_factory=dict)
    portal: dict[str, Any] = field(default_factory=dict)
    model: str = "profile"
    windows: int = 4


PACES = {
    # 190 in 10 s, told by the portal's headers; a tenth of both is as fast
    "hubspot": Pace(19, 1.0, "", RateLimit(19, 1.0)),
    # 3,000 in 3 s: so many fewer, and the same arithmetic
    "customer_io": Pace(
        30, 1.0, "/api/v2/batch", RateLimit(30, 1.0), {"windows": {"track": [[30, 1]]}}
    ),
    "braze": Pace(
        30, 0.03, "/users/track", RateLimit(30, 0.03), {"windows": {"track": [[30, 0.03]]}}
    ),
    # 10 in a second and 150 in a minute: the minute is what counts in the long run
    "klaviyo": Pace(
        30,
        12.0,
        "/event-bulk-create-jobs",
        None,
        {"windows": {"m": [[10, 1], [30, 12]]}},
        {"tiers": {"m": [[10, 1], [30, 12]]}, "job_seconds": 0},
        "trigger",
    ),
    # 100 in 20 s, of which Marketo advises to use half
    "marketo": Pace(50, 20.0, "", RateLimit(100, 20.0), {"calls_in_20_s": 50}),
    "slack": Pace(1, 1.0, "/chat.postMessage", None, {}, {}, "alert", windows=20),
    "webhook": Pace(20, 1.0, "", None, {"calls_per_second": 20}),
    "smtp": Pace(20, 1.0, "", None, {"mails_per_second": 20}, {}, "mail"),
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    shared = Time()
    original = RateBudget.__init__

    def init(self: RateBudget, windows: Any, *_: Any, quota: Any = None) -> None:
        original(self, windows, shared, shared.sleep, quota)
        shared.budgets.append(self)

    monkeypatch.setattr(RateBudget, "__init__", init)
    return shared


def one_row_a_call(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    kind = implementation(tool)
    original: Callable[..., Limits] = kind.limits
    monkeypatch.setattr(
        kind, "limits", lambda self, kind_: replace(original(self, kind_), batch_rows=1)
    )
    monkeypatch.setattr(slack_module, "ROWS_A_MESSAGE", 1)


def told(project: OneTool, model: str, count: int) -> None:
    """So many calls' worth of rows."""
    trigger: dict[str, Any] = {"kind": "trigger", "key": "event_id", "channel": "automation"}
    if model == "profile":
        project.profiles(count)
    elif model == "trigger":  # all of one person, who is asked for once
        project.profiles(1)
        project.episodes(TRIGGER, trigger, count)
        project.run(f"update triggers.{TRIGGER} set contact_id = 'c_1'")
    elif model == "mail":
        project.episodes("trg_feature_unused", trigger | {"template": "feature_unused"}, count)
    else:
        project.episodes("trg_health_dropped", trigger, count)


def moments(sandbox: Sandbox, tool: str, path: str) -> list[float]:
    """When the tool was called, by its clock."""
    if tool == "smtp":
        rows = sandbox._store.rows("select received_at as at from mails order by id")
    else:
        rows = sandbox._store.rows(
            "select at from requests where vendor = ? and path like ? order by id",
            (tool, f"%{path}%"),
        )
    return [datetime.fromisoformat(row["at"]).timestamp() for row in rows]


@pytest.mark.parametrize("tool", sorted(PACES))
def test_97_percent_of_the_rate_is_used_and_never_more(
    tmp_path: Path, clock: Time, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    pace, began = PACES[tool], time.time()
    portal = yaml.safe_load(PORTAL.read_text())
    portal[tool] |= pace.portal
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    limits = {tool: pace.limit} if pace.limit else {}
    with Sandbox(
        tmp_path / "sandbox.db",
        limits=limits,
        portal=tmp_path / "portal.yml",
        clock=lambda: began + clock(),
    ) as sandbox:
        project = OneTool(tmp_path / "project", sandbox)
        project.serve(tool, options={**OPTIONS.get(tool, {}), **pace.options})
        if pace.model != "profile":
            told(project, pace.model, 0)
            project.apply()
        one_row_a_call(monkeypatch, tool)
        told(project, pace.model, pace.calls * pace.windows + 1)
        results = project.apply().values()
        assert all(result.is_clean for result in results), results
        at = moments(sandbox, tool, pace.path)
        documented = pace.calls / pace.seconds
        used = (len(at) - 1) / (at[-1] - at[0])
        assert len(at) > pace.calls * pace.windows
        assert used >= 0.97 * documented, f"{used / documented:.1%}"
        most = max(sum(m <= other < m + pace.seconds * 0.999 for other in at) for m in at)
        assert most <= pace.calls
        assert sandbox.counts()[tool].get("violations", 0) == 0


def test_the_days_calls_are_used_up_to_the_share_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_row_a_call(monkeypatch, "salesforce")
    limits = {"salesforce": RateLimit(None, 1, 400)}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        project = OneTool(tmp_path / "project", sandbox)
        project.serve("salesforce")
        project.profiles(400)
        assert project.apply()["salesforce/contact_profiles"].error.startswith("daily limit")
        found = sandbox.counts()["salesforce"]
        assert 0.97 * 360 <= found["requests"] <= 360
        assert found["violations"] == 0


def test_no_more_connections_are_open_than_mailchimp_takes(tmp_path: Path) -> None:
    portal = yaml.safe_load(PORTAL.read_text())
    portal["mailchimp"] |= {"latency_seconds": 0.05}
    (tmp_path / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(tmp_path / "sandbox.db", portal=tmp_path / "portal.yml") as sandbox:
        project = OneTool(tmp_path / "project", sandbox)
        project.serve("mailchimp")
        project.profiles(1)
        told(project, "trigger", 0)
        project.apply()
        told(project, "trigger", 80)
        began = time.monotonic()
        assert project.apply()[f"mailchimp/{TRIGGER}"].delivered == 80
        assert time.monotonic() - began < 80 * 0.05  # eight at a time, not one after the other
        assert sandbox.counts()["mailchimp"]["violations"] == 0
