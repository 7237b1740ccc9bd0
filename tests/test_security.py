"""Nothing secret or personal is left where it does not belong: planted canaries are looked for."""

import json
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations import implementation
from reverse_etl.errors import Denied, Refused, UserError
from reverse_etl.http import HttpClient
from reverse_etl.rate import RateBudget
from reverse_etl.sandbox.server import Sandbox
from tests import forked
from tests.small_project import ALERTED, MAILED, SECRET, SmallProject

TOKEN = "canary-token-4711"
MAIL_KEY = "canary-mail-key-4711"
ADDRESS = "canary-4711@customer.example"
NAME = "Canarina Quatromil"
CANARIES = (TOKEN, MAIL_KEY, SECRET, SECRET.removeprefix("whsec_"), ADDRESS, NAME, "4711")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SmallProject]:
    with Sandbox(tmp_path / "sandbox.db") as sandbox:
        yield SmallProject(tmp_path / "project", sandbox)


def run(project: SmallProject, *arguments: str) -> str:
    done = forked.reverse_etl(*arguments, environment=project.process_environment)
    return done.stdout + done.stderr


def plant(project: SmallProject) -> None:
    """Canaries in every row and every credential."""
    sandbox = project.sandbox
    assert sandbox is not None
    project.environment |= {"HUBSPOT_ACCESS_TOKEN": TOKEN, "MAIL_KEY": MAIL_KEY}
    project.write_destinations(sandbox)
    configured = (project.root / "destinations.yml").read_text()
    configured = configured.replace(
        "unsubscribe_key: a key for tests", "unsubscribe_key: ${MAIL_KEY}"
    )
    (project.root / "destinations.yml").write_text(configured)
    project.contacts(30)
    project.run("update marts.contact_profiles set email = ?, firstname = ?", ADDRESS, NAME)
    project.run(
        "update marts.contact_profiles set email = i || ? from (select contact_id as who,"
        " row_number() over () as i from marts.contact_profiles) where contact_id = who",
        ADDRESS,
    )
    project.run(
        "update marts.contact_profiles set email = 'canary-4711 at nowhere'"
        " where contact_id in ('c_3', 'c_4')"
    )
    project.champions(1, 2, 3)
    for name, sync in (("trg_feature_unused", MAILED), ("trg_health_dropped", ALERTED)):
        project.episodes(name, sync, 3)
    project.run("update triggers.trg_feature_unused set email = ?, contact_name = ?", ADDRESS, NAME)


def written(project: SmallProject) -> dict[str, bytes]:
    """Every file this system left in the project, but the warehouse it was given."""
    return {
        str(path.relative_to(project.root)): path.read_bytes()
        for path in project.root.rglob("*")
        if path.is_file() and path.suffix not in (".duckdb", ".yml") and "target" not in path.parts
    }


def test_no_secret_and_no_payload_in_any_output_or_file(project: SmallProject) -> None:
    sandbox = project.sandbox
    assert sandbox is not None
    plant(project)
    said = run(project, "apply")  # the token is wrong: HubSpot says so
    project.environment["HUBSPOT_ACCESS_TOKEN"] = "sandbox-token"
    said += run(project, "apply", "--json")
    for name, sync in (("trg_feature_unused", MAILED), ("trg_health_dropped", ALERTED)):
        project.episodes(name, sync, 6)
    project.run("update triggers.trg_feature_unused set email = ?, contact_name = ?", ADDRESS, NAME)
    for vendor, kind, value in (
        ("webhook", "status", 500),
        ("webhook", "expired_token", 0),
        ("hubspot", "truncate", 0),
        ("smtp", "reset_after", 0),
    ):
        fault = {"vendor": vendor, "kind": kind, "value": value, "times": 2}
        assert requests.post(f"{sandbox.http_url}/_sandbox/faults", json=fault, timeout=5).ok
    project.run("update marts.contact_profiles set lastname = ?", NAME)
    for command in ("plan", "apply", "status", "deliveries", "doctor", "retry", "plan"):
        said += run(project, command)
        said += run(project, command, "--json")
    said += run(project, "explain", "c_3")
    assert "INVALID_EMAIL" in said  # the tool's own words are there
    assert "rejected" in said
    found = [canary for canary in CANARIES if canary in said]
    assert found == []
    for name, content in written(project).items():
        assert not [canary for canary in CANARIES if canary.encode() in content], name


def test_dagster_is_told_counts_and_words_only(project: SmallProject) -> None:
    from orchestration.outcomes import Told, outcome_metadata

    plant(project)
    project.environment["HUBSPOT_ACCESS_TOKEN"] = "sandbox-token"
    results = project.engine.apply()
    assert any(result.rejected for result in results)
    syncs = {sync.id: sync for sync in project.engine.syncs()}
    words = [Told.of(project.ledger, syncs[result.sync], result) for result in results]
    assert any(one.refused for one in words)
    shown = [outcome_metadata(*both) for both in zip(results, words, strict=True)]
    told = repr([[getattr(v, "value", v) for v in metadata.values()] for metadata in shown])
    assert any("refused rows" in metadata for metadata in shown)
    assert not [canary for canary in CANARIES if canary in told]


def test_every_file_it_writes_is_for_its_owner_alone(project: SmallProject) -> None:
    project.contacts(3)
    project.nodes["model.customer_success.contact_profiles"]["config"]["meta"]["sync"] = {
        "kind": "profile",
        "key": "contact_id",
        "destinations": ["outbox"],
    }
    project.write_manifest()
    project.ledger  # noqa: B018 - held open: the files beside it exist
    project.apply()
    files = [project.root / name for name in written(project) if name.startswith("data/")]
    assert {"ledger.db", "outbox__contact_profiles.jsonl", "last_run"} <= {f.name for f in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    server.settimeout(5)
    return server


def test_a_redirect_carries_the_credentials_nowhere() -> None:
    with listening() as first, listening() as second:
        target = f"http://127.0.0.1:{second.getsockname()[1]}/elsewhere"

        def serve() -> None:
            connection, _ = first.accept()
            with connection:
                connection.recv(65_536)
                lines = ("HTTP/1.1 307 Moved", f"Location: {target}", "Content-Length: 0", "", "")
                connection.sendall("\r\n".join(lines).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        client = HttpClient(
            f"http://127.0.0.1:{first.getsockname()[1]}",
            RateBudget([]),
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with pytest.raises(Refused, match="redirects are not followed"):
            client.request("POST", "/", {"a": 1})
        thread.join()
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.accept()


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run([*command, *files], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received = []
    with listening() as server:

        def serve() -> None:
            connection, _ = server.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    received.append(secured.recv(65_536))
            except (ssl.SSLError, OSError):
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Denied, match="certificate is not valid"):
            HttpClient(f"https://localhost:{server.getsockname()[1]}", RateBudget([])).request(
                "POST", "/", {"token": TOKEN}
            )
        thread.join()
    assert received in ([], [b""])


def webhook(url: str, **options: object) -> DestinationConfig:
    return DestinationConfig(
        "alerts",
        "webhook",
        "destinations.yml: destinations.prod.alerts",
        Path(),
        url=url,
        credentials={"secret": SECRET},
        options=options,
        is_production=True,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_webhook_into_a_private_network_is_refused_unless_it_is_meant(
    host: str, tmp_path: Path, project: SmallProject
) -> None:
    project.episodes("trg_health_dropped", ALERTED, 1)
    sync = project.engine.syncs()[0]
    change = _change()
    assert project.sandbox is not None
    port = project.sandbox.http_url.rsplit(":", 1)[1]
    private = webhook(f"http://{host}:{port}/webhook/alerts")
    destination = implementation("webhook")(private, project.ledger)
    if host == "[::1]":  # nobody listens there: it is refused before it is noticed, or unreachable
        with pytest.raises(Exception, match=r"private network|No connection"):
            destination.send(sync, [change])
        return
    with pytest.raises(Denied, match="allow_private_addresses"):
        destination.send(sync, [change])
    meant = webhook(f"http://{host}:{port}/webhook/alerts", allow_private_addresses=True)
    [outcome] = implementation("webhook")(meant, project.ledger).send(sync, [change])
    assert outcome.status == "delivered"


def _change() -> object:
    from reverse_etl.planner import Change

    return Change("event-1", "add", "f", {"event_id": "event-1", "customer_id": "cus_1"})


def test_credentials_do_not_leave_in_the_clear() -> None:
    with pytest.raises(UserError, match=r"base_url would send credentials in the clear"):
        _ = webhook("http://alerts.example/hook").base_url
    assert webhook("https://alerts.example/hook").base_url == "https://alerts.example/hook"


def test_a_value_is_never_read_as_a_template_or_a_header(project: SmallProject) -> None:
    project.episodes("trg_feature_unused", MAILED, 0)
    project.apply()
    project.episodes("trg_feature_unused", MAILED, 1)
    evil = "{{ 7 * 7 }}{% include 'layout.en.j2' %}"
    project.run(
        "update triggers.trg_feature_unused set contact_name = ?, customer_name = ?",
        evil,
        f"{evil}\r\nBcc: everybody@customer.example",
    )
    assert project.apply()["smtp/trg_feature_unused"].delivered == 1
    assert project.sandbox is not None
    [(recipients, text, headers)] = project.sandbox._store.rows(
        "select recipients, text, headers from mails"
    )
    assert json.loads(recipients) == ["p1@customer.example"]
    assert "49" not in text
    assert "{{ 7 * 7 }}" in text
    assert "bcc" not in {name.lower() for name, _ in json.loads(headers)}
