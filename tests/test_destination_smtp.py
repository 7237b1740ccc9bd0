"""Mails: what arrives, in which language, and what can never get into a header."""

import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverse_etl import unsubscribe
from reverse_etl.errors import UserError
from reverse_etl.mail import TEMPLATES, Letters, Sender, Undeliverable
from reverse_etl.sandbox.server import Sandbox
from tests.small_project import MAILED, SmallProject

SYNC = "smtp/trg_feature_unused"
NOW = datetime(2026, 10, 28, tzinfo=UTC)
SENDER = Sender(
    "success@vendor.example",
    {"en": "Customer Success", "ja": "カスタマーサクセス"},
    {"en": "1 Example Street", "ja": "東京都例区1-1"},
)
ROW = {
    "event_id": "e_1",
    "contact_id": "c_1",
    "email": "hanako@customer.example",
    "contact_name": "山田 花子",
    "language": "ja",
    "customer_name": "例株式会社",
    "feature_name": "レポート",
    "days_unused": 45,
    "days_since_start": 12,
    "active_days_7d": 1,
    "active_days_28d": 20,
    "amount_due": "17160",
    "content_title": "はじめに",
    "content_url": "https://vendor.example/lesson",
    "currency": "JPY",
    "error_code": "E_QUOTA",
    "features_28d": 6,
    "has_reached_first_value": True,
    "idea_title": "リンクで共有",
    "key_features_used": 3,
    "milestone_uses": 10,
    "plan_name": "Team",
    "renewal_date": "2026-12-31",
    "seats_used": 12,
    "trial_end_date": "2026-10-31",
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield sandbox


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> SmallProject:
    project = SmallProject(tmp_path / "project", sandbox)
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    project.episodes("trg_feature_unused", MAILED, 3)
    return project


def compose(template: str = "feature_unused", **row: Any) -> EmailMessage:
    return Letters(SENDER).compose(
        template, ROW | row, sync=SYNC, opt_out="https://vendor.example/u?t=x", now=NOW
    )


def read(message: EmailMessage) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(message.as_bytes(), policy=policy.default))


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_mail_arrives_with_what_a_mail_program_needs(
    project: SmallProject, sandbox: Sandbox
) -> None:
    assert project.apply()[SYNC].delivered == 3
    raw = sandbox._store.rows("select raw from mails where language = 'ja'")[0]["raw"]
    mail = cast(EmailMessage, message_from_bytes(raw, policy=policy.default))
    assert mail["From"].addresses[0].display_name == "カスタマーサクセス"
    assert mail["To"].addresses[0].display_name == "山田 花子"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.fullmatch(r"<https://vendor.example/unsubscribe\?t=(.+)>", mail["List-Unsubscribe"])
    assert link is not None
    assert unsubscribe.contact_of(link[1], "a key for tests") == "c_2"
    assert mail["X-Sync"] == SYNC
    assert mail["Message-ID"].endswith("@vendor.example>")
    assert link[1] in body(mail, "plain")
    assert link[1] in body(mail, "html")


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    "template",
    sorted({p.name.split(".")[0] for p in TEMPLATES.glob("*.j2")} - {"layout"}),
)
def test_every_template_renders_in_both_languages_with_its_footer(
    template: str, language: str
) -> None:
    mail = read(compose(template, language=language))
    assert mail["Content-Language"] == language
    assert mail["Subject"].strip()
    for kind in ("plain", "html"):
        text = body(mail, kind)
        for part in (SENDER.postal_addresses[language], "https://vendor.example/u", "例株式会社"):
            assert part in text
        assert "{{" not in text
    assert "<html" not in body(mail, "plain")


@pytest.mark.parametrize(
    ("wanted", "written"),
    [("ja", "ja"), ("ja-JP", "ja"), ("JA_jp", "ja"), ("en-GB", "en"), ("fr", "en"), (None, "en")],
)
def test_a_language_without_a_template_reads_english(wanted: str | None, written: str) -> None:
    assert compose(language=wanted)["Content-Language"] == written


def test_the_same_event_has_the_same_message_id() -> None:
    assert compose()["Message-ID"] == compose(language="en")["Message-ID"]
    assert compose()["Message-ID"] != compose(event_id="e_2")["Message-ID"]


hostile = st.text(max_size=40) | st.sampled_from(
    [
        "x\r\nBcc: evil@example.com",
        "x\nSubject: y",
        "<script>alert(1)</script>",
        '"',
        "\0",
        "\u2028",
    ]
)


@given(name=hostile, customer=hostile)
def test_no_value_breaks_out_of_a_header_or_into_html(name: str, customer: str) -> None:
    mail = compose(contact_name=name, customer_name=customer, feature_name=customer, language="en")
    content = mail.as_bytes()
    head = content.partition(b"\r\n\r\n")[0]
    names = re.findall(rb"^([A-Za-z-]+):", head, re.MULTILINE)
    assert len(names) == len(set(names))
    assert b"bcc" not in [name.lower() for name in names]
    assert "<script" not in body(read(mail), "html")


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b\r\nBcc: c@example.com", "a@example.com, b@example.com", "a b@c.d"]
)
def test_an_address_that_is_none_is_refused(email: str) -> None:
    with pytest.raises(Undeliverable):
        compose(email=email)


def test_a_missing_variable_rejects_the_row_and_names_template_and_variable(
    project: SmallProject,
) -> None:
    project.run("alter table triggers.trg_feature_unused drop column days_unused")
    assert project.apply()[SYNC].rejected == 3
    letters = project.ledger.dead_letters(SYNC).to_pylist()
    assert {letter["message"] for letter in letters} == {
        "feature_unused.en.j2: 'days_unused' is undefined.",
        "feature_unused.ja.j2: 'days_unused' is undefined.",
    }


def test_recipients_who_bounce_or_are_busy_are_told_apart(
    project: SmallProject, sandbox: Sandbox
) -> None:
    for number, domain in ((1, "bounce.example"), (2, "busy.example")):
        project.run(
            "update triggers.trg_feature_unused set email = ? where contact_id = ?",
            f"p@{domain}",
            f"c_{number}",
        )
    result = project.apply()[SYNC]
    assert (result.delivered, result.rejected, result.retryable) == (1, 1, 1)
    [letter] = project.ledger.dead_letters(SYNC).to_pylist()
    assert (letter["code"], letter["message"]) == ("550", "5.1.1 The recipient does not exist")
    plan = project.plan()[SYNC]
    assert (plan.adds, plan.waiting) == (1, 1)


def test_a_connection_that_breaks_after_the_text_is_unknown_and_not_repeated(
    project: SmallProject, sandbox: Sandbox
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            """A server that takes the text of one mail and dies before its answer."""
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(b"220 hello\r\n")
                for line in lines:
                    command = line[:4].upper()
                    if command == b"DATA":
                        connection.sendall(b"354 go on\r\n")
                    elif line == b".\r\n":
                        return
                    elif command in (b"EHLO", b"MAIL", b"RCPT"):
                        connection.sendall(b"250 fine\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        project.run("delete from triggers.trg_feature_unused where contact_id != 'c_1'")
        url = f"smtp://127.0.0.1:{server.getsockname()[1]}"
        project.write_destinations(sandbox, smtp={"base_url": url})
        assert project.apply()[SYNC].unknown == 1
        thread.join()
    project.write_destinations(sandbox)
    result = project.apply()[SYNC]
    assert (result.planned, project.plan()[SYNC].unknown) == (0, 1)
    assert sandbox.counts()["smtp"]["mails"] == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:25"])
def test_an_address_without_a_known_scheme_is_refused(
    project: SmallProject, sandbox: Sandbox, url: str
) -> None:
    project.write_destinations(sandbox, smtp={"base_url": url})
    with pytest.raises(UserError, match="base_url"):
        project.apply()


def test_mails_in_the_clear_stay_on_this_machine_even_in_production(
    project: SmallProject, sandbox: Sandbox
) -> None:
    file = project.root / "destinations.yml"
    project.write_destinations(sandbox, smtp={"base_url": "smtp://mail.example.com"})
    file.write_text(file.read_text().replace("dev:", "prod:"))
    project.environment["DBT_TARGET"] = "prod"
    # Another account is a first run: its baseline is recorded without a single connection.
    project.apply()
    project.episodes("trg_feature_unused", MAILED, 5)
    with pytest.raises(UserError, match="in the clear"):
        project.apply()


@given(contact=st.text(min_size=1), key=st.text(min_size=1), noise=st.text())
def test_an_opt_out_token_is_read_back_and_no_other_text_is(
    contact: str, key: str, noise: str
) -> None:
    try:
        contact.encode(), key.encode(), noise.encode()
    except UnicodeEncodeError:
        return
    token = unsubscribe.token(contact, key)
    assert unsubscribe.contact_of(token, key) == contact
    assert unsubscribe.contact_of(token, key + "x") is None
    assert unsubscribe.contact_of(noise, key) is None
