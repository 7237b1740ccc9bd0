"""Over random histories: nobody is written to too often, unasked, twice, or while held out."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.built_warehouse import BuiltWarehouse
from tests.decided_world import FIRST_DAY, Compiled, World, compile_decisions

DEFERRALS = {"quiet_hours", "capped", "outranked", "human_in_touch"}
CAPS = [
    ("commercial", "contact_id", 2, 7),
    ("commercial", "contact_id", 4, 30),
    ("commercial", "customer_id", 12, 7),
    ("service", "contact_id", 3, 7),
    ("service", "customer_id", 20, 7),
]
CLASS_OF = {
    "feature_unused": "commercial",
    "survey_due": "commercial",
    "onboarding_low_usage": "service",
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_decisions(tmp_path_factory.mktemp("decisions"))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_histories_keep_every_promise(compiled: Compiled, seed: int) -> None:
    with duckdb.connect(str(compiled.warehouse)) as connection:
        connection.execute("begin")
        world = World(connection, compiled, random.Random(seed))
        world.people()
        final: dict[str, str] = {}
        days: dict[date, dict[str, dict[str, Any]]] = {}
        for day in world.live():
            days[day] = decided = world.decide(day)
            again = world.decide(day)
            assert decided == again, "building a day twice decides the same"
            for event, row in decided.items():
                if event in final:
                    assert row["decision"] == final[event], "what is final stays"
                if row["is_final"]:
                    final[event] = row["decision"]
                assert row["is_final"] == (row["decision"] not in DEFERRALS)
        for day, decided in list(days.items())[::3]:
            world.open_on(day)
            assert world.decide(day) == decided, "a past day built again decides what it did"
        _check(world)
        connection.execute("rollback")


class Switched:
    """Six people who may be written to, one of whom falls behind every day."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.today = 0
        for number in range(6):
            person = f"p{number}"
            world.insert("marts.contacts", (person, "c0", "America/New_York", None, False, False))
            world.insert(
                "marts.contact_consents", (person, "email", "onboarding", True, "contract", None)
            )

    def day(self, switch: str = "") -> dict[str, str]:
        """What is decided about everybody so far, after what somebody edited in a rule file."""
        self.world.connection.execute(switch or "select 1")
        day = FIRST_DAY + timedelta(days=self.today)
        event = (f"e{self.today}", "c0", f"p{self.today}", day)
        self.world.insert("triggers.trg_onboarding_low_usage", event)
        self.today += 1
        return {key: row["decision"] for key, row in self.world.decide(day).items()}


STATE = "update rules.playbooks set state = '{}' where trigger_name = 'onboarding_low_usage'"
SWITCH = "update rules.thresholds set value = {} where rule = 'pause_everything'"


@pytest.mark.parametrize(
    ("off", "on"),
    [
        (STATE.format("shadow"), STATE.format("live")),
        (STATE.format("paused"), STATE.format("live")),
        (SWITCH.format(1), SWITCH.format(0)),
    ],
    ids=["shadow", "paused", "the one switch"],
)
def test_what_goes_live_sends_what_opens_from_then_on_and_nothing_of_before(
    compiled: Compiled, off: str, on: str
) -> None:
    with duckdb.connect(str(compiled.warehouse)) as connection:
        connection.execute("begin")
        switched = Switched(World(connection, compiled, random.Random(0)))
        assert switched.day() == {"e0": "send"}
        assert switched.day(off) == {"e0": "send", "e1": "paused"}
        assert switched.day(on) == {"e0": "send", "e1": "paused", "e2": "send"}
        assert switched.day() == {"e0": "send", "e1": "paused", "e2": "send", "e3": "send"}
        rows = switched.world.rows("select * from triggers.trigger_decisions_history")
        shadowed = {row["event_id"]: row["decision_if_live"] for row in rows}["e1"]
        assert shadowed == ("send" if "shadow" in off else "paused")
        connection.execute("rollback")


def _check(world: World) -> None:
    history = world.rows("select * from triggers.trigger_decisions_history")
    sent = [row for row in history if row["decision"] == "send"]
    assert len({row["event_id"] for row in sent}) == len(sent), "no event is sent twice"
    held = {
        (row["trigger_name"], row["customer_id"])
        for row in history
        if row["decision"] == "held_out"
    }
    assert not held & {(row["trigger_name"], row["customer_id"]) for row in sent}
    consents = {
        (row["contact_id"], row["purpose"]): row
        for row in world.rows("select * from marts.contact_consents")
    }
    for row in sent:
        assert row["decided_at"] < row["expires_at"]
        if CLASS_OF.get(row["trigger_name"]) == "commercial":
            consent = consents[row["contact_id"], "research"]
            assert consent["is_allowed"]
            assert consent["basis"] in ("opt_in", "soft_opt_in")
        if row["trigger_name"] == "onboarding_low_usage":
            assert consents[row["contact_id"], "onboarding"]["is_allowed"]
    _check_caps(world, sent)


def _check_caps(world: World, sent: list[dict[str, Any]]) -> None:
    """At each of our sends, all touches of the window before it are within the cap."""
    touches: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in world.rows("select *, occurred_at as at from marts.touchpoints"):
        touches["commercial"].append(row)
    for row in sent:
        if row["trigger_name"] in CLASS_OF:
            touches[CLASS_OF[row["trigger_name"]]].append(row | {"at": row["decided_at"]})
    for cap_class, scope, most, days in CAPS:
        for row in sent:
            if CLASS_OF.get(row["trigger_name"]) != cap_class:
                continue
            begins = row["decided_at"].date() - timedelta(days=days)
            counted = [
                touch
                for touch in touches[cap_class]
                if touch[scope] == row[scope]
                and begins < touch["at"].date()
                and touch["at"] <= row["decided_at"]
            ]
            assert len(counted) <= most, (cap_class, scope, days, row["event_id"])


def test_the_decision_words_are_those_that_the_yml_names() -> None:
    models = BuiltWarehouse(Path()).project / "models/triggers"
    sql = (models / "trigger_decisions.sql").read_text()
    yml = (models / "trigger_decisions.yml").read_text()
    listed = re.search(r"values: \[(send, .*?)\]", yml)
    assert listed
    assert set(re.findall(r"then '([a-z_]+)'", sql)) - {"paused"} <= set(listed[1].split(", "))


def test_episodes_of_health_and_no_others_open_silently_under_new_rules(
    compiled: Compiled,
) -> None:
    found = re.findall(
        r"'(\w+)' as trigger_name,.*?(\w+) as follows_health", compiled.episodes, re.S
    )
    assert {name for name, follows in found if follows == "true"} == {
        *("expansion_ready", "health_dropped", "loyalty_sinking", "risk_entered"),
        "sponsor_went_quiet",
    }
    assert len(found) > 20
    assert {follows for _, follows in found} == {"true", "false"}
