"""Slack: few messages for many alerts, each row accounted for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from reverse_etl.errors import UserError
from reverse_etl.sandbox.faults import Fault
from reverse_etl.sandbox.server import Sandbox
from tests.one_tool import OneTool
from tests.small_project import ALERTED, CHAMPIONS

SYNC = "slack/trg_health_dropped"
CHANNEL = "C0000000001"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> OneTool:
    return a_project(tmp_path, sandbox)


def a_project(path: Path, sandbox: Sandbox, **options: Any) -> OneTool:
    entry = {
        "base_url": f"{sandbox.http_url}/slack",
        "credentials": {"token": "xoxb-sandbox"},
        "options": {"channel": CHANNEL} | options,
    }
    project = OneTool(path, sandbox, tool="slack", entry=entry)
    alerts(project, 0)
    project.apply()
    return project


def alerts(project: OneTool, count: int) -> None:
    project.episodes("trg_health_dropped", ALERTED, count)


def messages(sandbox: Sandbox) -> list[dict[str, Any]]:
    rows = sandbox._store.rows("select properties from events order by id")
    return [json.loads(row["properties"]) for row in rows]


def counts(sandbox: Sandbox) -> dict[str, Any]:
    found = sandbox.counts()["slack"]
    assert found["violations"] == 0
    return found


def test_alerts_become_one_message_with_a_block_for_each_row(
    project: OneTool, sandbox: Sandbox
) -> None:
    alerts(project, 3)
    project.run("update triggers.trg_health_dropped set customer_name = '株式会社 <例> & Co'")
    assert project.apply()[SYNC].delivered == 3
    [message] = messages(sandbox)
    assert message["text"].startswith("Health dropped (3): 株式会社 &lt;例&gt; &amp; Co")
    heading, first, *_ = message["blocks"]
    assert heading["text"]["text"] == "Health dropped (3)"
    assert first["text"]["text"] == (
        "*株式会社 &lt;例&gt; &amp; Co*  (Owner)\nHealth score: 41.50\n"
        "Previous health score: 72.25\nHealth band: red\nReason: usage fell"
    )
    rows = project.ledger.acknowledged(SYNC).to_pylist()
    assert [row["state"] for row in rows] == ["acknowledged"] * 3


def test_messages_stay_within_slacks_limits(project: OneTool, sandbox: Sandbox) -> None:
    alerts(project, 100)
    project.run(
        "update triggers.trg_health_dropped set reason = repeat('あ', 5000) where customer_id ="
        " 'cus_7'"
    )
    assert project.apply()[SYNC].delivered == 100
    assert counts(sandbox) | {"requests": 0} == {
        "messages": {CHANNEL: 3},
        "rows": 100,
        "requests": 0,
        "violations": 0,
    }


def test_no_contact_is_named_in_a_message(project: OneTool, sandbox: Sandbox) -> None:
    alerts(project, 1)
    project.run(
        "create or replace table triggers.trg_health_dropped as select *,"
        " 'c_1' as contact_id, 'p1@customer.example' as email, '山田 花子' as contact_name"
        " from triggers.trg_health_dropped"
    )
    project.apply()
    text = json.dumps(messages(sandbox), ensure_ascii=False)
    assert "Customer 1" in text
    assert not re.search("p1@|山田|c_1", text)


def test_the_reason_is_told_in_the_configured_language(tmp_path: Path, sandbox: Sandbox) -> None:
    project = a_project(tmp_path, sandbox, language="ja")
    alerts(project, 1)
    project.run("alter table triggers.trg_health_dropped add column why_en varchar default 'less'")
    project.run("alter table triggers.trg_health_dropped add column why_ja varchar default '減少'")
    project.apply()
    text = json.dumps(messages(sandbox), ensure_ascii=False)
    assert "Why: 減少" in text
    assert "less" not in text


def test_each_owner_gets_one_message_and_an_unknown_owner_none(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    project = a_project(tmp_path, sandbox, to="owner")
    alerts(project, 6)
    project.run(
        "update triggers.trg_health_dropped set owner_email = case"
        " when customer_id in ('cus_1', 'cus_2') then 'Lead@Vendor.example'"
        " when customer_id = 'cus_3' then 'gone@vendor.example'"
        " when customer_id = 'cus_4' then null else owner_email end"
    )
    result = project.apply()[SYNC]
    assert (result.delivered, result.rejected) == (4, 2)
    assert counts(sandbox)["messages"] == {"U0000000001": 1, "U0000000002": 1}
    [letter, _] = project.ledger.dead_letters(SYNC).to_pylist()
    assert letter["code"] == "users_not_found"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"channel": "C0000000002"}, "bot is not in this channel"),
        ({"channel": "C0000000003"}, "is archived"),
        ({"channel": "nowhere"}, "does not show this channel"),
        ({"channel": None}, r"options\.channel is missing"),
        ({"to": "everybody"}, r"options\.to is 'everybody'"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_posted(
    project: OneTool, sandbox: Sandbox, options: dict[str, Any], expected: str
) -> None:
    project.write_destinations(sandbox, options={"channel": CHANNEL} | options)
    alerts(project, 1)

    def two_runs() -> None:
        """The first run in another channel is a baseline of its own."""
        project.apply()
        alerts(project, 2)
        project.apply()

    with pytest.raises(UserError, match=expected):
        two_runs()
    assert messages(sandbox) == []


def test_a_missing_scope_is_named(tmp_path: Path) -> None:
    portal = tmp_path / "portal.yml"
    own = (Path(__file__).parents[1] / "reverse_etl/sandbox/portal.yml").read_text()
    scopes = "[chat:write, users:read.email, channels:read]"
    assert scopes in own
    portal.write_text(own.replace(scopes, "[chat:write]"))
    with Sandbox(tmp_path / "sandbox.db", portal=portal) as sandbox:
        project = a_project(tmp_path / "project", sandbox, to="owner")
        alerts(project, 1)
        with pytest.raises(UserError, match=r"lacks the scope users:read\.email"):
            project.apply()
        project.write_destinations(sandbox, options={"channel": CHANNEL})
        alerts(project, 0)
        project.apply()
        alerts(project, 1)
        assert project.apply()[SYNC].delivered == 1


def test_a_wrong_token_stops_and_is_not_shown(project: OneTool, sandbox: Sandbox) -> None:
    project.write_destinations(sandbox, credentials={"token": "xoxb-wr0ng"})
    alerts(project, 2)
    result = project.apply()[SYNC]
    assert "invalid_auth" in result.error
    assert "wr0ng" not in result.error


def test_a_message_whose_answer_was_lost_is_unknown_and_not_repeated(
    project: OneTool, sandbox: Sandbox
) -> None:
    alerts(project, 3)
    sandbox.faults.armed.append(Fault(vendor="slack", kind="reset_after", path="postMessage"))
    assert project.apply()[SYNC].unknown == 3
    assert project.apply()[SYNC].planned == 0
    assert len(messages(sandbox)) == 1


@pytest.mark.parametrize("value", [429, 503])
def test_a_message_slack_did_not_take_is_sent_again_once(
    project: OneTool, sandbox: Sandbox, value: int
) -> None:
    alerts(project, 3)
    fault = Fault(vendor="slack", kind="status", value=value, path="postMessage")
    sandbox.faults.armed.append(fault)
    assert project.apply()[SYNC].delivered == 3
    assert len(messages(sandbox)) == 1


def test_the_pace_of_a_channel_is_kept_and_used(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        project = a_project(tmp_path / "project", sandbox)
        alerts(project, 48 * 5)
        result = project.apply()[SYNC]
        assert result.delivered == 240
        assert counts(sandbox)["messages"] == {CHANNEL: 5}
        assert 4.0 <= result.seconds <= 4.0 / 0.97 + 0.8


def test_the_twin_refuses_a_second_message_in_a_second(sandbox: Sandbox) -> None:
    url, headers = (
        f"{sandbox.http_url}/slack/chat.postMessage",
        {"Authorization": "Bearer xoxb-sandbox"},
    )
    body = {"channel": CHANNEL, "text": "hello"}
    assert requests.post(url, json=body, headers=headers, timeout=5).json()["ok"]
    refused = requests.post(url, json=body, headers=headers, timeout=5)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    body = {"channel": "C0000000002", "text": "hello"}
    answer = requests.post(url, json=body, headers=headers, timeout=5)
    assert answer.json() == {"ok": False, "error": "not_in_channel"}
    assert sandbox.counts()["slack"]["violations"] == 1


def test_slack_takes_triggers_only(project: OneTool) -> None:
    project.model("segments", "seg_x", CHAMPIONS | {"destinations": ["slack"]}, "select 1")
    with pytest.raises(UserError, match="takes no segment"):
        project.plan()
