"""A mail before anybody gets it: shown from the warehouse, and tried out on colleagues only."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from reverse_etl import unsubscribe
from reverse_etl.cli import app
from reverse_etl.errors import UserError
from reverse_etl.preview import NOBODY, Previewer
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import ALERTED, MAILED, SmallProject

HANAKO, ADAM = "c_hanako", "c_adam"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> SmallProject:
    project = SmallProject(tmp_path / "project", sandbox)
    project.run(
        "create table marts.customers as select 'k' as customer_id, '例株式会社' as customer_name"
    )
    project.run(
        "create table marts.contacts as select * from (values"
        f" ('{HANAKO}', 'k', 'hanako@customer.example', '山田 花子', 'ja'),"
        f" ('{ADAM}', 'k', 'adam@customer.example', 'Adam <b>Odd</b>', 'en'))"
        " as people(contact_id, customer_id, email, full_name, language)"
    )
    project.model(
        "triggers",
        "trg_feature_unused",
        MAILED,
        "select event_id, contact_id, 'k' as customer_id, 'hanako@customer.example' as email,"
        " '山田 花子' as contact_name, 'ja' as language, '例株式会社' as customer_name,"
        " feature_name, 45 as days_unused, occurred_at from (values"
        f" ('e_old', '{HANAKO}', '予測', timestamp '2026-10-01'),"
        f" ('e_new', '{HANAKO}', 'レポート', timestamp '2026-10-28'))"
        " as events(event_id, contact_id, feature_name, occurred_at)",
    )
    project.model("triggers", "trg_alarm", ALERTED, "select 'e' as event_id, 'k' as customer_id")
    return project


@pytest.fixture
def previewer(project: SmallProject) -> Previewer:
    return Previewer(project.settings)


def mails(sandbox: Sandbox) -> list[EmailMessage]:
    rows = sandbox._store.rows("select raw from mails")
    return [
        cast(EmailMessage, message_from_bytes(row["raw"], policy=policy.default)) for row in rows
    ]


def test_the_latest_episode_of_the_contact_is_shown(previewer: Previewer) -> None:
    shown = previewer.preview("feature_unused", HANAKO)
    assert shown.is_real
    assert "「レポート」が 45 日間" in shown.text
    assert "予測" not in shown.text
    assert shown.message["Content-Language"] == "ja"


def test_the_trigger_may_be_written_as_its_model_and_the_contact_as_their_address(
    previewer: Previewer,
) -> None:
    assert previewer.preview("trg_feature_unused", "Hanako@customer.example").is_real


def test_without_an_episode_the_contact_is_real_and_the_rest_an_example(
    previewer: Previewer,
) -> None:
    shown = previewer.preview("feature_unused", ADAM)
    assert not shown.is_real
    assert "Hello Adam <b>Odd</b>," in shown.text
    assert "[feature name]" in shown.text
    assert "レポート" not in shown.text, "another person's episode"
    assert "Adam &lt;b&gt;Odd&lt;/b&gt;" in shown.html


def test_a_preview_shows_no_address_and_its_link_opts_out_nobody(
    previewer: Previewer,
) -> None:
    shown = previewer.preview("feature_unused", HANAKO)
    assert "hanako@" not in shown.message.as_string()
    token = str(shown.message["List-Unsubscribe"]).strip("<>").partition("t=")[2]
    assert unsubscribe.contact_of(token, "a key for tests") == NOBODY


def test_it_can_be_read_in_another_language(previewer: Previewer) -> None:
    assert previewer.preview("feature_unused", HANAKO, "en").text.startswith("Hello 山田 花子,")


@pytest.mark.parametrize(
    ("trigger", "contact", "words"),
    [
        ("feature_unusd", HANAKO, ["no trigger 'feature_unusd'", "feature_unused"]),
        ("alarm", HANAKO, ["trg_alarm goes through webhook", "reverse-etl plan -s webhook/trg"]),
        ("feature_unused", "nobody@customer.example", ["No contact is known by"]),
    ],
)
def test_a_mistake_is_told_with_what_there_is(
    previewer: Previewer, trigger: str, contact: str, words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        previewer.preview(trigger, contact)
    for word in words:
        assert word in str(caught.value)


def test_a_test_mail_reaches_the_colleague_and_nobody_else(
    previewer: Previewer, sandbox: Sandbox, project: SmallProject
) -> None:
    outcome = previewer.send("feature_unused", HANAKO, "tester@vendor.example")
    assert outcome.status == "delivered"
    [mail] = mails(sandbox)
    assert [a.addr_spec for a in mail["To"].addresses] == ["tester@vendor.example"]
    assert mail["Subject"].startswith("[Test] 「レポート」")
    assert "hanako@customer.example" not in mail.as_string()
    assert project.engine.deliveries(None, None, 10) == [], "the ledger knows of no test"


def test_two_test_mails_are_two_mails(previewer: Previewer, sandbox: Sandbox) -> None:
    for _ in range(2):
        previewer.send("feature_unused", HANAKO, "tester@VENDOR.example")
    assert len({mail["Message-ID"] for mail in mails(sandbox)}) == 2


@pytest.mark.parametrize(
    "to",
    [
        "hanako@customer.example",
        "tester@sub.vendor.example",
        "tester@vendor.example.evil.example",
        "tester@evilvendor.example",
        "tester@vendor.example, hanako@customer.example",
        "tester@vendor.example\r\nBcc: hanako@customer.example",
        "Tester <tester@vendor.example>",
        "hanako@customer.example@vendor.example",
        "@vendor.example",
        "vendor.example",
        "tester@vendor.example ",
        "tester@vendör.example",
        "",
    ],
)
def test_no_test_mail_leaves_the_senders_own_domain(
    previewer: Previewer, sandbox: Sandbox, to: str
) -> None:
    with pytest.raises(UserError, match=r"goes only to one address at vendor\.example"):
        previewer.send("feature_unused", HANAKO, to)
    assert mails(sandbox) == []


def test_a_server_that_is_not_there_is_told_in_words(
    project: SmallProject, sandbox: Sandbox
) -> None:
    path = project.root / "destinations.yml"
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        path.write_text(path.read_text().replace(f":{sandbox.smtp_port}", f":{port}"))
        previewer = Previewer(project.settings)
    with pytest.raises(UserError, match="nothing was sent"):
        previewer.send("feature_unused", HANAKO, "tester@vendor.example")


@pytest.fixture
def run(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_the_commands_show_and_send(run: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    shown = run("preview", "feature_unused", ADAM, "--html", str(tmp_path / "mail.html"))
    assert shown.exit_code == 0, shown.output
    assert "values in [brackets] are examples" in shown.stdout
    assert (tmp_path / "mail.html").read_text().startswith("<!doctype html>")
    told = json.loads(run("preview", "feature_unused", HANAKO, "--json").stdout)
    assert told["is_real"] is True
    assert mails(sandbox) == []
    sent = run("test-send", "feature_unused", HANAKO, "--to", "tester@vendor.example")
    assert sent.stdout == "Sent to tester@vendor.example.\n"
    assert len(mails(sandbox)) == 1


def test_a_refusal_of_the_server_is_a_mistake_that_is_told(
    run: Any, project: SmallProject, sandbox: Sandbox
) -> None:
    path = project.root / "destinations.yml"
    path.write_text(path.read_text().replace("success@vendor.example", "me@bounce.example"))
    refused = run("test-send", "feature_unused", HANAKO, "--to", "tester@bounce.example")
    assert isinstance(refused.exception, UserError)
    assert "did not take it: 550" in str(refused.exception)
