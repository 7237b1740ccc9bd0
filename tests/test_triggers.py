"""Triggers as files: each complete in all its places, and every mail of one safe to send."""

from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reverse_etl.mail import TEMPLATES, Letters, Sender
from tests.conftest import ROOT

FOLDER = ROOT / "dbt_project/models/triggers"
NAMES = sorted(file.stem.removeprefix("trg_") for file in FOLDER.glob("trg_*.sql"))
ASKED_FOR = [
    "welcome",
    "trial_ending",
    "onboarding_low_usage",
    "onboarding_step_stuck",
    "feature_unused",
    "stumbling_block_hit",
    "health_dropped",
    "risk_entered",
    "sponsor_went_quiet",
    "renewal_window_opened_decision_maker",
    "renewal_window_opened_operator",
    "upper_plan_pages_visited",
    "competitor_comparison_visited",
    "expansion_ready",
    "survey_due",
    "detractor_answered",
    "promoter_answered",
    "champion_earned",
    "idea_shipped",
    "loyalty_sinking",
    "payment_failed",
    "feature_milestone_reached",
]
SENDER = Sender(
    "success@vendor.example",
    {"en": "Customer Success", "ja": "カスタマーサクセス"},
    {"en": "1 Example Street", "ja": "東京都例区1-1"},
)
WRITER = Letters(SENDER)  # which reads each template once
OPT_OUT = "https://vendor.example/unsubscribe?t=x"


def sql(name: str) -> str:
    return (FOLDER / f"trg_{name}.sql").read_text()


def described(name: str) -> dict[str, Any]:
    text = (FOLDER / f"trg_{name}.yml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def columns(name: str) -> dict[str, str]:
    return {c["name"]: c["data_type"] for c in described(name)["models"][0]["columns"]}


def rule_rows(name: str) -> list[dict[str, str]]:
    with (ROOT / f"seeds/rules/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


PLAYBOOKS = {row["trigger_name"]: row for row in rule_rows("playbooks")}
MAILED = [name for name in NAMES if '"channel": "email"' in sql(name)]
LETTERS = [(name, language) for name in MAILED for language in ("en", "ja")]


def test_every_trigger_that_was_asked_for_is_there() -> None:
    assert sorted(ASKED_FOR) == NAMES


def test_the_variables_name_every_trigger_and_no_other() -> None:
    variables = yaml.safe_load((ROOT / "dbt_project/dbt_project.yml").read_text())["vars"]
    assert sorted(variables["triggers"]) == NAMES
    assert len(variables["triggers"]) == len(set(variables["triggers"]))


def test_what_fires_on_health_or_its_measures_reads_those_of_the_rules_in_force() -> None:
    """By that its episodes open silently under new rules: else those would alert people about
    customers who did not change."""
    reads = {n for n in NAMES if re.search(r"ref\('(customer_health_h|int_\w+_measured)", sql(n))}
    assert len(reads) > 3
    assert reads == {name for name in NAMES if "rules_version()" in sql(name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_trigger_has_a_playbook_of_its_channel(name: str) -> None:
    playbook = PLAYBOOKS[name]
    assert f'"channel": "{playbook["channel"]}"' in sql(name)
    assert playbook["success_metric"]
    assert int(playbook["expires_days"]) <= int(playbook["rearm_days"])


@pytest.mark.parametrize("name", NAMES)
def test_a_trigger_has_the_columns_that_decisions_and_channels_need(name: str) -> None:
    needed = {"event_id", "customer_id", "contact_id", "subject", "occurred_at", "customer_name"}
    needed |= {"reason"}
    channel = PLAYBOOKS[name]["channel"]
    needed |= {"email", "contact_name", "language"} if channel == "email" else set()
    needed |= {"owner_email", "owner_name"} if channel == "owner_alert" else set()
    assert needed <= set(columns(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_trigger_is_unit_tested_as_if_nothing_were_remembered(name: str) -> None:
    tests = described(name)["unit_tests"]
    assert tests
    for test in tests:
        assert test["overrides"]["macros"]["remembered"] is None
        assert test["overrides"]["vars"]["as_of_date"]


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_dated_by_its_own_day(name: str) -> None:
    text = sql(name)
    assert "is_candidate(" in text
    assert f"episodes('{name}', 'opened')" in text
    dated = re.search(r"cast\(identified\.opened_date as .*?\) as occurred_at", text)
    assert dated, "occurred_at is the day on which the episode opened"


@pytest.mark.parametrize(("name", "language"), LETTERS)
def test_a_trigger_that_mails_has_its_template(name: str, language: str) -> None:
    assert (TEMPLATES / f"{PLAYBOOKS[name]['template']}.{language}.j2").is_file()


def test_every_topic_that_a_trigger_draws_on_has_a_general_piece_in_both_languages() -> None:
    general = {
        (row["topic"], row["language"])
        for row in rule_rows("content")
        if not any(row[key] for key in ("feature", "error_code", "industry", "stage"))
    }
    drawn_on = {
        topic for name in NAMES for topic in re.findall(r"advised\('\w+', '(\w+)'", sql(name))
    }
    assert len(drawn_on) > 8
    for topic in drawn_on:
        assert {(topic, "en"), (topic, "ja")} <= general, topic


def test_every_key_feature_onboarding_step_and_error_of_the_product_has_its_own_advice() -> None:
    rows = rule_rows("content")
    for language in ("en", "ja"):
        own = [row for row in rows if row["language"] == language]
        advanced = {row["feature"] for row in own if row["topic"] == "advanced_use"}
        assert {f["feature"] for f in rule_rows("features") if f["is_key"] == "true"} <= advanced
        steps = {row["feature"] for row in own if row["topic"] == "onboarding_step"}
        assert {step["feature"] for step in rule_rows("onboarding_steps")} <= steps
        errors = {row["error_code"] for row in own if row["topic"] == "error_advice"}
        with (ROOT / "seeds/raw/segment/error_encountered.csv").open(newline="") as file:
            assert {row["error_code"] for row in csv.DictReader(file)} <= errors


def a_row(name: str, language: str, text: str) -> dict[str, Any]:
    """A row as the model's contract has it, with one text in every column of text."""
    examples: dict[str, Any] = {
        "string": text,
        "integer": 7,
        "boolean": True,
        "date": date(2026, 10, 31),
        "timestamp": datetime(2026, 10, 28, tzinfo=UTC),
    }
    row = {column: examples[kind] for column, kind in columns(name).items()}
    known = {"event_id": "e_1", "email": "hanako@customer.example", "language": language}
    known |= {"content_url": "https://vendor.example/lesson"} if "content_url" in row else {}
    return row | known


def compose(name: str, language: str, row: dict[str, Any]) -> EmailMessage:
    message = WRITER.compose(
        PLAYBOOKS[name]["template"],
        row,
        sync=f"smtp/trg_{name}",
        opt_out=OPT_OUT,
        now=datetime(2026, 10, 28, tzinfo=UTC),
    )
    return cast(EmailMessage, message_from_bytes(message.as_bytes(), policy=policy.default))


@cache
def plainly(name: str, language: str) -> EmailMessage:
    """The mail to somebody whose name is not odd."""
    return compose(name, language, a_row(name, language, "Example"))


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


class Tags(HTMLParser):
    """The tags of a document with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(("name", "language"), LETTERS)
def test_a_mail_is_complete_and_can_be_left_with_one_click(name: str, language: str) -> None:
    message = compose(name, language, a_row(name, language, "Example"))
    assert message["Content-Language"] == language
    assert message["List-Unsubscribe"] == f"<{OPT_OUT}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Subject"].strip()
    for kind in ("plain", "html"):
        text = body(message, kind)
        for needed in (OPT_OUT, SENDER.names[language], SENDER.postal_addresses[language]):
            assert needed in text, (kind, needed)
        assert ("https://vendor.example/lesson" in text) == ("content_url" in columns(name))
        assert "{{" not in text
        assert "{%" not in text
        assert "None" not in text


@pytest.mark.parametrize(("name", "language"), LETTERS)
def test_a_mail_reads_well_without_what_may_be_unknown(name: str, language: str) -> None:
    row = a_row(name, language, "Example")
    unknown = {"content_url", "content_title", "amount_due", "currency"} & set(row)
    text = body(compose(name, language, row | dict.fromkeys(unknown)), "plain")
    assert "None" not in text
    assert "\n\n\n" not in text
    assert "vendor.example/lesson" not in text


@pytest.mark.parametrize(("name", "language"), LETTERS)
@settings(max_examples=25, deadline=None)
@given(
    odd=st.one_of(
        st.sampled_from(
            [
                "Eve\r\nBcc: everybody@customer.example",
                "Eve\n\nSecond body",
                "<script>alert(1)</script>",
                '"><img src=x onerror=alert(1)>',
                "{{ 7 * 7 }}{% include 'layout.en.j2' %}",
                "{{ self.__class__.__mro__ }}",
                "O'Brien & Söhne <eve@customer.example>",
                "髙橋\u2028一郎\u0085\u202e",
                "a" * 2000,
            ]
        ),
        # lone surrogates are no text that a warehouse could hold
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    )
)
def test_no_name_gets_into_headers_tags_or_templates(name: str, language: str, odd: str) -> None:
    plain = plainly(name, language)
    message = compose(name, language, a_row(name, language, odd))
    assert message.keys() == plain.keys(), "a header more or less"
    assert message["To"].addresses[0].addr_spec == "hanako@customer.example"
    assert len(message["To"].addresses) == 1
    html = body(message, "html")
    expected, seen = Tags(body(plain, "html")), Tags(html)
    assert [tag for tag, _ in seen.seen] == [tag for tag, _ in expected.seen]
    assert [a for _, a in seen.seen if a != ()] == [a for _, a in expected.seen if a != ()]
    if "7 * 7" in odd:
        assert "{{ 7 * 7 }}" in body(message, "plain")
        assert "{{ 7 * 7 }}" in seen.text


def test_templates_of_mails_belong_to_a_trigger() -> None:
    used = {row["template"] or row["trigger_name"] for row in PLAYBOOKS.values()}
    for file in TEMPLATES.glob("*.j2"):
        template, language, _ = file.name.split(".")
        assert template == "layout" or template in used, file.name
        assert language in ("en", "ja")
        assert (Path(TEMPLATES) / f"{template}.{'ja' if language == 'en' else 'en'}.j2").is_file()
