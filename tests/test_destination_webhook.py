"""Webhooks against the sandbox's receiver and the specification's own library."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Oracle

from reverse_etl.destinations.webhook import sign
from reverse_etl.errors import UserError
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import ALERTED, SECRET, SmallProject


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> SmallProject:
    project = SmallProject(tmp_path / "project", sandbox)
    project.episodes("trg_health_dropped", ALERTED, 0)
    project.apply()
    project.episodes("trg_health_dropped", ALERTED, 2)
    return project


def test_the_signature_is_the_specifications() -> None:
    import base64

    at, body = datetime.now(UTC), b'{"name": "\xe5\xb1\xb1\xe7\x94\xb0"}'
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = Oracle(SECRET).sign("event-1", at, body.decode())
    assert sign(key, "event-1", str(int(at.timestamp())), body) == expected


def test_a_message_carries_type_time_and_all_columns(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.apply()
    [first, _] = sandbox._store.rows("select webhook_id, body from webhooks order by 1")
    message = json.loads(first["body"])
    assert first["webhook_id"] == "trg_health_dropped-1"
    assert message["type"] == "trigger.health_dropped"
    assert message["timestamp"] == "2026-10-27T10:00:00.000Z"
    assert message["data"]["health_score"] == "41.50"
    assert message["data"]["owner_email"] == "csm@vendor.example"


def test_a_lost_ledger_row_repeats_the_same_id_which_the_receiver_knows(
    project: SmallProject, sandbox: Sandbox
) -> None:
    project.apply()
    sync = "webhook/trg_health_dropped"
    project.ledger.intend("run", sync, [("trg_health_dropped-1", "add", "")], 1)
    assert project.apply()[sync].delivered == 1
    counts = sandbox.counts()["webhook"]
    assert (counts["received"], counts["duplicates"]) == (2, 1)


def test_an_endpoint_that_is_gone_rejects_with_advice(
    project: SmallProject, sandbox: Sandbox
) -> None:
    url = f"{sandbox.http_url}/webhook/gone"
    project.write_destinations(sandbox, webhook={"base_url": url})
    assert project.apply()["webhook/trg_health_dropped"].rejected == 2
    letters = project.ledger.dead_letters("webhook/trg_health_dropped").to_pylist()
    assert {letter["code"] for letter in letters} == {"410"}
    assert "disable this endpoint" in letters[0]["message"]


@pytest.mark.parametrize("secret", ["plain", "whsec_!!!", "whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused_without_being_shown(
    project: SmallProject, sandbox: Sandbox, secret: str
) -> None:
    project.write_destinations(sandbox, webhook={"credentials": {"secret": secret}})
    with pytest.raises(UserError, match=r"webhook.credentials.secret") as error:
        project.apply()
    assert secret not in str(error.value)
