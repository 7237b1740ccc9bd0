"""How limits are read from headers, shared by an account's syncs and remembered between runs."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from reverse_etl import pacing
from reverse_etl.addresses import is_public
from reverse_etl.errors import Denied, QuotaSpent, RateLimited, Unknown
from reverse_etl.http import HttpClient
from reverse_etl.ledger import Ledger
from reverse_etl.quota import Quota
from reverse_etl.rate import Budgets, RateBudget, Window
from reverse_etl.sandbox.server import Sandbox
from reverse_etl.sandbox.vendor import RateLimit
from tests.small_project import SmallProject

DATE = "Wed, 28 Oct 2026 10:00:00 GMT"
EPOCH = int(datetime(2026, 10, 28, 10, tzinfo=UTC).timestamp())


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "Wed, 28 Oct 2026 10:00:09 GMT", "Date": DATE}, 9),
        ({"Retry-After": "Wed, 28 Oct 2026 09:00:00 GMT", "Date": DATE}, 0),
        ({"X-Ratelimit-Retry-After": "4"}, 4),
        ({"retry-after-ms": "250"}, 0.25),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH + 5), "Date": DATE}, 5),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH + 5}000", "Date": DATE}, 5),
        ({"x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "12"}, 12),
        ({"RateLimit-Limit": "10, 10;w=1", "RateLimit-Remaining": "0", "RateLimit-Reset": "1"}, 1),
        ({"RateLimit-Policy": '"a";q=10;w=60', "RateLimit": '"a";r=0;t=30'}, 30),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({}, None),
    ],
)
def test_every_spelling_of_a_pause_is_read(headers: dict[str, str], pause: float | None) -> None:
    assert pacing.pause_asked(CaseInsensitiveDict(headers)) == pause


def test_a_tool_whose_clock_is_wrong_is_read_by_its_own_clock() -> None:
    past = {"Date": "Thu, 01 Jan 2015 00:00:00 GMT", "Retry-After": "Thu, 01 Jan 2015 00:00:30 GMT"}
    assert pacing.pause_asked(past) == 30


def test_calls_left_are_not_exceeded_before_the_tool_counts_anew() -> None:
    time = Time()
    budget = RateBudget([], time, time.sleep)
    with budget.call():
        pass
    budget.grant(2, 30.0)
    starts = []
    for _ in range(3):
        with budget.call():
            starts.append(time())
    assert starts == [0.0, 0.0, 30.0]


def test_calls_that_started_later_than_the_answered_one_count_too() -> None:
    time = Time()
    budget = RateBudget([], time, time.sleep)
    first_started, others_done = threading.Event(), threading.Event()

    def slow() -> None:
        with budget.call():
            first_started.set()
            others_done.wait(5)
        budget.grant(3, 10.0)  # counted by the tool before the two others came

    thread = threading.Thread(target=slow)
    thread.start()
    first_started.wait(5)
    for _ in range(2):
        with budget.call():
            pass
    others_done.set()
    thread.join()
    starts = []
    for _ in range(2):
        with budget.call():
            starts.append(time())
    assert starts == [0.0, 10.0]


def test_a_long_pause_is_not_slept_through(tmp_path: Path) -> None:
    budget = RateBudget([])
    budget.pause(3_600)
    with pytest.raises(RateLimited, match="3600 s") as error, budget.call():
        pass
    assert error.value.retry_after == pytest.approx(3_600, abs=1)


class Today:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 28, 22, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def ledger(folder: Path) -> Ledger:
    return Ledger(f"sqlite:///{folder / 'ledger.db'}")


def spent(quota: Quota) -> int:
    calls = 0
    try:
        while True:
            quota.take()
            calls += 1
    except QuotaSpent:
        return calls


def test_a_day_holds_its_calls_across_runs_and_the_next_day_has_its_own(tmp_path: Path) -> None:
    today, memory = Today(), ledger(tmp_path).accounts
    first = Quota("tool", 5_000, memory, today)
    for _ in range(1_203):
        first.take()
    first.close()
    assert first.remaining == 3_797
    second = Quota("tool", 5_000, ledger(tmp_path).accounts, today)
    assert spent(second) == 3_797
    with pytest.raises(QuotaSpent, match="5000 calls of today") as error:
        Quota("tool", 5_000, memory, today).take()
    assert error.value.retry_after == 7_200
    assert spent(Quota("another", 3, memory, today)) == 3
    today.now += timedelta(hours=2)
    assert spent(Quota("tool", 5_000, memory, today)) == 5_000


def test_a_killed_run_wastes_at_most_a_lot(tmp_path: Path) -> None:
    today, memory = Today(), ledger(tmp_path).accounts
    for _ in range(3):
        Quota("tool", 5_000, memory, today).take()  # never closed
    assert spent(Quota("tool", 5_000, memory, today)) == 5_000 - 3 * 5


def test_two_processes_share_a_day(tmp_path: Path) -> None:
    today = Today()
    runs = [Quota("tool", 400, ledger(tmp_path).accounts, today) for _ in range(4)]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda run=run: counts.append(spent(run))) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 400


def test_what_others_used_of_the_day_is_learned(tmp_path: Path) -> None:
    today, memory = Today(), ledger(tmp_path).accounts
    quota = Quota("tool", 100, memory, today)
    quota.take()
    quota.learn(100, 40)
    assert quota.remaining == 40
    assert spent(quota) == 40


def test_a_limit_nobody_declared_is_learned_and_then_kept(tmp_path: Path) -> None:
    quota = Quota("tool", None, ledger(tmp_path).accounts, Today())
    quota.take()
    quota.learn(10, 4)
    assert spent(quota) == 4


def test_a_long_pause_outlives_the_run(tmp_path: Path) -> None:
    Budgets(ledger(tmp_path).accounts).budget("tool", "", [], None).pause(900)
    with (
        pytest.raises(RateLimited, match="asked for a pause"),
        Budgets(ledger(tmp_path).accounts).budget("tool", "", [], None).call(),
    ):
        pass
    with Budgets(ledger(tmp_path).accounts).budget("another", "", [], None).call():
        pass


def test_destinations_of_one_account_share_one_budget(tmp_path: Path) -> None:
    budgets = Budgets(ledger(tmp_path).accounts)
    windows = [Window(10, 1.0)]
    assert budgets.budget("a", "", windows, None) is budgets.budget("a", "", windows, 5)
    assert budgets.budget("a", "", windows, None) is not budgets.budget("a", "events", windows, 5)
    assert budgets.budget("a", "", windows, None) is not budgets.budget("b", "", windows, None)


def test_a_spent_day_stops_the_run_and_the_next_days_run_goes_on(tmp_path: Path) -> None:
    limits = {"hubspot": RateLimit(calls=190, daily=8)}
    with Sandbox(tmp_path / "sandbox.db", limits=limits) as sandbox:
        project = SmallProject(tmp_path / "project", sandbox)
        project.contacts(2_000)
        first = project.apply()["hubspot/contact_profiles"]
        refused = requests.get(f"{sandbox.http_url}/_sandbox/counts", timeout=5).json()["hubspot"]
        again = project.apply()["hubspot/contact_profiles"]
        counts = sandbox.counts()["hubspot"]
    assert 0 < first.delivered < 2_000
    assert "calls of today are used up" in first.error
    assert (first.rejected, first.unknown) == (0, 0)
    assert again.delivered == 0
    assert "calls of today are used up" in again.error
    assert counts["violations"] == refused["violations"] == 0  # it stopped without being told to
    assert project.plan()["hubspot/contact_profiles"].size == 2_000 - first.delivered


@contextmanager
def serving(*answers: bytes, drip: float = 0.0) -> Iterator[str]:
    """A server that gives one answer to each connection; ``drip``: seconds between its bytes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        stop = threading.Event()

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    try:
                        if not drip:
                            connection.sendall(answer)
                        for byte in answer if drip else b"":
                            connection.sendall(bytes([byte]))
                            if stop.wait(drip):
                                break
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()


def answer(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


def test_a_body_that_drips_is_as_late_as_none() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        stop = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(body)
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unknown, match="did not end within"):
            HttpClient(url, RateBudget([]), read_seconds=0.4).request("GET", "/")
        stop.set()
        thread.join()


def test_an_expired_token_is_renewed_once_and_the_call_repeated() -> None:
    with serving(answer("401 Expired"), answer("200 OK", "{}")) as url:
        client = HttpClient(url, RateBudget([]), renew=lambda: {"Authorization": "Bearer new"})
        assert client.request("POST", "/", {"a": 1}).json() == {}
    with serving(answer("401 Expired"), answer("401 Expired")) as url:
        client = HttpClient(url, RateBudget([]), renew=lambda: {"Authorization": "Bearer new"})
        with pytest.raises(Denied):
            client.request("POST", "/", {"a": 1})


def test_a_netrc_file_gives_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                seen.append(connection.recv(65_536))
                connection.sendall(answer("200 OK", "{}"))

        thread = threading.Thread(target=serve)
        thread.start()
        client = HttpClient(f"http://127.0.0.1:{server.getsockname()[1]}", RateBudget([]))
        client._session.trust_env = True  # as for any address off this machine
        client.request("GET", "/")
        thread.join()
    assert b"Authorization" not in seen[0]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
    ],
)
def test_private_addresses_are_known(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_leads_into_a_private_network_gets_not_one_byte() -> None:
    received = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(connection.recv(65_536))

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://localhost:{server.getsockname()[1]}"
        with pytest.raises(Denied, match="allow_private_addresses"):
            HttpClient(url, RateBudget([]), public_only=True).request("POST", "/", {"a": 1})
        thread.join()
    assert received == [b""]
