"""What all destinations share: pace, batches, and the reading of HTTP failures."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverse_etl import destinations
from reverse_etl.configuration import DestinationConfig
from reverse_etl.destinations.base import Destination, Limits
from reverse_etl.errors import Denied, NotSent, RateLimited, Refused, Unknown, Unreachable
from reverse_etl.http import HttpClient
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def started(budget: RateBudget, time: Time, calls: int, latency: float = 0.0) -> list[float]:
    starts = []
    for _ in range(calls):
        with budget.call():
            starts.append(time())
            time.sleep(latency)
    return starts


def most_in_any(window: float, moments: list[float]) -> int:
    return max(sum(at <= other < at + window for other in moments) for at in moments)


@settings(max_examples=50, deadline=None)
@given(calls=st.integers(1, 50), seconds=st.floats(0.5, 60), latency=st.floats(0, 0.5))
def test_no_window_ever_holds_more_than_its_limit(
    calls: int, seconds: float, latency: float
) -> None:
    time = Time()
    budget = RateBudget([Window(calls, seconds)], time, time.sleep)
    starts = started(budget, time, 3 * calls, latency)
    arrivals = [at + latency for at in starts]  # as late as the tool can have seen them
    assert most_in_any(seconds, starts) <= calls
    assert most_in_any(seconds, arrivals) <= calls


@pytest.mark.parametrize("windows", [[Window(190, 10)], [Window(10, 1), Window(150, 60)]])
def test_97_percent_of_a_limit_is_used(windows: list[Window]) -> None:
    time = Time()
    tightest = min(window.calls / window.seconds for window in windows)
    calls = int(tightest * 600)
    started(RateBudget(windows, time, time.sleep), time, calls)
    assert calls / time() >= 0.97 * tightest


def test_headers_teach_the_limit_and_the_calls_of_others() -> None:
    time = Time()
    budget = RateBudget([Window(190, 10.0)], time, time.sleep)
    started(budget, time, 1)
    budget.learn(calls=100, seconds=10.0, remaining=20)  # 79 of these 80 are not ours
    started(budget, time, 20)
    assert time() == 0.0
    started(budget, time, 1)
    assert time() > 10.0


def test_a_pause_stops_everybody() -> None:
    time = Time()
    budget = RateBudget([], time, time.sleep)
    budget.pause(7.0)
    assert started(budget, time, 2) == [7.0, 7.0]


def test_every_destination_is_found_by_its_file_and_declares_itself() -> None:
    assert destinations.names() == [
        "braze",
        "customer_io",
        "hubspot",
        "klaviyo",
        "mailchimp",
        "marketo",
        "outbox",
        "salesforce",
        "slack",
        "smtp",
        "webhook",
    ]
    for name in destinations.names():
        found = destinations.implementation(name)
        assert issubclass(found, Destination)
        assert found.capabilities
        assert found.__doc__


class Small(destinations.implementation("outbox")):  # type: ignore[misc]
    """An outbox with small batches."""

    def limits(self, kind: str) -> Limits:
        return Limits(batch_rows=3, batch_bytes=100)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 150), max_size=30))
def test_batches_keep_order_rows_and_bytes(sizes: list[int]) -> None:
    destination = Small(DestinationConfig("t", "outbox", "", Path()), ids=None)
    changes = [Change(str(n), "add", "", {"a": "x" * size}) for n, size in enumerate(sizes)]
    batches = list(destination.batches("profile", changes))
    assert [change for batch in batches for change in batch] == changes
    for batch in batches:
        weight = sum(len(change.payload["a"]) + 8 for change in batch)
        assert 1 <= len(batch) <= 3
        assert weight <= 100 or len(batch) == 1


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that reads a request, answers these bytes and hangs up."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def response(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (response("400 Bad"), Refused),
        (response("401 No"), Denied),
        (response("403 No"), Denied),
        (response("404 Not found"), Refused),
        (response("302 Found", "Location: http://127.0.0.1:9/"), Refused),
        (response("429 Slow"), RateLimited),
        (response("477 Moving", "Retry-After: 3"), NotSent),
        (response("503 Later"), NotSent),
        (response("500 Oops"), Unknown),
        (response("502 Bad gateway"), Unknown),
        (b"", Unknown),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", Unknown),
        (response("200 OK", body='{"cut'), Unknown),
        (b"what is this\r\n\r\n", Unknown),
    ],
)
def test_each_failure_is_told_apart(raw: bytes, fault: type[Exception]) -> None:
    with answering(raw) as url, pytest.raises(fault):
        HttpClient(url, RateBudget([])).request("POST", "/", {"a": 1}).json()


def test_a_closed_port_is_surely_not_sent() -> None:
    with pytest.raises(Unreachable):
        HttpClient("http://127.0.0.1:9", RateBudget([])).request("GET", "/")


def test_silence_is_unknown() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unknown, match="time-out"):
            HttpClient(url, RateBudget([]), read_seconds=0.2).request("GET", "/")


def test_errors_are_trimmed_and_carry_no_secret() -> None:
    body = '{"message": "token s3cr3t is\\n wrong ' + "x" * 1_000 + '"}'
    with answering(response("400 Bad", body=body)) as url, pytest.raises(Refused) as error:
        HttpClient(url, RateBudget([]), secrets=["s3cr3t"]).request("GET", "/")
    assert str(error.value).startswith("token *** is wrong x")
    assert len(str(error.value)) <= 400


def test_a_pause_asked_for_is_kept() -> None:
    time = Time()
    budget = RateBudget([], time, time.sleep)
    with answering(response("429 Slow", "Retry-After: 7")) as url, pytest.raises(RateLimited):
        HttpClient(url, budget).request("GET", "/")
    assert started(budget, time, 1) == [7.0]
