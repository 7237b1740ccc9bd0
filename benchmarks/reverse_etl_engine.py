"""What planning, acknowledging and pushing cost, each next to a floor on the same machine.

``python -m benchmarks.reverse_etl_engine [rows]`` (default 1,000,000). Floors: one DuckDB pass that
md5s all 20 columns; reading and writing the same rows with bare sqlite3; posting the same bodies
with requests, unread and unrecorded. Every figure is of one run: the machine's noise is in it, in
seconds more than in CPU seconds (which count setting up, too).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, cast

import duckdb
import orjson
import requests

from reverse_etl.destinations.base import Action, Destination, Limits, Outcome
from reverse_etl.engine import Engine
from reverse_etl.errors import RateLimited
from reverse_etl.http import HttpClient
from reverse_etl.ledger import Ledger, Settlement
from reverse_etl.planner import Change
from reverse_etl.rate import RateBudget, Window
from reverse_etl.sandbox.vendor import RateLimit, RollingWindow
from reverse_etl.settings import Settings
from reverse_etl.spec import Kind, Sync
from reverse_etl.values import as_json

SYNC = "hubspot/contact_profiles"
LIMITS = ((Window(190, 10.0),), (Window(10, 1.0), Window(150, 60.0)))
"""HubSpot's for a professional portal, Klaviyo's for an M endpoint."""
COLUMNS = ", ".join(
    [
        "'c_' || i as contact_id",
        "'p' || i || '@customer.example' as email",
        "'cus_' || (i // 4) as customer_id",
        *(f"'value {n} of ' || (i + {n}) as text_{n}" for n in range(9)),
        *(f"(i * {n + 3} % 1000)::decimal(18, 2) as money_{n}" for n in range(4)),
        *(f"i % {n + 2} = 0 as is_{n}" for n in range(2)),
        "timestamp '2026-01-01' + to_seconds(i) as last_active_at",
        "i % 100 as active_days",
    ]
)


def main(rows: int) -> int:
    """Measure each thing in a process of its own, one after the other; prints as it goes."""
    with tempfile.TemporaryDirectory(prefix="engine_") as name:
        folder = Path(name)
        for measure in (
            _build,
            _md5,
            _read_sqlite,
            _plan_nothing,
            _plan_some,
            _acknowledge,
            _write_sqlite,
        ):
            _alone(measure, folder, rows)
        with _sink() as address:
            for measure in (_post, _push, _push_nothing, _push_thousands):
                (folder / "sink").write_text(address)
                _alone(measure, folder, rows // 5)
        for limit in LIMITS:
            _paced(limit)
    return 0


def _alone(measure: Callable[[Path, int], tuple[str, float]], folder: Path, rows: int) -> None:
    """In a fresh process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        what, seconds, cpu, mebibytes = pool.apply(_measured, (measure, folder, rows))
    print(
        f"{what:<60} {seconds:7.2f} s {rows / seconds:>11,.0f} rows/s"
        f" {rows / cpu:>11,.0f} rows a CPU second {mebibytes:6.0f} MiB",
        flush=True,
    )


def _measured(
    measure: Callable[[Path, int], tuple[str, float]], folder: Path, rows: int
) -> tuple[str, float, float, float]:
    before = time.process_time()
    what, seconds = measure(folder, rows)
    cpu = time.process_time() - before
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return what, seconds, cpu, int(peak[1]) / 1024 if peak else 0.0


def _build(folder: Path, rows: int) -> tuple[str, float]:
    """A warehouse with the rows, a manifest, and a ledger that has acknowledged every one."""
    started = time.perf_counter()
    (folder / "pyproject.toml").touch()
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("create schema marts")
        query = f"select {COLUMNS} from range(1, {rows + 1}) as t(i)"
        connection.execute(f"create table marts.contact_profiles as {query}")
    node = {
        "resource_type": "model",
        "name": "contact_profiles",
        "alias": "contact_profiles",
        "schema": "marts",
        "original_file_path": "models/marts/contact_profiles.sql",
        "columns": {},
        "config": {
            "meta": {"sync": {"kind": "profile", "key": "contact_id", "destinations": ["hubspot"]}}
        },
    }
    (folder / "target").mkdir()
    manifest = {"nodes": {"model.p.contact_profiles": node}}
    (folder / "target" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "destinations.yml").write_text("destinations: {dev: {hubspot: {type: outbox}}}\n")
    ledger, engine = _ledger(folder), _engine(folder)
    [plan] = engine.plan()
    ledger.begin(SYNC, "outbox:data/outbox", repeatable=True)
    known = ((SYNC, key, fingerprint) for key, _, fingerprint in plan.identities())
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.executemany(
            "insert into acknowledged values (?, ?, ?, 'acknowledged',"
            " '2026-01-01T00:00:00.000000+00:00')",
            known,
        )
    ledger.end(SYNC, baseline=True)
    ledger.close()
    return "(making the warehouse, and a ledger that has every row)", time.perf_counter() - started


def _settings(folder: Path) -> Settings:
    return Settings.from_environment(
        {
            "WAREHOUSE_PATH": str(folder / "warehouse.duckdb"),
            "LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}",
            "DESTINATIONS_FILE": str(folder / "destinations.yml"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "AS_OF_DATE": "2026-10-28",
        },
        folder,
    )


def _engine(folder: Path) -> Engine:
    return Engine(_settings(folder))


def _ledger(folder: Path) -> Ledger:
    return Ledger(f"sqlite:///{folder / 'ledger.db'}")


def _md5(folder: Path, rows: int) -> tuple[str, float]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "select column_name from duckdb_columns() where table_name = 'contact_profiles'"
            ).fetchall()
        ]
        text = ", ".join(f"{name}::varchar" for name in names)
        query = f"select max(md5(concat_ws('|', {text}))) from marts.contact_profiles"
        connection.execute(query)  # the file is in memory from now on, as for those after it
        started = time.perf_counter()
        connection.execute(query).fetchall()
        return "floor: one pass that md5s 20 columns", time.perf_counter() - started


def _read_sqlite(folder: Path, rows: int) -> tuple[str, float]:
    with sqlite3.connect(folder / "ledger.db") as connection:
        started = time.perf_counter()
        cursor = connection.execute("select key, fingerprint, state from acknowledged")
        while cursor.fetchmany(50_000):
            pass
        return "floor: sqlite3 reads the acknowledged rows", time.perf_counter() - started


def _plan_nothing(folder: Path, rows: int) -> tuple[str, float]:
    engine = _engine(folder)
    started = time.perf_counter()
    [plan] = engine.plan()
    seconds = time.perf_counter() - started
    assert (plan.size, plan.unchanged) == (0, rows)
    return "plan, nothing changed", seconds


def _plan_some(folder: Path, rows: int) -> tuple[str, float]:
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "update marts.contact_profiles set active_days = -1 where active_days = 7"
        )
    engine = _engine(folder)
    started = time.perf_counter()
    [plan] = engine.plan()
    seconds = time.perf_counter() - started
    assert plan.changes == rows // 100
    return "plan, 1 % changed", seconds


def _acknowledge(folder: Path, rows: int) -> tuple[str, float]:
    ledger = _ledger(folder)
    started = time.perf_counter()
    intending = 0.0
    for start in range(0, rows, 100):
        batch = [(f"c_{n:09d}", "add", "f" * 32) for n in range(start, start + 100)]
        before = time.perf_counter()
        intents = ledger.intend_level("20260101T000000-bench", "tool/model", batch, 1)
        intending += time.perf_counter() - before
        ledger.settle_level("tool/model", [Settlement(i, "delivered") for i in intents])
    seconds = time.perf_counter() - started
    ledger.close()
    return f"acknowledge in batches of 100 (and {intending:.1f} s for intents)", seconds - intending


def _write_sqlite(folder: Path, rows: int) -> tuple[str, float]:
    with sqlite3.connect(folder / "bare.db", isolation_level=None) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("create table acknowledged (key text primary key, fingerprint text)")
        started = time.perf_counter()
        for start in range(0, rows, 100):
            batch = [(f"c_{n:09d}", "f" * 32) for n in range(start, start + 100)]
            connection.execute("begin immediate")
            connection.executemany("insert or replace into acknowledged values (?, ?)", batch)
            connection.execute("commit")
        return "floor: sqlite3 writes as many rows, durably", time.perf_counter() - started


def _post(folder: Path, rows: int) -> tuple[str, float]:
    """Eight threads, bodies made beforehand."""
    address = (folder / "sink").read_text()
    row = {f"column_{n}": f"value {n} of a row" for n in range(20)}
    body = orjson.dumps([row] * 100)
    sessions = threading.local()

    def post(_: int) -> None:
        if not hasattr(sessions, "session"):
            sessions.session = requests.Session()
            sessions.session.trust_env = False
        sessions.session.post(address, data=body, timeout=30).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        started = time.perf_counter()
        list(pool.map(post, range(rows // 100)))
        return "floor: requests posts batches of 100, 8 threads", time.perf_counter() - started


class Sink(Destination):
    """A tool without limits, which takes whatever it is given."""

    batch_rows = 100
    capabilities: ClassVar[Mapping[Kind, frozenset[Action]]] = {
        "profile": frozenset({"add", "change"})
    }

    def limits(self, kind: Kind) -> Limits:
        return Limits(batch_rows=self.batch_rows, concurrency=8)

    def send(self, sync: Sync, batch: Sequence[Change]) -> list[Outcome]:
        body = as_json([change.payload for change in batch])
        self._client.request("POST", "", content=body)
        return [Outcome(change.key, "delivered") for change in batch]

    @cached_property
    def _client(self) -> HttpClient:
        return HttpClient(self.config.base_url, self.budget)


def _push(folder: Path, rows: int) -> tuple[str, float]:
    """A first run: every row is planned, sent and acknowledged."""
    return f"push: plan, send {Sink.batch_rows} at a time, acknowledge", _pushed(
        _sinking(folder, rows, "push"), rows
    )


def _push_thousands(folder: Path, rows: int) -> tuple[str, float]:
    """As ``_push``, into a tool that takes more at a time."""
    Sink.batch_rows = 1_000
    return f"push: plan, send {Sink.batch_rows:,} at a time, acknowledge", _pushed(
        _sinking(folder, rows, "push_thousands"), rows
    )


def _pushed(engine: Engine, rows: int) -> float:
    started = time.perf_counter()
    [result] = engine.apply()
    seconds = time.perf_counter() - started
    assert result.delivered == rows, result
    return seconds


def _push_nothing(folder: Path, rows: int) -> tuple[str, float]:
    engine = _sinking(folder, rows, "push")
    started = time.perf_counter()
    [result] = engine.apply()
    seconds = time.perf_counter() - started
    assert (result.planned, result.error) == (0, ""), result
    return "push again: nothing to do", seconds


def _sinking(folder: Path, rows: int, name: str) -> Engine:
    """The same project with fewer rows, another ledger, and the sink as its one tool."""
    import reverse_etl.engine

    reverse_etl.engine.implementation = lambda _: Sink  # type: ignore[attr-defined, assignment]
    own = folder / name
    if not own.exists():
        own.mkdir()
        (own / "pyproject.toml").touch()
        shutil.copytree(folder / "target", own / "target")
        with duckdb.connect(str(own / "warehouse.duckdb")) as connection:
            connection.execute("create schema marts")
            query = f"select {COLUMNS} from range(1, {rows + 1}) as t(i)"
            connection.execute(f"create table marts.contact_profiles as {query}")
    address = (folder / "sink").read_text()
    tool = {"type": "outbox", "base_url": address}
    (own / "destinations.yml").write_text(json.dumps({"destinations": {"dev": {"hubspot": tool}}}))
    return _engine(own)


@contextmanager
def _sink() -> Iterator[str]:
    """A server in a process of its own that reads every request and says yes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(ready: Connection) -> None:
    """Reads by Content-Length and nothing else: a sink must cost less than what it measures."""

    class Yes(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast(asyncio.Transport, transport)
            self._left, self._head = 0, b""

        def data_received(self, data: bytes) -> None:
            if self._left == 0:
                self._head += data
                head, found, body = self._head.partition(b"\r\n\r\n")
                if not found:
                    return
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                self._left = int(length[1]) if length else 0
                self._head, data = b"", body
            self._left -= len(data)
            if self._left <= 0:
                self._left = 0
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Yes, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def _paced(windows: Sequence[Window]) -> None:
    """Calls over several windows; a server that counts as a vendor does judges them."""
    longest = max(windows, key=lambda window: window.seconds)
    calls = longest.calls * (2 if longest.seconds >= 60 else 4)
    told = ", ".join(f"{window.calls} in {window.seconds:g} s" for window in windows)
    accepted, refused = 0, 0
    counts = [RollingWindow(RateLimit(w.calls, w.seconds), time.time) for w in windows]
    lock = threading.Lock()

    class Counting(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonlocal accepted, refused
            with lock:
                full = [count.refusal() for count in counts]
                accepted, refused = accepted + (not any(full)), refused + any(map(bool, full))
            self.send_response(429 if any(full) else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = HttpClient(f"http://127.0.0.1:{server.server_address[1]}", RateBudget(windows))
    left = iter(range(calls))
    started = time.monotonic()

    def call() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            with suppress(RateLimited):
                client.request("GET", "/")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, fastest = time.monotonic() - started, _fastest(windows, calls)
    server.shutdown()
    print(
        f"limit {told:<54} {accepted} calls in {seconds:.1f} s, which could have been {fastest:.1f}"
        f" ({fastest / seconds:.1%} of the limit), {refused} refused",
        flush=True,
    )


def _fastest(windows: Sequence[Window], calls: int) -> float:
    """Seconds until the last of so many calls may start, were clocks one and networks nothing."""
    starts: list[float] = []
    for number in range(calls):
        earlier = (
            starts[number - window.calls] + window.seconds
            for window in windows
            if number >= window.calls
        )
        starts.append(max(earlier, default=0.0))
    return starts[-1]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
