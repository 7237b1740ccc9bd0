"""What comes back: opt-outs, bounces, complaints and clicks, from tools and from mails' links."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
import uvicorn
import yaml

from orchestration.deliveries import EXPORTS, export
from reverse_etl import unsubscribe
from reverse_etl.configuration import load_configuration
from reverse_etl.errors import Denied, UserError
from reverse_etl.feedback import Feedback
from reverse_etl.pulling import Feedbacks, opened
from reverse_etl.receiver import LARGEST_FORM, Receiver
from reverse_etl.sandbox.server import PORTAL, Sandbox
from reverse_etl.signatures import require_signature
from tests.one_tool import CREDENTIALS, OPTIONS
from tests.small_project import MAILED, SmallProject

AT = datetime.now(UTC).replace(microsecond=0)
KEY = CREDENTIALS["smtp"]["unsubscribe_key"]
UNHURRIED = [[10_000, 1]]
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    portal = yaml.safe_load(PORTAL.read_text())
    told = [
        {"metric": metric, "email": email, "datetime": AT.isoformat()}
        for metric, email in (
            ("Unsubscribed from Email Marketing", "P1@customer.example"),
            ("Clicked Email", "p3@customer.example"),
            ("Marked Email as Spam", "p4@customer.example"),
        )
    ]
    portal["klaviyo"] |= {
        "feedback": told,
        "tiers": dict.fromkeys(("xs", "s", "m", "l", "xl"), UNHURRIED),
        "job_seconds": 0,
    }
    bounced = {"email": "p2@customer.example", "hard_bounced_at": AT.isoformat()}
    portal["braze"] |= {"hard_bounces": [bounced]}
    (folder / "portal.yml").write_text(yaml.safe_dump(portal))
    with Sandbox(folder / "sandbox.db", portal=folder / "portal.yml") as sandbox:
        yield sandbox


class Tools(SmallProject):
    """Three tools that keep people, and mail."""

    def write_destinations(self, sandbox: Sandbox, **changes: Any) -> None:
        fast = {"windows": dict.fromkeys(("s", "m", "l", "xl"), UNHURRIED)}
        blocks: dict[str, Any] = {
            name: {
                "type": name,
                "base_url": f"{sandbox.http_url}/{name}",
                "credentials": CREDENTIALS[name],
            }
            for name in ("braze", "customer_io", "klaviyo")
        }
        blocks["klaviyo"]["options"] = fast
        blocks["smtp"] = {
            "type": "smtp",
            "base_url": f"smtp://127.0.0.1:{sandbox.smtp_port}",
            "credentials": CREDENTIALS["smtp"],
            "options": OPTIONS["smtp"],
        }
        for name, change in changes.items():
            blocks[name] |= change
        file = {"channels": {"email": "smtp"}, "destinations": {"dev": blocks}}
        (self.root / "destinations.yml").write_text(yaml.safe_dump(file))


@pytest.fixture
def project(tmp_path: Path, shared: Sandbox) -> Tools:
    shared.reset()
    project = Tools(tmp_path, shared)
    project.model(
        "marts",
        "contact_profiles",
        {
            "kind": "profile",
            "key": "contact_id",
            "destinations": ["braze", "customer_io", "klaviyo"],
        },
        "select 'c_' || i as contact_id, 'p' || i || '@customer.example' as email"
        " from range(1, 7) as t(i)",
    )
    project.run(
        "create table marts.contacts as select contact_id, email, 'cus_1' as customer_id"
        " from marts.contact_profiles"
    )
    project.apply()
    return project


def pulled(project: Tools, name: str | None = None) -> dict[str, tuple[int, int, int, str]]:
    results = Feedbacks(project.settings, clock=lambda: project.now).pull(name)
    return {r.destination: (r.new, r.stopped, r.told, r.error) for r in results}


def test_what_one_tool_knows_counts_for_all_and_is_told_to_the_others(
    project: Tools, shared: Sandbox
) -> None:
    found = pulled(project)
    assert found == {
        "braze": (1, 1, 2, ""),  # p2 bounced here; p1 and p4 are Klaviyo's
        "customer_io": (0, 0, 3, ""),
        "klaviyo": (3, 2, 1, ""),
    }
    everybody = {f"p{i}@customer.example" for i in range(1, 7)}
    stopped = {f"p{i}@customer.example" for i in (1, 2, 4)}
    assert project.ledger.suppressed(everybody) == stopped
    counts = shared.counts()
    assert counts["braze"]["unsubscribed"] == 2
    assert counts["klaviyo"]["unsubscribed"] == 1
    for _ in range(2):  # what a tool was told it lists as its own, which is no news
        assert set(pulled(project).values()) == {(0, 0, 0, "")}


def test_a_mail_is_not_sent_to_who_opted_out_before_the_next_build(project: Tools) -> None:
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    pulled(project)
    project.episodes("trg_feature_unused", MAILED, 4)
    result = project.apply()["smtp/trg_feature_unused"]
    assert (result.delivered, result.suppressed) == (1, 3)


def test_a_tool_out_of_order_stops_no_other_and_is_told_later(project: Tools) -> None:
    assert project.sandbox
    project.write_destinations(project.sandbox, klaviyo={"credentials": {"api_key": "wrong"}})
    found = pulled(project)
    assert found["braze"][:2] == (1, 1)
    assert "not_authenticated" in found["klaviyo"][3] or "key" in found["klaviyo"][3]
    project.write_destinations(project.sandbox)
    assert pulled(project)["klaviyo"] == (3, 2, 1, "")


def test_one_destination_alone_may_be_asked(project: Tools) -> None:
    assert pulled(project, "klaviyo")["klaviyo"][:2] == (3, 2)
    with pytest.raises(
        UserError, match=r"nowhere is not a destination\. Known destinations: braze"
    ):
        pulled(project, "nowhere")


def test_who_was_erased_does_not_come_back_through_feedback(project: Tools) -> None:
    pulled(project)
    ledger = project.ledger
    assert ledger.feedback.kept().num_rows == 4
    ledger.people.bury(["c_1", "p1@customer.example"])
    ledger.people.forget("c_1", ["p1@customer.example"])
    pulled(project)
    left = set(ledger.feedback.kept().column("email").to_pylist())
    assert left == {f"p{i}@customer.example" for i in (2, 3, 4)}


def test_the_warehouse_gets_each_fact_once(project: Tools) -> None:
    pulled(project)
    [feedback] = [one for one in EXPORTS if one.table == "feedback"]
    with duckdb.connect() as connection:
        for _ in range(2):
            export(connection, "raw_activation", "feedback", feedback.read(project.ledger))
        rows = connection.execute(
            "select destination, kind, email from raw_activation.feedback order by email"
        ).fetchall()
    assert rows == [
        ("klaviyo", "unsubscribed", "p1@customer.example"),
        ("braze", "bounced", "p2@customer.example"),
        ("klaviyo", "clicked", "p3@customer.example"),
        ("klaviyo", "complained", "p4@customer.example"),
    ]


# The service


@contextmanager
def receiving(project: Tools) -> Iterator[str]:
    configuration = load_configuration(project.settings)
    names = sorted(configuration.destinations)
    with (
        opened(project.settings, configuration, names, lambda: project.now) as (ledger, tools),
        socket.create_server(("127.0.0.1", 0)) as bound,
    ):
        app = Receiver(ledger, tools, lambda: project.now).app
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def url(project: Tools) -> Iterator[str]:
    with receiving(project) as address:
        yield address


def test_one_click_opts_out_and_everybody_else_hears_of_it(
    project: Tools, url: str, shared: Sandbox
) -> None:
    link = unsubscribe.link(f"{url}/unsubscribe", "c_5", KEY)
    for _ in range(2):  # mail programs repeat
        assert requests.post(link, data=ONE_CLICK, timeout=5).status_code == 200
    assert project.ledger.suppressed(["c_5"]) == {"c_5"}
    [fact] = project.ledger.feedback.kept().to_pylist()
    assert (fact["destination"], fact["kind"], fact["contact_id"]) == (
        "smtp",
        "unsubscribed",
        "c_5",
    )
    assert pulled(project)["customer_io"] == (0, 0, 4, "")
    sql = "select address from opt_outs where vendor = 'braze'"
    assert "p5@customer.example" in {row[0] for row in shared._store.rows(sql)}


@pytest.mark.parametrize(("language", "words"), [("en", "Unsubscribe"), ("ja-JP,en", "配信を停止")])
def test_a_look_at_the_page_changes_nothing(
    project: Tools, url: str, language: str, words: str
) -> None:
    link = unsubscribe.link(f"{url}/unsubscribe", "c_5", KEY)
    page = requests.get(link, headers={"Accept-Language": language}, timeout=5)
    assert page.status_code == 200
    assert words in page.text
    assert '<form method="post"' in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "c_5" not in page.text
    assert project.ledger.suppressed(["c_5"]) == set()
    assert project.ledger.feedback.kept().num_rows == 0


def forged() -> list[str]:
    good = unsubscribe.token("c_5", KEY)
    name, _, signature = good.partition(".")
    other = unsubscribe.token("c_6", KEY).partition(".")[2]
    flipped = signature[:-2] + ("AA" if signature[-2:] != "AA" else "BB")
    return [
        "",
        name,
        f"{name}.",
        f"{name}.{other}",
        f"{name}.{flipped}",
        unsubscribe.token("c_5", "another key"),
        "é.\x00",
        "<script>alert(1)</script>." + signature,
    ]


@pytest.mark.parametrize("token", forged())
def test_a_forged_token_opts_nobody_out(project: Tools, url: str, token: str) -> None:
    for method in ("GET", "POST"):
        given = {"t": token}
        answer = requests.request(
            method, f"{url}/unsubscribe", params=given, data=ONE_CLICK, timeout=5
        )
        assert answer.status_code == 400
        assert "<script>" not in answer.text
    assert project.ledger.suppressed(["c_5", "c_6"]) == set()


def test_a_post_that_is_no_click_opts_nobody_out(project: Tools, url: str) -> None:
    link = unsubscribe.link(f"{url}/unsubscribe", "c_5", KEY)
    assert requests.post(link, data={"hello": "there"}, timeout=5).status_code == 400
    assert requests.post(link, timeout=5).status_code == 400
    big = "x" * (LARGEST_FORM + 1)
    assert requests.post(link, data=ONE_CLICK | {"x": big}, timeout=5).status_code == 413
    assert project.ledger.suppressed(["c_5"]) == set()


def reported(metric: str = "unsubscribed", event_id: str = "E1", at: float | None = None) -> bytes:
    told = {
        "event_id": event_id,
        "object_type": "email",
        "metric": metric,
        "timestamp": int(at or time.time()),
        "data": {"recipient": "P6@customer.example"},
    }
    return json.dumps(told).encode()


def signed(body: bytes, key: str, at: float | None = None) -> dict[str, str]:
    stamp = str(int(at or time.time()))
    signature = hmac.new(key.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-CIO-Timestamp": stamp, "X-CIO-Signature": signature}


def test_a_signed_webhook_stops_a_person_at_once_and_once(project: Tools, url: str) -> None:
    body, key = reported(), CREDENTIALS["customer_io"]["webhook_key"]
    for _ in range(3):  # told again, as tools do, and by whoever listened in
        answer = requests.post(
            f"{url}/webhooks/customer_io", data=body, headers=signed(body, key), timeout=5
        )
        assert (answer.status_code, answer.json()) == (200, {"received": 1})
    assert project.ledger.feedback.kept().num_rows == 1
    assert project.ledger.suppressed(["p6@customer.example"]) == {"p6@customer.example"}


def test_a_webhook_that_nobody_signed_or_long_ago_is_refused(project: Tools, url: str) -> None:
    body, key = reported(), CREDENTIALS["customer_io"]["webhook_key"]
    late, early = time.time() - 400, time.time() + 400
    tries: list[tuple[str, bytes, dict[str, str], int]] = [
        ("customer_io", body, {}, 401),
        ("customer_io", body, signed(body, "another key"), 401),
        ("customer_io", body + b" ", signed(body, key), 401),
        ("customer_io", body, signed(body, key, late), 401),
        ("customer_io", body, signed(body, key, early), 401),
        ("customer_io", b"[]", signed(b"[]", key), 400),
        ("customer_io", b"{", signed(b"{", key), 400),
        ("smtp", body, {}, 401),
        ("nowhere", body, signed(body, key), 404),
        ("customer_io", b"x" * 1_000_001, {}, 413),
    ]
    for destination, sent, headers, status in tries:
        answer = requests.post(
            f"{url}/webhooks/{destination}", data=sent, headers=headers, timeout=5
        )
        assert answer.status_code == status, (destination, sent[:20], answer.text)
    assert project.ledger.feedback.kept().num_rows == 0


def test_the_same_fact_is_kept_once_whoever_tells_it_meanwhile(project: Tools) -> None:
    facts = [Feedback("f", "unsubscribed", "p6@customer.example", AT)] * 3
    ledgers, told = [project.ledger for _ in range(4)], ("klaviyo", "klaviyo:", facts)
    threads = [threading.Thread(target=one.feedback.keep, args=told) for one in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.ledger.feedback.kept().num_rows == 1


def test_an_empty_key_believes_nobody() -> None:
    assert unsubscribe.contact_of(unsubscribe.token("c_5", ""), "") is None
    body = reported()
    signature = hmac.new(b"", body, hashlib.sha256).hexdigest()
    with pytest.raises(Denied, match="No signing key"):
        require_signature("", body, signature)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_both_commands_do_it_from_a_shell(project: Tools) -> None:
    port = free_port()
    shell: dict[str, Any] = {"env": project.process_environment, "cwd": project.root, "text": True}
    service = subprocess.Popen(project.command("receive", "--port", str(port)), **shell)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{url}/health", timeout=1).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
        link = unsubscribe.link(f"{url}/unsubscribe", "c_6", KEY)
        assert requests.post(link, data=ONE_CLICK, timeout=5).status_code == 200
    finally:
        service.terminate()
        service.wait(20)
    done = subprocess.run(
        project.command("pull", "klaviyo", "--json"), capture_output=True, check=False, **shell
    )
    assert done.returncode == 0, done.stderr
    told = {line["destination"]: line for line in json.loads(done.stdout)}
    assert (told["klaviyo"]["new"], told["klaviyo"]["stopped"]) == (3, 2)
    assert told["braze"]["told"] == 3  # p1 and p4 of Klaviyo's, and c_6 of the mail's
    assert project.ledger.suppressed(["c_6"]) == {"c_6"}
    wrong = subprocess.run(
        project.command("pull", "--since", "soon"), capture_output=True, check=False, **shell
    )
    assert (wrong.returncode, "--since is 'soon'" in wrong.stderr) == (2, True)
